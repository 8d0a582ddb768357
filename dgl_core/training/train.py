"""Train one specification (``train``), or your own model on your own data (``fit``)."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from dgl_core import data, methods, models
from dgl_core.gradients import check_partition
from dgl_core.training.distributed import Team
from dgl_core.training.loop import REVISION, Log, Trainer, TrainingDiverged
from dgl_core.training.machine import Machine, OutOfMemory
from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.utils import unknown_name

__all__ = ["REVISION", "OutOfMemory", "Trainer", "TrainingDiverged", "default_device", "fit", "train"]


_TURN = threading.RLock()


@contextlib.contextmanager
def own_random_state():
    """Give the caller its random state back; threads of one process (Dask) take turns, as they share that state."""
    with _TURN, torch.random.fork_rng(devices=[]):
        yield


@contextlib.contextmanager
def one_thread(device: torch.device):
    """Use one thread on a CPU: two trainings side by side beat one with two threads, and digits stay the same."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def prepared(spec: RunSpec, device: torch.device, machine: Machine):
    """Set random state, threads and precision for one run alone; explain running out of memory."""
    with own_random_state(), one_thread(device), machine.numerics(spec, device), machine.explained(spec, device):
        yield


@functools.lru_cache(maxsize=4)
def load(name: str, root: str | None, options: tuple) -> data.Dataset:
    return data.load(name, root, **dict(options))


def default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(
    spec: RunSpec,
    *,
    root: str | None = None,
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    every: float = 30.0,
    log: Log | None = None,
    key: str = "",
    revisions: Mapping[str, int] | None = None,
    machine: Machine | None = None,
    team: Team = Team(),  # noqa: B008 (frozen)
) -> RunRecord:
    """Run one specification from start (or from its checkpoint) to end.

    Args:
        machine: numerical settings of this machine; by default as the environment says.

    Raises:
        ValueError: unknown names or options, or data that the method cannot use.
        TrainingDiverged: a loss is not finite.
        OutOfMemory: the GPU is too small; the message says what to lower.
    """
    device, machine = device or default_device(), machine or Machine.from_environment()
    method = methods.build(spec.method, spec.method_options)
    dataset = load(spec.dataset, root, tuple(spec.dataset_options.items()))
    shapes = {m: dataset.shapes[m] for m in method.modalities(dataset.modalities)}
    with prepared(spec, device, machine):
        model = models.build(spec.model, shapes, len(dataset.classes), spec.seed, **spec.model_options)
        trainer = Trainer(spec, method, model, dataset, device, machine, team)
        trainer.fit(checkpoint, every, log)
        return trainer.record(key, revisions or {})


def fit(
    model: nn.Module, method: str, dataset: data.Dataset, *, log: int = 0, device: str = "", **options
) -> RunRecord:
    """Train your own model on your own data with any method, in place; nothing is cached.

    Args:
        model: a ``LateFusion`` or any ``MultimodalModel``.
        method: a name in ``dgl_core.methods.METHODS``.
        dataset: for example ``ArrayDataset``.
        log: print a line every ``log`` epochs (0: nothing).
        device: for example ``"cuda"``; by default a GPU if there is one.
        **options: options of the method (``alpha=4.0``) and fields of ``RunSpec`` (``epochs=20, lr=0.01, seed=0``).
    """
    declared = methods.build(method).options()
    chosen = {name: options.pop(name) for name in list(options) if name in declared}
    settings = {f.name for f in dataclasses.fields(RunSpec)} - {"dataset", "method", "model", "method_options"}
    for name in options.keys() - settings:
        raise unknown_name("option", name, settings | declared.keys())
    spec = RunSpec(dataset.name, method, "custom", method_options=chosen, **options)
    built = methods.build(method, chosen)
    check_partition(model)
    wanted = built.modalities(dataset.modalities)
    if set(wanted) != set(model.encoders):
        raise ValueError(f"The model has encoders {list(model.encoders)}; {method} here trains {list(wanted)}.")
    told = getattr(model.fusion, "classes", None)
    if told is not None and told < len(dataset.classes):
        raise ValueError(f"The model tells {told} classes apart, but the data set has {len(dataset.classes)}: make its "
                         f"fusion with classes={len(dataset.classes)}.")  # fmt: skip

    def show(line: str) -> None:
        if log and (trainer.epoch + 1) % log == 0:
            print(line)

    where, machine = torch.device(device) if device else default_device(), Machine.from_environment()
    with own_random_state(), machine.numerics(spec, where), machine.explained(spec, where):
        trainer = Trainer(spec, built, model, dataset, where, machine)
        trainer.fit(log=show)
    return trainer.record("", {})
