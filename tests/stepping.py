"""One step of a method on tiny data, stopped before the update, so that its gradients can be looked at."""

from __future__ import annotations

import torch
from tiny import NAMES, gradients, images, pictures

from dgl_core import methods
from dgl_core.training.loop import Trainer
from dgl_core.training.records import RunSpec

A, B, C = NAMES[:3]


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def make(key, model=None, dataset=None, modalities=2, options=None, **spec) -> Trainer:
    """A trainer at its first step, in float64."""
    dataset = dataset or images(modalities)
    model = model or pictures(modalities)
    spec = RunSpec("tiny", key, "custom", **{"batch_size": 6, "epochs": 2, "lr": 0.05, "precision": "fp64"} | spec)
    trainer = Trainer(spec, methods.build(key, options), model, dataset, torch.device("cpu"))
    trainer.method.on_start(trainer)
    return trainer


def without_updates(trainer: Trainer) -> Trainer:
    """In training mode, with gradients that stay."""
    trainer.update = lambda groups=None: None
    trainer.model.train()
    return trainer


def one_step(key, model=None, rows=slice(0, 6), *, epoch=0, prepare=None, **more) -> tuple[dict, Trainer]:
    """Gradients that one step leaves (no update), and the trainer."""
    trainer = without_updates(make(key, model, **more))
    trainer.epoch = epoch
    if prepare is not None:
        prepare(trainer)
    trainer.method.step(trainer, trainer.batch(trainer.train_index[rows]))
    return gradients(trainer.model), trainer


def assert_close(found, expected, tolerance=1e-12):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] - value).abs().max() <= tolerance, f"{name}: off by {(found[name] - value).abs().max():.2e}"
