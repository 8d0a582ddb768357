"""Tiny models and data shared by the tests: seconds become milliseconds, nothing else changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.data import DATASETS, ArrayDataset, Recipe
from dgl_core.data.recipe import Facts
from dgl_core.gradients import FUSED  # noqa: F401
from dgl_core.models import FUSIONS, LateFusion, MultimodalModel

NAMES = ("sound", "face", "text", "depth", "touch")  # not audio and visual: no method may assume those


def mlp(width: int, features: int, *, batch_norm: bool = False) -> nn.Module:
    """[B, width] -> [B, features]."""
    middle = nn.BatchNorm1d(6) if batch_norm else nn.Tanh()
    return nn.Sequential(nn.Linear(width, 6), middle, nn.Linear(6, features))


def late(
    modalities: int = 2, fusion: str = "concat", classes: int = 3, seed: int = 0, batch_norm: bool = False
) -> LateFusion:
    """A float64 late-fusion model whose encoders differ in input width (3, 4, ...) and feature width (2, 3, ...)."""
    torch.manual_seed(seed)
    encoders = {m: mlp(3 + i, 2 + i, batch_norm=batch_norm) for i, m in enumerate(NAMES[:modalities])}
    head = FUSIONS[fusion]({m: 2 + i for i, m in enumerate(encoders)}, classes)
    return LateFusion(encoders, head).double()


def batch(modalities: int = 2, size: int = 8, classes: int = 3, seed: int = 1) -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = {
        m: torch.randn(size, 3 + i, dtype=torch.float64, generator=generator) for i, m in enumerate(NAMES[:modalities])
    }
    return inputs, torch.randint(classes, (size,), generator=generator)


class Exchange(nn.Module):
    """A dense fusion in miniature: every modality's hidden state is scaled by a gate made of all of them."""

    def __init__(self, modalities: Collection[str], width: int, classes: int, norm: type[nn.Module]):
        super().__init__()
        count = len(modalities)
        self.squeeze = nn.Linear(count * width, width)
        self.norm = norm(width)
        self.excite = nn.ModuleDict({m: nn.Linear(width, width) for m in modalities})
        self.classifier = nn.Linear(count * width, classes)

    def forward(self, hidden: dict[str, Tensor], late: bool) -> dict[str, Tensor] | Tensor:
        stacked = torch.cat(list(hidden.values()), dim=1)
        if late:
            return self.classifier(stacked)
        joint = self.norm(self.squeeze(stacked))
        return {m: 2 * torch.sigmoid(self.excite[m](joint)) for m in hidden}


class Dense(MultimodalModel):
    """Modalities mix between the first and the second half of each encoder, so encoder m's second half sees all inputs.

    Masking sets a modality to zero at the input of both fusion operations.
    """

    def __init__(self, modalities: int = 2, width: int = 4, classes: int = 3, batch_norm: bool = True):
        norm = nn.BatchNorm1d if batch_norm else nn.Identity
        encoders = {
            m: nn.ModuleDict(
                {
                    "first": nn.Sequential(nn.Linear(3 + i, width), norm(width), nn.Tanh()),
                    "second": nn.Sequential(nn.Linear(width, width), norm(width), nn.Tanh()),
                }
            )
            for i, m in enumerate(NAMES[:modalities])
        }
        super().__init__(encoders, Exchange(list(encoders), width, classes, norm))

    def forward(self, inputs: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Tensor:
        def mask(hidden: dict[str, Tensor]) -> dict[str, Tensor]:
            return {m: z if keep is None or m in keep else torch.zeros_like(z) for m, z in hidden.items()}

        hidden = {m: part["first"](inputs[m]) for m, part in self.encoders.items()}
        gates = self.fusion(mask(hidden), late=False)
        hidden = {m: part["second"](hidden[m] * gates[m]) for m, part in self.encoders.items()}
        return self.fusion(mask(hidden), late=True)


def dense(modalities: int = 2, seed: int = 0, batch_norm: bool = True) -> Dense:
    torch.manual_seed(seed)
    return Dense(modalities, batch_norm=batch_norm).double()


class Chain(MultimodalModel):
    """The other modalities are added into the first encoder half-way, as ESANet adds depth into its colour branch.

    So the masked pass of another modality runs through later layers of the first encoder: masking is not complete.
    """

    def __init__(self, modalities: int = 2, width: int = 4, classes: int = 3):
        encoders = {
            m: nn.ModuleDict({"first": nn.Sequential(nn.Linear(3 + i, width), nn.BatchNorm1d(width), nn.Tanh())})
            for i, m in enumerate(NAMES[:modalities])
        }
        encoders[NAMES[0]]["second"] = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        super().__init__(
            encoders, nn.ModuleDict({"mix": nn.Linear(width, width), "classifier": nn.Linear(width, classes)})
        )

    def forward(self, inputs: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Tensor:
        hidden = {m: part["first"](inputs[m]) for m, part in self.encoders.items()}
        mixed = sum(self.fusion["mix"](z) for m, z in hidden.items() if keep is None or m in keep)
        return self.fusion["classifier"](self.encoders[NAMES[0]]["second"](mixed))


def chain(modalities: int = 2, seed: int = 0) -> Chain:
    torch.manual_seed(seed)
    return Chain(modalities).double()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Name -> copy of the gradient, of the parameters that have one."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def by_hand(model, inputs, target, alpha: float, encoder_gate: float, fusion_gate: float) -> dict[str, Tensor]:
    """The gradient of every parameter, each loss differentiated on its own (METHODS 2.10, any architecture)."""

    def grads(loss, parameters):
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]

    logits = {FUSED: model(inputs)} | {m: model(inputs, keep=(m,)) for m in model.encoders}
    losses = {name: F.cross_entropy(value, target) for name, value in logits.items()}
    expected = {}
    for m, encoder in model.encoders.items():
        names = [f"encoders.{m}.{n}" for n, _ in encoder.named_parameters()]
        joint, own = (grads(losses[name], list(encoder.parameters())) for name in (FUSED, m))
        expected |= {n: encoder_gate * j + alpha * o for n, j, o in zip(names, joint, own, strict=True)}
    parameters = list(model.fusion.parameters())
    total = grads(losses[FUSED], parameters)
    for m in model.encoders:
        total = [t + fusion_gate * alpha * g for t, g in zip(total, grads(losses[m], parameters), strict=True)]
    names = [f"fusion.{n}" for n, _ in model.fusion.named_parameters()]
    return expected | dict(zip(names, total, strict=True))


SPLIT = ["train", "val", "train", "test"]  # repeated over the samples


def arrays(modalities: int = 2, samples: int = 60, classes: int = 3, seed: int = 0) -> ArrayDataset:
    """Vectors that carry their class, with noise: half train, a quarter val, a quarter test."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(samples) % classes
    inputs = {}
    for i, m in enumerate(NAMES[:modalities]):
        centres = torch.randn(classes, 3 + i, generator=generator)
        inputs[m] = centres[target] + torch.randn(samples, 3 + i, generator=generator)
    return ArrayDataset(inputs, target, (SPLIT * samples)[:samples], name="tiny_arrays")


def images(modalities: int = 2, samples: int = 24, classes: int = 3, seed: int = 0) -> ArrayDataset:
    """16 x 16 pictures with 1, 2, ... channels whose brightness carries the class; values are multiples of 1/4."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(samples) % classes
    inputs = {}
    for i, m in enumerate(NAMES[:modalities]):
        noise = torch.randint(-8, 9, (samples, 1 + i, 16, 16), generator=generator) / 4
        inputs[m] = noise + target[:, None, None, None] / 4
    return ArrayDataset(inputs, target, (SPLIT * samples)[:samples], name="tiny")


def pictures(modalities: int = 2, classes: int = 3, seed: int = 0, fusion: str = "concat") -> LateFusion:
    """A late-fusion network for ``images``: convolutions and batch-norm, weights in multiples of 1/16."""
    encoders = {
        m: nn.Sequential(
            nn.Conv2d(1 + i, 4, 3, 2),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        for i, m in enumerate(NAMES[:modalities])
    }
    for encoder in encoders.values():
        encoder.width = 6  # methods with heads of their own ask for it
    model = LateFusion(encoders, FUSIONS[fusion](dict.fromkeys(encoders, 6), classes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randint(-8, 9, parameter.shape, generator=generator) / 16)
            elif name.endswith("bias"):
                parameter.zero_()
    return model


def register() -> None:
    """Make ``RunSpec("tiny", ...)`` runnable in this process (also called in worker processes)."""
    DATASETS["tiny"] = Recipe(
        name="tiny",
        load=lambda root, **options: images(**options),
        options={"modalities": 2, "samples": 24},
        generated=True,
        facts=Facts("tiny pictures"),
    )
