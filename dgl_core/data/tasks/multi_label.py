"""Score several labels a sample, each of which is there or not: binary cross-entropy, mean average precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dgl_core.data.tasks.classes import ClassificationTally, Task, class_weights, listed_names, shown

HALF = 0.5  # a label is said to be there from this probability on


class MultiLabel(Task):
    """Score labels that may be right together by mean average precision.

    Targets are [N, L], 1 where the label is there. ``weights`` [L] multiply the loss where it is there; "balanced" is
    (samples without) / (samples with).
    """

    kind = "multi_label"
    score = "mean_average_precision"
    evaluation_batch = 256
    by_sample = True
    reestimate = False
    exact = True

    def __init__(self, weights: Tensor | None = None):
        self.weights = weights

    @staticmethod
    def stored(target: Tensor, name: str) -> Tensor:
        if target.dim() != 2 or target.is_complex() or not target.shape[1]:
            raise ValueError(f"data set {name!r}: target is {shown(target)}; several labels a sample are 0 or 1 for "
                             "each, shape [N, L]")  # fmt: skip
        return target.float()

    @staticmethod
    def names(classes: Sequence[str] | None, target: Tensor, name: str) -> tuple[str, ...]:
        names = listed_names(range(target.shape[1]) if classes is None else classes, name)
        if len(names) != target.shape[1]:
            raise ValueError(f"data set {name!r}: {len(names)} class names for {target.shape[1]} labels a sample")
        return names

    @staticmethod
    def outside(target: Tensor, classes: int) -> tuple[int, object] | None:
        wrong = ((target != 0) & (target != 1)).nonzero()
        return (int(wrong[0, 0]), target[tuple(wrong[0])].item()) if len(wrong) else None

    @classmethod
    def made(cls, target: Tensor, classes: int, weights: Any) -> MultiLabel:
        if weights == "balanced":
            there = target.sum(dim=0)
            return cls(torch.where(there > 0, (len(target) - there) / there.clamp(min=1), 1.0))
        return cls(class_weights(weights, lambda: target.sum(dim=0), classes))

    def criterion(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Compute the binary cross-entropy of ``outputs`` [B, L] and ``target`` [B, L], mean over both."""
        weights = None if self.weights is None else self.weights.to(outputs.dtype)
        return F.binary_cross_entropy_with_logits(outputs, target.to(outputs.dtype), pos_weight=weights)

    def tally(self) -> MultiLabelTally:
        return MultiLabelTally()

    def scores(self, outputs: Tensor) -> Tensor:
        """Compute the probability of every label [B, L]."""
        return outputs.sigmoid()

    def labels(self, scores: Tensor, classes: Sequence[str]) -> list[tuple[str, ...]]:
        """Name the labels of every sample whose probability is a half or more."""
        return [tuple(name for name, p in zip(classes, row, strict=True) if p >= HALF) for row in scores.tolist()]

    def pool(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Average the log-odds of every label."""
        return torch.stack(list(outputs.values())).mean(dim=0)

    def chance(self, train: Tensor, target: Tensor) -> float:
        """Mean share of the samples with the label, which is the average precision of any constant."""
        return target[:, target.any(dim=0)].double().mean().item()


class MultiLabelTally(ClassificationTally):
    """Keep logits [N, L] and targets [N, L]."""

    def result(self) -> dict[str, float]:
        """Return ``mean_average_precision`` and ``macro_f1`` over the labels that occur; ``exact``, the share of
        samples with all labels right; ``loss``, the mean binary cross-entropy in nats."""
        logits, target = self.logits.double(), self.target.double()
        claimed, there = (logits >= 0).double(), target.any(dim=0)
        f1 = 2 * (claimed * target).sum(0) / (claimed.sum(0) + target.sum(0)).clamp(min=1)
        return {
            "mean_average_precision": average_precision(logits[:, there], target[:, there]).mean().item(),
            "macro_f1": f1[there].mean().item(),
            "exact": (claimed == target).all(dim=1).double().mean().item(),
            "loss": F.binary_cross_entropy_with_logits(logits, target).item(),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return ``claimed``, which labels of every sample were said to be there, packed bits [N, ceil(L / 8)]."""
        return {"claimed": np.packbits((self.logits >= 0).cpu().numpy(), axis=1)}


def average_precision(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the average precision of every label, [N, L] -> [L]: mean precision at the samples that have it.

    Equal logits count as one step, so that a constant has the share of the samples with the label.
    """
    found = []
    for values, there in zip(logits.T, target.T, strict=True):
        order = values.argsort(descending=True)
        ranked, hits = values[order], there[order].cumsum(0)
        last = torch.ones_like(ranked, dtype=torch.bool)
        last[:-1] = ranked[1:] != ranked[:-1]  # the ends of the steps
        precision = (hits / torch.arange(1, len(ranked) + 1, device=hits.device))[last]
        gained = hits[last].diff(prepend=hits.new_zeros(1))
        found.append((precision * gained).sum() / there.sum())
    return torch.stack(found)
