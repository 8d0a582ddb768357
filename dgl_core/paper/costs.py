"""Show what training costs, as counted, measured and kept by ``tests/bench``: a method of Table 1, a step in ESANet."""

from __future__ import annotations

import json
from pathlib import Path

import pandas

from dgl_core.data.recipe import facts
from dgl_core.paper.experiments import late_fusion
from dgl_core.runs.estimates import counted, operations, step_work
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


def operations_table() -> pandas.DataFrame:
    """Show the arithmetic of Table 1 at the paper's size: operations and bytes of a step, operations of a run.

    One cell a data set, as "operations of a step, gigabytes of a step; operations of a run"; a method that works beside
    its steps (trial trainings, prototypes) has that in its run. The counts are those of ``results/operations.json``.
    """
    rows: dict[str, dict[str, str]] = {}
    for dataset in late_fusion.PAPER_SETS:
        for label, specs in late_fusion.table1("paper", dataset, [0]).items():
            if counted(specs[0]) is None:
                continue
            done, moved = step_work(specs[0])
            whole = operations(specs[0])
            title = f"{facts()[dataset].title}: a step; a run"
            rows.setdefault(label, {})[title] = f"{done:.2e}, {moved / 1e9:.0f} GB; {whole:.2e}"
    return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("row of Table 1")
