"""Compute the numbers of notebook 08: what a fair comparison leaves of a gap, and what it takes to see one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import pandas

from dgl_core import data
from dgl_core.paper.printed import PAPER_TABLES
from dgl_core.paper.tables.balance import branch_without
from dgl_core.paper.tables.differences import fused_rows
from dgl_core.paper.tables.results import ABSENT, spread
from dgl_core.training.records import PROTOCOLS, RunRecord, unpack
from dgl_core.verdicts.statistics import Rows, mean_interval, paired, percent, seeds_needed

SHOWN = {"last": "last epoch", "best_val": "best on validation", "best_test": "best on test"}


def without_last_batch(record: RunRecord, target: np.ndarray, batch: int = 64) -> float:
    """Compute last-epoch test accuracy in per cent without an incomplete last batch (as the official loader does)."""
    predicted = unpack(record.predictions["last"]["fused"])
    if len(predicted) != len(target):
        raise ValueError(f"{len(predicted)} predictions and {len(target)} labels: not the test part of this run.")
    whole = len(target) // batch * batch or len(target)
    return 100 * float((predicted == target)[:whole].mean())


def test_labels(record: RunRecord) -> np.ndarray:
    """Load the labels of a run's test part; its data have to be here (generated ones always are)."""
    dataset = data.load(record.spec.dataset, None, **record.spec.dataset_options)
    return dataset.target[dataset.indices("test")].numpy()


def inflation(rows: Rows, target: np.ndarray | None = None) -> pandas.DataFrame:
    """Show fused accuracy (%) of the last epoch and what other protocols add; ``target`` adds that of ``drop_last``."""
    lines = {}
    for row, records in fused_rows(rows).items():
        last = percent(records)
        lines[row] = {SHOWN["last"]: spread(last)}
        for protocol in PROTOCOLS[1:]:
            lines[row][SHOWN[protocol]] = change(last, percent(records, "fused", protocol))
        if target is not None:
            lines[row]["last, drop_last"] = change(last, [without_last_batch(record, target) for record in records])
    return pandas.DataFrame.from_dict(lines, orient="index")


def change(before: Sequence[float], after: Sequence[float]) -> str:
    """Write the mean paired change in points with its sign, ± deviation over seeds."""
    found = np.subtract(after, before).tolist()
    return ("+" if statistics.mean(found) >= 0 else "") + spread(found)


def gains(rows: Rows, protocol: str) -> list[float]:
    """List what a protocol adds to the last epoch, in points, over all rows and seeds."""
    records = [record for of in fused_rows(rows).values() for record in of]
    return np.subtract(percent(records, "fused", protocol), percent(records)).tolist()


def exceeded(panels: Mapping[str, Rows], gaps: Mapping[str, float]) -> pandas.DataFrame:
    """Show every gap of the paper, and what choosing the epoch on test adds to a run (median): points and share."""
    added = {title: statistics.median(gains(rows, "best_test")) for title, rows in panels.items()}
    shares = {t: [f"{g:+.1f} ({100 * g / gap:.0f} %)" for gap in gaps.values()] for t, g in added.items()}
    return pandas.DataFrame({"gap": [f"{gap:.2f}" for gap in gaps.values()]} | shares, index=list(gaps))


def paper_gaps() -> dict[str, float]:
    """Compute the gaps that the paper's claims rest on, in points: DGL against the second-best row of each table."""
    gaps = {}
    columns = PAPER_TABLES[1] | {"CREMA-D, MMTM": PAPER_TABLES[2]["CREMA-D"], "MOSI": PAPER_TABLES[2]["MOSI"]}
    for title, rows in columns.items():
        others = {row: values["fused"] for row, values in rows.items() if values["fused"] and row != "DGL"}
        second = max(others, key=others.__getitem__)
        gaps[f"DGL over {second}, {title}"] = rows["DGL"]["fused"] - others[second]
    table3, table4 = PAPER_TABLES[3]["CREMA-D"], PAPER_TABLES[4]["CREMA-D"]["DGL"]
    gaps["both truncations over UT alone"] = table3["DGL (MT+UT)"]["fused"] - table3["+UT"]["fused"]
    gaps["alpha 4 over alpha 3"] = table4["4"] - table4["3"]
    for name, rows in PAPER_TABLES[5].items():
        gaps[f"ESANet + DGL, {name}"] = rows["ESANet + DGL"]["fused"] - rows["ESANet"]["fused"]
    return {name: round(gap, 2) for name, gap in gaps.items()}


def seeds_table(deviations: Mapping[str, float]) -> pandas.DataFrame:
    """Show how many seeds each gap of the paper needs at the spread measured on each data set."""
    gaps = paper_gaps()
    needed = {title: [seeds_needed(gap, sd) for gap in gaps.values()] for title, sd in deviations.items()}
    return pandas.DataFrame({"gap": [f"{gap:.2f}" for gap in gaps.values()]} | needed, index=list(gaps))


def deviation(rows: Rows, row: str = "DGL", other: str = "G-Blending") -> float:
    """Compute the deviation of a paired difference over seeds, in points; NaN with fewer than two pairs."""
    found = paired(rows, row, other) if rows.get(row) and rows.get(other) else []
    return mean_interval(found).sd if len(found) > 1 else math.nan


def mean_scores(rows: Rows, labels: Sequence[Sequence[str]], branch: str = "fused") -> np.ndarray:
    """Average the test accuracy of a grid of row labels, in per cent; NaN where there is no record."""
    return np.array(
        [[statistics.mean(percent(rows[label], branch)) if rows.get(label) else math.nan for label in line]
         for line in labels])  # fmt: skip


def missing_table(rows: Rows) -> pandas.DataFrame:
    """Show test accuracy (%) of every fused row with everything there and with one modality absent."""
    lines = {}
    for row, records in fused_rows(rows).items():
        lines[row] = {"all there": spread(percent(records))}
        for m in records[0].data["modalities"]:
            rest = branch_without(records[0], m)
            lines[row][f"no {m}"] = spread(percent(records, rest)) if rest in records[0].branches() else ABSENT
    return pandas.DataFrame.from_dict(lines, orient="index")
