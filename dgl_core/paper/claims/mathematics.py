"""Check the claims that need no training: does the paper's sentence hold as it stands, in float64?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dgl_core import methods
from dgl_core.gradients import disentangled_loss
from dgl_core.models import LateFusion
from dgl_core.paper.theory import cases, feature, residual, toy
from dgl_core.paper.theory.two_processes import example

DRAWS = 2000
Finding = tuple[bool, str]  # does the sentence hold, and what was computed


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _draw(classes: int = 6, width: int = 8) -> dict[str, Tensor]:
    """Draw random features, heads and targets: z, partner's logits v, block W, target y."""
    kind = {"generator": _generator(), "dtype": torch.float64}
    return {
        "z": torch.randn(DRAWS, width, **kind),
        "v": torch.randn(DRAWS, classes, **kind),
        "W": torch.randn(classes, width, **kind) / width**0.5,
        "y": torch.randint(classes, (DRAWS,), generator=kind["generator"]),
    }


def printed_gradient(joint: bool) -> Finding:
    """Compare Eq. 4 (joint) or Eq. 7 as printed with autograd."""
    d = _draw()
    z = d["z"].requires_grad_()
    logits = z @ d["W"].T + (d["v"] if joint else 0.0)
    (true,) = torch.autograd.grad(nn.functional.cross_entropy(logits, d["y"], reduction="sum"), z)
    logits = logits.detach()
    printed = (feature.printed_gradient(logits, d["W"], d["y"]) - true).norm(dim=1) / true.norm(dim=1)
    put_right = (feature.feature_gradient(logits, d["W"], d["y"]) - true).norm(dim=1).max().item()
    holds = printed.max().item() < 1e-9
    exact = "exact" if put_right < 1e-12 else "wrong too"
    return holds, f"off by {100 * printed.median().item():.0f} % in the median; with the sum over other rows {exact}"


def every_score_below_one() -> Finding:
    """Test Eq. 5 for every sample, on features that nobody trained."""
    d = _draw()
    scores = residual.partial_scores(d["v"], d["y"]).scatter(1, d["y"][:, None], 0.0)
    share = (scores.max(1).values < 1).double().mean().item()
    return share == 1.0, f"true of {100 * share:.0f} % of random samples, 6 classes"


def _suppressed_draws() -> tuple[Tensor, Tensor]:
    """Draw random samples that satisfy Eq. 5; return their R and their ratio of gradient norms."""
    heads = cases.random_heads(DRAWS, 6, 8, _generator())
    return heads["ratio"][heads["margins"]], heads["norm_ratio"][heads["margins"]]


def residual_shrinks() -> Finding:
    """Test Eq. 8 for the scalar |p_y - 1|, where Eq. 5 holds."""
    ratio, _ = _suppressed_draws()
    return bool((ratio < 1).all()), f"{len(ratio)} random samples, no exception"


def norm_shrinks() -> Finding:
    """Test Eq. 8 for the norm of the gradient at the feature, where Eq. 5 holds."""
    _, norms = _suppressed_draws()
    case = cases.growing_norm()
    grew = case.g_multi.norm().item() > case.g_uni.norm().item()
    share = (norms > 1).double().mean().item()
    return not grew and share == 0, f"the norm grows for {100 * share:.0f} % of random samples"


def never_zero() -> Finding:
    """Test that abs(g^Multi) > 0 whenever p_y < 1."""
    case = cases.vanishing_gradient()
    norm, left = case.g_multi.norm().item(), 1 - case.p_multi[case.target].item()
    return norm > 1e-12, f"a gradient of norm {norm:.0f} with 1 - p_y = {left:.1f}"


def only_zero() -> Finding:
    """Test that s = 1 for all classes only if z = 0."""
    weight = _draw(classes=6, width=16)["W"]
    z = cases.silent_feature(weight, 2, _generator())
    off = (residual.partial_scores(weight @ z, torch.tensor(2)) - 1).abs().max().item()
    return not (off < 1e-12 and z.norm() > 0.5), f"a feature of norm {z.norm().item():.0f} with every s_k = 1"


def _encoder_gradient(model: LateFusion, inputs: dict[str, Tensor], target: Tensor) -> Tensor:
    model.zero_grad()
    disentangled_loss(model, inputs, target, alpha=4.0).total.backward()
    return torch.cat([p.grad.flatten() for p in model.encoders["audio"].parameters()])


def unimodal_gradient() -> Finding:
    """Test Eq. 11 to 14: under DGL an encoder gets alpha times the gradient of its zero-masked loss."""
    model, inputs, target = example()
    arrived = _encoder_gradient(model, inputs, target)
    alone = nn.functional.cross_entropy(model(inputs, keep=("audio",)), target)
    wanted = torch.autograd.grad(alone, list(model.encoders["audio"].parameters()))
    error = (arrived - 4 * torch.cat([g.flatten() for g in wanted])).abs().max().item()
    return error < 1e-12, "largest error below 1e-12" if error < 1e-12 else f"largest error {error:.1g}"


def no_interference() -> Finding:
    """Test that under DGL the gradient of one encoder does not depend on the other modality's input."""
    model, inputs, target = example()
    before = _encoder_gradient(model, inputs, target)
    after = _encoder_gradient(model, inputs | {"visual": 3 * inputs["visual"].flip(0)}, target)
    change = (before - after).abs().max().item()
    return change == 0.0, f"another input changes it by {change:.0g}"


def no_parameters() -> Finding:
    """Count the parameters that DGL adds to the model it trains."""
    model, *_ = example()
    extra = sum(p.numel() for p in methods.build("dgl").heads(model, 3).parameters())
    objective = methods.build("dgl").objective(model, nn.functional.cross_entropy)
    extra += sum(p.numel() for p in objective.parameters()) - sum(p.numel() for p in model.parameters())
    return extra == 0, f"{extra} extra parameters"


def alpha_is_a_rate() -> Finding:
    """Test that under SGD, without decay and clipping, alpha is a factor of the encoders' learning rate (D4)."""
    ends = []
    for alpha, scale in ((4.0, 1.0), (1.0, 4.0)):
        data = toy.toy_data(samples=40)
        model = toy.toy_model(data)
        toy.train_toy(model, data, alpha=alpha, encoder_lr_scale=scale, steps=50, every=0)
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    off = (ends[0] - ends[1]).abs().max().item()
    return off < 1e-10, "50 steps end at the same weights" if off < 1e-10 else f"weights differ by {off:.1g}"
