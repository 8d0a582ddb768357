"""Count operations and bytes of a training step for each method on the paper's sets: ``make bench``.

    PYTHONPATH=. python tests/bench/bench_operations.py [--write] [--only METHOD] [SET ...]

The counts are exact and the same on every machine; ``--write`` keeps them in ``results/operations.json``, from which
the plan estimates runs that nobody measured, and README shows the price of a run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from dgl_core.data.files.atomic import write_atomic
from dgl_core.paper.experiments import late_fusion
from dgl_core.reproduce import arithmetic, rehearse
from dgl_core.runs.estimates import DERIVED, HALVED, SCORED, cost_name, operations
from dgl_core.training.records import RunSpec
from dgl_core.utils import project_root


def specs(dataset: str) -> list[RunSpec]:
    """One run of every method on a set: the rows of Table 1, and the truncation that is between them."""
    rows = late_fusion.table1("paper", dataset, [0])
    partial = late_fusion.table3("paper", dataset, [0])["+MT"]
    return [found[0] for found in (*rows.values(), partial) if found[0].method not in DERIVED]


def halved_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a sample at half resolution, as ``dgl_core.data.transforms.halved`` makes it."""
    return (*shape[:-2], shape[-2] // 2, shape[-1] // 2)


def count(dataset: str, only: str, before: dict) -> dict:
    """Operations and bytes a sample, and bytes a step, of every method; operations of scoring a sample."""
    size, found = rehearse.SIZES[dataset], dict(before.get("methods", {})) if only else {}
    for name, spec in {cost_name(spec): spec for spec in reversed(specs(dataset))}.items():
        if only not in ("", spec.method):
            continue
        step, scored = arithmetic.work_of(spec, size.shapes, size.classes)
        half, _ = arithmetic.work_of(spec, {m: halved_shape(s) for m, s in size.shapes.items()}, size.classes)
        found[name] = step._asdict() | {HALVED: half._asdict()}
        if spec.method == "vanilla":
            found[SCORED] = scored._asdict()
        print(f"{dataset:9s} {name:18s} {step.operations:10.3e} operations, {step.bytes / 1e6:8.1f} MB a sample")
    return {"counts": list(size.counts), "methods": found}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=list(rehearse.SIZES))
    parser.add_argument("--write", action="store_true", help="keep the counts")
    parser.add_argument("--only", default="", metavar="METHOD", help="count this one again")
    options = parser.parse_args(arguments)
    names = options.sets
    path = project_root() / "results" / "operations.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else {}
    for name in names:
        key = f"{name} {specs(name)[0].model}"
        rows[key] = count(name, options.only, rows.get(key, {}))
    if options.write:
        write_atomic(path, json.dumps({"rows": rows}, indent=1) + "\n")
        for name in names:
            run = late_fusion.table1("paper", name, [0])["DGL"][0]
            print(f"{name}: a run of DGL takes {operations(run):.3g} operations")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
