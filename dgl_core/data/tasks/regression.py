"""Score numbers: mean squared error of standardised targets, coefficient of determination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dgl_core.data.tasks.classes import ClassificationTally, Task, listed_names, shown


class Regression(Task):
    """Score one number a sample, or several, by R^2, their share of the variance that is explained.

    A model learns (y - mean) / std, so that one learning rate fits any unit; predictions are in the unit of the target.

    Args:
        mean, std: of the training targets, [D] each.
    """

    kind = "regression"
    score = "r2"
    evaluation_batch = 256
    by_sample = True
    reestimate = False
    exact = True
    weights = None

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        self.mean, self.std = torch.as_tensor(mean), torch.as_tensor(std)

    @staticmethod
    def stored(target: Tensor, name: str) -> Tensor:
        if target.dim() not in (1, 2) or target.is_complex() or not target[:1].numel():
            raise ValueError(f"data set {name!r}: target is {shown(target)}; numbers to predict are [N] or [N, D]")
        return target.float().reshape(len(target), -1)

    @staticmethod
    def names(classes: Sequence[str] | None, target: Tensor, name: str) -> tuple[str, ...]:
        width = target.shape[1]
        names = listed_names(("value",) if classes is None and width == 1 else classes or range(width), name)
        if len(names) != width:
            raise ValueError(f"data set {name!r}: {len(names)} names for {width} numbers a sample")
        return names

    @staticmethod
    def outside(target: Tensor, classes: int) -> tuple[int, object] | None:
        wrong = (~target.isfinite()).nonzero()
        return (int(wrong[0, 0]), target[tuple(wrong[0])].item()) if len(wrong) else None

    @classmethod
    def made(cls, target: Tensor, classes: int, weights: Any) -> Regression:
        if weights is not None:
            raise ValueError("weights are of classes; a regression has none: leave them out.")
        std = target.double().std(dim=0, correction=0).float()
        return cls(target.double().mean(dim=0).float().tolist(), torch.where(std > 0, std, 1.0).tolist())

    def plain(self) -> dict[str, Any]:
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    def criterion(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Compute the squared error of ``outputs`` [B, D] against standardised ``target`` [B, D], mean over both."""
        return F.mse_loss(outputs, ((target - self.mean) / self.std).to(outputs.dtype))

    def tally(self) -> RegressionTally:
        return RegressionTally(self)

    def scores(self, outputs: Tensor) -> Tensor:
        """Compute the predicted numbers in the unit of the target [B, D]."""
        return outputs * self.std.to(outputs) + self.mean.to(outputs)

    def labels(self, scores: Tensor, classes: Sequence[str]) -> list[Any]:
        """Return the predicted number of every sample, or the list of them."""
        return (scores[:, 0] if scores.shape[1] == 1 else scores).tolist()

    def pool(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Average the predictions."""
        return torch.stack(list(outputs.values())).mean(dim=0)

    def chance(self, train: Tensor, target: Tensor) -> float:
        """R^2 of the mean of the training targets, which is 0 or a little less."""
        return determination(train.mean(dim=0).expand_as(target), target)

    def to(self, device: torch.device | str) -> Regression:
        moved = Regression(self.mean, self.std)
        moved.mean, moved.std = self.mean.to(device), self.std.to(device)
        return moved


def determination(predicted: Tensor, target: Tensor) -> float:
    """Compute R^2 = 1 - (squared error) / (variance of the target), the mean over columns; both [N, D].

    A column whose target never varies counts 1 where it is met, else 0.
    """
    predicted, target = predicted.double(), target.double()
    error = (predicted - target).square().sum(0)
    total = (target - target.mean(0)).square().sum(0)
    share = torch.where(total > 0, 1 - error / total.clamp(min=torch.finfo(torch.float64).tiny), (error == 0).double())
    return share.mean().item()


class RegressionTally(ClassificationTally):
    """Keep outputs [N, D] and targets [N, D]."""

    def __init__(self, task: Regression):
        super().__init__()
        self.task = task

    def result(self) -> dict[str, float]:
        """Return ``r2``, ``mae`` (mean absolute error, in the unit of the target) and ``loss``."""
        values = self.task.scores(self.logits.double())
        return {
            "r2": determination(values, self.target),
            "mae": (values - self.target).abs().mean().item(),
            "loss": self.task.criterion(self.logits.double(), self.target.double()).item(),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return ``values``, the predicted numbers, float32 [N, D]."""
        return {"values": self.task.scores(self.logits).float().cpu().numpy()}
