"""Train the reference records that only notebook 08 shows: maps of learning rates, the square of gates, its finals.

python -m tools.reference [DATASET ...]            # resumes where it was interrupted
python -m tools.reference [DATASET ...] --publish  # copies what is finished to results/reference
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dgl_core import equal_budget, runs
from dgl_core.experiments import beyond as plan
from dgl_core.records import RunSpec
from dgl_core.workers import local_workers


def finals(dataset: str) -> list[RunSpec]:
    """The two points of a finished square that get the seeds of Table 1; on CMU-MOSI the folds are all there is."""
    if dataset == "mosi":
        return []
    grid = plan.decoupling_grid("cpu", dataset, plan.reference_seeds(dataset))
    records = {rate: {row: found(specs) for row, specs in rows.items()} for rate, rows in grid.items()}
    own, rates = equal_budget.own_rates(records)
    pair = equal_budget.finalists(own, plan.CORNERS) or ()
    rows = plan.finals(dataset, {row: float(rates[row]) for row in pair})
    return [spec for specs in rows.values() for spec in specs]


def found(specs: Sequence[RunSpec]) -> list:
    """Records of this machine's store."""
    return [record for record in map(runs.find, specs) if record is not None]


def train(specs: Sequence[RunSpec], workers: int) -> None:
    todo = runs.pending(specs)
    print(f"{len(todo)} runs to train", flush=True)
    with local_workers(workers) as pool:
        runs.run_all(todo, client=pool, progress=lambda done, total, *_: print(f"{done}/{total}", flush=True))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="*", help=f"by default {' '.join(plan.SETS)}")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--publish", action="store_true")
    options = parser.parse_args(arguments)
    for dataset in options.dataset or plan.SETS:
        specs = plan.reference_specs(dataset)
        if options.publish:
            print(f"{dataset}: {runs.publish_reference([*specs, *finals(dataset)])} records published")
        else:
            train(specs, options.workers)
            train(finals(dataset), options.workers)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
