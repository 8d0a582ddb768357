"""Define what a data set asks of a model, the training loss and the scores of its predictions; classification.

A data set carries a task: classification by default, or ``dgl_core.data.tasks.label_maps.Segmentation``.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dgl_core.suppression import suppression_columns
from dgl_core.utils import unknown_name


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

    A class of a task also says what its targets look like (``stored``, ``names``, ``outside``), before there is a
    task object; ``made`` makes that object for the training part of a set.
    """

    kind: str  # its name in ``TASKS``
    score: str  # the result by which an epoch is selected, a fraction, the higher the better
    evaluation_batch: int  # how many samples are scored at once
    by_sample: bool  # the loss of a batch is the mean over its samples: that of equal parts may be averaged
    reestimate: bool  # also score each modality with batch-norm statistics measured under its mask, without which the
    # score says little (``dgl_core.training.evaluation.reestimated``)
    exact: bool  # the model has as many outputs as there are classes, not only as many at least
    weights: Tensor | None  # of the classes in the loss [K]

    @staticmethod
    def stored(target: Tensor, name: str) -> Tensor:
        """Check type and shape of the target of data set ``name``; return it as it is kept."""

    @staticmethod
    def names(classes: Sequence[str] | None, target: Tensor, name: str) -> tuple[str, ...]:
        """Name the outputs of a model: the given classes, by default their numbers."""

    @staticmethod
    def outside(target: Tensor, classes: int) -> tuple[int, object] | None:
        """Find the first sample whose target means nothing: its row and the value; None if all are right."""

    @classmethod
    def made(cls, target: Tensor, classes: int, weights: Any) -> Task:
        """Make the task for training targets [N, ...]; ``weights``: None, "balanced" or one number a class."""

    def plain(self) -> dict[str, Any]:
        """Return what a task for predictions alone is made of, in plain values."""
        return {}

    def criterion(self, outputs: Any, target: Tensor) -> Tensor:
        """Compute the scalar loss; ``outputs`` as the model returns them in training (a dense model: four scales)."""

    def tally(self) -> Tally:
        """Make an empty collector."""

    def scores(self, outputs: Tensor) -> Tensor:
        """Turn outputs as the model returns them in evaluation into what a prediction says: probabilities, values."""

    def labels(self, scores: Tensor, classes: Sequence[str]) -> Sequence[Any]:
        """Name the answer for each sample by its ``scores``."""

    def pool(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Join the outputs of several models {name: [B, K]} into one opinion [B, K]."""

    def chance(self, train: Tensor, target: Tensor) -> float:
        """Score the best answer that looks at no sample, chosen on the targets ``train``, on ``target``."""

    def compare(self, fused: Tally, unimodal: Mapping[str, Tally]) -> dict[str, float]:
        """Compare the fused branch with that of each modality; returns columns, or none."""
        return {}

    def to(self, device: torch.device | str) -> Task:
        """Return the task with its tensors on ``device``."""
        moved = copy.copy(self)
        moved.weights = None if self.weights is None else self.weights.to(device)
        return moved


class Classification(Task):
    """Score one class per sample by accuracy and macro-F1, and how far fusion suppresses each modality.

    Args:
        weights: of the classes in the loss [K]; all equal by default.
    """

    kind = "classification"
    score = "accuracy"
    evaluation_batch = 256
    reestimate = False
    exact = False

    def __init__(self, weights: Tensor | None = None):
        self.weights = weights
        self.by_sample = weights is None  # else a batch is divided by the weights of its own samples

    @staticmethod
    def stored(target: Tensor, name: str) -> Tensor:
        if target.dim() != 1 or target.is_floating_point() or target.is_complex():
            raise ValueError(f"data set {name!r}: target is {shown(target)}; give one integer class per sample, shape "
                             f"[N]{suggested(target)}")  # fmt: skip
        return target.long()

    @staticmethod
    def names(classes: Sequence[str] | None, target: Tensor, name: str) -> tuple[str, ...]:
        return class_names(classes, target, name)

    @staticmethod
    def outside(target: Tensor, classes: int) -> tuple[int, object] | None:
        return first_outside(target, classes)

    @classmethod
    def made(cls, target: Tensor, classes: int, weights: Any) -> Classification:
        return cls(class_weights(weights, lambda: torch.bincount(target, minlength=classes), classes))

    def criterion(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Compute the cross-entropy of ``outputs`` [B, K] and ``target`` [B], mean over the batch."""
        return F.cross_entropy(outputs, target, fitting(self.weights, outputs))

    def tally(self) -> ClassificationTally:
        return ClassificationTally()

    def scores(self, outputs: Tensor) -> Tensor:
        """Compute probabilities [B, K]."""
        return outputs.softmax(dim=1)

    def labels(self, scores: Tensor, classes: Sequence[str]) -> list[str]:
        """Name the most probable class of every sample."""
        return [classes[k] for k in scores[:, : len(classes)].argmax(dim=1).tolist()]

    def pool(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Average log-probabilities over models, {name: [B, K]} -> [B, K]."""
        return pooled(outputs)

    def chance(self, train: Tensor, target: Tensor) -> float:
        """Share of the class that is the most frequent one in training."""
        return (target == train.mode().values).double().mean().item()

    def compare(self, fused: ClassificationTally, unimodal: Mapping[str, ClassificationTally]) -> dict[str, float]:
        """Measure how far fusion suppresses each modality (``suppression_columns``)."""
        return suppression_columns(fused.logits, {m: tally.logits for m, tally in unimodal.items()}, fused.target)


def pooled(outputs: Mapping[str, Tensor]) -> Tensor:
    """Average the log-probabilities of several models over classes, {name: [B, K, ...]} -> [B, K, ...]."""
    return torch.stack([values.log_softmax(dim=1) for values in outputs.values()]).mean(dim=0)


def shown(target: Tensor) -> str:
    """Write type and shape of a target."""
    return f"{str(target.dtype).removeprefix('torch.')} {list(target.shape)}"


def suggested(target: Tensor) -> str:
    """Say which task such a target may be for; nothing where none takes it."""
    whole = not target.is_floating_point() and not target.is_complex()
    switches = target.dim() == 2 and target.numel() and bool(((target == 0) | (target == 1)).all())
    kinds = {1: "regression", 2: "regression"} if not whole else {2: "sequence", 3: "dense"}
    kind = "multi_label" if switches else kinds.get(target.dim())
    if kind is None or target.is_complex():
        return "; no task takes another target than numbers [N] or [N, D], labels [N, T] or [N, H, W]"
    return f", or say what the target is with task={kind!r}"


def class_names(classes: Sequence[str] | None, target: Tensor, name: str) -> tuple[str, ...]:
    """Return the names of the classes, by default the labels; one above the number of samples numbers no class."""
    highest = int(target.max())
    if classes is None and highest >= max(target.numel(), 2):
        remedy = "number the classes 0, 1, 2, ... without gaps, or name them with classes=(...)"
        raise ValueError(f"data set {name!r}: label {highest} with {len(target)} samples; {remedy}")
    names = listed_names(range(highest + 1) if classes is None else classes, name)
    if len(names) < 2:
        few = f"{len(names)} {'class' if names else 'classes'}"
        raise ValueError(f"data set {name!r} has {few}; a classifier needs two or more")
    return names


def listed_names(classes: Any, name: str) -> tuple[str, ...]:
    """Return names as text; refuse what is no list, and a name that occurs twice."""
    if isinstance(classes, str) or not hasattr(classes, "__iter__"):
        raise ValueError(f"data set {name!r}: classes is {classes!r}; give the class names as a list, in label order")
    names = tuple(str(c) for c in classes)
    twice = [c for c, n in Counter(names).items() if n > 1]
    if twice:
        raise ValueError(f"data set {name!r}: class name {twice[0]!r} occurs twice; give each class a name of its own")
    return names


def first_outside(target: Tensor, classes: int, ignored: int | None = None) -> tuple[int, int] | None:
    """Find the first label [N, ...] that is neither a class nor ``ignored``: its row and the label."""
    wrong = (target < 0) | (target >= classes)
    wrong = wrong if ignored is None else wrong & (target != ignored)
    if not wrong.any():
        return None
    place = wrong.nonzero()[0]
    return int(place[0]), int(target[tuple(place)])


def class_weights(weights: Any, counts: Callable[[], Tensor], classes: int) -> Tensor | None:
    """Make class weights [K]: given ones, or "balanced", which is (all labels) / (K * labels of the class).

    Raises:
        ValueError: another number of weights than classes, or one that is no positive finite number or 0.
    """
    if weights is None:
        return None
    if isinstance(weights, str):
        if weights != "balanced":
            raise unknown_name("weights", weights, ("balanced",))
        found = counts().double()
        return torch.where(found > 0, found.sum() / (classes * found.clamp(min=1)), 0.0).float()
    try:
        given = torch.as_tensor(np.asarray(weights, dtype=np.float32))
    except (TypeError, ValueError):
        raise ValueError(f"weights are {weights!r}; give 'balanced', or one number for each class.") from None
    if given.shape != (classes,) or not given.isfinite().all() or (given < 0).any() or not given.any():
        raise ValueError(f"weights are {weights!r}; give one number of 0 or more for each of {classes} classes.")
    return given


def fitting(weights: Tensor | None, outputs: Tensor) -> Tensor | None:
    """Give class weights the type of ``outputs`` [B, K, ...], and weight 1 to outputs that no class has."""
    if weights is None:
        return None
    more = outputs.shape[1] - len(weights)
    weights = weights.double() if outputs.dtype == torch.float64 else weights
    return F.pad(weights, (0, more), value=1.0) if more > 0 else weights


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
