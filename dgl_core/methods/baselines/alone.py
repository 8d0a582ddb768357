"""Train every encoder alone and join them afterwards: an average of opinions, or a head on frozen features.

They are the null models of DGL, whose encoders see unimodal losses only: what they reach needs no multimodal training.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.gradients import FUSED
from dgl_core.methods.base import Batch, Method, State
from dgl_core.methods.heads import collect, encode, feature_widths
from dgl_core.methods.scores import JointObjective, evaluating

JOINED = "joined"  # the fitted fusion among the heads
DECAYS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # strengths of the penalty that validation chooses from


@dataclass
class UnimodalEnsemble(Method):
    """Unimodal ensemble: each encoder with its own linear head, trained alone; log-probabilities are averaged.

    **Step.** theta_m and head_m follow grad CE(head_m(z_m), y), for each modality by itself; the model's fusion is not
    used. Fused logits are the mean over modalities of log softmax(head_m(z_m)), an absent modality left out (several
    labels: of the log-odds; numbers: of the predictions).
    **Source.** The late-fusion average of every textbook; the null model of Table 1 that the paper does not have.
    **Difference.** (1) One run trains all encoders side by side; nothing flows between them.
    """

    TITLE: ClassVar[str] = "unimodal ensemble"
    SEVERAL: ClassVar[bool] = True
    OFFICIAL: ClassVar[str] = "own linear head on z_m, whole bias"
    TARGETS: ClassVar[tuple[str, ...]] = ("classification", "multi_label", "regression")
    WEIGHTS: ClassVar[bool] = True

    def heads(self, model: nn.Module, classes: int) -> nn.ModuleDict:
        return nn.ModuleDict({m: nn.Linear(width, classes) for m, width in feature_widths(model, self.TITLE).items()})

    def objective(self, model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
        return JointObjective(model, criterion)  # for its model alone

    def step(self, state: State, batch: Batch) -> dict[str, Tensor]:
        logits = self.official_unimodal(state, batch.inputs)
        losses = {m: state.criterion(values, batch.target) for m, values in logits.items()}
        state.backward(sum(losses.values()))
        with torch.no_grad():
            multimodal = state.criterion(state.pool(logits), batch.target)
        state.update([*logits, "heads"])
        return {"multimodal": multimodal} | losses

    def logits(self, state: State, inputs: Mapping[str, Tensor], keep: Sequence[str] | None = None) -> Tensor:
        return state.pool({m: state.heads[m](z) for m, z in encode(state.model, inputs, keep).items()})

    def all_logits(self, state: State, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        branches = self.official_unimodal(state, inputs)
        return {FUSED: state.pool(branches)} | {m: state.pool({m: values}) for m, values in branches.items()}

    def official_unimodal(self, state: State, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {m: state.heads[m](z) for m, z in encode(state.model, inputs).items()}


@dataclass
class FrozenEncoders(UnimodalEnsemble):
    """Frozen unimodal encoders: as ``UnimodalEnsemble``, then the model's fusion is fitted on their features.

    **Step.** After the last epoch the encoders stay as they are; a fusion module of the model's kind is fitted to the
    features of the training part, without augmentation, by L-BFGS on the mean cross-entropy + decay * |weights|^2 / 2;
    validation accuracy chooses the decay. Until then the fused logits are the ensemble's.
    **Source.** Late-fusion probing, as in the linear probes of self-supervised learning.
    **Difference.** (1) A missing modality is answered by the heads of those that are there, which knew it alone.
    """

    TITLE: ClassVar[str] = "frozen unimodal encoders, new head"
    TARGETS: ClassVar[tuple[str, ...]] = ("classification",)  # its head is fitted to classes
    WEIGHTS: ClassVar[bool] = False
    MEMORY: ClassVar[dict[str, object]] = {"fitted": False}

    def heads(self, model: nn.Module, classes: int) -> nn.ModuleDict:
        own = super().heads(model, classes)
        own[JOINED] = copy.deepcopy(model.fusion)
        return own

    def on_epoch_end(self, state: State) -> None:
        if state.epoch + 1 < state.epochs:
            return
        (train, target), (val, wanted) = collect(state, "train"), collect(state, "val")
        fusion, found = state.heads[JOINED], []
        start = copy.deepcopy(fusion.state_dict())
        for decay in DECAYS:
            fusion.load_state_dict(start)
            fit_fusion(fusion, train, target, decay)
            with evaluating(fusion), torch.no_grad():
                right = (fusion(val).argmax(dim=1) == wanted).double().mean().item()
            found.append((right, copy.deepcopy(fusion.state_dict())))
        fusion.load_state_dict(max(found, key=lambda one: one[0])[1])
        self.fitted = True

    def logits(self, state: State, inputs: Mapping[str, Tensor], keep: Sequence[str] | None = None) -> Tensor:
        if self.fitted and (keep is None or set(keep) == set(state.model.encoders)):
            return state.heads[JOINED](encode(state.model, inputs))
        return super().logits(state, inputs, keep)

    def all_logits(self, state: State, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return super().all_logits(state, inputs) | {FUSED: self.logits(state, inputs)}


def fit_fusion(fusion: nn.Module, features: Mapping[str, Tensor], target: Tensor, decay: float) -> None:
    """Fit a fusion module in place to fixed features {m: [N, D_m]} and targets [N]."""
    weights = list(fusion.parameters())
    optimizer = torch.optim.LBFGS(weights, max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(fusion(features), target)
        loss = loss + decay / 2 * sum(weight.square().sum() for weight in weights)
        loss.backward()
        return loss

    optimizer.step(closure)
    optimizer.zero_grad(set_to_none=True)
