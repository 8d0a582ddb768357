"""Set the paper's number, our reference and this run side by side, each with its spread and n."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import pandas

from dgl_core.training.records import RunRecord
from dgl_core.verdicts.statistics import percent

ABSENT = "–"  # nothing was reported, or this row has no such branch
NOT_RUN = "not run: data not present"


def spread(values: Sequence[float]) -> str:
    """Write ``mean ± standard deviation (n)`` with one decimal; one value has no deviation, none is a dash."""
    if not values:
        return ABSENT
    if len(values) == 1:
        return f"{values[0]:.1f} (1)"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f} ({len(values)})"


def results_table(
    paper: Mapping[str, Mapping[str, float | None]],
    reference: Mapping[str, Sequence[RunRecord]],
    this_run: Mapping[str, Sequence[RunRecord]],
    branches: Sequence[str] = ("audio", "visual", "fused"),
    protocol: str = "last",
) -> pandas.DataFrame:
    """Show accuracies in per cent as strings: the paper's, the reference runs' and this run's, for each branch.

    An empty list in ``this_run`` is shown as not run because its data are not present.
    """
    labels = list(dict.fromkeys([*this_run, *reference, *paper]))

    def mean(records: Sequence[RunRecord], branch: str) -> str:
        return spread(percent([r for r in records if branch in r.branches()], branch, protocol))

    table = {}
    for branch in branches:
        printed = [paper.get(label, {}).get(branch) for label in labels]
        table[branch, "paper"] = [ABSENT if value is None else f"{value:.1f}" for value in printed]
        table[branch, "reference"] = [mean(reference.get(label, ()), branch) for label in labels]
        made = [NOT_RUN if this_run.get(label) == [] else mean(this_run.get(label, ()), branch) for label in labels]
        table[branch, "this run"] = made
    return pandas.DataFrame(table, index=labels)


def flat(table: pandas.DataFrame) -> pandas.DataFrame:
    """Give a table one-line column names ("fused, this run"), for files."""
    names = [", ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in table.columns]
    return table.set_axis(names, axis=1)


def markdown_table(table: pandas.DataFrame) -> str:
    """Write a DataFrame as a GitHub table: its index is the first column (bold), bars inside cells are escaped."""
    table = flat(table)
    rows = [[str(table.index.name or ""), *table.columns], ["---"] * (table.shape[1] + 1)]
    for label, values in zip(table.index, table.itertuples(index=False), strict=True):
        rows.append([f"**{label}**", *map(str, values)])
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)
