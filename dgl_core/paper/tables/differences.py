"""Compare methods fairly: paired differences with corrected intervals, and words that they have to earn."""

from __future__ import annotations

from collections.abc import Sequence

import pandas

from dgl_core.methods import METHODS
from dgl_core.verdicts.statistics import DECIDING, Interval, Pairing, Rows, holm, mean_interval, outcome_of, paired

WORDS = {"REPRODUCED": "better", "CONTRADICTED": "worse", "UNDECIDED": "undecided"}


def fused_rows(rows: Rows) -> Rows:
    """Leave out rows without records, and those of one encoder alone."""
    return {row: found for row, found in rows.items() if found and len(found[0].data["modalities"]) > 1}


def intervals_against(
    rows: Rows, against: str, branch: str = "fused", pairing: Pairing = paired
) -> dict[str, Interval]:
    """Compute the mean paired difference in points of every other row to one row, with 95 % intervals.

    The intervals of rows with at least ``DECIDING`` pairs are corrected for the number of such rows (Holm); one with
    fewer decides nothing, is not corrected and does not count. Rows without that branch are left out.
    """
    others = [row for row in rows if row != against and rows[row] and branch in rows[row][0].branches()]
    pairs = {row: found for row in others if (found := pairing(rows, row, against, branch, branch))}
    decided = holm({row: found for row, found in pairs.items() if len(found) >= DECIDING})
    return {row: decided.get(row) or mean_interval(found) for row, found in pairs.items()}


def differences_table(rows: Rows, against: Sequence[str], branch: str = "fused") -> pandas.DataFrame:
    """Show the differences of every row to each row of ``against``; fewer than ``DECIDING`` pairs are descriptive."""
    found = {name: intervals_against(rows, name, branch) for name in against}
    columns = {f"to {name}": {row: _cell(interval) for row, interval in of.items()} for name, of in found.items()}
    table = pandas.DataFrame(columns, index=[row for row in rows if any(row in c for c in columns.values())])
    return table.fillna("–")


def standing(rows: Rows, row: str) -> str:
    """Say in one line which rows are better than ``row``, which are worse, and of which nothing can be said."""
    groups: dict[str, list[str]] = {"better": [], "worse": [], "undecided": [], "too few seeds": []}
    for other, interval in intervals_against(rows, row).items():
        groups[WORDS[outcome_of(interval)] if interval.n >= DECIDING else "too few seeds"].append(other)
    return f"Than {row} are " + "; ".join(f"{word}: {', '.join(names) or 'none'}" for word, names in groups.items())


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
    word = WORDS[outcome_of(interval)] if interval.n >= DECIDING else "descriptive"
    return f"{interval.mean:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}] {word}, n = {interval.n}"
