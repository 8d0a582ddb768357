"""A spy on the updates of a method, and a trainer for it to watch: vectors in, features of one width."""

from __future__ import annotations

import copy

import torch
from stepping import make
from tiny import NAMES, arrays, mlp
from torch import nn

from dgl_core.methods.base import Batch
from dgl_core.models import ConcatFusion, LateFusion
from dgl_core.training.loop import Trainer


def equal_widths(
    modalities: int = 2, width: int = 4, batch_norm: bool = True, seed: int = 0, classes: int = 3
) -> LateFusion:
    """Late fusion of encoders whose features have one width, as a shared head needs it."""
    torch.manual_seed(seed)
    encoders = {m: mlp(3 + i, width, batch_norm=batch_norm) for i, m in enumerate(NAMES[:modalities])}
    return LateFusion(encoders, ConcatFusion(dict.fromkeys(encoders, width), classes))


def trainer(
    name: str, model: nn.Module | None = None, modalities: int = 2, options: dict | None = None, **changes
) -> Trainer:
    """A trainer of vectors, ready for ``method.step``. ``changes``: fields of the specification."""
    settings = {"epochs": 4, "batch_size": 8, "milestones": (3,)} | changes
    made = make(name, model or equal_widths(modalities), arrays(modalities), options=options, **settings)
    made.model.train()
    made._norms = {group["name"]: [] for group in made.optimizer.param_groups}
    return made


def first_batch(state: Trainer, start: int = 0) -> Batch:
    return state.batch(state.train_index[start : start + 8])


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def moved(module: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    """Whether any parameter changed."""
    return any(not torch.equal(p, before[name]) for name, p in module.named_parameters())


class Spy:
    """Stands in for ``state.update``: keeps copies of the gradients and the weights at every update."""

    def __init__(self, state: Trainer):
        self.state, self.update, self.grads, self.after = state, state.update, [], []
        state.update = self

    def __call__(self, groups=None):
        named = [*self.state.model.named_parameters(), *self.state.heads.named_parameters("heads")]
        self.grads.append({n: p.grad.clone() for n, p in named if p.grad is not None})
        self.update(groups)
        self.after.append(copy.deepcopy((self.state.model, self.state.heads)))
