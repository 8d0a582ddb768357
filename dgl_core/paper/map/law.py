"""Test the law at one point: DGL's branch is unimodal training at alpha x rate; under AdamW alpha does nothing."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dgl_core.paper.map.design import Row, chosen_rates, rate_at, registered, rows, sample, spec
from dgl_core.paper.map.runs import right, train_row

HEADS = {"concat": "concat", "hidden": "hidden", "normed": "concat"}  # head -> that whose learning rates it takes
ALONE = Row(alpha=1.0, encoder_gate=0.0, fusion_gate=1.0, scaled=True, own=True, multimodal=False)


def run(heads: Iterable[str]) -> dict[str, np.ndarray]:
    """Train both sides of the law with some heads.

    Returns:
        "HEAD/DGL", "HEAD/alone", "HEAD/adamw ALPHA" -> counts of right samples ``[D, B]``.
    """
    law, first = registered()["law"], registered()["first"]
    data, seeds = sample([(law["synergy"], law["imbalance"])], range(first, first + law["draws"]))
    found = {}
    for head in heads:
        rate = rate_at(chosen_rates()[HEADS[head]]["DGL"], law["synergy"])
        for name, row in {"DGL": rows()["DGL"], "alone": ALONE}.items():
            found[f"{head}/{name}"] = right(train_row(row, head, data, seeds, spec(rate, row)), data, "test")
        for alpha in law["adamw"]["alphas"]:
            row = Row(alpha, 0.0, 0.0)
            specification = spec(law["adamw"]["rate"], row, optimizer="adamw")
            trained = train_row(row, head, data, seeds, specification)
            found[f"{head}/adamw {alpha:g}"] = right(trained, data, "test")
    return found
