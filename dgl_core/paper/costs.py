"""What training with each method costs: measured in one run by ``tests/bench/bench_methods.py --write``."""

from __future__ import annotations

import json
from pathlib import Path

import pandas

from dgl_core.utils import ROOT

PATH = ROOT / "results" / "step_costs.json"


def step_costs(path: Path = PATH) -> dict[str, dict[str, float]]:
    """Row of Table 1 -> ``ratio`` to vanilla training (processor time), ``range`` over repetitions, ``expected``.

    Raises:
        FileNotFoundError: it was not measured; the message says how.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is missing: run python tests/bench/bench_methods.py --write")
    return json.loads(path.read_text())["rows"]


def table(costs: dict[str, dict[str, float]]) -> pandas.DataFrame:
    """Measured and expected cost of training with every method, relative to vanilla training."""
    rows = {
        row: {
            "measured": f"{cost['ratio']:.2f} ({cost['range'][0]:.2f}-{cost['range'][-1]:.2f})",
            "expected": f"{cost['expected']:.2f}",
        }
        for row, cost in costs.items()
    }
    return pandas.DataFrame.from_dict(rows, orient="index")
