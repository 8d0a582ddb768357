"""Train the reference records that only notebook 08 shows: maps of learning rates, the square of gates, its finals.

python -m tools.reference [DATASET ...]            # resumes where it was interrupted
python -m tools.reference [DATASET ...] --publish  # copies what is finished to results/reference
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dgl_core.paper.experiments import beyond
from dgl_core.runs import run
from dgl_core.runs.workers import local_workers
from dgl_core.training.records import RunSpec
from dgl_core.verdicts import selection


def finals(dataset: str) -> list[RunSpec]:
    """The two points of a finished square that get the seeds of Table 1; on CMU-MOSI the folds are all there is."""
    if dataset == "mosi":
        return []
    grid = beyond.decoupling_grid("cpu", dataset, beyond.reference_seeds(dataset))
    records = {rate: {row: found(specs) for row, specs in rows.items()} for rate, rows in grid.items()}
    own, rates = selection.own_rates(records)
    pair = selection.finalists(own, beyond.CORNERS) or ()
    rows = beyond.finals(dataset, {row: float(rates[row]) for row in pair})
    return [spec for specs in rows.values() for spec in specs]


def found(specs: Sequence[RunSpec]) -> list:
    """Records of this machine's store."""
    return [record for record in map(run.find, specs) if record is not None]


def train(specs: Sequence[RunSpec], workers: int) -> None:
    todo = run.pending(specs)
    print(f"{len(todo)} runs to train", flush=True)
    with local_workers(workers) as pool:
        run.run_all(todo, client=pool, progress=lambda done, total, *_: print(f"{done}/{total}", flush=True))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="*", help=f"by default {' '.join(beyond.SETS)}")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--publish", action="store_true")
    options = parser.parse_args(arguments)
    for dataset in options.dataset or beyond.SETS:
        specs = beyond.reference_specs(dataset)
        if options.publish:
            print(f"{dataset}: {run.publish_reference([*specs, *finals(dataset)])} records published")
        else:
            train(specs, options.workers)
            train(finals(dataset), options.workers)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
