"""MMPareto: a common descent direction of the multimodal and the unimodal loss (Wei, Hu, ICML 2024)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dgl_core.gradients import FUSED
from dgl_core.methods.base import Batch, State, option
from dgl_core.methods.heads import OwnHeads, logged

Grads = Sequence[Tensor | None]  # (g_joint, g_own) of one parameter, None where that loss does not reach it


def min_norm(v11: Tensor, v12: Tensor, v22: Tensor) -> Tensor:
    """Find a_1 in [0.001, 0.999] for which ``a_1 g_1 + (1 - a_1) g_2`` is shortest, from v_ij = <g_i, g_j>.

    ``a_1 = (v22 - v12) / (v11 + v22 - 2 v12)``, unless the shortest point is an end: 0.999 if v12 >= v11, 0.001 if
    v12 >= v22. 0-d tensors in and out, so nothing waits for the device.
    """
    inner = (v22 - v12) / (v11 + v22 - 2 * v12)
    return torch.where(v12 >= v11, 0.999, torch.where(v12 >= v22, 0.001, inner))


def pareto_weight(joint: Sequence[Tensor], own: Sequence[Tensor]) -> Tensor:
    """Choose a_1 of one encoder, 0-d: one half where the two gradients agree (cos > 0), else ``min_norm``."""
    v11, v12, v22 = dot(joint, joint), dot(joint, own), dot(own, own)
    return torch.where(v12 > 0, 0.5, min_norm(v11, v12, v22))


def dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Inner product of two lists of tensors, as if each were one long vector."""
    return torch.stack([(a * b).sum() for a, b in zip(first, second, strict=True)]).sum()


def enlarge(joint: Tensor, own: Tensor, weight: Tensor, gamma: float) -> Tensor:
    """Compute the final gradient of one parameter tensor.

    ``h = 2 a_1 g_joint + 2 (1 - a_1) g_own``, made as long as the plain sum ``g_joint + g_own`` if it is shorter, times
    ``gamma``. Where the two cancel (``h`` is zero or lost in rounding) ``h`` has no direction and stays as it is.
    """
    h = 2 * weight * joint + 2 * (1 - weight) * own
    target, length = torch.linalg.vector_norm(joint + own), torch.linalg.vector_norm(h)
    meant = length > torch.finfo(h.dtype).eps * target
    return gamma * torch.where(meant, target / length, 1.0).clamp(min=1.0) * h


@torch.no_grad()
def integrate(pairs: Mapping[nn.Parameter, Grads], gamma: float) -> dict[nn.Parameter, Tensor]:
    """Compute final gradients of one encoder; an absent one counts as zero, a parameter without both is left out."""
    reached = [p for p, pair in pairs.items() if any(g is not None for g in pair)]
    joint, own = ([torch.zeros_like(p) if pairs[p][i] is None else pairs[p][i] for p in reached] for i in (0, 1))
    if not reached:
        return {}
    weight = pareto_weight(joint, own)
    return {p: enlarge(a, b, weight, gamma) for p, a, b in zip(reached, joint, own, strict=True)}


@torch.no_grad()
def integrate_flat(pairs: Mapping[nn.Parameter, Grads], gamma: float) -> dict[nn.Parameter, Tensor]:
    """Compute what ``integrate`` computes, on one flat vector an encoder, in about twenty operations for any network.

    ``integrate`` takes about thirty for every parameter tensor, which a GPU spends starting kernels. The sums are added
    up in another order, so last digits differ; a CPU keeps the other form, which made the committed records.
    """
    reached = [p for p, pair in pairs.items() if any(g is not None for g in pair)]
    if not reached:
        return {}
    joint, own = (torch.cat([_in_memory_order(pairs[p][i], p) for p in reached]) for i in (0, 1))
    both = torch.stack([joint, own])
    (v11, v12), (_, v22) = both @ both.T
    weight = torch.where(v12 > 0, 0.5, min_norm(v11, v12, v22))
    h, sizes = 2 * weight * joint + 2 * (1 - weight) * own, [p.numel() for p in reached]
    target, length = (torch.stack(torch._foreach_norm(x.split(sizes))) for x in (joint + own, h))
    meant = length > torch.finfo(h.dtype).eps * target
    longer = gamma * torch.where(meant, target / length, 1.0).clamp(min=1.0)  # of each parameter tensor
    final = h * torch.cat([each.expand(size) for each, size in zip(longer, sizes, strict=True)])
    parts = zip(reached, final.split(sizes), strict=True)
    return {p: part.as_strided(p.shape, p.stride(), part.storage_offset()) for p, part in parts}


def _in_memory_order(grad: Tensor | None, parameter: nn.Parameter) -> Tensor:
    """Lay a gradient out flat, in the order in which its dense parameter lies in memory; zeros for an absent one."""
    if grad is None:
        grad = torch.zeros_like(parameter)
    elif grad.stride() != parameter.stride():
        grad = torch.empty_like(parameter).copy_(grad)
    return grad.as_strided((grad.numel(),), (1,), grad.storage_offset())


def add(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    """Add two gradients of which either may be absent."""
    if first is None or second is None:
        return second if first is None else first
    return first + second


@dataclass
class MMPareto(OwnHeads):
    """MMPareto: Pareto integration of the multimodal and the unimodal gradient of every encoder.

    **Idea.** Follow the sum of the two gradients where they agree. Where they conflict, follow the direction that
    lowers both losses, made as long as the sum, because the noise of a long gradient is what makes SGD generalise.

    **Step** (one update per batch). A joint classifier (the model's fusion) and one linear head per modality.

    1. L_multi and L_m = CE(head_m(z_m), y) for every m; g_joint = grad L_multi and g_own = grad L_m on encoder m.
    2. For each encoder, over all its parameters: a_1 = 1/2 if cos(g_joint, g_own) > 0. Else, with
       v11 = <g_joint, g_joint>, v12 and v22 likewise: a_1 = (v22 - v12) / (v11 + v22 - 2 v12), but 0.999 if v12 >= v11
       and 0.001 if v12 >= v22.
    3. For each parameter *tensor* of encoder m: h = 2 a_1 g_joint + 2 (1 - a_1) g_own,
       h <- h max(1, ||g_joint + g_own|| / ||h||), gradient <- gamma h. So without conflict it is gamma times the sum.
    4. Fusion and heads keep the plain sum of the gradients that reach them.

    **Source.** Yake Wei, Di Hu, "MMPareto: boosting multimodal learning with innocent unimodal assistance", ICML 2024;
    official ``code/MMPareto.py``, ``code/min_norm_solvers.py`` (GeWu-Lab/MMPareto_ICML2024, a339db3).

    **Difference.** (1) Any number of modalities: each encoder solves its own two-loss problem. (2) Two backward passes,
    L_multi and the sum of all L_m (each reaches its own encoder only); the third one of ``MMPareto.py`` gives the sum
    of these two once more. (3) A zero gradient, 0/0 there, counts for nothing here: the other gradient is followed at
    its own length, and two zeros stay zero. (4) Dense fusion: no heads, L_m from the zero mask, as the DGL paper does
    it. (5) Schedule and clipping are those of all methods here; ``MMPareto.py`` has a constant rate and no clipping.

    ``gamma``, the enlargement of the encoder gradients, is 1.5 in the official code.
    """

    gamma: float = option(1.5, low=0)
    TITLE: ClassVar[str] = "MMPareto"

    def step(self, state: State, batch: Batch) -> dict[str, Tensor]:
        parameters = [*state.model.parameters(), *state.heads.parameters()]
        losses = self.losses(state, batch)
        earlier = take(parameters)  # accumulated from earlier batches of this update
        state.backward(losses[FUSED], retain_graph=True)
        joint = take(parameters)
        state.backward(sum(loss for branch, loss in losses.items() if branch != FUSED))
        own = take(parameters)
        pairs = {p: pair for p, *pair in zip(parameters, joint, own, strict=True)}
        final = {p: add(*pair) for p, pair in pairs.items()}
        for encoder in state.model.encoders.values():
            reached = {p: pairs[p] for p in encoder.parameters()}
            on_gpu = any(p.is_cuda for p in reached)
            final |= (integrate_flat if on_gpu else integrate)(reached, self.gamma)
        for p, before in zip(parameters, earlier, strict=True):
            p.grad = add(before, final[p])
        state.update()
        return logged(losses)


def take(parameters: Iterable[nn.Parameter]) -> list[Tensor | None]:
    """Return the gradients and clear them."""
    grads = []
    for parameter in parameters:
        grads.append(parameter.grad)
        parameter.grad = None
    return grads
