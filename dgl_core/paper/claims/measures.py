"""Measure what decides a claim: from run records to one number per seed, whose mean has to exceed a threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dgl_core.paper.experiments.table2 import FOLDS
from dgl_core.training.records import RunRecord
from dgl_core.verdicts.selection import AT, best, choose, grid_of, own_rates, pick
from dgl_core.verdicts.statistics import Rows, fold_differences, paired, pairs


@dataclass(frozen=True)
class Part:
    """One comparison. A claim of several parts says that each of them holds."""

    experiment: str  # a key of ``records.EXPERIMENTS``
    rows: tuple[str, ...]  # those of its rows that the measure needs
    measure: Callable[[Rows], list[float]]  # these rows -> one difference per seed
    label: str = ""  # names the part within its claim


def mean_curve(record: RunRecord, column: str, start: float = 0.0, stop: float = 1.0) -> float:
    """Average a column over a stretch of the run, given as fractions of its epochs; unscored epochs are left out."""
    values = record.curves[column]
    part = values[int(start * len(values)) : max(int(start * len(values)) + 1, math.ceil(stop * len(values)))]
    known = [value for value in part if math.isfinite(value)]
    return sum(known) / len(known)


def smaller_gradient(rows: Rows, modality: str) -> list[float]:
    """Measure by how many percent the mean gradient norm at an encoder is smaller in the joint model than alone."""
    column = f"gradient/{modality}"
    return [
        100 * (1 - mean_curve(joint, column) / mean_curve(alone, column))
        for alone, joint in pairs(rows, f"{modality} alone", "vanilla")
    ]


def growing_suppression(rows: Rows, modality: str, centre: str = "mean") -> list[float]:
    """Measure the drop of R (its mean, or "q50", over samples) from vanilla's first to last fifth, in hundredths."""
    column = f"suppression/{modality}/R_{centre}"
    return [100 * (mean_curve(r, column, 0.0, 0.2) - mean_curve(r, column, 0.8, 1.0)) for r in rows["vanilla"]]


def always_below_one(rows: Rows, modality: str) -> list[float]:
    """Measure the share of training samples with every s_k < 1, last epoch of vanilla training, in per cent."""
    return [100 * r.curves[f"suppression/{modality}/all_margins"][-1] for r in rows["vanilla"]]


def near_zero(rows: Rows, modality: str, near: float = 0.1) -> list[float]:
    """Measure how far the median s-bar lies below ``near`` in the last fifth of vanilla training, in hundredths."""
    column = f"suppression/{modality}/s_bar_q50"
    return [100 * (near - mean_curve(r, column, 0.8, 1.0)) for r in rows["vanilla"]]


def dominant_lags(rows: Rows) -> list[float]:
    """Measure how much lower the stronger modality (by validation, alone) scores in the joint model, in points."""
    dominant = best({label: records for label, records in rows.items() if label.endswith(" alone")})
    return paired(rows, dominant, "vanilla", "fused", dominant.removesuffix(" alone"))


def faster_alone(rows: Rows, modality: str) -> list[float]:
    """Measure the lead of an encoder alone over its branch in the joint model: training data, first half, points."""
    return [
        100 * (mean_curve(a, "train/fused/accuracy", 0, 0.5) - mean_curve(b, f"train/{modality}/accuracy", 0, 0.5))
        for a, b in pairs(rows, f"{modality} alone", "vanilla")
    ]


def larger_gradient(rows: Rows, modality: str, per_alpha: bool = False) -> list[float]:
    """Measure by how many percent the gradient in joint training is smaller than in DGL, second half of the epochs.

    ``per_alpha`` divides DGL's by its alpha, which under SGD is only a learning rate.
    """
    column, found = f"gradient/{modality}", []
    for dgl, joint in pairs(rows, "DGL", "vanilla"):
        alpha = float(dgl.spec.method_options.get("alpha", 4.0)) if per_alpha else 1.0
        found.append(100 * (1 - mean_curve(joint, column, 0.5, 1) / (mean_curve(dgl, column, 0.5, 1) / alpha)))
    return found


def slope(rows: Rows, alphas: Sequence[float]) -> list[float]:
    """Fit the slope of the fused score over the alphas of the rows, in points per unit, for every complete seed."""
    by_seed: dict[int, dict[float, float]] = {}
    for alpha, records in zip(alphas, rows.values(), strict=True):
        for record in records:
            by_seed.setdefault(record.spec.seed, {})[alpha] = 100 * record.score()
    middle = sum(alphas) / len(alphas)
    squares = sum((alpha - middle) ** 2 for alpha in alphas)
    whole = [scores for scores in by_seed.values() if len(scores) == len(alphas)]
    return [sum((alpha - middle) * score for alpha, score in scores.items()) / squares for scores in whole]


def at_rates(labels: Sequence[str], rates: Sequence[float]) -> tuple[str, ...]:
    """Name the rows of an experiment at every learning rate, as "DGL @ 0.03"."""
    return tuple(f"{label}{AT}{rate:g}" for label in labels for rate in rates)


def tuned_difference(rows: Rows, better: str, worse: str) -> list[float]:
    """Subtract as ``paired`` does, each row at its own learning rate, chosen by validation among the same ones."""
    own, _ = own_rates(grid_of(rows))
    return paired(own, better, worse) if {better, worse} <= own.keys() else []


def nested_difference(rows: Rows, better: str, worse: str, branch: str = "fused", other: str = "fused") -> list[float]:
    """Subtract as ``fold_differences`` does, each row at the rate that the inner hold-out of each fold chose.

    The first run on every fold chooses, because only it has all the rates.
    """
    grid = grid_of(rows)
    first = {rate: {row: [r for r in of if r.spec.seed < FOLDS] for row, of in at.items()} for rate, at in grid.items()}
    own = pick(grid, choose(first, by_fold=True))
    return fold_differences(own, better, worse, branch, other) if {better, worse} <= own.keys() else []


def weakest_branch(rows: Rows, better: str, worse: str) -> list[float]:
    """Subtract as ``paired`` does, for the modality whose mean difference is the smallest."""
    first = rows[better][0]
    branches = [m for m in first.data["modalities"] if m in first.branches()]
    return min((paired(rows, better, worse, m, m) for m in branches), key=lambda v: sum(v) / max(len(v), 1))
