"""Define what a data set asks of a model, the training loss and the scores of its predictions; classification.

A data set carries a task: classification by default, or ``dgl_core.data.tasks.label_maps.Segmentation``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dgl_core.suppression import suppression_columns


class Tally(Protocol):
    """Collect the predictions of one branch over one part of a data set, batch by batch."""

    def update(self, outputs: Tensor, target: Tensor) -> None:
        """Add a batch: ``outputs`` as the model returns them in evaluation, ``target`` as the data set gives it."""

    def result(self) -> dict[str, float]:
        """Score everything added; fractions for accuracies, nats for losses."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is kept with a record for tables and pictures."""


class Task(Protocol):
    """Define a kind of target."""

    kind: str  # its name in ``TASKS``
    score: str  # the result by which an epoch is selected
    evaluation_batch: int  # how many samples are scored at once
    by_sample: bool  # the loss of a batch is the mean over its samples: that of equal parts may be averaged
    reestimate: bool  # also score each modality with batch-norm statistics measured under its mask, without which the
    # score says little (``dgl_core.training.evaluation.reestimated``)

    def criterion(self, outputs: Any, target: Tensor) -> Tensor:
        """Compute the scalar loss; ``outputs`` as the model returns them in training (a dense model: four scales)."""

    def tally(self) -> Tally:
        """Make an empty collector."""

    @staticmethod
    def scores(outputs: Tensor) -> Tensor:
        """Turn outputs as the model returns them in evaluation into what a prediction says: probabilities, values."""

    @staticmethod
    def labels(scores: Tensor, classes: Sequence[str]) -> Sequence[Any]:
        """Name the answer for each sample by its ``scores``."""

    def compare(self, fused: Tally, unimodal: Mapping[str, Tally]) -> dict[str, float]:
        """Compare the fused branch with that of each modality; returns columns, or none."""
        return {}

    def to(self, device: torch.device | str) -> Task:
        """Return the task with its tensors on ``device``."""
        return self


class Classification(Task):
    """Score one class per sample by accuracy and macro-F1, and how far fusion suppresses each modality."""

    kind = "classification"
    score = "accuracy"
    evaluation_batch = 256
    by_sample = True
    reestimate = False

    def criterion(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Compute the cross-entropy of ``outputs`` [B, K] and ``target`` [B], mean over the batch."""
        return F.cross_entropy(outputs, target)

    def tally(self) -> ClassificationTally:
        return ClassificationTally()

    @staticmethod
    def scores(outputs: Tensor) -> Tensor:
        """Compute probabilities [B, K]."""
        return outputs.softmax(dim=1)

    @staticmethod
    def labels(scores: Tensor, classes: Sequence[str]) -> list[str]:
        """Name the most probable class of every sample."""
        return [classes[k] for k in scores[:, : len(classes)].argmax(dim=1).tolist()]

    def compare(self, fused: ClassificationTally, unimodal: Mapping[str, ClassificationTally]) -> dict[str, float]:
        """Measure how far fusion suppresses each modality (``suppression_columns``)."""
        return suppression_columns(fused.logits, {m: tally.logits for m, tally in unimodal.items()}, fused.target)


class ClassificationTally:
    """Keep logits [N, K] and targets [N], because macro-F1 and suppression need all of them."""

    def __init__(self):
        self._batches: list[tuple[Tensor, Tensor]] = []

    def update(self, outputs: Tensor, target: Tensor) -> None:
        self._batches.append((outputs, target))

    @property
    def logits(self) -> Tensor:
        return torch.cat([outputs for outputs, _ in self._batches])

    @property
    def target(self) -> Tensor:
        return torch.cat([target for _, target in self._batches])

    def result(self) -> dict[str, float]:
        return classification(self.logits, self.target)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return ``predicted``, the class of every sample, uint16 [N], and whether it is ``right``, bool [N]."""
        predicted = self.logits.argmax(1)
        right = (predicted == self.target).cpu().numpy()
        return {"predicted": predicted.cpu().numpy().astype("<u2"), "right": right}


def classification(logits: Tensor, target: Tensor) -> dict[str, float]:
    """Compute the scores of one branch from ``logits`` [N, K] and ``target`` [N].

    Returns:
        ``accuracy``, ``macro_f1`` (over the classes that occur in ``target``) as fractions; ``loss``, the mean
        cross-entropy in nats.
    """
    classes = logits.shape[1]
    pairs = target * classes + logits.argmax(dim=1)
    confusion = torch.bincount(pairs, minlength=classes**2).view(classes, classes).double()
    hits, truth, claimed = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    f1 = 2 * hits / (truth + claimed).clamp(min=1)
    return {
        "accuracy": (hits.sum() / confusion.sum()).item(),
        "macro_f1": f1[truth > 0].mean().item(),
        "loss": F.cross_entropy(logits.double(), target).item(),
    }
