"""Make the optimiser of a run as ``RunSpec`` says, set its learning rate epoch by epoch, clip its gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from dgl_core.training.records import RunSpec


def optimizer_of(spec: RunSpec, groups: Mapping[str, Sequence[nn.Parameter]]) -> torch.optim.Optimizer:
    """Make one optimiser over named groups of parameters: encoders by modality, "fusion", "heads"; empty ones left out.

    Every group keeps its name and its ``scale`` of the epoch's rate: ``spec.encoder_lr_scale`` for encoders, else 1.
    """
    named = [
        {"params": list(each), "name": name, "scale": 1.0 if name in ("fusion", "heads") else spec.encoder_lr_scale}
        for name, each in groups.items()
        if each
    ]
    if spec.optimizer == "sgd":
        sgd = torch.optim.SGD(named, spec.lr, spec.momentum, 0, spec.weight_decay, spec.nesterov, fused=True)
        for parameter in [p for group in named for p in group["params"] if spec.momentum]:
            # Zero is what momentum starts from anyway. Left unset, a fused SGD fails as soon as one parameter of a
            # group gets its first gradient later than the others.
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[spec.optimizer]
    return kind(named, spec.lr, betas=(spec.momentum, 0.999), weight_decay=spec.weight_decay, fused=True)


def start_epoch(optimizer: torch.optim.Optimizer, spec: RunSpec, epoch: int) -> float:
    """Set the rate and the momentum of a 0-based epoch; returns the rate."""
    passed = sum(epoch >= milestone for milestone in spec.milestones)
    rate, momentum = spec.lr * spec.decay**passed, spec.momentum
    if spec.schedule == "one_cycle":
        rate, momentum = one_cycle(epoch, spec.epochs, spec.lr)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
        group |= {"momentum": momentum} if "momentum" in group else {"betas": (momentum, group["betas"][1])}
    return rate


def one_cycle(epoch: int, epochs: int, peak: float) -> tuple[float, float]:
    """Compute rate and momentum of a 0-based one-cycle epoch: up by cosine in the first tenth, down in the rest.

    The rate goes peak/25 -> peak -> peak/250 000, the momentum .95 -> .85 -> .95, which overrides the configured one.

    Source: ESANet ``train.py``: torch's OneCycleLR with pct_start .1, stepped once per epoch. Difference: ten epochs or
    fewer start at the peak (torch divides by zero at ten).
    """
    last, top = epochs - 1, 0.1 * epochs - 1
    if epoch <= top and top > 0:
        share, rates, momenta = epoch / top, (peak / 25, peak), (0.95, 0.85)
    else:
        top = max(top, 0.0)
        share = (epoch - top) / (last - top) if last > top else 0.0
        rates, momenta = (peak, peak / 25 / 1e4), (0.85, 0.95)
    blend = (1 + math.cos(math.pi * share)) / 2
    return tuple(end + (start - end) * blend for start, end in (rates, momenta))


def gradient_norms(optimizer: torch.optim.Optimizer, groups: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Measure the L2 norm of every group's gradient, if it has one, 0-d on its device (no waiting).

    With ``groups``, the gradients of all others are dropped first.
    """
    norms = {}
    for group in optimizer.param_groups:
        if groups is not None and group["name"] not in groups:
            for parameter in group["params"]:
                parameter.grad = None
        if grads := [p.grad for p in group["params"] if p.grad is not None]:
            norms[group["name"]] = torch.nn.utils.get_total_norm(grads)
    return norms


def clip(optimizer: torch.optim.Optimizer, norms: Iterable[Tensor], largest: float) -> None:
    """Scale all gradients together so that their norm, that of the groups' ``norms``, is at most ``largest``."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    total = torch.linalg.vector_norm(torch.stack(list(norms)))
    torch.nn.utils.clip_grads_with_norm_(parameters, largest, total)
