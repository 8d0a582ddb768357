"""Diagnosing & Re-learning: pull an over- or under-trained encoder back (Wei, Li, Feng, Hu, ECCV 2024)."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from dgl_core.methods.base import Batch, Method, State, option
from dgl_core.methods.heads import collect, is_late, whole_epochs
from dgl_core.methods.scores import check_target
from dgl_core.utils import needs


def purity(target: np.ndarray, cluster: np.ndarray) -> float:
    """Measure accuracy after every cluster has been given the label of its majority. Integers >= 0, [N] each."""
    table = np.zeros((cluster.max() + 1, target.max() + 1), dtype=np.int64)
    np.add.at(table, (cluster, target), 1)
    return float(table.max(axis=1).sum() / len(target))


def min_max(features: Tensor) -> Tensor:
    """Scale every column of [N, D] to [-1, 1]; a constant column (a dead unit) becomes -1."""
    low, high = features.amin(dim=0), features.amax(dim=0)
    span = torch.where(high > low, high - low, 1.0)
    return 2 * (features - low) / span - 1


def cluster(features: Tensor, clusters: int) -> np.ndarray:
    """Cluster [N, D] by k-means: one k-means++ start, random state 0, one thread (so one result everywhere)."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters: purity copes
        return KMeans(clusters, n_init=1, random_state=0).fit_predict(min_max(features).cpu().numpy())


def pull(gap: float, strength: float) -> float:
    """Compute w = tanh(strength * |gap|), how far the weights go back to their start: 0 not at all, 1 all the way."""
    return math.tanh(strength * abs(gap))


@torch.no_grad()
def relearn(parameters: Iterable[nn.Parameter], initial: Iterable[Tensor], weight: float) -> None:
    """Pull weights back in place, theta <- w theta_init + (1 - w) theta; exact at w = 0 and w = 1."""
    for parameter, start in zip(parameters, initial, strict=True):
        parameter.lerp_(start, weight)


@dataclass
class Relearn(Method):
    """Diagnosing & Re-learning: joint training in which encoders are now and then pulled back to their start.

    **Idea.** An encoder that separates the classes much better on training than on validation samples has been
    over-trained. The gap tells how far to pull its weights back to their initial values, so that it learns afresh.

    **Step** (one update per batch): vanilla, L = CE(F(z_1, ..., z_M), y). At the start of the run the initial weights
    are saved. After epochs n, 2n, 3n (0-based, n = ``every`` of the run, ``times`` in all):

    1. z_m of all training and of all validation samples, in evaluation mode, without augmentation.
    2. For each modality and part: every feature scaled to [-1, 1], k-means with K clusters, purity P = accuracy after
       each cluster took the label of its majority.
    3. G_m = |P_train - P_val|, w_m = tanh(lambda G_m); every parameter of encoder m (convolutions and batch-norm
       affine): theta <- w_m theta_init + (1 - w_m) theta. Batch-norm statistics, fusion and momentum stay.

    **Source.** Yake Wei, Siwei Li, Ruoxuan Feng, Di Hu, "Diagnosing and re-learning for balanced multimodal learning",
    ECCV 2024; official ``code/ours.py`` (GeWu-Lab/Diagnosing_Relearning_ECCV2024, 025085e). There as here, the epoch
    before a pull is scored before it, and nothing is pulled after the last epoch.

    **Difference.** (1) ``ours.py`` pulls every 20 of 90 epochs; n is a share of the run here, so 20 of 100 epochs and 4
    of 20. A run too short for a pull (one or two epochs) is vanilla training. (2) Training uses augmentation like every
    other method; the released run does not, by a slip (mode ``my_train``). (3) k-means with one start (scikit-learn's
    present default) on one thread. (4) Any number of modalities. A dense model takes part if it has
    ``pooled(inputs) -> {m: [B, D_m]}``; pulled back is what it calls encoders. (5) Unimodal scores by the zero mask;
    the released code has none. (6) Learning-rate schedule and clipping are those of all methods here.

    ``strength`` is lambda, 3 in the official code; 0 is vanilla training.
    """

    strength: float = option(3.0, low=0)
    every: float = option(0.2, low=0, high=1)
    times: int = option(3, low=0)
    TITLE: ClassVar[str] = "D&R"
    SEVERAL: ClassVar[bool] = True
    MEMORY: ClassVar[dict[str, object]] = {"_initial": {}}  # m -> weights of encoder m at the start of the run

    def on_start(self, state: State) -> None:
        needs("The clusters of relearn", "sklearn", "threadpoolctl")
        if not is_late(state.model) and not hasattr(state.model, "pooled"):
            raise ValueError(
                f"relearn clusters one feature vector per modality; {type(state.model).__name__} has neither `encode` "
                "nor `pooled`. Give it a method pooled(inputs) -> {modality: [B, D]}, or use a LateFusion model."
            )
        for part in ("train", "val"):
            seen = 0
            for batch in state.batches(part):
                check_target(batch.target)
                seen += len(batch.target)
                if seen >= state.classes:
                    break
            else:
                raise ValueError(
                    f"relearn sorts the {part} part into {state.classes} clusters, one per class, but it has only "
                    f"{seen} samples. Move samples to {part!r} or take a method that needs no clusters."
                )
        self._initial = {m: [p.detach().clone() for p in e.parameters()] for m, e in state.model.encoders.items()}

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether the encoders are pulled before this epoch, 0-based: that is after epoch n, 2n, ..."""
        passed, interval = epoch - 1, whole_epochs(self.every, epochs)
        return passed > 0 and passed % interval == 0 and passed // interval <= self.times

    def step(self, state: State, batch: Batch) -> dict[str, Tensor]:
        if state.step == 0 and self.strength and self.due(state.epoch, state.epochs):
            for m, gap in self.gaps(state).items():
                relearn(state.model.encoders[m].parameters(), self._initial[m], pull(gap, self.strength))
        return super().step(state, batch)

    def gaps(self, state: State) -> dict[str, float]:
        """Measure P_train - P_val of every modality."""
        purities: dict[str, list[float]] = defaultdict(list)
        for part in ("train", "val"):
            features, target = collect(state, part)
            for m, z in features.items():
                purities[m].append(purity(target.cpu().numpy(), cluster(z.float(), state.classes)))
        return {m: train - val for m, (train, val) in purities.items()}
