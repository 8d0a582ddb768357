"""ReconBoost: modalities as learners that are boosted in turn (Hua, Xu, Bao, Yang, Huang, ICML 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.gradients import FUSED
from dgl_core.methods.base import Batch, Method, State, option
from dgl_core.methods.heads import common_width, encode, whole_epochs
from dgl_core.methods.scores import check_target


def reconcilement_loss(logits: Tensor, others: Tensor, target: Tensor, w1: float, w2: float) -> Tensor:
    """``mean_i [-w1 log p_y + w2 q_y log p_y] / K``: fit the label, less where the others already do.

    p = softmax(``logits`` [B, K]) is of the current modality, q = ``others`` [B, K] of the ensemble of all others.
    """
    log_p = F.log_softmax(logits, dim=1).gather(1, target[:, None])  # [B, 1]
    q = others.detach().gather(1, target[:, None])
    return ((w2 * q - w1) * log_p).mean() / logits.shape[1]


def stage_of(epoch: int, epochs: int, alone: int, together: int) -> tuple[int, bool]:
    """Find the stage of a 0-based epoch, and whether it is one of the first ``alone`` epochs of the stage.

    What is left of the run after the last whole stage prolongs its second phase, so that no run ends in a first phase.
    """
    stage, within = divmod(epoch, alone + together)
    whole = epochs // (alone + together)
    return (stage, within < alone) if stage < whole else (max(whole - 1, 0), False)


class Ensemble(nn.Module):
    """The head that all modalities share, D -> D/2 -> K, and the learned factor before the sum of their logits."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        hidden = max(1, width // 2)
        self.head = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes))
        self.rate = nn.Parameter(torch.ones(()))

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute h(z_m) of every modality, {m: [B, K]}."""
        return {m: self.head(z) for m, z in features.items()}

    def join(self, logits: Mapping[str, Tensor]) -> Tensor:
        """Add up the logits: rate * sum_m h(z_m), [B, K]."""
        return self.rate * sum(logits.values())


@dataclass
class ReconBoost(Method):
    """ReconBoost: one modality at a time is trained on what the others leave over, then all together.

    **Idea.** Gradient boosting with one learner per modality, of which only the newest version is kept: each learns
    what the others do not know already. A joint phase after each turn repairs what the turn upset.

    **Step** (one update per batch). h is one head D -> D/2 -> K for all modalities; the ensemble is
    rate * sum_m h(z_m) over the modalities that had a turn. Stage s belongs to modality s mod M and has two phases:

    1. *Alone*: the current modality and h, with p = softmax(h(z_m)), q = softmax(rate * sum of the *other* modalities'
       logits), no gradient through q: L = mean_i [-w1 log p_y + w2 q_y log p_y] / K, so that
       dL/dlogit_y = -(w1 - w2 q_y)(1 - p_y) / K. From stage 1 on plus ``alignment`` * MSE(p, softmax of the logits
       of the modality of the stage before).
    2. *Together*: CE of the ensemble on its encoders, h and rate.

    **Source.** Cong Hua, Qianqian Xu, Shilong Bao, Zhiyong Yang, Qingming Huang, "ReconBoost: boosting can achieve
    modality reconcilement", ICML 2024; official ``train.py``, ``models/dynamic_net.py``, ``schedule.py``
    (huacong/ReconBoost, 14ab57a). As there, the other modalities run in training mode in phase 1, so their batch-norm
    statistics move and their weights do not.

    **Difference.** (1) Phases of ``train.py`` are 4 + 4 epochs; shares of the run here, 4 + 4 of 100 epochs, 1 + 1 of
    20. As there, scores at the end follow a phase 2: it goes on where the run is too short for another stage. (2) The
    official MSE joins two detached tensors and trains nothing, whatever its weight 0.5; ``alignment`` 0 is that. A
    positive value lets its gradient reach the current modality. (3) Stage 0 has no others, so q is uniform; there it is
    1 for every sample by a slip of shape (softmax over one column), which only scales the loss. (4) The commands
    of the official README start from encoders that were trained alone (``--use_pretrain``, on epochs of their own);
    with ``pretraining`` the first epochs of the run do this, every modality through h, so that the budget is equal and
    all modalities are members from stage 0 on. (5) The optimiser
    is that of all methods here and keeps its momentum from stage to stage; there it is made anew. (6) The fusion module
    of the model is not used and not trained. A masked modality is left out of the sum. (7) Any number of modalities; a
    run that ends before every modality had its turn uses those that had.

    Args:
        w1, w2: weight of the label, 5 on CREMA-D, and of the others, 1; more than w1 would unlearn.
        alone, together: share of the run of each phase 1 and phase 2.
        pretraining: share of the run in which every modality is first trained alone.
    """

    w1: float = option(5.0, low=0)
    w2: float = option(1.0, low=0)
    alignment: float = option(0.0, low=0)
    alone: float = option(0.04, low=0, high=1)
    together: float = option(0.04, low=0, high=1)
    pretraining: float = option(0.0, low=0, high=0.9)
    TITLE: ClassVar[str] = "ReconBoost"
    SEVERAL: ClassVar[bool] = True
    OFFICIAL: ClassVar[str] = "the shared head on z_m, whole bias"

    def __post_init__(self):
        super().__post_init__()
        if self.w1 <= self.w2:
            raise ValueError(f"w1 is {self.w1} and w2 is {self.w2}; w1 must be larger, or labels are unlearnt.")
        if self.alone + self.together > 1:
            raise ValueError(
                f"alone is {self.alone} and together is {self.together}; these shares of the run must not exceed 1 in "
                "sum, or no stage would fit into it."
            )

    def heads(self, model: nn.Module, classes: int) -> nn.ModuleDict:
        return nn.ModuleDict({"ensemble": Ensemble(common_width(model, self.TITLE), classes)})

    def stage(self, state: State) -> tuple[int, bool]:
        """Find the stage of the present epoch, and whether its modality is trained alone."""
        lengths = (whole_epochs(share, state.epochs) for share in (self.alone, self.together))
        before = self.before(state)
        return stage_of(max(state.epoch - before, 0), state.epochs - before, *lengths)

    def before(self, state: State) -> int:
        """Count the epochs of pre-training."""
        return whole_epochs(self.pretraining, state.epochs) if self.pretraining else 0

    def members(self, state: State) -> list[str]:
        """List the modalities of the ensemble: those that had a turn, the present one included, or pre-training."""
        names = list(state.model.encoders)
        return names if self.pretraining else names[: self.stage(state)[0] + 1]

    def step(self, state: State, batch: Batch) -> dict[str, Tensor]:
        check_target(batch.target)
        ensemble, members = state.heads["ensemble"], self.members(state)
        stage, alone = self.stage(state)
        if state.epoch < self.before(state):
            logits = ensemble(encode(state.model, batch.inputs, members))
            loss, alone = sum(F.cross_entropy(values, batch.target) for values in logits.values()), True
        elif alone:
            loss, logits = self._alone(state, batch, members, stage)
        else:
            logits = ensemble(encode(state.model, batch.inputs, members))
            loss = F.cross_entropy(ensemble.join(logits), batch.target)
        state.backward(loss)
        with torch.no_grad():
            multimodal = F.cross_entropy(ensemble.join(logits), batch.target) if alone else loss
        state.update()
        return {"multimodal": multimodal, "objective": loss}

    def _alone(self, state: State, batch: Batch, members: list[str], stage: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of phase 1, and the logits of all members."""
        names, ensemble = list(state.model.encoders), state.heads["ensemble"]
        current, previous = names[stage % len(names)], names[(stage - 1) % len(names)]
        others = [m for m in members if m != current]
        with torch.no_grad():
            logits = ensemble(encode(state.model, batch.inputs, others)) if others else {}
            q = torch.softmax(ensemble.join(logits), dim=1) if others else None
        logits |= ensemble(encode(state.model, batch.inputs, [current]))
        if q is None:
            q = torch.full_like(logits[current], 1 / state.classes)
        loss = reconcilement_loss(logits[current], q, batch.target, self.w1, self.w2)
        if self.alignment and others:
            p, before = torch.softmax(logits[current], dim=1), torch.softmax(logits[previous], dim=1)
            loss = loss + self.alignment * F.mse_loss(p, before)
        return loss, logits

    def logits(self, state: State, inputs: Mapping[str, Tensor], keep: Sequence[str] | None = None) -> Tensor:
        ensemble = state.heads["ensemble"]
        return ensemble.join(ensemble(encode(state.model, inputs, self.members(state) if keep is None else keep)))

    def all_logits(self, state: State, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        ensemble = state.heads["ensemble"]
        branches = self.official_unimodal(state, inputs)
        fused = ensemble.join({m: branches[m] for m in self.members(state)})
        return {FUSED: fused} | {m: ensemble.join({m: values}) for m, values in branches.items()}

    def official_unimodal(self, state: State, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return state.heads["ensemble"](encode(state.model, inputs))
