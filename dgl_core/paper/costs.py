"""Show what training costs, as measured and kept by ``tests/bench``: a method of Table 1, and a DGL step in ESANet."""

from __future__ import annotations

import json
from pathlib import Path

import pandas

from dgl_core.utils import project_root

TRAINING_COSTS = project_root() / "results" / "step_costs.json"  # written by tests/bench/bench_methods.py
SEGMENTATION_COSTS = project_root() / "results" / "esanet_costs.json"  # written by tests/bench/bench_segmentation.py


def _measured(path: Path, bench: str) -> dict[str, dict]:
    """Read the rows of a measurement; raise ``FileNotFoundError``, which says how to measure, if there is none."""
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is missing: run python tests/bench/{bench} --write")
    return json.loads(path.read_text())["rows"]


def step_costs(path: Path = TRAINING_COSTS) -> dict[str, dict]:
    """Read, for each row of Table 1, ``ratio`` to vanilla's processor time, its ``range``, and ``expected``."""
    return _measured(path, "bench_methods.py")


def methods_table(costs: dict[str, dict]) -> pandas.DataFrame:
    """Show measured and expected cost of training with every method, relative to vanilla training."""
    rows = {}
    for row, cost in costs.items():
        measured = "{:.2f} ({:.2f}-{:.2f})".format(cost["ratio"], cost["range"][0], cost["range"][-1])
        rows[row] = {"measured": measured, "expected": f"{cost['expected']:.2f}"}
    return pandas.DataFrame.from_dict(rows, orient="index")


def segmentation_table(path: Path = SEGMENTATION_COSTS) -> pandas.DataFrame:
    """Show what a DGL step costs inside ESANet beside the least it can: operations, memory and time over vanilla's."""
    return pandas.DataFrame.from_dict(_measured(path, "bench_segmentation.py"), orient="index")
