"""Open the gate between DGL and joint training little by little: how much of the fused gradient should encoders see?

Not registered: made when the map was known, to describe what lies between two of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from dgl_core.paper.map.design import Row, maps, rate_at, registered, sample, spec
from dgl_core.paper.map.records import Record
from dgl_core.paper.map.runs import pilot, right, train_row

HEADS = ("concat", "hidden")
GATES = (0.0, 0.25, 0.5, 0.75, 1.0)  # share of the fused gradient that reaches an encoder: 0 is DGL, 1 is UT alone
IMBALANCE = 0.5


def rows() -> dict[str, Row]:
    """List the rows: the unimodal losses never train the fusion, the fused loss trains encoders through the gate."""
    return {f"{gate:g}": Row(registered()["alpha"], encoder_gate=gate, fusion_gate=0.0) for gate in GATES}


def run() -> dict[str, np.ndarray]:
    """Train every gate at every synergy on the registered draws, each at the rate that the pilots chose for it.

    Returns:
        "test/HEAD": counts of right samples [S, G, D, B]; "rate/HEAD" [S, G].
    """
    found = {}
    for head in HEADS:
        of = replace(maps()[head], imbalances=(IMBALANCE,))
        rates, draws = pilot(of, rows()), range(registered()["first"], registered()["first"] + of.draws)
        counts, used = [], []
        for synergy in registered()["synergies"]:
            data, seeds = sample([(synergy, IMBALANCE)], draws)
            used.append([rate_at(rates[name], synergy) for name in rows()])
            trained = (
                train_row(row, head, data, seeds, spec(rate, row))
                for row, rate in zip(rows().values(), used[-1], strict=True)
            )
            counts.append([right(one, data, "test") for one in trained])
        found |= {f"test/{head}": np.array(counts), f"rate/{head}": np.array(used)}
    return found


def gains(arrays: Mapping[str, np.ndarray], head: str, total: int, branch: str = "fused") -> np.ndarray:
    """Subtract what the closed gate (DGL) reaches, draw by draw, in points [S, G, D]; of a branch, or "absent"."""
    hits = arrays[f"test/{head}"]  # [S, G, D, B]; a record has imbalances in place of gates
    of = Record(head, {f"test/{g}": hits[:, g, None] for g in range(hits.shape[1])}, {"test": total})
    return np.concatenate([of.difference(str(g), "0", branch) for g in range(hits.shape[1])], axis=1)
