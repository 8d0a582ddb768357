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
from dgl_core.models.multimodal import untouched
from dgl_core.training.distributed import Team
from dgl_core.training.environment import is_portable
from dgl_core.training.loop import REVISION, Log, Trainer, TrainingDiverged
from dgl_core.training.machine import Machine, OutOfMemory
from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.training.selftest import settled
from dgl_core.utils import Range, coerce, unknown_name

__all__ = ["REVISION", "OutOfMemory", "Trainer", "TrainingDiverged", "default_device", "fit", "train"]

_TURN = threading.RLock()  # threads of one process (Dask) share its random state, so they take turns


@contextlib.contextmanager
def prepared(spec: RunSpec, device: torch.device, machine: Machine, one_thread: bool = True):
    """Set random state and precision for one run alone; explain running out of memory.

    On a CPU it uses one thread: two trainings side by side beat one with two threads, and digits stay the same.
    """
    with _TURN, torch.random.fork_rng(devices=[]), machine.numerics(spec, device), machine.explained(spec, device):
        threads = torch.get_num_threads()
        if one_thread and device.type == "cpu":
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)


@functools.lru_cache(maxsize=4)
def load(name: str, root: str | None, options: tuple) -> data.Dataset:
    return data.load(name, root, **dict(options))


def default_device() -> torch.device:
    """Choose a GPU if there is one; with portable numerics the CPU, because no GPU has them."""
    return torch.device("cuda" if torch.cuda.is_available() and not is_portable() else "cpu")


def device_named(name: str) -> torch.device:
    """Find the device of a name, "" for a GPU if there is one; raises a ``ValueError`` if there is no such device."""
    if not name:
        return default_device()
    choices = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if str(name) not in choices and not (str(name) == "cuda" and len(choices) > 1):
        raise ValueError(f"device {name!r} is not here; choose one of: {', '.join(choices)}.")
    return torch.device(name)


@torch.no_grad()
def check_outputs(trainer: Trainer) -> None:
    """Raise a ``ValueError`` unless the model takes a sample of the data and gives logits of at least their classes."""
    model, batch = trainer.model, trainer.batch(trainer.train_index[:1])
    shapes = ", ".join(f"{m} {list(x.shape[1:])}" for m, x in batch.inputs.items())
    name = f"model {trainer.spec.model!r}"
    try:
        with untouched(model):
            logits = model(batch.inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{name} cannot take a sample of data set {trainer.dataset.name!r} ({shapes}): {reason}. "
            "Choose another model, or give its encoders and fusion these widths."
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.dim() < 2 or len(logits) != 1 or not logits.is_floating_point():
        kind = f"{logits.dtype} {list(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"{name} returns {kind} for one sample; it must return floating-point logits [B, K, ...].")
    if logits.shape[1] < trainer.classes:
        raise ValueError(f"{name} gives {logits.shape[1]} logits a sample; data set {trainer.dataset.name!r} has "
                         f"{trainer.classes} classes: give its fusion that many.")  # fmt: skip


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
    """Run one specification from start (or from its checkpoint) to end, by default with this machine's settings.

    Raises:
        ValueError: unknown names or options, or data that the method cannot use.
        TrainingDiverged: a loss is not finite. OutOfMemory: the GPU is too small.
    """
    device, machine = device or default_device(), machine or Machine.from_environment()
    method = methods.build(spec.method, spec.method_options)
    dataset = load(spec.dataset, root, tuple(spec.dataset_options.items()))
    shapes = {m: dataset.shapes[m] for m in method.modalities(dataset.modalities)}
    with prepared(spec, device, machine):
        machine = settled(machine, spec, dataset, device) if team.size == 1 else machine
        model = models.build(spec.model, shapes, len(dataset.classes), spec.seed, **spec.model_options)
        trainer = Trainer(spec, method, model, dataset, device, machine, team)
        check_outputs(trainer)
        trainer.fit(checkpoint, every, log)
        return trainer.record(key, revisions or {})


def fit(
    model: nn.Module, method: str, dataset: data.Dataset, *, log: int = 0, device: str = "", **options
) -> RunRecord:
    """Train your own model on your own data with any method, in place; nothing is cached.

    Args:
        model: a ``LateFusion`` or any ``MultimodalModel``. method: a name in ``dgl_core.methods.METHODS``.
        dataset: for example ``ArrayDataset``. log: print a line every ``log`` epochs (0: nothing).
        device: for example ``"cuda"``; by default a GPU if there is one.
        **options: options of the method (``alpha=4.0``) and fields of ``RunSpec`` (``epochs=20, lr=0.01, seed=0``).
    """
    if not isinstance(dataset, data.Dataset):
        raise ValueError(f"dataset is of type {type(dataset).__name__}; give a Dataset, for example ArrayDataset(...).")
    if not isinstance(method, str):
        raise ValueError(f"method is {method!r}; it must be one registered name, as text.")
    Range(low=0).check("log", log := coerce("log", log, 0))
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

    where, machine = device_named(device), Machine.from_environment()
    with prepared(spec, where, machine, one_thread=False):
        trainer = Trainer(spec, built, model, dataset, where, machine)
        check_outputs(trainer)
        trainer.fit(log=show)
    return trainer.record("", {})
