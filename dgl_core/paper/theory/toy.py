"""Train a task small enough to watch: linear encoders, one head, modalities that differ in how loud the class is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dgl_core.gradients import FUSED, DisentangledObjective
from dgl_core.models import ConcatFusion, LateFusion
from dgl_core.paper.theory.residual import residual
from dgl_core.suppression import suppression_ratio

TWO = {"easy": 4.0, "hard": 2.0}
THREE = {"easy": 4.0, "medium": 2.8, "hard": 2.0}
WIDTH = 4  # of every feature
Curves = dict[str, list[float]]  # column -> one value per step that is shown


class Toy(NamedTuple):
    """Generated samples, float64: modality -> [N, 8], and the classes [N]."""

    train: dict[str, Tensor]
    train_target: Tensor
    test: dict[str, Tensor]
    test_target: Tensor


def toy_data(loudness: Mapping[str, float] | None = None, seed: int = 0, samples: int = 200, classes: int = 4) -> Toy:
    """Draw Gaussian classes: ``x^m = loudness_m * centre^m_y + noise``, of variance one; modalities are independent.

    Larger ``loudness`` (``TWO`` by default) is easier. The test part has five times as many samples.
    """
    loudness = TWO if loudness is None else loudness
    generator = torch.Generator().manual_seed(seed)
    kind = {"generator": generator, "dtype": torch.float64}
    centres = {m: nn.functional.normalize(torch.randn(classes, 8, **kind), dim=1) for m in loudness}

    def draw(n: int) -> tuple[dict[str, Tensor], Tensor]:
        target = torch.randint(classes, (n,), generator=generator)
        return {m: c * centres[m][target] + torch.randn(n, 8, **kind) for m, c in loudness.items()}, target

    return Toy(*draw(samples), *draw(5 * samples))


def toy_model(data: Toy, seed: int = 0, classes: int = 4) -> LateFusion:
    """Build one linear encoder per modality and the concatenation head of Eq. 4, float64, seeded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoders = {m: nn.Linear(x.shape[1], WIDTH, bias=False) for m, x in data.train.items()}
        return LateFusion(encoders, ConcatFusion({m: WIDTH for m in encoders}, classes)).double()


def gradient_norms(model: LateFusion, inputs: Mapping[str, Tensor], target: Tensor) -> dict[str, tuple[float, float]]:
    """Measure what L_multi and L_m would send to encoder m (norms), both at the present parameters (Eq. 3, Eq. 7)."""
    losses = DisentangledObjective(model, alpha=1.0, encoder_gate=1.0)(inputs, target)

    def norm(loss: Tensor, encoder: nn.Module) -> float:
        received = torch.autograd.grad(loss, list(encoder.parameters()), retain_graph=True)
        return torch.cat([g.flatten() for g in received]).norm().item()

    encoders = model.encoders.items()
    return {m: (norm(losses.multimodal, encoder), norm(losses.unimodal[m], encoder)) for m, encoder in encoders}


def measure(model: LateFusion, data: Toy) -> dict[str, float]:
    """Measure everything that the toy pictures show, at the present parameters; columns as in the run records."""
    row = {}
    with torch.no_grad():
        logits, test = model.all_logits(data.train), model.all_logits(data.test)
    for name, scores in test.items():
        row[f"test/{name}/accuracy"] = (scores.argmax(1) == data.test_target).double().mean().item()
        row[f"test/{name}/loss"] = nn.functional.cross_entropy(scores, data.test_target).item()
        row[f"train/{name}/loss"] = nn.functional.cross_entropy(logits[name], data.train_target).item()
    index = data.train_target[:, None]
    missing = {name: -residual(u, data.train_target).gather(1, index).sum() for name, u in logits.items()}
    for m, (multimodal, unimodal) in gradient_norms(model, data.train, data.train_target).items():
        ratio, s_bar = suppression_ratio(logits[FUSED], logits[m], data.train_target)
        row[f"suppression/{m}/R_mean"] = ratio.mean().item()
        row[f"suppression/{m}/R_median"] = ratio.median().item()
        row[f"suppression/{m}/R_total"] = (missing[FUSED] / missing[m]).item()
        row[f"suppression/{m}/s_bar_median"] = s_bar.median().item()
        row[f"suppression/{m}/share"] = (s_bar < 1).double().mean().item()
        row[f"gradient/{m}/multimodal"], row[f"gradient/{m}/unimodal"] = multimodal, unimodal
    return row


def train_toy(
    model: LateFusion,
    data: Toy,
    *,
    alpha: float = 1.0,
    encoder_gate: float = 0.0,
    fusion_gate: float = 0.0,
    lr: float = 0.02,
    encoder_lr_scale: float = 1.0,
    steps: int = 300,
    every: int = 10,
    optimizer: str = "sgd",
    measured: Callable[[LateFusion, Toy], Mapping[str, float]] = measure,
) -> Curves:
    """Train in place on the full batch with the real objective; no clipping, no decay.

    Args:
        alpha, encoder_gate, fusion_gate: as ``DisentangledObjective``; vanilla is alpha 0 with encoder_gate 1.
        lr: learning rate; that of the encoders is ``lr * encoder_lr_scale``.
        optimizer: "sgd" (momentum 0.9) or "adam" (eps 1e-12, so that D4 is visible to rounding).
        measured: what to look at, of the model and its data.

    Returns ``"step"`` and the columns of ``measured`` at every so many steps and after the last; nothing if that is 0.
    """
    objective = DisentangledObjective(model, alpha, encoder_gate, fusion_gate)
    groups = [
        {"params": model.encoders.parameters(), "lr": lr * encoder_lr_scale},
        {"params": model.fusion.parameters(), "lr": lr},
    ]
    update = torch.optim.SGD(groups, momentum=0.9) if optimizer == "sgd" else torch.optim.Adam(groups, eps=1e-12)
    curves: Curves = {}
    for step in range(steps + 1):
        if every and (step % every == 0 or step == steps):
            for name, value in {"step": float(step), **measured(model, data)}.items():
                curves.setdefault(name, []).append(value)
        if step < steps:
            update.zero_grad()
            objective(data.train, data.train_target).total.backward()
            update.step()
    return curves
