"""On-the-fly gradient modulation: OGM and OGM-GE."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dgl_core.methods.base import Batch, Method, State, option
from dgl_core.methods.scores import (
    JointObjective,
    active,
    has_linear_fusion,
    mean_of_others,
    split_logits,
    target_probability,
    unimodal_logits,
)

SMALLEST = 1e-5  # floor of a score in a denominator
SPREAD = 1e-8  # added to the standard deviation of the noise


def ratios(scores: Tensor) -> Tensor:
    """rho_m = mean over j != m of s_m / s_j, [M] -> [M]; for two modalities the paper's ratio."""
    return mean_of_others(scores[:, None] / scores.clamp(min=SMALLEST))


def coefficients(scores: Tensor, alpha: float) -> Tensor:
    """k_m = 1 - tanh(alpha rho_m) where rho_m > 1, else 1; [M] -> [M]."""
    rho = ratios(scores)
    return torch.where(rho > 1, 1 - torch.tanh(alpha * rho), torch.ones_like(rho))


def modulated_weights(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Find the tensors to modulate: convolution weights (4-D), or else all weights of two dimensions or more."""
    return [p for p in parameters if p.dim() == 4] or [p for p in parameters if p.dim() > 1]


def modulate(gradient: Tensor, coefficient: Tensor, generator: torch.Generator | None) -> None:
    """Scale and disturb in place, g <- k g + N(0, (std(g) + 1e-8)^2); without a generator there is no noise."""
    if generator is None:
        gradient.mul_(coefficient)
        return
    sigma = gradient.std(correction=int(gradient.numel() > 1)) + SPREAD  # of the gradient before it is scaled
    noise = torch.randn(gradient.numel(), generator=generator, dtype=gradient.dtype, device=gradient.device)
    gradient.mul_(coefficient).add_(noise.mul_(sigma).view(gradient.shape))


@dataclass
class OGM(Method):
    """On-the-fly gradient modulation: slow down the encoder of the modality that is ahead.

    **Idea.** The modality that learns first explains the loss away. OGM compares how much probability each modality
    alone gives to the right class and shrinks the encoder gradient of the leader.

    **Step.**

    1. l = W [z_1; ...; z_M] + b, L = CE(l, y), backward into everything.
    2. Unimodal logits l_m = W^m z_m + b / M (for other fusions the zero mask), without gradient.
    3. Score s_m = sum over the batch of softmax(l_m)[y]; discrepancy rho_m = mean over j != m of s_m / s_j.
    4. k_m = 1 - tanh(alpha rho_m) if rho_m > 1, else 1.
    5. Convolution weights of encoder m: g <- k_m g. Batch-norm, biases, the fusion and the heads keep their gradient.
    6. Update. After the epoch ``until`` * epochs: vanilla.

    **Source.** Xiaokang Peng, Yake Wei, Andong Deng, Dong Wang, Di Hu, "Balanced multimodal learning via on-the-fly
    gradient modulation", CVPR 2022; official ``main.py`` (GeWu-Lab/OGM-GE_CVPR2022, 343dc1d), modulation "OGM", epochs
    0-50 of 100; more than two modalities: METHODS 2.2. Test-time score of a modality: W^m z_m + b / M, with sum fusion
    W^m z_m + b_m / M.

    **Difference.** (1) At an exact tie nobody is damped, by the paper's formula; ``main.py`` damps audio. (2) Tensors
    are found through the model, not by a name prefix that ``DataParallel`` adds. (3) An encoder without any 4-D weight
    (an MLP) has its weight matrices modulated. (4) The window is a share of the run. (5) A score in a denominator is at
    least 1e-5. (6) Under gradient accumulation each part of the batch is modulated by its own k_m before it is added.

    Args:
        alpha: strength of the damping; 0.8 on CREMA-D, 0.1 on VGGSound (official README).
        until: share of the epochs in which gradients are modulated, the last one included.
    """

    alpha: float = option(0.8, low=0)
    until: float = option(0.5, low=0, high=1)
    TITLE: ClassVar[str] = "OGM"
    SEVERAL: ClassVar[bool] = True
    OFFICIAL: ClassVar[str] = "W^m z_m + b / M"
    NOISE: ClassVar[bool] = False

    def objective(self, model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
        return JointObjective(model, criterion)

    def step(self, state: State, batch: Batch) -> dict[str, Tensor]:
        joint = state.objective(batch.inputs, batch.target)
        if active(state.epoch, state.epochs, self.until):
            logits = unimodal_logits(state.model, batch.inputs, joint.features)
            with torch.no_grad():
                scores = torch.stack([target_probability(values, batch.target).sum() for values in logits.values()])
                damping = dict(zip(logits, coefficients(scores, self.alpha), strict=True))
            self._backward(state, joint.loss, damping)
        else:
            state.backward(joint.loss)
        state.update()
        return {"multimodal": joint.loss}

    def _backward(self, state: State, loss: Tensor, damping: Mapping[str, Tensor]) -> None:
        """Back-propagate and modulate what this batch adds; gradients that wait for an update are set aside."""
        weights = [(p, k) for m, k in damping.items() for p in modulated_weights(state.parameters(m))]
        waiting = [p.grad for p, _ in weights]
        for p, _ in weights:
            p.grad = None
        state.backward(loss)
        generator = None
        if self.NOISE:  # drawn on the device of the model, from a seed that a resumed run finds again
            generator = torch.Generator(loss.device).manual_seed(state.generator("ogm_ge").initial_seed())
        for (p, k), before in zip(weights, waiting, strict=True):
            if p.grad is not None:
                modulate(p.grad, k, generator)
            if before is not None:
                p.grad = before if p.grad is None else p.grad.add_(before)

    def official_unimodal(self, state: State, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not has_linear_fusion(state.model):
            return {}
        return split_logits(state.model.fusion, state.model.encode(inputs), sum_share=1 / len(state.model.encoders))


@dataclass
class OGMGE(OGM):
    """OGM with generalisation enhancement: Gaussian noise as large as the gradient itself is added to it.

    **Idea.** Damping weakens the noise of stochastic gradients, which helps generalisation; GE puts it back.
    **Step.** As ``OGM``, with step 5: g <- k_m g + N(0, sigma^2), sigma = std(g) + 1e-8 over the elements of that
    tensor before scaling, for every modality, also where k_m = 1.
    **Source.** Official ``main.py``, modulation "OGM_GE". **Difference.** (1-6) As for ``OGM``.
    """

    TITLE: ClassVar[str] = "OGM-GE"
    NOISE: ClassVar[bool] = True
