"""Give the page of the protocol its digest: every score of Table 1 in the reference, by rate, seed and epoch rule."""

from __future__ import annotations

from dgl_core.paper.experiments import profiles
from dgl_core.paper.experiments.late_fusion import table1_grid
from dgl_core.paper.printed import paper_rows
from dgl_core.paper.tables.differences import fused_rows
from dgl_core.paper.tables.protocols import SHOWN
from dgl_core.runs import reference
from dgl_core.training.records import RunRecord
from dgl_core.verdicts.statistics import DECIDING, Rows


def records(dataset: str) -> dict[float, Rows]:
    """Load the reference records of Table 1 on one set: learning rate -> row -> records, fused rows alone."""
    grid = table1_grid("cpu", dataset, profiles.REFERENCE_SEEDS)
    found = {rate: fused_rows(reference(rows)) for rate, rows in grid.items()}
    if not all(rows.get("DGL") for rows in found.values()):
        raise ValueError(f"the reference records of Table 1 on {dataset} are not here; the pages need the checkout.")
    return found


def data() -> dict:
    """Collect the digest of both sets, and what the paper prints."""
    printed = {row: values["fused"] for row, values in paper_rows(1, "CREMA-D").items() if values["fused"]}
    return {
        "protocols": SHOWN,
        "sets": {dataset: _set(dataset) for dataset in profiles.REFERENCE_DATASETS},
        "paper": printed,
        "deciding": DECIDING,
        "seeds": list(profiles.REFERENCE_SEEDS),
    }


def _set(dataset: str) -> dict:
    grid = records(dataset)
    common = table1_grid("cpu", dataset)  # without seeds: the common rate alone
    rates = {
        f"{rate:g}": {row: [_scores(r) for r in found] for row, found in rows.items()} for rate, rows in grid.items()
    }
    return {"title": profiles.TITLES[dataset], "common": f"{next(iter(common)):g}", "rates": rates}


def _scores(record: RunRecord) -> dict:
    """Read one run: seed, validation score of the last epoch, test scores (%) by the rule for the epoch."""
    scores = {protocol: 100 * record.score(protocol=protocol) for protocol in SHOWN}
    return {"seed": record.spec.seed, "val": record.score(part="val")} | scores
