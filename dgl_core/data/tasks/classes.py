"""Define what a data set asks of a model, the training loss and the scores of its predictions; classification.

The loop, the methods and the records know no kind of target. A data set carries a task; classification is the default,
``dgl_core.data.tasks.label_maps.Segmentation`` the other one.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    """Define a kind of target.

    Attributes:
        score: the result by which an epoch is selected.
        evaluation_batch: how many samples to score at once.
        reestimate: also score each modality with batch-norm statistics measured under its mask, because with the
            statistics of training the score says little (``dgl_core.training.evaluation.reestimated``).
    """

    score: str
    evaluation_batch: int
    reestimate: bool

    def criterion(self, outputs: Any, target: Tensor) -> Tensor:
        """Compute the scalar loss; ``outputs`` as the model returns them in training (a dense model: four scales)."""

    def tally(self) -> Tally:
        """Make an empty collector."""

    def compare(self, fused: Tally, unimodal: Mapping[str, Tally]) -> dict[str, float]:
        """Compare the fused branch with that of each modality; returns columns, or none."""

    def to(self, device: torch.device | str) -> Task:
        """Return the task with its tensors on ``device``."""


class Classification:
    """Score one class per sample by accuracy and macro-F1, and how far fusion suppresses each modality."""

    score = "accuracy"
    evaluation_batch = 256
    reestimate = False

    def criterion(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Compute the cross-entropy of ``outputs`` [B, K] and ``target`` [B], mean over the batch."""
        return F.cross_entropy(outputs, target)

    def tally(self) -> ClassificationTally:
        return ClassificationTally()

    def compare(self, fused: ClassificationTally, unimodal: Mapping[str, ClassificationTally]) -> dict[str, float]:
        """Measure how far fusion suppresses each modality (``suppression_columns``)."""
        return suppression_columns(fused.logits, {m: tally.logits for m, tally in unimodal.items()}, fused.target)

    def to(self, device: torch.device | str) -> Classification:
        return self


class ClassificationTally:
    """Keep logits and targets, because macro-F1 and suppression need all of them."""

    def __init__(self):
        self._logits: list[Tensor] = []
        self._target: list[Tensor] = []

    def update(self, outputs: Tensor, target: Tensor) -> None:
        self._logits.append(outputs)
        self._target.append(target)

    @property
    def logits(self) -> Tensor:
        """Join the logits, [N, K] in the order of the updates."""
        return torch.cat(self._logits)

    @property
    def target(self) -> Tensor:
        return torch.cat(self._target)

    def result(self) -> dict[str, float]:
        """Score by ``classification``: ``accuracy``, ``macro_f1`` and ``loss``."""
        return classification(self.logits, self.target)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return ``predicted``: the class of every sample, uint16 [N]."""
        return {"predicted": self.logits.argmax(1).cpu().numpy().astype("<u2")}


def classification(logits: Tensor, target: Tensor) -> dict[str, float]:
    """Compute accuracy, macro-F1 and mean cross-entropy of one branch.

    Args:
        logits: [N, K]; target: [N].

    Returns:
        ``accuracy``, ``macro_f1`` (over the classes that occur in ``target``) as fractions; ``loss`` in nats.
    """
    predicted = logits.argmax(dim=1)
    classes = logits.shape[1]
    confusion = torch.bincount(target * classes + predicted, minlength=classes**2).view(classes, classes).double()
    hits, truth, claimed = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    present = truth > 0
    f1 = 2 * hits / (truth + claimed).clamp(min=1)
    return {
        "accuracy": (hits.sum() / confusion.sum()).item(),
        "macro_f1": f1[present].mean().item(),
        "loss": torch.nn.functional.cross_entropy(logits.double(), target).item(),
    }
