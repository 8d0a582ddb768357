"""Multimodal cosine loss: MMCosine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.gradients import FUSED, Losses
from dgl_core.methods.base import Method, State, option
from dgl_core.methods.scores import JointObjective, has_linear_fusion, head_weights
from dgl_core.models.fusion import check_keep

SMALLEST = 1e-12  # a shorter vector has no direction


def unit(rows: Tensor) -> Tensor:
    """Scale rows [N, D] to length 1; a zero row stays zero and gets no gradient (instead of an infinite one)."""
    length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return torch.where(length > SMALLEST, rows / length.clamp(min=SMALLEST), torch.zeros_like(rows))


def cosine_logits(feature: Tensor, weight: Tensor, scale: float) -> Tensor:
    """``scale`` times the cosine between feature and class weight: [B, D], [K, D] -> [B, K], in [-scale, scale]."""
    return scale * F.linear(unit(feature), unit(weight))


def all_cosine_logits(model: nn.Module, inputs: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Compute every modality's own cosine logits, and ``"fused"``, their sum, [B, K] each."""
    features = model.encode(inputs)
    weights = head_weights(model.fusion, features)
    own = {m: cosine_logits(z, weights[m], scale) for m, z in features.items()}
    return {FUSED: sum(own.values())} | own


class CosineObjective(JointObjective):
    """Cross-entropy on summed cosine logits, for late fusion by concatenation or sum; any other is refused."""

    def __init__(self, model: nn.Module, scale: float, criterion: Callable[[Tensor, Tensor], Tensor]):
        super().__init__(model, criterion)
        if not has_linear_fusion(model):
            raise ValueError(
                "MMCosine normalises one linear classifier per modality, so it needs the fusion 'concat' or 'sum'; "
                f"this model has {type(model.fusion).__name__}."
            )
        self.scale = scale

    def forward(self, inputs: Mapping[str, Tensor], target: Tensor) -> Losses:
        logits = all_cosine_logits(self.model, inputs, self.scale)
        loss = self.criterion(logits[FUSED], target)
        return Losses(loss, loss, {}, logits)


@dataclass
class MMCosine(Method):
    """Multimodal cosine loss: logits are cosines, so that no modality wins by longer features or weights.

    **Idea.** The modality that is ahead also gets the larger weight norms, which keeps it ahead. Normalising features
    and class weights per modality leaves only directions to compete.
    **Step.** l_m,k = scale * <z_m / ||z_m||, W^m_k / ||W^m_k||>, without bias; l = sum_m l_m; L = CE(l, y), backward
    into everything, update.
    **Source.** Ruize Xu, Ruoxuan Feng, Shi-Xiong Zhang, Di Hu, "MMCosine: multi-modal cosine loss towards balanced
    audio-visual fine-grained learning", ICASSP 2023; official ``main_CD.py`` (GeWu-Lab/MMCosine_ICASSP23, 00ba0a9),
    scale 10, weight of its contrastive term 0.
    **Difference.** (1) Fused logits are the cosine logits at test time too; the validation of ``main_CD.py`` takes the
    raw linear ones for the fused score and cosines for the unimodal scores. (2) The unimodal score is l_m, which is
    also the zero mask: a zero feature has no direction, its logits are 0 and it gets no gradient. (3) Any number of
    modalities; concatenation and sum only; the bias of the classifier is not used.
    """

    scale: float = option(10.0, above=0)
    TITLE: ClassVar[str] = "MMCosine"
    SEVERAL: ClassVar[bool] = True
    ZERO_MASK: ClassVar[str] = "cosines of the others zero; there is no bias"

    def objective(self, model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
        return CosineObjective(model, self.scale, criterion)

    def logits(self, state: State, inputs: Mapping[str, Tensor], keep: Sequence[str] | None = None) -> Tensor:
        logits = all_cosine_logits(state.model, inputs, self.scale)
        if keep is None:
            return logits[FUSED]
        check_keep(keep, state.model.encoders)
        return sum(logits[m] for m in keep)

    def all_logits(self, state: State, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return all_cosine_logits(state.model, inputs, self.scale)
