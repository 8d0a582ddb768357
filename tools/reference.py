"""Train the reference records that only notebook 08 shows: maps of learning rates, the square of gates, moving gates.

python -m tools.reference [DATASET ...]            # resumes where it was interrupted
python -m tools.reference [DATASET ...] --publish  # copies what is finished to results/reference
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dgl_core import runs
from dgl_core.experiments import DESCRIPTIVE_SEEDS, REFERENCE_DATASETS, beyond
from dgl_core.workers import local_workers


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="*", help=f"by default {' '.join(REFERENCE_DATASETS)}")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--publish", action="store_true")
    options = parser.parse_args(arguments)
    names = options.dataset or REFERENCE_DATASETS
    specs = [spec for dataset in names for spec in beyond.reference_specs(dataset, DESCRIPTIVE_SEEDS)]
    if options.publish:
        print(f"{runs.publish_reference(specs)} records published")
        return 0
    todo = runs.pending(specs)
    print(f"{len(todo)} runs to train", flush=True)
    with local_workers(options.workers) as pool:
        runs.run_all(todo, client=pool, progress=lambda done, total, *_: print(f"{done}/{total}", flush=True))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
