"""Comparing methods fairly: paired differences with corrected intervals, and an equal tuning budget for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas

from dgl_core.claims import paired
from dgl_core.records import RunRecord
from dgl_core.verdicts import Interval, holm

Rows = Mapping[str, Sequence[RunRecord]]


def tuned(grid: Mapping[float, Rows]) -> dict[str, tuple[float, Sequence[RunRecord]]]:
    """Each row at its own best learning rate, chosen by the mean validation score of its last epoch; ties: the lowest.

    Every row had the same rates to choose from, and the test part had no say.

    Args:
        grid: learning rate -> rows.

    Returns:
        row -> (rate, its records).
    """
    chosen = {}
    for row in next(iter(grid.values())):
        scores = {
            rate: sum(r.score(part="val") for r in rows[row]) / len(rows[row])
            for rate, rows in sorted(grid.items())
            if rows[row]
        }
        if scores:
            rate = max(scores, key=scores.__getitem__)
            chosen[row] = (rate, grid[rate][row])
    return chosen


def differences(rows: Rows, against: str, branch: str = "fused") -> dict[str, Interval]:
    """Mean paired difference in points of every other row to one row, with Holm-corrected 95 % intervals.

    Rows without that branch (one encoder alone, for another modality) are left out.
    """
    others = [row for row in rows if row != against and rows[row] and branch in rows[row][0].branches()]
    return holm({row: paired(rows, row, against, branch, branch) for row in others})


def differences_table(rows: Rows, against: Sequence[str], branch: str = "fused") -> pandas.DataFrame:
    """One line per row: its differences to each row of ``against``; "better" or "worse" only where zero is excluded."""
    columns = {f"to {name}": {r: _cell(i) for r, i in differences(rows, name, branch).items()} for name in against}
    table = pandas.DataFrame(columns, index=[row for row in rows if any(row in c for c in columns.values())])
    return table.fillna("–")


def _cell(interval: Interval) -> str:
    if interval.n < 2:
        return f"{interval.mean:+.1f} (one pair)"
    word = "better" if interval.low > 0 else "worse" if interval.high < 0 else "undecided"
    return f"{interval.mean:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}] {word}, n = {interval.n}"
