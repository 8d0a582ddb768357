"""Give the page of the training its histories: gradient norms and R after every epoch, of records and of one pair."""

from __future__ import annotations

import numpy as np

from dgl_core.data.generated.emotions.acting import EMOTIONS
from dgl_core.paper.experiments import late_fusion, profiles
from dgl_core.reproduce.play import trained
from dgl_core.reproduce.play.model import WORDS
from dgl_core.runs import reference
from dgl_core.training.records import RunRecord

COLUMNS = (
    *(f"gradient/{part}" for part in ("audio", "visual", "fusion")),
    *(f"suppression/{m}/R_q{q}" for m in ("audio", "visual") for q in (25, 50, 75)),
    *(f"test/{branch}/accuracy" for branch in ("fused", "audio", "visual")),
)


def data() -> dict:
    """Collect the histories: the pair whose clips were watched, and the means of the reference records of each set."""
    noted = trained.history()
    pair = {row: {"curves": _rounded(noted[row]["curves"]), "ratio": noted[row]["ratio"]} for row in trained.ROWS}
    names = [WORDS[EMOTIONS[k]] for k in noted["labels"]]
    sources = {"pair": {"title": "one pair on generated emotions, clip by clip", "rows": pair, "clips": names}}
    for dataset in profiles.REFERENCE_DATASETS:
        rows = late_fusion.branches("cpu", dataset, profiles.REFERENCE_SEEDS)
        found = {row: reference(rows[row]) for row in trained.ROWS}
        for row, records in found.items():
            if not records:
                raise ValueError(f"no reference record of {row} on {dataset} is here; the pages need the checkout.")
        count = len(found["DGL"])
        title = f"{profiles.TITLES[dataset]}, mean of {count} pairs"
        sources[dataset] = {"title": title, "rows": {row: {"curves": _mean(records)} for row, records in found.items()}}
    return {"sources": sources, "alpha": profiles.ALPHA}


def _mean(records: list[RunRecord]) -> dict[str, list[float]]:
    """Average the histories of the records of one row, epoch by epoch."""
    curves = {name: np.mean([record.curves[name] for record in records], axis=0).tolist() for name in COLUMNS}
    return _rounded(curves)


def _rounded(curves: dict[str, list[float]]) -> dict[str, list[float]]:
    """Keep the columns that are shown, with five digits."""
    return {name: [float(f"{value:.5g}") for value in curves[name]] for name in COLUMNS}
