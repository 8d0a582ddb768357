"""Give methods classifiers of their own: feature widths, heads, branches, and shares of a run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.gradients import FUSED, DisentangledObjective
from dgl_core.methods.base import Batch, Method, State
from dgl_core.methods.scores import check_target, evaluating
from dgl_core.utils import unknown_name


def whole_epochs(share: float, epochs: int) -> int:
    """Turn a share of the run into whole epochs, at least one: 0.2 of 100 epochs is 20, 0.04 of 20 is 1."""
    return max(1, math.floor(share * epochs + 0.5))


def is_late(model: nn.Module) -> bool:
    """Tell whether the modalities meet only after the encoders, unlike in MMTM and ESANet, which mix them before."""
    return hasattr(model, "encode") and not hasattr(model, "pooled")


def vector(features: Tensor) -> Tensor:
    """Make one vector per sample, [B, D]: the mean over steps of [B, L, D], over places of [B, D, H, W]."""
    if features.dim() == 3:
        return features.mean(dim=1)
    return features.flatten(2).mean(dim=2) if features.dim() > 3 else features


def vectors(model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Compute one feature vector per modality, {m: [B, D_m]}: ``pooled`` ones where modalities mix early."""
    return {m: vector(z) for m, z in (model.encode if is_late(model) else model.pooled)(inputs).items()}


@torch.no_grad()
def collect(state: State, part: str, **how: object) -> tuple[dict[str, Tensor], Tensor]:
    """Collect ``vectors`` {m: [N, D_m]} and targets [N] of ``state.batches(part, **how)``, in evaluation mode."""
    features, target = defaultdict(list), []
    with evaluating(state.model):
        for batch in state.batches(part, **how):
            for m, z in vectors(state.model, batch.inputs).items():
                features[m].append(z)
            target.append(batch.target)
    return {m: torch.cat(z) for m, z in features.items()}, torch.cat(target)


def feature_widths(model: nn.Module, title: str) -> dict[str, int]:
    """Find the feature width D_m of every encoder: its ``width``, what the fusion takes, or what a last layer gives."""
    if not is_late(model):
        raise ValueError(
            f"{title} puts a classifier on the features of each modality, but {type(model).__name__} mixes modalities "
            "before that. Use a late-fusion model (dgl_core.models.LateFusion) or another method."
        )
    widths = {}
    for m, encoder in model.encoders.items():
        layers = [layer for layer in encoder.modules() if next(layer.parameters(recurse=False), None) is not None]
        told = (getattr(model.fusion, "widths", None) or {}).get(m)  # a fusion head may know what it takes
        told = told or (getattr(layers[-1], "out_features", None) if layers else None)
        width = getattr(encoder, "width", told)
        if width is None:
            raise ValueError(
                f"{title} needs the feature width of encoder {m!r} ({type(encoder).__name__}); give the encoder an "
                "integer attribute `width`."
            )
        widths[m] = int(width)
    return widths


def common_width(model: nn.Module, title: str) -> int:
    """Find the one width of all features, for a head that all modalities share; refuse widths that differ."""
    widths = feature_widths(model, title)
    if len(set(widths.values())) > 1:
        raise ValueError(
            f"{title} shares one head among all modalities, so their features need one width; they have {widths}. "
            "Give the encoders the same output width."
        )
    return next(iter(widths.values()))


def encode(
    model: nn.Module, inputs: Mapping[str, Tensor], modalities: Collection[str] | None = None
) -> dict[str, Tensor]:
    """Encode some modalities of a late-fusion model (or all), {m: [B, D_m]} in its order; no other encoder runs."""
    modalities = model.encoders if modalities is None else modalities
    for m in modalities:
        if m not in model.encoders:
            raise unknown_name("modality", m, model.encoders)
        if m not in inputs:
            raise ValueError(f"The batch has no {m!r}; it is needed here, and the batch has {list(inputs)}.")
    if not modalities:
        raise ValueError(f"No modality to predict from: keep at least one of {list(model.encoders)}.")
    return {m: vector(encoder(inputs[m])) for m, encoder in model.encoders.items() if m in modalities}


def branch_logits(state: State, inputs: Mapping[str, Tensor], branches: Collection[str]) -> dict[str, Tensor]:
    """Compute logits [B, K] of some branches; encoders that none of them needs do not run."""
    model = state.model
    if not is_late(model):
        return {b: model(inputs, keep=None if b == FUSED else (b,)) for b in branches}
    features = model.encode(inputs) if FUSED in branches else {b: model.encoders[b](inputs[b]) for b in branches}
    return {b: model.fuse(features) if b == FUSED else state.heads[b](vector(features[b])) for b in branches}


@dataclass
class OwnHeads(Method):
    """A joint classifier (the model's fusion) and one linear classifier per modality beside it.

    Where modalities mix inside the network no head is made, and the unimodal logits are those of the zero mask.
    """

    SEVERAL: ClassVar[bool] = True
    OFFICIAL: ClassVar[str] = "own linear head on z_m, whole bias"

    def heads(self, model: nn.Module, classes: int) -> nn.ModuleDict:
        widths = feature_widths(model, self.TITLE) if is_late(model) else {}
        return nn.ModuleDict({m: nn.Linear(width, classes) for m, width in widths.items()})

    def objective(self, model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
        return DisentangledObjective(model, 1.0, encoder_gate=1.0, fusion_gate=1.0, criterion=criterion)

    def losses(self, state: State, batch: Batch) -> dict[str, Tensor]:
        """Compute the cross-entropy of every branch, ``{"fused": L_multi, m: L_m}``, with gradients everywhere."""
        if not len(state.heads):
            losses = state.objective(batch.inputs, batch.target)
            return {FUSED: losses.multimodal} | losses.unimodal
        check_target(batch.target)
        logits = branch_logits(state, batch.inputs, (FUSED, *state.model.encoders))
        return {branch: F.cross_entropy(values, batch.target) for branch, values in logits.items()}

    def official_unimodal(self, state: State, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not len(state.heads):
            return {}
        return {m: state.heads[m](z) for m, z in encode(state.model, inputs).items()}


def logged(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename branch losses for the log, where the fused one is called ``multimodal``."""
    return {"multimodal" if branch == FUSED else branch: loss for branch, loss in losses.items()}
