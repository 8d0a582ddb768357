"""Prototypical modal rebalance: PMR."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.methods.base import Batch, Method, State, option
from dgl_core.methods.heads import collect, is_late, vector, vectors
from dgl_core.methods.scores import (
    Joint,
    JointObjective,
    active,
    check_target,
    has_linear_fusion,
    mean_of_others,
    split_logits,
    target_probability,
)

SMALLEST = 1e-12  # floor of a score in a denominator
FAR = 1e4  # distance to a class that no prototype was seen for: its softmax weight is exactly zero


def similarities(features: Tensor, prototypes: Tensor, seen: Tensor) -> Tensor:
    """Compute -||z_i - c_k||, [B, K], the logits of nearest-prototype classification; their gradient at 0 is 0.

    ``features`` [B, D], ``prototypes`` [K, D], ``seen`` [K], bool: the other classes count as infinitely far away.
    """
    distance = torch.cdist(features.to(prototypes.dtype), prototypes, compute_mode="donot_use_mm_for_euclid_dist")
    return -distance.masked_fill(~seen, FAR)


def class_means(features: Tensor, target: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Mean of the features [N, D] of each class, [K, D] (zero where a class has no sample), and which have one, [K]."""
    members = F.one_hot(target, classes).to(features.dtype)  # [N, K]
    counts = members.sum(dim=0)
    return members.T @ features / counts.clamp(min=1)[:, None], counts > 0


def blend(new: Tensor, old: Tensor, present: Tensor, seen: Tensor, keep: float) -> Tensor:
    """Mix (1 - keep) new + keep old, [K, D]; new alone for a class not ``seen`` yet, old for one not ``present``."""
    mixed = torch.where(seen[:, None], (1 - keep) * new + keep * old, new)
    return torch.where(present[:, None], mixed, old)


def prototype_loss(similarity: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Prototype cross-entropy (PCE), mean over the samples that ``counted`` [B] (0 or 1) keeps; 0 if it keeps none."""
    each = F.cross_entropy(similarity, target, reduction="none")
    return (each * counted).sum() / counted.sum().clamp(min=1)


def prototype_entropy(similarity: Tensor) -> Tensor:
    """Mean entropy, in nats, of the prototype softmax of [B, K]."""
    logs = similarity.log_softmax(dim=1)
    return -(logs.exp() * logs).sum(dim=1).mean()


def code_coefficients(scores: Tensor) -> Tensor:
    """1 for every modality that is behind, rho_m = s_m / mean of the others < 1; 0 at a tie. [M] -> [M]."""
    return (scores < mean_of_others(scores)).to(scores.dtype)


def paper_coefficients(scores: Tensor) -> Tensor:
    """clip(1 / rho_m - 1, 0, 1): beta and gamma of the paper, on the PCE of modality m. [M] -> [M]."""
    return (mean_of_others(scores) / scores.clamp(min=SMALLEST) - 1).clamp(0, 1)


def entropy_coefficients(scores: Tensor) -> Tensor:
    """clip(rho_m - 1, 0, 1), on the entropy of modality m; for two modalities the other one's coefficient above."""
    return (scores / mean_of_others(scores).clamp(min=SMALLEST) - 1).clamp(0, 1)


class PrototypeObjective(JointObjective):
    """Vanilla loss, with one feature vector per modality from the same forward pass."""

    def forward(self, inputs: Mapping[str, Tensor], target: Tensor) -> Joint:
        if is_late(self.model):
            joint = super().forward(inputs, target)
            return joint._replace(features={m: vector(z) for m, z in joint.features.items()})
        check_target(target)
        features = self.model.pooled(inputs)
        return Joint(self.criterion(self.model.classify(features), target), features)


@dataclass
class PMR(Method):
    """Prototypical modal rebalance: pull the features of the modality that is behind toward their class means.

    **Idea.** Distances to the class means (prototypes) of a modality tell how far it has come; a cross-entropy on them
    speeds up the slower one and does not pass through the fusion.

    **Step** (1 before the first and after each epoch, 2-5 for each batch).

    1. c_m,k = mean feature of class k over a tenth of the shuffled, augmented training batches, model in evaluation
       mode. Blended as (1 - smoothing) new + smoothing old; after the first epoch the new one alone.
    2. sim_m = -||z_m - c_m,k|| [B, K];  PCE_m = CE(sim_m, y);  s_m = sum over the batch of softmax(sim_m)[y].
    3. rho_m = s_m / mean over j != m of s_j.
    4. code form:  L = CE(l, y) + alpha * sum of PCE_m over the modalities with rho_m < 1.
       paper form: L = CE(l, y) + alpha * sum_m clip(1 / rho_m - 1, 0, 1) PCE_m
                                - entropy * sum_m clip(rho_m - 1, 0, 1) H_m,
       H_m = mean entropy of softmax(sim_m); its term only in the first ``entropy_until`` of the epochs.
    5. Backward, update. After the epoch ``until`` * epochs: vanilla.

    **Source.** Yunfeng Fan, Wenchao Xu, Haozhao Wang, Junxiao Wang, Song Guo, "PMR: Prototypical modal rebalance for
    multimodal learning", CVPR 2023; official ``main_Prototype_grad.py`` (fanyunfeng-bit/Modal-Imbalance-PMR, 3615e48):
    the code form; window 0-70, alpha 2 and smoothing 0 in its ``bash.sh``. Test-time scores: nearest prototype
    ("<modality>_prototype") and W^m z_m + b / M, with sum fusion W^m z_m + b_m. The paper form is not in the official
    repository; it is written from METHODS 2.3.

    **Difference.** (1) Any number of modalities. (2) A class that was not in the sampled batches keeps its last
    prototype. If it never had one, it is left out of the softmax and its samples out of PCE and score;
    ``main_Prototype_grad.py`` divides 0 by 0. (3) At least one batch is sampled, and windows are shares of the run.
    (4) H_m is a mean over the batch, not a sum; no opened file states its weight or its window. (5) A model that mixes
    modalities early takes part with the features right before its classifier (``pooled`` and ``classify``); one that
    has none is refused.

    Args:
        alpha: weight of the prototype cross-entropy.
        until: share of the epochs in which it acts, the last one included.
        smoothing: weight of the old prototypes, the paper's epsilon.
        share: part of an epoch's batches that the prototypes are computed from.
        entropy, entropy_until: weight mu of the entropy term, and share of the epochs in which it acts; paper form.
    """

    alpha: float = option(2.0, low=0)
    until: float = option(0.7, low=0, high=1)
    smoothing: float = option(0.0, low=0, high=1)
    share: float = option(0.1, low=0, high=1)
    form: str = option("code", choices=("code", "paper"))
    entropy: float = option(0.01, low=0)
    entropy_until: float = option(0.1, low=0, high=1)
    TITLE: ClassVar[str] = "PMR"
    SEVERAL: ClassVar[bool] = True
    OFFICIAL: ClassVar[str] = "W^m z_m + b / M; _prototype: distance to the class prototypes, no bias"
    # prototypes: m -> [K, D_m]; seen: [K], which classes have one
    MEMORY: ClassVar[dict[str, object]] = {"prototypes": {}, "seen": torch.zeros(0, dtype=torch.bool)}

    def objective(self, model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
        if not is_late(model) and not (hasattr(model, "pooled") and hasattr(model, "classify")):
            raise ValueError(
                f"PMR needs one feature vector per modality, which {type(model).__name__} does not give. Use a "
                "LateFusion model, or another method."
            )
        return PrototypeObjective(model, criterion)

    def on_start(self, state: State) -> None:
        self.on_epoch_end(state)

    @torch.no_grad()
    def on_epoch_end(self, state: State) -> None:
        keep = self.smoothing if state.epoch else 0.0  # share of the old prototypes in the new ones
        limit = max(1, int(self.share * state.steps_per_epoch + 1e-9))
        features, target = collect(state, "train", training=True, limit=limit)
        means = {m: class_means(z, target, state.classes) for m, z in features.items()}
        present = next(iter(means.values()))[1]
        seen = self.seen if len(self.seen) else torch.zeros_like(present)
        old = self.prototypes
        self.prototypes = {m: blend(new, old.get(m, new), present, seen, keep) for m, (new, _) in means.items()}
        self.seen = seen | present

    def step(self, state: State, batch: Batch) -> dict[str, Tensor]:
        joint = state.objective(batch.inputs, batch.target)
        similarity = {m: similarities(z, self.prototypes[m], self.seen) for m, z in joint.features.items()}
        counted = self.seen[batch.target].to(joint.loss.dtype)  # [B]
        prototype = {m: prototype_loss(values, batch.target, counted) for m, values in similarity.items()}
        total = joint.loss
        if active(state.epoch, state.epochs, self.until):
            with torch.no_grad():
                right = [target_probability(values, batch.target) for values in similarity.values()]
                scores = torch.stack([(p * counted).sum() for p in right])
            weights = (code_coefficients if self.form == "code" else paper_coefficients)(scores)
            added = self.alpha * (weights * torch.stack(list(prototype.values()))).sum()
            if self.form == "paper" and self.entropy and active(state.epoch, state.epochs, self.entropy_until):
                spread = torch.stack([prototype_entropy(values) for values in similarity.values()])
                added = added - self.entropy * (entropy_coefficients(scores) * spread).sum()
            total = total + added
        state.backward(total)
        state.update()
        return {"multimodal": joint.loss} | {f"prototype_{m}": value for m, value in prototype.items()}

    def official_unimodal(self, state: State, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        features = vectors(state.model, inputs)
        scores = {f"{m}_prototype": similarities(z, self.prototypes[m], self.seen) for m, z in features.items()}
        return scores | (split_logits(state.model.fusion, features) if has_linear_fusion(state.model) else {})
