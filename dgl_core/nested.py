"""Nested cross-validation: a configuration for each method and fold, chosen on the inner hold-out, judged over folds.

Every function takes rows of specifications or of records alike; the test part has no say in any choice.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TypeVar

from dgl_core.records import RunRecord, RunSpec

Item = TypeVar("Item", RunSpec, RunRecord)
Choice = dict[str, dict[int, float]]  # row -> fold -> configuration


def fold_of(item: RunSpec | RunRecord) -> int:
    """The outer fold that a run was tested on."""
    return int((item if isinstance(item, RunSpec) else item.spec).dataset_options.get("fold", 0))


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


def fold_differences(
    rows: Mapping[str, Sequence[RunRecord]], better: str, worse: str, branch: str = "fused", other: str = "fused"
) -> list[float]:
    """Test accuracy of ``better``'s branch minus that of ``worse``'s, in points: one value per fold.

    Seeds on one fold share its test samples, so they are averaged first: the folds are what a verdict counts.
    """
    partner = {record.spec.seed: record for record in rows[worse]}
    by_fold: dict[int, list[float]] = defaultdict(list)
    for record in rows[better]:
        if record.spec.seed in partner:
            gap = record.score(branch) - partner[record.spec.seed].score(other)
            by_fold[fold_of(record)].append(100 * gap)
    return [statistics.fmean(gaps) for _, gaps in sorted(by_fold.items())]
