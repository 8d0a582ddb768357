"""Score label maps (semantic segmentation): four-scale loss, mean intersection over union.

Targets are class maps [B, H, W]; pixels labelled ``VOID`` count nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dgl_core.data.tasks.classes import Task, class_names, class_weights, first_outside, pooled, shown, suggested

VOID = 255


def median_frequency(target: Tensor, classes: int) -> Tensor:
    """Compute class weights w_c = median(f) / f_c, with f_c = pixels of c / pixels of the images that contain c.

    Args:
        target: label maps [N, H, W], any integer type, of the training images.

    Returns:
        float32 [K]; 0 for a class that never occurs. The same bits on every processor: counts are integers.

    **Source:** ESANet ``src/datasets/dataset_base.py:compute_class_weights``. **Difference:** a class that never occurs
    is an error there.
    """
    counts = torch.stack([torch.bincount(image.flatten(), minlength=VOID + 1)[:classes] for image in target])  # [N, K]
    size = target[0].numel()
    frequency = counts.sum(0).double() / ((counts > 0).sum(0) * size).clamp(min=1)
    present = frequency > 0
    return torch.where(present, float(np.median(frequency[present].cpu().numpy())) / frequency, 0.0).float()


def at_size(target: Tensor, size: Sequence[int]) -> Tensor:
    """Resize label maps [B, H, W] to [B, h, w]: pixel i takes pixel floor(i H / h), no mixing of labels."""
    rows, columns = (
        torch.arange(n, device=target.device) * m // n for n, m in zip(size, target.shape[-2:], strict=True)
    )
    return target if tuple(size) == target.shape[-2:] else target[:, rows[:, None], columns]


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Compute TP / (truth + predicted - TP) per class of a confusion matrix [truth, predicted], float64 [K].

    NaN for a class without a true pixel.
    """
    hits, truth, claimed = (x.astype(np.float64) for x in (confusion.diagonal(), confusion.sum(1), confusion.sum(0)))
    return np.where(truth > 0, hits / np.maximum(truth + claimed - hits, 1), math.nan)


class Segmentation(Task):
    """Score label maps of ``classes`` classes by mean intersection over union.

    Args:
        weights: class weights [K] of the loss; all 1 by default.
        maps: how many predicted label maps a tally keeps for pictures, the first that it sees.
    """

    kind = "dense"
    score = "miou"
    evaluation_batch = 16
    by_sample = False  # a batch is divided by the weights of its own pixels
    reestimate = True
    exact = False

    @staticmethod
    def stored(target: Tensor, name: str) -> Tensor:
        if target.dim() != 3 or target.is_floating_point() or target.is_complex() or not target[:1].numel():
            raise ValueError(f"data set {name!r}: target is {shown(target)}; label maps are integers [N, H, W], {VOID} "
                             f"where nothing is labelled{suggested(target)}")  # fmt: skip
        return target.long()

    @staticmethod
    def names(classes: Sequence[str] | None, target: Tensor, name: str) -> tuple[str, ...]:
        labelled = target[target != VOID]
        return class_names(classes, labelled if labelled.numel() else target.new_zeros(1), name)

    @staticmethod
    def outside(target: Tensor, classes: int) -> tuple[int, object] | None:
        return first_outside(target, classes, VOID)

    @classmethod
    def made(cls, target: Tensor, classes: int, weights: Any) -> Segmentation:
        """``weights`` "balanced": by ``median_frequency``."""
        if weights == "balanced":
            return cls(classes, median_frequency(target, classes))
        return cls(classes, class_weights(weights, lambda: torch.ones(classes), classes))

    def plain(self) -> dict[str, Any]:
        return {"classes": self.classes}

    def __init__(self, classes: int, weights: Tensor | None = None, maps: int = 0):
        if weights is not None and weights.shape != (classes,):
            shape = list(weights.shape)
            raise ValueError(f"weights have shape {shape}; give one weight for each of {classes} classes.")
        self.classes, self.maps = classes, maps
        self.weights = torch.ones(classes) if weights is None else weights
        self._by_label = torch.zeros(VOID + 1, device=self.weights.device)  # void weighs 0
        self._by_label[:classes] = self.weights

    def criterion(self, outputs: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Compute the loss, the sum over the scales of ``sum_pixels w_y CE / sum_c n_c w_c``.

        Args:
            outputs: logits [B, K, h, w], one tensor or several scales.
            target: [B, H, W]; brought to each scale by nearest down-sampling.

        **Source:** ESANet ``src/utils.py:CrossEntropyLoss2d`` and the sum in ``train.py``. **Difference:** a batch of
        void alone has loss 0, not NaN.
        """
        loss = 0.0
        for logits in [outputs] if isinstance(outputs, Tensor) else outputs:
            total, divisor = self.weighted_sums(logits, target)
            loss = loss + total / divisor.clamp(min=torch.finfo(divisor.dtype).tiny)
        return loss

    def weighted_sums(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Compute ``sum_pixels w_y CE`` and ``sum_c n_c w_c`` at the size of ``logits`` [B, K, h, w]."""
        target = at_size(target, logits.shape[-2:]).flatten()
        logits = logits.permute(0, 2, 3, 1).flatten(0, 2)  # [B h w, K]: a view of channels-last maps, and fast
        weights = self.weights.to(logits.dtype) if logits.dtype == torch.float64 else self.weights
        total = F.cross_entropy(logits, target, weights, ignore_index=VOID, reduction="sum")
        return total, self._by_label[target].to(total.dtype).sum()

    def tally(self) -> SegmentationTally:
        return SegmentationTally(self)

    def scores(self, outputs: Tensor) -> Tensor:
        """Compute probabilities [B, K, h, w]."""
        return outputs.softmax(dim=1)

    def pool(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Average log-probabilities."""
        return pooled(outputs)

    def chance(self, train: Tensor, target: Tensor) -> float:
        """Mean intersection over union of calling everything what is the most frequent label in training."""
        counts = [torch.stack([torch.bincount(image.flatten(), minlength=VOID + 1)[: self.classes] for image in part])
                  for part in (train, target)]  # fmt: skip
        (usual, truth) = (count.sum(0).double() for count in counts)
        return ((truth[usual.argmax()] / truth.sum().clamp(min=1)) / (truth > 0).sum().clamp(min=1)).item()

    def labels(self, scores: Tensor, classes: Sequence[str]) -> np.ndarray:
        """Number the most probable class of every pixel, int64 [B, h, w]."""
        return scores.argmax(dim=1).cpu().numpy()

    def to(self, device: torch.device | str) -> Segmentation:
        return Segmentation(self.classes, self.weights.to(device), self.maps)


class SegmentationTally:
    """Count a confusion matrix over a whole set at the resolution of the labels: bilinear resize, then argmax."""

    def __init__(self, task: Segmentation):
        self.task = task
        self.confusion = torch.zeros(task.classes, task.classes, dtype=torch.long)  # [truth, predicted]
        self._loss, self._divisor = 0.0, 0.0
        self._maps: list[np.ndarray] = []
        self._pictures: list[np.ndarray] = []  # [3, K] each: pixels that are hit, true, predicted

    def update(self, outputs: Tensor, target: Tensor) -> None:
        """Add ``outputs``, logits [B, K, h, w]; ``target`` [B, H, W] is the same picture at the size of its labels."""
        total, divisor = self.task.weighted_sums(outputs, target)
        self._loss, self._divisor = self._loss + total.item(), self._divisor + divisor.item()
        for logits, truth in zip(outputs, target, strict=True):  # one picture at a time stays in the cache
            logits = logits[None].contiguous(memory_format=torch.channels_last)  # where both next steps are fast
            if logits.shape[-2:] != truth.shape:
                logits = F.interpolate(logits, truth.shape, mode="bilinear", align_corners=False)
            predicted, known, classes = logits[0].argmax(dim=0), truth != VOID, self.task.classes
            pairs = truth[known] * classes + predicted[known]
            counts = torch.bincount(pairs, minlength=classes**2).view(classes, classes).cpu()
            self.confusion += counts
            self._pictures.append(torch.stack([counts.diagonal(), counts.sum(1), counts.sum(0)]).numpy())
            if len(self._maps) < self.task.maps:
                self._maps.append(predicted.to(torch.uint8).cpu().numpy())

    def iou(self) -> Tensor:
        """Compute the intersection over union of every class as ``class_iou`` does, float64 [K]."""
        return torch.from_numpy(class_iou(self.confusion.numpy()))

    def result(self) -> dict[str, float]:
        """Return ``miou``: mean over the classes that have true pixels; ``pixel_accuracy``; ``loss`` (weighted)."""
        confusion = self.confusion.double()
        return {
            "miou": self.iou().nanmean().item(),
            "pixel_accuracy": (confusion.diagonal().sum() / confusion.sum().clamp(min=1)).item(),
            "loss": self._loss / max(self._divisor, torch.finfo(torch.float32).tiny),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return ``confusion`` int64 [K, K] (truth by prediction), ``maps`` uint8 [n, H, W] (the first n) and
        ``shares`` float32 [N], what each picture adds to ``miou``."""
        maps = np.stack(self._maps) if self._maps else np.zeros((0, 0, 0), np.uint8)
        counts = np.stack(self._pictures) if self._pictures else np.zeros((0, 3, self.task.classes))
        return {"confusion": self.confusion.numpy(), "maps": maps, "shares": miou_shares(counts).astype(np.float32)}


def miou_shares(counts: np.ndarray) -> np.ndarray:
    """Split the mean intersection over union over the pictures: what each adds, to first order, float64 [N].

    With h_nc and u_nc the hits and the union of class c in picture n, J_c = sum_n h_nc / sum_n u_nc, and C the classes
    with true pixels: s_n = miou + N / C * sum_c (h_nc - J_c u_nc) / sum_n u_nc. Their mean is ``miou``, and a set in
    which picture n counts w_n times (sum_n w_n = N) has the mean of w_n s_n, up to second order in w - 1. So pictures
    can be resampled as samples are that are right or wrong.

    Args:
        counts: pixels that are hit, true and predicted, [N, 3, K].

    **Source:** the infinitesimal jackknife (L. A. Jaeckel, Bell Laboratories memorandum 72-1215-11, 1972).
    """
    hits, truth, claimed = counts.astype(np.float64).transpose(1, 0, 2)  # [N, K] each
    union, there = truth + claimed - hits, truth.sum(axis=0) > 0
    whole = np.where(there, union.sum(axis=0), 1.0)
    iou = hits.sum(axis=0) / whole
    surplus = np.where(there, (hits - iou * union) / whole, 0.0).sum(axis=1)
    return (iou[there].sum() + len(counts) * surplus) / max(there.sum(), 1)
