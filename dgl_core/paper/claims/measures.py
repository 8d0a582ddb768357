"""What decides a claim: from run records to one number per seed. A claim says that their mean exceeds its threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dgl_core.training.records import RunRecord
from dgl_core.verdicts.selection import at_best_rate, validation
from dgl_core.verdicts.statistics import Rows, paired, pairs

Measure = Callable[[Rows], list[float]]


@dataclass(frozen=True)
class Part:
    """One comparison. A claim of several parts says that each of them holds.

    Attributes:
        experiment: a key of ``sources.EXPERIMENTS``. rows: those of its rows that the measure needs.
        measure: these rows -> one difference per seed. label: names the part within its claim.
    """

    experiment: str
    rows: tuple[str, ...]
    measure: Measure
    label: str = ""


def better(experiment: str, row: str, than: str, branch: str = "fused", other: str = "fused", label: str = "") -> Part:
    """The part "this branch of this row scores higher than that branch of that row"."""
    return Part(experiment, (row, than), lambda rows: paired(rows, row, than, branch, other), label)


def mean_curve(record: RunRecord, column: str, start: float = 0.0, stop: float = 1.0) -> float:
    """Mean of a column over a stretch of the run, given as fractions of its epochs; epochs without a score left out."""
    values = record.curves[column]
    part = values[int(start * len(values)) : max(int(start * len(values)) + 1, math.ceil(stop * len(values)))]
    known = [value for value in part if math.isfinite(value)]
    return sum(known) / len(known)


def smaller_gradient(rows: Rows, modality: str) -> list[float]:
    """By how many percent the mean gradient norm at an encoder is smaller in the joint model than alone."""
    column = f"gradient/{modality}"
    return [
        100 * (1 - mean_curve(joint, column) / mean_curve(alone, column))
        for alone, joint in pairs(rows, f"{modality} alone", "vanilla")
    ]


def growing_suppression(rows: Rows, modality: str, centre: str = "mean") -> list[float]:
    """Drop of R of vanilla training from the first to the last fifth of the epochs, in hundredths.

    Args:
        centre: over samples: "mean" (a few samples with a huge R decide it) or "q50" (the median).
    """
    column = f"suppression/{modality}/R_{centre}"
    return [100 * (mean_curve(r, column, 0.0, 0.2) - mean_curve(r, column, 0.8, 1.0)) for r in rows["vanilla"]]


def always_below_one(rows: Rows, modality: str) -> list[float]:
    """Share of training samples with every s_k < 1, last epoch of vanilla training, in per cent."""
    return [100 * r.curves[f"suppression/{modality}/all_margins"][-1] for r in rows["vanilla"]]


def near_zero(rows: Rows, modality: str, near: float = 0.1) -> list[float]:
    """By how many hundredths the median s-bar of the last fifth of vanilla training is below ``near``."""
    column = f"suppression/{modality}/s_bar_q50"
    return [100 * (near - mean_curve(r, column, 0.8, 1.0)) for r in rows["vanilla"]]


def dominant_lags(rows: Rows) -> list[float]:
    """Points by which the stronger modality (on validation, alone) scores lower as a branch of the joint model."""
    alone = [label for label in rows if label.endswith(" alone")]
    dominant = max(alone, key=lambda label: validation(rows[label]))
    return paired(rows, dominant, "vanilla", "fused", dominant.removesuffix(" alone"))


def faster_alone(rows: Rows, modality: str) -> list[float]:
    """Lead of an encoder alone over the same branch in the joint model on training data, first half, in points."""
    return [
        100 * (mean_curve(a, "train/fused/accuracy", 0, 0.5) - mean_curve(b, f"train/{modality}/accuracy", 0, 0.5))
        for a, b in pairs(rows, f"{modality} alone", "vanilla")
    ]


def larger_gradient(rows: Rows, modality: str, per_alpha: bool = False) -> list[float]:
    """By how many percent the gradient in joint training is smaller than in DGL, second half of the epochs.

    Args:
        per_alpha: divide DGL's by its alpha, which under SGD is only a learning rate.
    """
    column, found = f"gradient/{modality}", []
    for dgl, joint in pairs(rows, "DGL", "vanilla"):
        alpha = float(dgl.spec.method_options.get("alpha", 4.0)) if per_alpha else 1.0
        found.append(100 * (1 - mean_curve(joint, column, 0.5, 1) / (mean_curve(dgl, column, 0.5, 1) / alpha)))
    return found


def slope(rows: Rows, labels: Mapping[float, str]) -> list[float]:
    """Least-squares slope of the fused score over alpha, in points per unit, for every seed that has all of them."""
    by_seed: dict[int, dict[float, float]] = {}
    for alpha, label in labels.items():
        for record in rows[label]:
            by_seed.setdefault(record.spec.seed, {})[alpha] = 100 * record.score()
    middle = sum(labels) / len(labels)
    squares = sum((alpha - middle) ** 2 for alpha in labels)
    whole = [scores for scores in by_seed.values() if len(scores) == len(labels)]
    return [sum((alpha - middle) * score for alpha, score in scores.items()) / squares for scores in whole]


def tuned_difference(rows: Rows, better: str, worse: str) -> list[float]:
    """``paired``, each row at its own best learning rate; all rows had the same rates to choose from."""
    return paired({label: at_best_rate(rows, label) for label in (better, worse)}, better, worse)


def weakest_branch(rows: Rows, better: str, worse: str) -> list[float]:
    """``paired`` for the modality whose mean difference is the smallest."""
    first = rows[better][0]
    branches = [m for m in first.data["modalities"] if m in first.branches()]
    return min((paired(rows, better, worse, m, m) for m in branches), key=lambda v: sum(v) / max(len(v), 1))
