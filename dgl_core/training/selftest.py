"""Trust compiled code only after it has trained like eager code: the same steps of a run, both ways."""

from __future__ import annotations

import dataclasses
import sys

import torch

from dgl_core import methods, models
from dgl_core.data import Dataset
from dgl_core.training.loop import Trainer
from dgl_core.training.machine import AUTO, GRAPHS, Machine
from dgl_core.training.records import RunSpec

STEPS = 20
BACKEND = "inductor"
# Largest distance of the weights, over the way that eager training went; rounding alone stays well below.
NEAR = {"fp64": 1e-6, "fp32": 0.02, "tf32": 0.1, "bf16": 0.3}
_trusted: dict[tuple, bool] = {}  # what this process has tested


def settled(machine: Machine, spec: RunSpec, dataset: Dataset, device: torch.device, processes: int = 1) -> Machine:
    """Decide how a run is compiled where the machine leaves it open ("auto") or asks for CUDA graphs.

    On a GPU: with CUDA graphs if a self-test passes, else by inductor if that passes it, else not. A method and network
    of one shape are tested once a process. What fails is said in a sentence, and the slower way is taken.
    """
    if machine.compile not in (AUTO, GRAPHS):
        return machine
    plain = dataclasses.replace(machine, compile="")
    if device.type != "cuda":
        return without_graphs(machine, f"they need an NVIDIA GPU, not {device.type}", plain)
    if processes > 1:
        return without_graphs(machine, "several processes train one run, and each would have to record the same", plain)
    graphs, compiled = (dataclasses.replace(machine, compile=how) for how in (GRAPHS, BACKEND))
    ways = [graphs, compiled]
    if spec.accumulate > 1:
        kept = f"accumulate={spec.accumulate} keeps gradients that the next step would overwrite"
        ways = [without_graphs(graphs, kept, compiled)]
    return next((way for way in ways if trusted(spec, dataset, device, plain, way)), plain)


def without_graphs(machine: Machine, reason: str, instead: Machine) -> Machine:
    """Return ``instead``; where ``machine`` asks for CUDA graphs, say in a sentence why there are none."""
    if machine.graphs:
        way = f"compiled by {instead.compile}" if instead.compile else "not compiled"
        print(f"No CUDA graphs: {reason}; the run is {way}.", file=sys.stderr)
    return instead


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
            how, instead = ("not replayed from CUDA graphs", "it goes on without them") if compiled.graphs else (
                "not compiled", "it trains eagerly")  # fmt: skip
            print(f"{spec.method} on {spec.model} is {how}: {reason} after {STEPS} steps; {instead}.", file=sys.stderr)
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
