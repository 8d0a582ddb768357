"""Train one specification (``train``), or your own model on your own data (``fit``)."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from dgl_core import data, methods, models
from dgl_core.data.files.atomic import explained, write_atomic
from dgl_core.data.files.tensors import REMEDY
from dgl_core.gradients import check_partition
from dgl_core.models.initial import seeded
from dgl_core.models.multimodal import untouched
from dgl_core.training.distributed import Team
from dgl_core.training.environment import is_portable
from dgl_core.training.loop import REVISION, Listener, Log, Trainer, TrainingDiverged
from dgl_core.training.machine import Machine, OutOfMemory
from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.training.saving import checkpoints, weights
from dgl_core.training.selftest import BACKEND, settled, without_graphs
from dgl_core.utils import Range, brief, coerce, unknown_name

__all__ = ["REVISION", "OutOfMemory", "Trainer", "TrainingDiverged", "default_device", "fit", "train"]

MILESTONE = 0.7  # share of the epochs after which ``fit`` lowers the rate, as the paper does after 70 of 100
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
    model, batch = trainer.model, trainer.at_resolution(trainer.batch(trainer.train_index[:1]))
    shapes = ", ".join(f"{m} {list(x.shape[1:])}" for m, x in batch.inputs.items())
    name, whole = f"model {trainer.spec.model!r}", whole_numbers(trainer)
    check_tokens(trainer)
    try:
        with untouched(model):
            logits = model(batch.inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{name} cannot take a sample of data set {trainer.dataset.name!r} ({shapes}): {reason}. "
            f"Choose another model, or give its encoders and fusion these widths{whole}."
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.dim() < 2 or len(logits) != 1 or not logits.is_floating_point():
        kind = f"{logits.dtype} {list(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"{name} returns {kind} for one sample; it must return floating-point logits [B, K, ...].")
    if logits.shape[1] < trainer.classes or (trainer.task.exact and logits.shape[1] > trainer.classes):
        raise ValueError(f"{name} gives {logits.shape[1]} logits a sample; data set {trainer.dataset.name!r} has "
                         f"{trainer.classes} classes: give its fusion that many.")  # fmt: skip
    axes = {"sequence": "B, K, T", "dense": "B, K, h, w"}.get(trainer.task.kind, "B, K")
    if logits.dim() != len(axes.split()):
        raise ValueError(f"{name} returns {list(logits.shape)} for one sample; the task {trainer.task.kind!r} of data "
                         f"set {trainer.dataset.name!r} needs logits [{axes}].")  # fmt: skip


def whole_numbers(trainer: Trainer) -> str:
    """Say how to keep token ids, if the data set holds whole numbers that the model gets as floats."""
    stored, served = trainer.dataset.inputs, trainer.batch(trainer.train_index[:1]).inputs
    whole = [m for m in served if not stored[m].is_floating_point() and stored[m].dtype != torch.uint8]
    named = [m for m in whole if served[m].is_floating_point()]
    return f"; if {named[0]!r} are token ids, name them with tokens=({named[0]!r},)" if named else ""


def check_tokens(trainer: Trainer) -> None:
    """Raise a ``ValueError`` if an encoder cannot look up the highest token of its modality, but can look up others."""

    def works(inputs: Mapping[str, torch.Tensor]) -> bool:
        model = copy.deepcopy(trainer.model).cpu().eval()  # on a GPU the refusal would end its use by this process
        try:
            model({name: values.cpu() for name, values in inputs.items()})
        except (IndexError, RuntimeError, ValueError):
            return False
        return True

    for m, x in trainer.batch(trainer.train_index[:1]).inputs.items():
        if not x.is_floating_point():
            row = trainer.dataset.inputs[m].flatten(1).amax(dim=1).argmax()
            inputs, highest = trainer.batch(row[None]).inputs, int(trainer.dataset.inputs[m][row].max())
            if not works(inputs) and works(inputs | {m: torch.zeros_like(inputs[m])}):
                raise ValueError(f"The encoder of {m!r} cannot look up the token {highest}: give its embedding "
                                 f"{highest + 1} entries or more.")  # fmt: skip


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
    keep: tuple[Path, str] | None = None,
) -> RunRecord:
    """Run one specification from start (or from its checkpoint) to end, by default with this machine's settings.

    ``keep`` is a folder and a stem: the last and the best weights are written there under names that begin with it.
    Where the GPU is too small for the data beside the run, it goes on with the data in host memory, and says so.

    Raises:
        ValueError: unknown names or options, or data that the method cannot use.
        TrainingDiverged: a loss is not finite. OutOfMemory: the GPU is too small.
    """
    device, machine = device or default_device(), machine or Machine.from_environment()
    rest = device, root, checkpoint, every, log, key, revisions or {}, team, keep
    try:
        return _train(spec, machine, *rest)
    except OutOfMemory as error:
        if device.type != "cuda" or machine.data != "auto" or team.size > 1:
            raise
        said = str(error).split(". ")[0]
    print(f"{said}; it goes on with its data in host memory, which is slower.", file=sys.stderr)
    torch.cuda.empty_cache()
    return _train(spec, dataclasses.replace(machine, data="host"), *rest)


def _train(
    spec: RunSpec,
    machine: Machine,
    device: torch.device,
    root: str | None,
    checkpoint: Path | None,
    every: float,
    log: Log | None,
    key: str,
    revisions: Mapping[str, int],
    team: Team,
    keep: tuple[Path, str] | None,
) -> RunRecord:
    """Do what ``train`` says, with these settings of the machine."""
    method = methods.build(spec.method, spec.method_options)
    dataset = load(spec.dataset, root, tuple(spec.dataset_options.items()))
    shapes = {m: dataset.shapes[m] for m in method.modalities(dataset.modalities)}
    with prepared(spec, device, machine):
        machine = settled(machine, spec, dataset, device, team.size)
        model = models.build(spec.model, shapes, len(dataset.classes), spec.seed, **spec.model_options)
        trainer = Trainer(spec, method, model, dataset, device, machine, team)
        check_outputs(trainer)
        trainer.keeps = keep is not None
        trainer.fit(checkpoint, every, log)
        files = weights.keep(trainer, *keep) if keep and team.rank == 0 else {}
        return trainer.record(key, revisions, files)


def fit(
    model: nn.Module | Callable[[], nn.Module],
    method: str,
    dataset: data.Dataset,
    *,
    log: int = 0,
    device: str = "",
    checkpoint: str | os.PathLike | None = None,
    save: str | os.PathLike | None = None,
    on_epoch: Listener | None = None,
    every: float = 30.0,
    **options,
) -> RunRecord:
    """Train your own model on your own data with any method.

    Args:
        model: a ``LateFusion`` or any ``MultimodalModel``, trained in place; or a function that makes one, whose
            initial weights then follow ``seed``, so that runs of one seed are a pair.
        method: a name in ``dgl_core.methods.METHODS``. dataset: for example ``ArrayDataset``.
        log: print a line every ``log`` epochs (0: nothing). device: for example ``"cuda"``; by default a GPU if any.
        checkpoint: a file for the state of the run, written every ``every`` seconds and deleted at its end. The same
            call goes on from it.
        save: a folder for ``last.safetensors``, ``best_val.safetensors`` (``load_model``) and ``record.json``.
        on_epoch: called after each epoch with its numbers, ``{"epoch": 1, "epochs": 20, "val/fused/accuracy": 0.4,
            ...}``, the columns of ``RunRecord.curves``. Recipes, for ``fit(..., on_epoch=...)``::

                writer = torch.utils.tensorboard.SummaryWriter()
                on_epoch=lambda n: [writer.add_scalar(name, value, n["epoch"]) for name, value in n.items()]

                run = wandb.init(project="mine")
                on_epoch=lambda n: run.log(n, step=n["epoch"])

                mlflow.start_run()
                on_epoch=lambda n: mlflow.log_metrics(n, step=n["epoch"])
        **options: options of the method (``alpha=4.0``) and fields of ``RunSpec`` (``epochs=20, lr=0.01, seed=0``).
            The rate falls to a tenth after 70 % of the epochs, unless ``milestones`` says otherwise.

    Raises:
        ValueError: names, options, data, a checkpoint or a model that do not go together; says what to change.
        TrainingDiverged: a loss is not finite. OutOfMemory: the GPU is too small.
    """
    Range(low=0).check("log", log := coerce("log", log, 0))
    spec = specified(method, dataset, options)
    record = fitted(made(model, spec.seed), spec, dataset, log, device, checkpoint, save, on_epoch, every)
    if record.at_chance():
        print(fell_to_chance(record), file=sys.stderr)
    return record


def specified(method: str, dataset: data.Dataset, options: Mapping[str, object]) -> RunSpec:
    """Specify a run of ``fit`` from the options of the method and fields of ``RunSpec``, all in one dictionary."""
    if not isinstance(dataset, data.Dataset):
        raise ValueError(f"dataset is of type {type(dataset).__name__}; give a Dataset, for example ArrayDataset(...).")
    if not isinstance(method, str):
        raise ValueError(f"method is {method!r}; it must be one registered name, as text.")
    declared = methods.build(method).options()
    chosen = {name: value for name, value in options.items() if name in declared}
    fields = {name: value for name, value in options.items() if name not in declared}
    settings = {f.name for f in dataclasses.fields(RunSpec)} - {"dataset", "method", "model", "method_options"}
    for name in fields.keys() - settings:
        raise unknown_name("option", name, settings | declared.keys())
    spec = RunSpec(dataset.name, method, "custom", method_options=chosen, **fields)
    methods.build(method, chosen)
    return spec if "milestones" in fields else spec.but(milestones=(round(MILESTONE * spec.epochs),))


def fitted(
    model: nn.Module,
    spec: RunSpec,
    dataset: data.Dataset,
    log: int = 0,
    device: str = "",
    checkpoint: str | os.PathLike | None = None,
    save: str | os.PathLike | None = None,
    on_epoch: Listener | None = None,
    every: float = 30.0,
) -> RunRecord:
    """Train ``model`` as ``spec`` says on ``dataset``; the other arguments are those of ``fit``."""
    built = methods.build(spec.method, spec.method_options)
    folder, state = weights_folder(save), Path(checkpoint) if checkpoint else None
    check_partition(model)
    wanted = built.modalities(dataset.modalities)
    if set(wanted) != set(model.encoders):
        raise ValueError(f"The model has encoders {list(model.encoders)}; {spec.method} here trains {list(wanted)}.")
    told = getattr(model.fusion, "classes", None)
    if told is not None and told < len(dataset.classes):
        raise ValueError(f"The model tells {told} classes apart, but the data set has {len(dataset.classes)}: make its "
                         f"fusion with classes={len(dataset.classes)}.")  # fmt: skip

    def show(line: str) -> None:
        if log and (trainer.epoch + 1) % log == 0:
            print(line)

    where, machine = device_named(device), Machine.from_environment()
    if machine.graphs:
        compiled = dataclasses.replace(machine, compile=BACKEND)
        machine = without_graphs(machine, "a network of your own is not self-tested", compiled)
    with prepared(spec, where, machine, one_thread=False):
        trainer = Trainer(spec, built, model, dataset, where, machine)
        check_outputs(trainer)
        trainer.keeps = folder is not None
        if state:
            trainer.run = identity(trainer)
            checkpoints.check_run(state, trainer.run)
        trainer.fit(state, every, show, on_epoch)
    record = trainer.record("", {}, weights.keep(trainer, folder) if folder else {})
    if folder:
        write_atomic(folder / "record.json", record.to_json(), REMEDY)
    if state:
        state.unlink(missing_ok=True)
    return record


def fell_to_chance(record: RunRecord) -> str:
    """Say that a run has learnt nothing, and what may help."""
    score, chance = 100 * record.score(part="val"), 100 * record.data["chance"]["val"]
    found = f"validation {record.selecting} {score:.1f} %, where one answer for all samples gives {chance:.1f} %"
    remedy = f"Try another lr (now {record.spec.lr:g}), more epochs, or inputs on the scale of 1"
    return f"{record.spec} fell to chance: {found}. {remedy}."


def made(model: nn.Module | Callable[[], nn.Module], seed: int) -> nn.Module:
    """Take a model, or make one with initial weights that follow ``seed`` alone."""
    if isinstance(model, nn.Module) or not callable(model):
        return model
    with seeded(seed, "model"):
        built = model()
    if not isinstance(built, nn.Module):
        raise ValueError(f"the function that makes the model returned {brief(built)}; let it return the model.")
    return built


def weights_folder(save: str | os.PathLike | None) -> Path | None:
    """Make the folder for weights before hours of training, so that one that cannot be written is known at once."""
    if save is None:
        return None
    folder = Path(save)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"save is {str(save)!r}, which is a file; name a folder for the weights.")
    with explained(folder, REMEDY):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def identity(trainer: Trainer) -> str:
    """Describe a run of ``fit`` for its checkpoints: settings, data and the shapes of the model."""
    shapes = {name: list(tensor.shape) for name, tensor in trainer.model.state_dict().items()}
    return json.dumps([trainer.spec.plain(), trainer.dataset.fingerprint, shapes], sort_keys=True)
