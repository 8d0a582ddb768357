"""Compare methods: paired differences with their intervals. They describe; ``answers`` judges."""

from __future__ import annotations

from collections.abc import Sequence

import pandas

from dgl_core.methods import METHODS
from dgl_core.verdicts.statistics import Interval, Pairing, Rows, mean_interval, paired


def fused_rows(rows: Rows) -> Rows:
    """Leave out rows without records, and those of one encoder alone."""
    return {row: found for row, found in rows.items() if found and len(found[0].data["modalities"]) > 1}


def intervals_against(
    rows: Rows, against: str, branch: str = "fused", pairing: Pairing = paired
) -> dict[str, Interval]:
    """Compute the mean paired difference in points of every other row to one row, with 95 % intervals.

    Rows without that branch are left out.
    """
    others = [row for row in rows if row != against and rows[row] and branch in rows[row][0].branches()]
    pairs = {row: found for row in others if (found := pairing(rows, row, against, branch, branch))}
    return {row: mean_interval(found) for row, found in pairs.items()}


def differences_table(rows: Rows, against: Sequence[str], branch: str = "fused") -> pandas.DataFrame:
    """Show the differences of every row to each row of ``against``."""
    found = {name: intervals_against(rows, name, branch) for name in against}
    columns = {f"to {name}": {row: _cell(interval) for row, interval in of.items()} for name, of in found.items()}
    table = pandas.DataFrame(columns, index=[row for row in rows if any(row in c for c in columns.values())])
    return table.fillna("–")


def official_scores(rows: Rows) -> pandas.DataFrame:
    """Show unimodal test accuracies (%) as each method's own code scores them, beside the zero mask; means."""
    lines = []
    for row, records in rows.items():
        for branch in records[0].branches() if records else []:
            modality = next((m for m in records[0].data["modalities"] if branch.startswith(f"official_{m}")), None)
            if modality is not None:
                own, mask = (100 * sum(r.score(b) for r in records) / len(records) for b in (branch, modality))
                how = METHODS[records[0].spec.method].OFFICIAL
                lines.append((row, branch.removeprefix("official_"), f"{own:.1f}", f"{mask:.1f}", how))
    return pandas.DataFrame(lines, columns=["row", "branch", "own score", "zero mask", "how"]).set_index("row")


def _cell(interval: Interval) -> str:
    if interval.n < 2:
        return f"{interval.mean:+.1f} (one pair)"
    return f"{interval.mean:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}], n = {interval.n}"
