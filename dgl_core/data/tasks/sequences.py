"""Score a label for every step of a sequence: cross-entropy over the steps that have one, their accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dgl_core.data.tasks.classes import (
    Task,
    class_names,
    class_weights,
    first_outside,
    fitting,
    pooled,
    shown,
    suggested,
)

PADDING = -100  # label of a step that counts nowhere, as cross-entropy has it


class SequenceLabels(Task):
    """Score labels [N, T] of the steps of sequences; outputs of a model are [B, K, T]. Steps ``PADDING`` do not count.

    Args:
        weights: of the classes in the loss [K]; all equal by default.
    """

    kind = "sequence"
    score = "accuracy"
    evaluation_batch = 256
    by_sample = False  # a batch is divided by its own number of steps
    reestimate = False
    exact = False

    def __init__(self, weights: Tensor | None = None):
        self.weights = weights

    @staticmethod
    def stored(target: Tensor, name: str) -> Tensor:
        if target.dim() != 2 or target.is_floating_point() or target.is_complex() or not target.shape[1]:
            raise ValueError(f"data set {name!r}: target is {shown(target)}; labels of sequences are integers [N, T], "
                             f"{PADDING} where a sequence is over{suggested(target)}")  # fmt: skip
        return target.long()

    @staticmethod
    def names(classes: Sequence[str] | None, target: Tensor, name: str) -> tuple[str, ...]:
        return class_names(classes, target, name)

    @staticmethod
    def outside(target: Tensor, classes: int) -> tuple[int, object] | None:
        return first_outside(target, classes, PADDING)

    @classmethod
    def made(cls, target: Tensor, classes: int, weights: Any) -> SequenceLabels:
        return cls(class_weights(weights, lambda: torch.bincount(known(target), minlength=classes), classes))

    def criterion(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Compute the cross-entropy of ``outputs`` [B, K, T] and ``target`` [B, T], mean over the steps that count.

        A batch of nothing but padding has loss 0.
        """
        loss = F.cross_entropy(outputs, target, fitting(self.weights, outputs), ignore_index=PADDING, reduction="sum")
        weight = (target != PADDING).to(loss.dtype)
        if self.weights is not None:
            weight = weight * self.weights.to(loss.dtype)[target.clamp(min=0)]
        return loss / weight.sum().clamp(min=torch.finfo(loss.dtype).tiny)

    def tally(self) -> SequenceTally:
        return SequenceTally()

    def scores(self, outputs: Tensor) -> Tensor:
        """Compute probabilities [B, K, T]."""
        return outputs.softmax(dim=1)

    def labels(self, scores: Tensor, classes: Sequence[str]) -> list[list[str]]:
        """Name the most probable class of every step."""
        return [[classes[k] for k in row] for row in scores[:, : len(classes)].argmax(dim=1).tolist()]

    def pool(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Average log-probabilities."""
        return pooled(outputs)

    def chance(self, train: Tensor, target: Tensor) -> float:
        """Share of the label that is the most frequent one in training."""
        return (known(target) == known(train).mode().values).double().mean().item()


def known(target: Tensor) -> Tensor:
    """Take the labels [n] of the steps that count."""
    return target[target != PADDING]


class SequenceTally:
    """Count a confusion matrix over all steps that count, and the sum of their losses."""

    def __init__(self):
        self.confusion: Tensor | None = None  # [truth, predicted]
        self._loss = 0.0

    def update(self, outputs: Tensor, target: Tensor) -> None:
        """Add ``outputs`` [B, K, T] and ``target`` [B, T]."""
        classes, counted = outputs.shape[1], target != PADDING
        pairs = target[counted] * classes + outputs.argmax(dim=1)[counted]
        found = torch.bincount(pairs, minlength=classes**2).view(classes, classes).cpu()
        self.confusion = found if self.confusion is None else self.confusion + found
        self._loss += F.cross_entropy(outputs.double(), target, ignore_index=PADDING, reduction="sum").item()

    def result(self) -> dict[str, float]:
        """Return ``accuracy`` and ``macro_f1`` (over the classes that occur) of steps; ``loss`` in nats a step."""
        confusion = self.confusion.double()
        hits, truth, claimed = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
        f1 = 2 * hits / (truth + claimed).clamp(min=1)
        total = confusion.sum().clamp(min=1)
        return {
            "accuracy": (hits.sum() / total).item(),
            "macro_f1": f1[truth > 0].mean().item(),
            "loss": self._loss / total.item(),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return ``confusion``, int64 [K, K] (truth by prediction)."""
        return {"confusion": self.confusion.numpy()}
