"""Trust compiled code only after it has trained like eager code: the same steps of a run, both ways."""

from __future__ import annotations

import dataclasses
import sys

import torch

from dgl_core import methods, models
from dgl_core.data import Dataset
from dgl_core.training.loop import Trainer
from dgl_core.training.machine import AUTO, Machine
from dgl_core.training.records import RunSpec

STEPS = 20
BACKEND = "inductor"
# Largest distance of the weights, over the way that eager training went; rounding alone stays well below.
NEAR = {"fp64": 1e-6, "fp32": 0.02, "tf32": 0.1, "bf16": 0.3}
_trusted: dict[tuple, bool] = {}  # what this process has tested


def settled(machine: Machine, spec: RunSpec, dataset: Dataset, device: torch.device, backend: str = BACKEND) -> Machine:
    """Decide whether a run is compiled where the machine leaves it open ("auto"): on a GPU, if the self-test passes.

    A method and network of one shape are tested once a process. What fails is said in a sentence, and trains eagerly.
    """
    if machine.compile != AUTO:
        return machine
    plain = dataclasses.replace(machine, compile="")
    if device.type != "cuda":
        return plain
    compiled = dataclasses.replace(machine, compile=backend)
    return compiled if trusted(spec, dataset, device, plain, compiled) else plain


def trusted(spec: RunSpec, dataset: Dataset, device: torch.device, plain: Machine, compiled: Machine) -> bool:
    """Train ``STEPS`` steps eagerly and compiled from the same start, and compare the weights."""
    what = spec.but(seed=0).identity(), device.type, compiled.compile
    if what not in _trusted:
        try:
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                apart = distance(spec, dataset, device, plain, compiled)
            reason = "" if apart <= NEAR[spec.precision] else f"its weights differ by {apart:.2g} of the way"
        except Exception as error:  # compilers raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        if reason:
            print(f"{spec.method} on {spec.model} is not compiled: {reason} after {STEPS} steps; it trains eagerly.",
                  file=sys.stderr)  # fmt: skip
        _trusted[what] = not reason
    return _trusted[what]


def distance(spec: RunSpec, dataset: Dataset, device: torch.device, plain: Machine, compiled: Machine) -> float:
    """Measure how far compiled and eager training end apart, over how far eager training went."""
    ends = []
    for machine in (plain, compiled):
        torch.manual_seed(0)  # of heads, which a run draws later
        method = methods.build(spec.method, spec.method_options)
        shapes = {m: dataset.shapes[m] for m in method.modalities(dataset.modalities)}
        model = models.build(spec.model, shapes, len(dataset.classes), spec.seed, **spec.model_options)
        run = Trainer(spec, method, model, dataset, device, machine)
        method.on_start(run)
        start = _weights(run)
        run.steps_per_epoch = min(STEPS, run.steps_per_epoch)
        run._train_epoch()
        ends.append(_weights(run))
    return ((ends[1] - ends[0]).norm() / (ends[0] - start).norm().clamp_min(1e-300)).item()


def _weights(run: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().double().flatten().cpu() for p in run.model.parameters()])
