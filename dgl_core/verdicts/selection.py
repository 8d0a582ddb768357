"""Choose on validation: the one chooser of the house. The test part has no say in any choice.

A grid is configuration (a learning rate) -> row -> runs, one per seed. With folds (nested cross-validation) the choice
is made for each fold anew, on its inner hold-out.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TypeVar

from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.verdicts.statistics import Key, Rows, fold_of

Item = TypeVar("Item", RunSpec, RunRecord)
Choice = dict[str, dict[int | None, float]]  # row -> fold (None: all of them) -> configuration
AT = " @ "  # in the row names of an experiment that has learning rates as well: "DGL @ 0.03"


def best(candidates: Mapping[Key, Sequence[RunRecord]], branch: str = "fused") -> Key:
    """Choose the candidate with the highest mean validation score of the last epoch; ties go to the first."""
    return max(candidates, key=lambda name: statistics.fmean(r.score(branch, part="val") for r in candidates[name]))


def choose(grid: Mapping[float, Rows], by_fold: bool = False) -> Choice:
    """Choose the configuration of each row by validation; ties go to the smallest configuration.

    Every row has the same configurations to choose from: one (or a fold of one) that lacks some of them is left out.

    Args:
        grid: configuration -> row -> records. by_fold: choose for every fold anew.
    """
    candidates: dict[tuple[str, int | None], dict[float, list[RunRecord]]] = {}
    for configuration, rows in sorted(grid.items()):
        for row, records in rows.items():
            for record in records:
                place = (row, fold_of(record) if by_fold else None)
                candidates.setdefault(place, {}).setdefault(configuration, []).append(record)
    choice: Choice = {}
    for (row, fold), found in candidates.items():
        if len(found) == len(grid):
            choice.setdefault(row, {})[fold] = best(found)
    return choice


def pick(grid: Mapping[float, Mapping[str, Sequence[Item]]], choice: Choice) -> dict[str, list[Item]]:
    """Take each run of the chosen rows from the configuration that ``choice`` names for its row and fold.

    With a grid of specifications these are the runs to make or to load, for as many seeds as the grid has.
    """
    rows: dict[str, list[Item]] = {}
    for row, folds in choice.items():
        chosen = [
            item
            for configuration, runs in grid.items()
            for item in runs.get(row, ())
            if folds.get(fold_of(item), folds.get(None)) == configuration
        ]
        rows[row] = sorted(chosen, key=lambda item: (item if isinstance(item, RunSpec) else item.spec).seed)
    return rows


def own_rates(grid: Mapping[float, Rows], by_fold: bool = False) -> tuple[Rows, dict[str, str]]:
    """Take every row at its own learning rate, chosen by validation; also return these rates in words.

    Args:
        grid, by_fold: as in ``choose``.
    """
    choice = choose(grid, by_fold)
    return pick(grid, choice), rates_in_words(choice)


def rates_in_words(choice: Choice) -> dict[str, str]:
    """Write the different rates that the folds of each row chose."""
    return {row: " / ".join(f"{r:g}" for r in sorted(set(folds.values()))) for row, folds in choice.items()}


def grid_of(rows: Rows) -> dict[float, dict[str, Sequence[RunRecord]]]:
    """Sort rows that are named "DGL @ 0.03" into a grid."""
    grid: dict[float, dict[str, Sequence[RunRecord]]] = {}
    for name, records in rows.items():
        row, _, rate = name.rpartition(AT)
        grid.setdefault(float(rate), {})[row] = records
    return grid


def finalists(own: Rows, corners: Sequence[str]) -> tuple[str, str] | None:
    """Choose the best point inside the square and its best corner by validation; None without records of both kinds.

    Args:
        own: every point at its own rate. corners: the rows that the paper knows.
    """
    kinds = [{row: own[row] for row in own if (row in corners) == at_corner} for at_corner in (False, True)]
    return (best(kinds[0]), best(kinds[1])) if all(kinds) else None
