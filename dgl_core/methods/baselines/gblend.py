"""G-Blending: with constant weights (Table 4), and with weights from overfitting estimates (OGR)."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dgl_core.gradients import FUSED
from dgl_core.methods.base import Batch, State, option
from dgl_core.methods.dgl import Corner
from dgl_core.methods.heads import OwnHeads, branch_logits, logged, whole_epochs
from dgl_core.methods.scores import check_target, evaluating


@dataclass
class GBlend(Corner):
    """G-Blending with constant weights: L_multi + alpha * sum_m L_m, no truncation (Table 4, and Table 1 by inference).

    **Step.** theta_m follows grad L_multi + alpha * grad L_m; tau follows grad L_multi + alpha * sum_m grad L_m.
    **Source.** Wang et al., CVPR 2020, in the form the DGL paper sweeps over alpha (its Table 4 entry at alpha 4 equals
    its Table 1 entry).
    **Difference.** (1) Unimodal logits by the zero mask of the shared head, as the DGL paper says; the released code
    (facebookresearch/VMZ, 4cc542d, ``audio_visual_model.py``) has one head per modality.
    """

    encoder_gate: ClassVar[float] = 1.0
    fusion_gate: ClassVar[float] = 1.0
    TITLE: ClassVar[str] = "G-Blending (constant weight)"


class Point(NamedTuple):
    """Mean cross-entropy of one branch on the training and on the validation part, in nats."""

    train: float
    val: float


def ogr_weight(before: Point, after: Point, floor: float) -> float:
    """Weigh one branch by ``|G| / max(|O|, floor)^2`` over one super-epoch, G and O as ``GBlendOGR`` defines them."""
    generalised = before.val - after.val
    overfitted = (after.val - after.train) - (before.val - before.train)
    return abs(generalised) / max(abs(overfitted), floor) ** 2


def blend(ratios: Mapping[str, float]) -> dict[str, float]:
    """Divide the ratios by their sum; the weights are equal if all ratios are zero."""
    total = sum(ratios.values())
    return {branch: r / total if total else 1 / len(ratios) for branch, r in ratios.items()}


@dataclass
class GBlendOGR(OwnHeads):
    """G-Blending, the original form: weights of the branches from how well each generalises.

    **Idea.** Branches overfit at different speeds. Train each alone for a while, on a copy: the more its validation
    loss falls, and the less the gap to its training loss grows, the more weight it gets in the blend.
    **Step** (one update per batch). A joint classifier (the model's fusion) and one linear head per modality.

    1. L = w_multi CE(l, y) + sum_m w_m CE(head_m(z_m), y); ordinary gradients into everything.
    2. Before the first epoch of every super-epoch of n epochs (``online``; else once, before the first epoch): for
       each branch k, a temporary copy of model, heads and optimiser is trained on CE_k alone for n epochs. With its
       mean losses (T, V) on the training and validation parts before and (T', V') after: G_k = V - V',
       O_k = (V' - T') - (V - T), w_k = |G_k| / O_k^2, divided by the sum over branches.

    **Source.** Weiyao Wang, Du Tran, Matt Feiszli, "What makes training multi-modal classification networks hard?",
    CVPR 2020, Eq. 5 and Algorithms 1-2; weights of the losses in ``c2/lib/models/loss/loss_creator.py`` of the official
    Caffe2 code (facebookresearch/VMZ, 4cc542d); the estimate, which is not released, from two re-implementations:
    BalanceBenchmark ``trainer/GBlending_trainer.py`` and MultiBench ``training_structures/gradient_blend.py``.

    **Difference.** (1) Losses are means over samples, and "before" is before; BalanceBenchmark adds up batches and
    measures first after an epoch. (2) |O| is at least ``floor`` (nats), as 1 / O^2 has no bound. (3) As in both
    re-implementations |G| counts: a branch that got worse is weighted by how much it moved. (4) A copy of one branch
    runs that branch's encoder only. (5) The joint classifier is the model's fusion, without the two hidden layers of
    ``audio_visual_model.py``. (6) Dense fusion: no heads, unimodal branches from the zero mask. (7) A super-epoch is a
    share of the run: 10 of 100 epochs, 2 of 20.
    """

    super_epoch: float = option(0.1, low=0, high=1)
    online: bool = True
    floor: float = option(0.01, low=1e-6)
    TITLE: ClassVar[str] = "G-Blending (OGR)"
    MEMORY: ClassVar[dict[str, object]] = {"weights": {}}  # branch -> w_k, adding up to 1

    def step(self, state: State, batch: Batch) -> dict[str, Tensor]:
        check_target(batch.target)
        length = whole_epochs(self.super_epoch, state.epochs)
        if state.step == 0 and state.epoch % length == 0 and (self.online or not state.epoch):
            self.weights = self.estimate(state, min(length, state.epochs - state.epoch))
        losses = self.losses(state, batch)
        state.backward(sum(self.weights[branch] * loss for branch, loss in losses.items()))
        state.update()
        return logged(losses)

    def estimate(self, state: State, epochs: int) -> dict[str, float]:
        """Estimate weights {branch: w_k} from ``epochs`` epochs of every branch alone, each on a copy of its own."""
        branches = (FUSED, *state.model.encoders)
        before, ratios = points(state, branches), {}
        device = next(state.model.parameters()).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):  # dropout of the run goes on as if alone
            for branch in branches:
                trial = sandbox(state)
                train_alone(trial, branch, epochs)
                ratios[branch] = ogr_weight(before[branch], points(trial, [branch])[branch], self.floor)
        return blend(ratios)


def points(state: State, branches: Collection[str]) -> dict[str, Point]:
    """Measure mean losses of branches on the whole training and validation parts, in evaluation mode."""
    means = defaultdict(list)
    with evaluating(state.model), evaluating(state.heads), torch.no_grad():
        for part in ("train", "val"):
            sums, count = defaultdict(float), 0
            for batch in state.batches(part):
                for branch, logits in branch_logits(state, batch.inputs, branches).items():
                    sums[branch] += F.cross_entropy(logits.float(), batch.target, reduction="sum")
                count += len(batch.target)
            for branch in branches:
                means[branch].append(float(sums[branch]) / count)
    return {branch: Point(*values) for branch, values in means.items()}


def sandbox(state: State) -> State:
    """Copy model, heads and optimiser of a state together, so that nothing done to the copy touches the run."""
    trial = copy.copy(state)
    trial.model, trial.heads, trial.optimizer = copy.deepcopy((state.model, state.heads, state.optimizer))
    trial._norms = defaultdict(list)  # gradient norms of the trial are not those of the run
    return trial


def train_alone(trial: State, branch: str, epochs: int) -> None:
    """Train one branch of a sandbox, as the loop would: shuffled, augmented, the last smaller batch dropped."""
    start, steps = trial.epoch, trial.steps_per_epoch
    for epoch in range(start, start + epochs):
        trial.epoch, trial.step = epoch, 0  # the clock moves, so every epoch has its own shuffle
        for step, batch in enumerate(trial.batches("train", training=True, limit=steps)):
            trial.step = step
            logits = branch_logits(trial, batch.inputs, [branch])[branch]
            trial.backward(F.cross_entropy(logits, batch.target))
            trial.update()
            torch.clear_autocast_cache()  # or the next batch would meet low-precision copies of old weights
