"""Keep what a run has learnt in a file that needs nothing else, and predict with it.

``fit(..., save="out")`` and ``dgl train ... --weights out`` write ``last`` and ``best_val`` weights;
``load_model("out/best_val.safetensors").predict({"audio": x, "face": y}, keep=("audio",))`` uses them. A file holds
numbers and plain text, never code (``dgl_core.data.files.tensors``, ``dgl_core.models.description``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import dgl_core
from dgl_core import methods
from dgl_core.data.dataset import Dataset, Preparation, as_tensor
from dgl_core.data.files import tensors as files
from dgl_core.data.tasks import TASKS
from dgl_core.methods.base import Method
from dgl_core.models.description import Undescribable, build, describe, fill, tensors_of
from dgl_core.models.multimodal import untouched
from dgl_core.training.records import RunSpec
from dgl_core.utils import unknown_name

LAST, BEST = "last", "best_val"  # protocols that have weights
ENDING = ".safetensors"
VERSION = 1  # of what ``about`` holds
PARTS = ("model", "heads", "preparation")  # networks of a file; their tensors are named "model.fusion.head.weight"
AT_ONCE = 256  # samples
Own = nn.Module | Callable[[], nn.Module]  # a model of the reader's, or what makes one


class Learnt(NamedTuple):
    """What a run has learnt after ``epoch`` epochs: tensors by name, and what the method remembers in plain values."""

    epoch: int
    tensors: dict[str, Tensor]
    memory: dict[str, object]


def learnt(trainer: Any) -> Learnt:
    """Copy what a ``Trainer`` has learnt so far."""
    found = tensors_of(trainer.model, "model.") | tensors_of(trainer.heads, "heads.")
    remembered = trainer.method.state_dict()
    memory = {name: value for name, value in remembered.items() if isinstance(value, bool | int | float | str)}
    return Learnt(trainer.epoch + 1, {name: tensor.detach().cpu().clone() for name, tensor in found.items()}, memory)


def keep(trainer: Any, folder: Path, stem: str = "") -> dict[str, str]:
    """Write the last and the best weights of a finished run into a folder; returns protocol -> name of the file."""
    named = {}
    for protocol, found in {LAST: learnt(trainer), BEST: trainer.kept}.items():
        if found is not None:
            named[protocol] = f"{stem}{'.' if stem else ''}{protocol}{ENDING}"
            _write(folder / named[protocol], trainer, protocol, found)
    return named


def _write(path: Path, trainer: Any, protocol: str, found: Learnt) -> None:
    dataset, model, spec = trainer.dataset, trainer.model, trainer.spec
    preparation = dataset.preparation(model.encoders)
    networks = dict(zip(PARTS, (model, trainer.heads, preparation), strict=True))
    about = {
        "version": VERSION,
        "dgl_core": dgl_core.__version__,
        "spec": spec.plain(),
        "protocol": protocol,
        "epoch": found.epoch,
        "task": [trainer.task.kind, trainer.task.plain()],
        "classes": list(dataset.classes),
        "stored": {m: [list(x.shape[1:]), _name(x.dtype)] for m, x in dataset.inputs.items() if m in model.encoders},
        "dtype": _name(trainer.dtype),
        "dataset": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "memory": found.memory,
        "networks": {part: _described(network) for part, network in networks.items()},
    }
    tensors = found.tensors | tensors_of(preparation, "preparation.")
    files.write(path, tensors, {"format": "pt", "dgl": json.dumps(about)})


def _described(network: nn.Module) -> dict[str, Any]:
    """Describe a network, or say why that cannot be done: then it has to be given when the file is read."""
    try:
        return {"description": describe(network)}
    except Undescribable as error:
        return {"own": str(error)}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@dataclass(frozen=True)
class Prediction:
    """What a model says about some samples.

    Attributes:
        labels: names of the classes (or what the task has in their place), one entry a sample.
        scores: probabilities [B, K] (dense and sequence labels: [B, K, ...]; regression: the values [B, D]).
        classes: the names along the second axis of ``scores``.
    """

    labels: Sequence[Any]
    scores: Tensor
    classes: tuple[str, ...]

    def of(self, name: str) -> Tensor:
        """Take the scores [B, ...] of one class by its name; a ``ValueError`` if the model does not know it."""
        if name not in self.classes:
            raise unknown_name("class of this model", name, self.classes)
        return self.scores[:, self.classes.index(name)]


class Predictor:
    """A trained model with all that it needs: its classes, its modalities, how stored values become its input.

    Attributes:
        model, heads: the networks, in evaluation mode. method: the method that trained them; it says how they answer.
        spec: of the run. classes, modalities: their names in order.
        protocol, epoch: which weights these are; the epoch is 0-based, of ``epochs``.
    """

    def __init__(self, about: Mapping[str, Any], networks: Mapping[str, nn.Module], method: Method):
        self.spec, self.method = RunSpec.from_plain(about["spec"]), method
        self.model, self.heads, self.preparation = (networks[part] for part in PARTS)
        kind, settings = about["task"]
        self.task, self.classes = TASKS[kind](**settings), tuple(about["classes"])
        self.pool = self.task.pool
        self.modalities = tuple(about["stored"])
        self.stored = {m: (tuple(shape), getattr(torch, dtype)) for m, (shape, dtype) in about["stored"].items()}
        self.dtype, self.device = getattr(torch, about["dtype"]), torch.device("cpu")
        self.protocol, self.dataset = about["protocol"], dict(about["dataset"])
        self.epoch, self.epochs = about["epoch"] - 1, self.spec.epochs
        for network in (self.model, self.heads, self.preparation):
            network.eval()

    def __repr__(self) -> str:
        return (f"{self.spec}: {' + '.join(self.modalities)} -> {len(self.classes)} classes, {self.protocol} weights "
                f"(epoch {self.epoch + 1})")  # fmt: skip

    def to(self, device: str | torch.device) -> Predictor:
        """Move the networks to a device; returns the predictor."""
        self.device = torch.device(device)
        for network in (self.model, self.heads, self.preparation):
            network.to(self.device)
        return self

    def predict(self, inputs: Mapping[str, Any], keep: Collection[str] | None = None) -> Prediction:
        """Predict from values as the data set stored them, first axis samples: arrays, tensors or tables.

        Args:
            inputs: modality -> [B, ...]; a modality that is not kept may be left out.
            keep: the modalities to predict from; the features of all others count as zero. None: all.

        Raises:
            ValueError: a modality that the model does not know, one that is missing, or values of another shape.
        """
        outputs = self.outputs(inputs, keep)
        scores = self.task.scores(outputs)
        return Prediction(self.task.labels(scores, self.classes), scores, self.classes)

    @torch.no_grad()
    def outputs(self, inputs: Mapping[str, Any], keep: Collection[str] | None = None) -> Tensor:
        """Compute the logits [B, K] (or what the model returns) behind a prediction; arguments as for ``predict``."""
        stored = self._stored(inputs, keep)
        count, found = len(next(iter(stored.values()))), []
        with untouched(self.model), untouched(self.heads):
            for start in range(0, count, AT_ONCE):
                rows = {m: x[start : start + AT_ONCE].to(self.device) for m, x in stored.items()}
                try:
                    found.append(self.answer(rows, keep).cpu())
                except (IndexError, RuntimeError) as error:  # tokens outside the vocabulary, for example
                    if isinstance(error, torch.OutOfMemoryError):
                        raise
                    raise ValueError(f"the model cannot take these values: {str(error).splitlines()[0]}.") from error
        return torch.cat(found)

    def answer(self, stored: Mapping[str, Tensor], keep: Collection[str] | None) -> Tensor:
        """Compute the outputs for one batch of stored values {m: [B, ...]} of all modalities."""
        ready = self.preparation(stored)
        ready = {m: x.to(self.dtype) if x.is_floating_point() else x for m, x in ready.items()}
        return self.method.logits(self, ready, None if keep is None else tuple(keep))

    def _stored(self, inputs: Mapping[str, Any], keep: Collection[str] | None) -> dict[str, Tensor]:
        """Check the given values; what is left out and not kept is zero, in the shape that the model was trained on."""
        if not isinstance(inputs, Mapping) or not inputs:
            raise ValueError(f"inputs is a {type(inputs).__name__}; give one array per modality, by name.")
        if isinstance(keep, str):
            raise ValueError(f"keep is {keep!r}; give a collection of modalities, for example keep=({keep!r},).")
        for m in (*inputs, *(keep or ())):
            if m not in self.modalities:
                raise unknown_name("modality of this model", m, self.modalities)
        wanted = self.modalities if keep is None else tuple(keep)
        if not wanted:
            raise ValueError(f"keep is empty; name at least one of {list(self.modalities)}.")
        for m in wanted:
            if m not in inputs:
                rest = ", ".join(repr(name) for name in inputs)
                raise ValueError(f"the inputs have no {m!r}: give it, or predict from the others with keep=({rest},).")
        given = {m: as_tensor(x, f"modality {m!r}", "inputs") for m, x in inputs.items()}
        count = len(given[wanted[0]])
        for m, x in given.items():
            shape = self.stored[m][0]
            if not len(x):
                raise ValueError(f"modality {m!r} has no sample; give at least one.")
            if x.is_floating_point() and not x.isfinite().all():
                raise ValueError(f"modality {m!r} has values that are not finite (NaN or infinite); repair them.")
            if x.dim() != len(shape) + 1 or len(x) != count:
                raise ValueError(f"modality {m!r} has shape {list(x.shape)}, but the model takes {count} samples of "
                                 f"shape {list(shape)}: give [{', '.join(map(str, (count, *shape)))}].")  # fmt: skip
        absent = {m: torch.zeros(count, *shape, dtype=dtype) for m, (shape, dtype) in self.stored.items()}
        return absent | given

    def score(self, dataset: Dataset, part: str = "test", keep: Collection[str] | None = None) -> dict[str, float]:
        """Score the model on one part of a data set, with the scores that its task has.

        Raises:
            ValueError: a class that the model does not know, or another kind of target.
        """
        if dataset.task.kind != self.task.kind:
            raise ValueError(f"data set {dataset.name!r} is for {dataset.task.kind}, this model for {self.task.kind}.")
        for name in dataset.classes:
            if name not in self.classes:
                raise unknown_name(f"class of data set {dataset.name!r} for this model", name, self.classes)
        if dataset.classes != self.classes[: len(dataset.classes)]:
            raise ValueError(f"data set {dataset.name!r} has the classes {list(dataset.classes)}, the model "
                             f"{list(self.classes)}: give the data set classes in the model's order.")  # fmt: skip
        rows, tally = dataset.indices(part), dataset.task.tally()
        for index in rows.split(AT_ONCE):
            inputs = {m: dataset.inputs[m].index_select(0, index) for m in self.modalities if m in dataset.inputs}
            tally.update(self.outputs(inputs, keep), dataset.batch(index)[1])
        return tally.result()

    def export(self, path: str | Path, keep: Collection[str] | None = None) -> Path:
        """Write the network for other programs: ``*.pt2`` by ``torch.export``, ``*.onnx`` for ONNX runtimes.

        It takes stored values {m: [B, ...]} of any batch size and gives the outputs of ``outputs(inputs, keep)``.
        """
        from dgl_core.training.saving.export import export

        return export(self, Path(path), keep)


def load_model(
    path: str | Path,
    model: Own | None = None,
    *,
    transforms: Mapping[str, nn.Module] | None = None,
    device: str | torch.device = "cpu",
) -> Predictor:
    """Load a weights file that ``fit(..., save=)`` or ``dgl train --weights`` wrote.

    Args:
        path: the file; of a folder, its ``best_val.safetensors``.
        model: a model like the trained one, or what makes it. It is needed only if the model has classes of your own,
            because the file holds no code; layers of torch and of this project are built from their description.
        transforms: the same for transforms of your own, modality -> module.
        device: where to predict.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a damaged file, one with code in it, weights of another model; one sentence says which and why.
    """
    path = Path(path)
    path = path / f"{BEST}{ENDING}" if path.is_dir() else path
    try:
        tensors, about = _read(path)
        method = methods.build(about["spec"].get("method", "vanilla"), about["spec"].get("method_options", {}))
        for name in method.MEMORY:
            setattr(method, name, about["memory"].get(name.lstrip("_"), getattr(method, name)))
        networks = {part: _network(part, about, tensors, model, transforms) for part in PARTS}
        return Predictor(about, networks, method).to(device)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no weights file {str(path)!r}; fit(..., save=FOLDER) writes some.") from None
    except IsADirectoryError:
        raise ValueError(f"{str(path)!r} is a folder; name a weights file.") from None
    except (files.BrokenFile, Undescribable) as error:
        raise ValueError(f"weights file {str(path)!r} is not used: {error}.") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"weights file {str(path)!r} is not used: its description lacks {error}.") from None


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, texts = files.read(path)
    if "dgl" not in texts:
        raise files.BrokenFile("it holds tensors, but not what they belong to; the package safetensors reads it")
    try:
        about = json.loads(texts["dgl"])
    except (ValueError, RecursionError):
        raise files.BrokenFile("it is damaged: its description cannot be read") from None
    if not isinstance(about, dict) or about.get("version") != VERSION:
        raise files.BrokenFile("another version of this project wrote it")
    return tensors, about


def _network(
    part: str,
    about: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    model: Own | None,
    transforms: Mapping[str, nn.Module] | None,
) -> nn.Module:
    """Build one network of a file, or fill the one that was given in its place."""
    known = about["networks"][part]
    if part == "model" and model is not None:
        made = model if isinstance(model, nn.Module) else model()
        if not hasattr(made, "encoders") or list(made.encoders) != list(about["stored"]):
            raise ValueError(f"these weights are of another model: they have the modalities {list(about['stored'])}, "
                             f"the given one has {list(getattr(made, 'encoders', ()))}.")  # fmt: skip
        fill(made.to(getattr(torch, about["dtype"])), tensors, "model.")
        return made
    if part == "preparation" and transforms is not None:
        return Preparation({m: transforms[m] for m in about["stored"]})
    if "own" in known:
        remedy = "load_model(path, model)" if part == "model" else "load_model(path, transforms={...})"
        raise Undescribable(f"{known['own']}, and a weights file holds no code; give it: {remedy}")
    return build(known["description"], tensors, f"{part}.")
