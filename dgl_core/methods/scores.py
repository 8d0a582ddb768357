"""Give methods that rebalance one joint loss what they share: the objective, unimodal scores, when to act."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dgl_core.gradients import check_partition, frozen
from dgl_core.models.fusion import ConcatFusion, Fusion, SumFusion

LINEAR_FUSIONS = (ConcatFusion, SumFusion)  # l = sum_m W^m z_m + bias: every modality owns a part of the logits


class Joint(NamedTuple):
    """One joint forward pass: the loss L_multi, and features {m: [B, D_m]} ({} if dense)."""

    loss: Tensor
    features: dict[str, Tensor]


class JointObjective(nn.Module):
    """Vanilla loss, with the features that it was computed from. Source: Eq. 1-2."""

    def __init__(self, model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        check_partition(model)
        self.model, self.criterion = model, criterion

    def forward(self, inputs: Mapping[str, Tensor], target: Tensor) -> Joint:
        """Take ``inputs``, modality -> [B, ...], and ``target``, [B] class indices."""
        check_target(target)
        late = hasattr(self.model, "encode")
        features = self.model.encode(inputs) if late else {}
        fused = self.model.fusion(features) if late else self.model(inputs)
        return Joint(self.criterion(fused, target), features)


def active(epoch: int, epochs: int, until: float) -> bool:
    """Tell whether a method that acts in the first part ``until`` of a run acts in this 0-based epoch (the last too).

    ``until`` 0.5 of 100 epochs is 0..50, as in the official scripts; of 20 epochs it is 0..10.
    """
    return epoch <= until * epochs + 1e-9


def mean_of_others(values: Tensor) -> Tensor:
    """Mean over j != m of values_j, [M] -> [M], or of values_mj, [M, M] -> [M]."""
    others = 1 - torch.eye(len(values), dtype=values.dtype, device=values.device)
    return (others * values).sum(dim=1) / (len(values) - 1)


def check_target(target: Tensor) -> None:
    """Raise a ``ValueError`` unless there is one class per sample, whose probability tells who is ahead."""
    if target.dim() != 1 or target.is_floating_point():
        raise ValueError(
            f"This method scores modalities by the class of each sample; the target has shape {list(target.shape)}. "
            "For dense prediction use vanilla, gblend, partial or dgl."
        )


def target_probability(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the softmax probability of the right class: logits [B, K], target [B] -> [B]."""
    return logits.softmax(dim=1).gather(1, target[:, None]).squeeze(1)


def has_linear_fusion(model: nn.Module) -> bool:
    """Tell whether the logits of this model are a sum of one linear map per modality (concatenation or sum)."""
    return isinstance(model.fusion, LINEAR_FUSIONS) and hasattr(model, "encode")


def head_weights(fusion: Fusion, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cut the head into W^m [K, D_m] of every modality, for one of ``LINEAR_FUSIONS``."""
    if isinstance(fusion, SumFusion):
        return {m: head.weight for m, head in fusion.heads.items()}
    widths = [features[m].shape[1] for m in fusion.modalities]
    return dict(zip(fusion.modalities, fusion.head.weight.split(widths, dim=1), strict=True))


def split_logits(fusion: Fusion, features: Mapping[str, Tensor], sum_share: float = 1.0) -> dict[str, Tensor]:
    """Split the fused logits into each modality's own part, {m: [B, K]}, for one of ``LINEAR_FUSIONS``.

    Concatenation: W^m z_m + b / M, so the parts add up to the fused logits. Sum: W^m z_m + ``sum_share`` b_m.

    **Source.** OGM-GE ``main.py`` (``out_a``, ``out_v``); METHODS 1.1 "OGM split".
    """
    if isinstance(fusion, SumFusion):
        biases = {m: sum_share * head.bias for m, head in fusion.heads.items()}
    else:
        biases = dict.fromkeys(fusion.modalities, fusion.head.bias / len(fusion.modalities))
    weights = head_weights(fusion, features)
    return {m: F.linear(features[m], weights[m], biases[m]) for m in weights}


@torch.no_grad()
def unimodal_logits(
    model: nn.Module, inputs: Mapping[str, Tensor], features: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Compute unimodal logits during training, {m: [B, K]}, without gradient and without moving batch statistics.

    The split logits where the fusion is linear, the zero mask of Eq. 12 elsewhere. ``features`` {m: [B, D_m]} are those
    of ``inputs``, or {} for a dense model, which is then run once per modality.
    """
    if has_linear_fusion(model):
        return split_logits(model.fusion, features)
    part, given = (model.fusion, features) if features else (model, inputs)
    held = frozen(part)
    return {m: functional_call(part, held, (given,), {"keep": (m,)}) for m in model.encoders}


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norm as they are for a while, although a pass in training mode runs."""
    layers = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a while, gradients as they are; then every mode is restored."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
