"""Read the reader's own run records, and name the rows of our experiments that they are."""

from __future__ import annotations

from pathlib import Path

from dgl_core.paper.claims.records import GivenRecords
from dgl_core.paper.experiments.late_fusion import RATE_CONTROL, TABLE_1
from dgl_core.paper.experiments.profiles import ALPHA
from dgl_core.runs.store import Store
from dgl_core.training.records import RunRecord
from dgl_core.verdicts.statistics import Rows


def records_in(folder: Path) -> dict[str, GivenRecords]:
    """Read a folder of the reader's records, one entry per data set and model, rows named as ours.

    Raises:
        ValueError: no record there, or two settings that would share a row.
    """
    found = Store(folder).records() if Path(folder).is_dir() else []
    if not found:
        raise ValueError(f"No run records in {str(folder)!r}: write RunRecord.to_json() of your runs there, as *.json.")
    groups: dict[str, dict[str, list[RunRecord]]] = {}
    for record in found:
        rows = groups.setdefault(f"{record.spec.dataset} ({record.spec.model})", {})
        for label in labels_of(record):
            rows.setdefault(label, []).append(record)
    return {title: GivenRecords(title, _one_setting_a_row(title, rows)) for title, rows in groups.items()}


def labels_of(record: RunRecord) -> list[str]:
    """Name the rows of our experiments that a run belongs to."""
    spec = record.spec
    alpha = float(spec.method_options.get("alpha", ALPHA))
    if spec.method == "unimodal":
        base = f"{record.data['modalities'][0]} alone"
        return [base if spec.encoder_lr_scale == 1 else f"{base}, rate x alpha"]
    if spec.method == "vanilla":
        return (
            ["vanilla"] if spec.encoder_lr_scale == 1 else [RATE_CONTROL, f"vanilla, rate x {spec.encoder_lr_scale:g}"]
        )
    if spec.method in ("dgl", "dgl_dense", "gblend"):
        label = "G-Blending" if spec.method == "gblend" else "DGL"
        return [label, f"{label}, alpha {alpha:g}"]
    if spec.method == "partial":
        gates = (spec.method_options.get("encoder_gate", 0.0), spec.method_options.get("fusion_gate", 0.0))
        return [{(0.0, 1.0): "+MT", (1.0, 0.0): "+UT"}.get(gates, f"gates {gates[0]:g} and {gates[1]:g}")]
    return [label for label, (method, _) in TABLE_1.items() if method == spec.method] or [spec.method]


def _one_setting_a_row(title: str, rows: dict[str, list[RunRecord]]) -> Rows:
    """Refuse a row with two settings; of several alphas a plain "DGL" or "G-Blending" means the paper's."""
    settled: dict[str, list[RunRecord]] = {}
    for label, records in rows.items():
        settings = {record.spec.but(seed=0, dataset_options={}).identity(): record for record in records}
        if len(settings) > 1 and label in ("DGL", "G-Blending"):
            records = [r for r in records if float(r.spec.method_options.get("alpha", ALPHA)) == ALPHA]
            settings = {record.spec.but(seed=0, dataset_options={}).identity(): record for record in records}
        if len(settings) > 1:
            one, other, *_ = settings
            raise ValueError(
                f"{title}: row {label!r} has runs of different settings, {one} and {other}; one setting a folder."
            )
        settled[label] = records
    return settled
