"""Choose a configuration on validation: the one chooser of the house. The test part has no say in any choice.

Every function takes rows of specifications or of records alike. With folds (nested cross-validation) the choice is made
for each fold anew, on its inner hold-out.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar

from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.verdicts.statistics import (
    Rows,
    fold_of,
)

Item = TypeVar("Item", RunSpec, RunRecord)
Choice = dict[str, dict[int, float]]  # row -> fold -> configuration


def choose(grid: Mapping[float, Mapping[str, Sequence[RunRecord]]]) -> Choice:
    """For each row and fold the configuration with the best mean validation accuracy after the last epoch.

    Every row has the same configurations to choose from: a fold where some of them have no record is left out. Ties go
    to the smallest configuration.

    Args:
        grid: configuration (a learning rate) -> row -> records.
    """
    scores: dict[tuple[str, int], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for configuration, rows in sorted(grid.items()):
        for row, records in rows.items():
            for record in records:
                scores[row, fold_of(record)][configuration].append(record.score(part="val"))
    choice: Choice = {}
    for (row, fold), found in scores.items():
        if len(found) == len(grid):
            choice.setdefault(row, {})[fold] = max(found, key=lambda c: statistics.fmean(found[c]))
    return choice


def pick(grid: Mapping[float, Mapping[str, Sequence[Item]]], choice: Choice) -> dict[str, list[Item]]:
    """The rows of a grid, each run taken from the configuration that ``choice`` names for its row and fold.

    With a grid of specifications these are the runs to make or to load, for as many seeds as the grid has.
    """
    rows: dict[str, list[Item]] = {}
    for row, folds in choice.items():
        chosen = [
            item
            for configuration, runs in grid.items()
            for item in runs.get(row, ())
            if folds.get(fold_of(item)) == configuration
        ]
        rows[row] = sorted(chosen, key=lambda item: (item if isinstance(item, RunSpec) else item.spec).seed)
    return rows


AT = " @ "  # in the row names of an experiment that has learning rates as well: "DGL @ 0.03"


def validation(records: Sequence[RunRecord]) -> float:
    """Mean validation score of the last epoch: what every choice is made by."""
    return sum(record.score(part="val") for record in records) / len(records)


def at_best_rate(rows: Rows, label: str) -> Sequence[RunRecord]:
    """A row at the learning rate with the best mean validation score of the last epoch; ties: the lowest rate."""
    choices = {float(name.split(AT)[1]): found for name, found in rows.items() if name.startswith(label + AT) and found}
    return choices[max(sorted(choices), key=lambda rate: validation(choices[rate]))]


def tuned(grid: Mapping[float, Rows]) -> dict[str, tuple[float, Sequence[RunRecord]]]:
    """Each row at its own best learning rate, chosen by the mean validation score of its last epoch; ties: the lowest.

    Every row had the same rates to choose from, and the test part had no say.

    Args:
        grid: learning rate -> rows.

    Returns:
        row -> (rate, its records).
    """
    chosen = {}
    for row in dict.fromkeys(row for rows in grid.values() for row in rows):
        scores = {rate: validation(rows[row]) for rate, rows in sorted(grid.items()) if rows.get(row)}
        if scores:
            rate = max(scores, key=scores.__getitem__)
            chosen[row] = (rate, grid[rate][row])
    return chosen


def own_rates(grid: Mapping[float, Rows], folds: bool = False) -> tuple[Rows, dict[str, str]]:
    """Every row at its own learning rate, chosen by validation, and that rate in words.

    Rows that lack a rate are left out: they had less to choose from.

    Args:
        grid: learning rate -> rows. folds: choose for every fold anew (``choose``), as on CMU-MOSI.
    """
    whole = {row for rows in grid.values() for row in rows if all(other.get(row) for other in grid.values())}
    even = {rate: {row: rows[row] for row in rows if row in whole} for rate, rows in grid.items()}
    if folds:
        choice = choose(even)
        return pick(even, choice), rates_in_words(choice)
    own = tuned(even)
    return {row: found for row, (_, found) in own.items()}, {row: f"{rate:g}" for row, (rate, _) in own.items()}


def rates_in_words(choice: Choice) -> dict[str, str]:
    """Row -> the different rates that its folds chose."""
    return {row: " / ".join(f"{r:g}" for r in sorted(set(folds.values()))) for row, folds in choice.items()}


def finalists(own: Rows, corners: Sequence[str]) -> tuple[str, str] | None:
    """The best point inside the square and its best corner, by validation; None without records of both kinds.

    Args:
        own: every point at its own rate. corners: the rows that the paper knows.
    """
    kinds = [[row for row in own if (row in corners) == at_corner] for at_corner in (False, True)]
    if not all(kinds):
        return None
    inside, corner = (max(rows, key=lambda row: validation(own[row])) for rows in kinds)
    return inside, corner
