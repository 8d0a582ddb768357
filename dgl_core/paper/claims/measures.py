"""Measure what a claim about the mechanism says: from run records to one number a replicate."""

from __future__ import annotations

import math

from dgl_core.training.records import RunRecord
from dgl_core.verdicts.statistics import Rows, pairs


def mean_curve(record: RunRecord, column: str, start: float = 0.0, stop: float = 1.0) -> float:
    """Average a column over a stretch of the run, given as fractions of its epochs; unscored epochs are left out.

    Raises:
        ValueError: no epoch of that stretch was scored.
    """
    values = record.curves[column]
    part = values[int(start * len(values)) : max(int(start * len(values)) + 1, math.ceil(stop * len(values)))]
    known = [value for value in part if math.isfinite(value)]
    if not known:
        stretch = f"between {start:.0%} and {stop:.0%} of the epochs of {record.spec}"
        raise ValueError(f"{column!r} was not scored {stretch}; train with a smaller evaluate_every.")
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
