"""Open the gate between DGL and joint training little by little: how much of the fused gradient should encoders see?

Not registered: made when the map was known, to describe what lies between two of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dgl_core.paper.map.design import Row, maps, names, rate_at, registered, sample, spec
from dgl_core.paper.map.records import DIVERGED
from dgl_core.paper.map.runs import absent, branches, right, train_row

HEADS = ("concat", "hidden")
GATES = (0.0, 0.25, 0.5, 0.75, 1.0)  # share of the fused gradient that reaches an encoder: 0 is DGL, 1 is UT alone
IMBALANCE = 0.5


def rows() -> dict[float, Row]:
    """List the rows: the unimodal losses never train the fusion, the fused loss trains encoders through the gate."""
    return {gate: Row(registered()["alpha"], encoder_gate=gate, fusion_gate=0.0) for gate in GATES}


def pilot(head: str) -> dict[float, dict[str, float]]:
    """Choose the rate of every gate by the fused validation accuracy of the pilots: gate -> synergy -> rate."""
    columns, draws, tried = registered()["pilot_synergies"], registered()["pilots"], maps()[head].rates
    data, seeds = sample([(synergy, IMBALANCE) for synergy in columns], draws)
    found = {}
    for gate, row in rows().items():
        hits = [right(train_row(row, head, data, seeds, spec(rate, row)), data, "val")[:, 0] for rate in tried]
        scores = [np.where(h == DIVERGED, 0.0, h).reshape(len(columns), -1).mean(axis=1) for h in hits]
        best = np.argmax(scores, axis=0)
        found[gate] = {f"{synergy:g}": tried[best[j]] for j, synergy in enumerate(columns)}
    return found


def run() -> dict[str, np.ndarray]:
    """Train every gate at every synergy on the registered draws.

    Returns:
        "test/HEAD": counts of right samples [S, G, D, B]; "rate/HEAD" [S, G].
    """
    found = {}
    for head in HEADS:
        rates, draws = pilot(head), range(registered()["first"], registered()["first"] + maps()[head].draws)
        counts, used = [], []
        for synergy in registered()["synergies"]:
            data, seeds = sample([(synergy, IMBALANCE)], draws)
            used.append([rate_at(rates[gate], synergy) for gate in GATES])
            trained = (
                train_row(row, head, data, seeds, spec(rate, row))
                for row, rate in zip(rows().values(), used[-1], strict=True)
            )
            counts.append([right(one, data, "test") for one in trained])
        found |= {f"test/{head}": np.array(counts), f"rate/{head}": np.array(used)}
    return found


def gains(arrays: Mapping[str, np.ndarray], head: str, total: int, branch: str = "fused") -> np.ndarray:
    """Subtract what the closed gate (DGL) reaches, draw by draw, in points [S, G, D]; of a branch, or "absent"."""
    hits = arrays[f"test/{head}"]
    percent = np.where(hits == DIVERGED, 0, hits) * 100.0 / total  # [S, G, D, B]
    each = {name: percent[..., b] for b, name in enumerate(branches(names(2)))}
    each["absent"] = absent(each, names(2))
    return each[branch] - each[branch][:, :1]
