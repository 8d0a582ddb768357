"""Hold samples of several modalities: tensors keyed by modality, one target, one split."""

from __future__ import annotations

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dgl_core.data.tasks import TASKS
from dgl_core.data.tasks.classes import Task, listed_names, shown
from dgl_core.utils import unknown_name

PARTS = ("train", "val", "test")
TAKEN = frozenset({"fused", "fusion", "heads", "training"})  # names of branches, groups of parameters, a torch switch

Drawn = tuple[Tensor, ...]  # the random numbers of a batch


class Augmentation(nn.Module):
    """Change a batch at random in two parts: draw the numbers, which need no values, then use them.

    The numbers of many batches can so be drawn at once and moved to a GPU together, and those of a modality that is not
    wanted are drawn all the same.
    """

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Drawn:
        """Draw the numbers for stored values of a shape ``[B, ...]``, on the generator's device; by default none."""
        return ()

    def use(self, x: Tensor, drawn: Drawn | None) -> Tensor:
        """Turn stored values ``x`` [B, ...] into network input; ``drawn`` is on their device, None in evaluation."""
        raise NotImplementedError

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if generator is None:
            return self.use(x, None)
        return self.use(x, moved(self.draw(x.shape, generator), x.device))


def moved(drawn: Drawn, device: torch.device) -> Drawn:
    """Copy random numbers to where they are used; a GPU does not let the host wait for that."""
    return tuple(numbers.to(device, non_blocking=True) for numbers in drawn)


class ToFloat(Augmentation):
    """Convert stored values to float32, in training and in evaluation."""

    def use(self, x: Tensor, drawn: Drawn | None) -> Tensor:
        return x.to(torch.float32)


class ToIndex(Augmentation):
    """Convert stored integers to the ones that an embedding takes, in training and in evaluation."""

    def use(self, x: Tensor, drawn: Drawn | None) -> Tensor:
        return x.to(torch.int64)


class Preparation(nn.Module):
    """Turn stored values of several modalities into network input, as in evaluation: one transform each."""

    def __init__(self, transforms: Mapping[str, nn.Module]):
        super().__init__()
        self.transforms = nn.ModuleDict(transforms)

    def forward(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``stored`` {m: [B, ...]} -> float32 {m: [B, ...]}."""
        return {m: transform(stored[m]) for m, transform in self.transforms.items()}


class Dataset:
    """Hold samples of several modalities in memory, in a compact type that is converted batch by batch.

    Args:
        inputs: one tensor ``[N, ...]`` per modality, in the order that the model uses; any real dtype (uint8 and
            float16 save memory, memory-mapped storage is fine). A modality's name is a word as in a variable's name.
        target: class of each sample, integer ``[N]``, or what ``task`` says.
        split: "train", "val" or "test" for each sample; every part needs at least one sample.
        name: what tables and records call the set.
        classes: class names in label order, two at least; by default the labels themselves.
        ids: one name per sample (default: its number).
        groups: one name per sample of what it shares with others, a speaker or a video (default: nothing). A verdict
            draws whole groups, because samples of one group are no independent evidence.
        source: where the values come from, in words for people.
        generated: True for a set that this project computes; such a set never passes for a real one.
        version: generator version and settings, part of the fingerprint of a generated set.
        finite: the values are known to be finite; for the largest sets, looking takes minutes.
        transforms: per modality a module ``transform(x, generator) -> float32``; ``x`` are stored values ``[B, ...]``;
            with a generator it augments (training), without it does not (evaluation). Default ``ToFloat``.
        task: a key of ``TASKS``. weights: of its classes (``ArrayDataset`` says more about both).

    Raises:
        ValueError: for names that the house uses, wrong lengths, values that are complex or not finite, fewer than two
            classes, labels outside the classes, unknown or empty parts.
    """

    def __init__(
        self,
        inputs: Mapping[str, Tensor],
        target: Tensor,
        split: Sequence[str],
        *,
        name: str,
        classes: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        source: str = "",
        generated: bool = False,
        version: str = "",
        finite: bool = False,
        transforms: Mapping[str, nn.Module] | None = None,
        task: str = "classification",
        weights: Any = None,
    ):
        if task not in TASKS:
            raise unknown_name(f"task of data set {name!r}", task, TASKS)
        if not isinstance(name, str) or not name:
            raise ValueError(f"the name of a data set is {name!r}; give a word, as text, e.g. name='clips'")
        if isinstance(split, str) or not isinstance(split, Iterable):
            raise ValueError(f"data set {name!r}: split is {split!r}; give 'train', 'val' or 'test' for each sample")
        self.inputs = dict(inputs)
        self.modalities = self.kept = tuple(self.inputs)
        self.target = TASKS[task].stored(torch.as_tensor(target), name)
        if not len(self.target):
            raise ValueError(f"data set {name!r} is empty: target has no sample")
        self.split = [str(part) for part in split]
        self.name, self.source, self.generated, self.version = name, source, generated, version
        count = len(self.target)
        self.ids = tuple(str(i) for i in (range(count) if ids is None else ids))
        self.groups = None if groups is None else tuple(str(group) for group in groups)
        self.classes = TASKS[task].names(classes, self.target, name)
        self.transforms = {m: (transforms or {}).get(m, ToFloat()) for m in self.modalities}
        self._digests: dict[str, str] = {}  # of the stored values, computed when first asked for
        self._check(TASKS[task])
        for modality in transforms or {}:
            if modality not in self.inputs:
                raise unknown_name(f"modality of data set {name!r} with a transform", modality, self.inputs)
        for modality in () if finite else self.inputs:
            self._check_finite(modality)
        self._indices = {p: torch.tensor([i for i, s in enumerate(self.split) if s == p]) for p in PARTS}
        self.task: Task = TASKS[task].made(self.target[self._indices["train"]], len(self.classes), weights)

    def _check(self, task: type[Task]) -> None:
        count = len(self.target)
        if not self.inputs:
            raise ValueError(f"data set {self.name!r} has no modality: give at least one, e.g. inputs={{'audio': x}}")
        for modality, x in self.inputs.items():
            _check_modality(modality, x, self.name)
        lengths = {m: len(x) for m, x in self.inputs.items()} | {"split": len(self.split), "ids": len(self.ids)}
        lengths |= {} if self.groups is None else {"groups": len(self.groups)}
        wrong = {what: n for what, n in lengths.items() if n != count}
        if wrong:
            raise ValueError(f"data set {self.name!r}: target has {count} samples, but " + _listing(wrong))
        if len(set(self.ids)) != count:
            twice = [i for i, n in Counter(self.ids).items() if n > 1]
            raise ValueError(f"data set {self.name!r}: sample id {twice[0]!r} occurs twice; ids must be unique")
        for part in sorted(set(self.split) - set(PARTS)):
            raise unknown_name(f"part in the split of data set {self.name!r}", part, PARTS)
        empty = [part for part in PARTS if part not in self.split]
        if empty:
            raise ValueError(
                f"data set {self.name!r}: part {empty[0]!r} is empty; mark some samples {empty[0]!r} "
                "(dgl_core.data.random_split(target) cuts all three parts at random, class by class)"
            )
        if wrong := task.outside(self.target, len(self.classes)):
            (row, label), last = wrong, len(self.classes) - 1
            why = f"is outside the {last + 1} classes 0..{last}" if isinstance(label, int) else f"fits no {task.kind}"
            raise ValueError(f"data set {self.name!r}: label {label} of sample {self.ids[row]!r} {why}")

    def _check_finite(self, modality: str, chunk: int = 1024) -> None:
        x = self.inputs[modality]
        for start in range(0, len(x) if x.is_floating_point() else 0, chunk):
            good = torch.isfinite(x[start : start + chunk]).reshape(-1, x[0].numel()).all(1)
            if not good.all():
                what = f"modality {modality!r} of sample {self.ids[start + int((~good).nonzero()[0])]!r}"
                bad = "values that are not finite (NaN or infinite); repair or drop this sample"
                raise ValueError(f"data set {self.name!r}: {what} has {bad}")

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, row: int) -> tuple[dict[str, Tensor], Tensor]:
        """Return one sample as in evaluation, ``({modality: [...]}, target)``: a ``DataLoader`` takes the set.

        One part of it is ``torch.utils.data.Subset(dataset, dataset.indices("train"))``.
        """
        if not -len(self) <= row < len(self):
            raise IndexError(f"data set {self.name!r} has {len(self)} samples; there is no number {row}.")
        inputs, target = self.batch(torch.tensor([row % len(self)]))
        return {m: x[0] for m, x in inputs.items()}, target[0]

    def __repr__(self) -> str:
        kind, modalities = "generated" if self.generated else "real", " + ".join(self.modalities)
        return f"{self.name} ({kind}): {_listing(self.counts)}, {len(self.classes)} classes, {modalities}"

    def test_groups(self) -> list[int]:
        """Number the group of every test sample, in order."""
        named = [self.groups[i] for i in self._indices["test"].tolist()]
        numbers = {group: number for number, group in enumerate(dict.fromkeys(named))}
        return [numbers[group] for group in named]

    @property
    def counts(self) -> dict[str, int]:
        """Count the samples of each part."""
        return {part: len(index) for part, index in self._indices.items()}

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of values (read once), labels, ids, split, and the version of a generated set."""
        for name, x in (self.inputs | {"": self.target}).items():
            if name not in self._digests:
                self._digests[name] = _digest(x)
        version = self.version if self.generated else ""
        about = [version, [(m, self._digests[m]) for m in (*self.modalities, "")], self.ids, self.split]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one sample per modality, as ``batch`` returns it."""
        inputs, _ = self.batch(self._indices["train"][:1])
        return {modality: tuple(x.shape[1:]) for modality, x in inputs.items()}

    def indices(self, part: str) -> Tensor:
        """Return the rows of one part ("train", "val" or "test"), LongTensor ``[n]`` in storage order."""
        if part not in self._indices:
            raise unknown_name("part", part, PARTS)
        return self._indices[part]

    def batch(
        self, index: Tensor, generator: torch.Generator | None = None, drawn: Mapping[str, Drawn] | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return one batch, ready for the model: ``({modality: float32 [B, ...]}, target [B])``, on the set's device.

        Args:
            index: rows ``[B]``.
            generator: source of the training augmentation. drawn: what ``draw`` took from it before, on the set's
                device. Neither: evaluation.
        """
        index = index.to(self.target.device)
        inputs = self.transformed(lambda m: _rows(self.inputs[m], index), len(index), generator, drawn)
        return inputs, self.target.index_select(0, index)

    def draw(self, count: int, generator: torch.Generator) -> dict[str, Drawn] | None:
        """Draw the random numbers of ``count`` samples as ``batch`` would, without reading one.

        None, and nothing is drawn, where a transform, or a set that makes its batches in its own way, only draws by
        working.
        """
        if type(self).batch is not Dataset.batch or not all(hasattr(t, "draw") for t in self.transforms.values()):
            return None
        drawn = {m: t.draw((count, *self.inputs[m].shape[1:]), generator) for m, t in self.transforms.items()}
        return {m: drawn[m] for m in self.kept}

    def transformed(
        self,
        stored: Callable[[str], Tensor],
        count: int,
        generator: torch.Generator | None = None,
        drawn: Mapping[str, Drawn] | None = None,
    ) -> dict[str, Tensor]:
        """Turn the stored values of ``count`` samples into network input, for the modalities that are ``kept``.

        The random numbers of the others are drawn all the same: a modality alone is augmented as it is among others.
        """
        if drawn is not None:
            return {m: self.transforms[m].use(stored(m), drawn[m]) for m in self.kept}
        inputs = {}
        for m, transform in self.transforms.items():
            if m in self.kept:
                inputs[m] = transform(stored(m), generator)
            elif generator is not None and hasattr(transform, "draw"):
                transform.draw((count, *self.inputs[m].shape[1:]), generator)
            elif generator is not None:
                transform(stored(m), generator)
        return inputs

    def preparation(self, modalities: Collection[str]) -> nn.Module:
        """Return what turns stored values {m: [B, ...]} of these modalities into network input, as in evaluation."""
        return Preparation({m: self.transforms[m] for m in modalities})

    def only(self, modalities: Collection[str]) -> Dataset:
        """Return a view of the set whose batches hold these modalities alone; the others are not even read."""
        view = copy.copy(self)
        view.kept = tuple(m for m in self.modalities if m in modalities)
        return view

    def to(self, device: torch.device | str) -> Dataset:
        """Return a copy of the set whose tensors live on ``device`` (the copy shares nothing that changes)."""
        moved = copy.copy(self)
        moved.inputs = {m: x.to(device) for m, x in self.inputs.items()}
        moved.target = self.target.to(device)
        moved._indices = {part: index.to(device) for part, index in self._indices.items()}
        moved.transforms = {m: copy.deepcopy(t).to(device) for m, t in self.transforms.items()}
        return moved


class ArrayDataset(Dataset):
    """Hold your own data: tensors or arrays, first axis = samples; values are used as they are, so scale them before.

    ``ArrayDataset(inputs={"audio": x1, "face": x2}, target=y, split=random_split(y))``

    Args:
        inputs, split, name, ids: as for ``Dataset``; arrays, tables and nested lists will do.
        target: what ``task`` says; classes may be given by name, as text.
        classes: names in label order; by default the labels themselves, sorted.
        task: "classification", target [N]; "multi_label", [N, L] of 0 and 1; "regression", [N] or [N, D];
            "sequence", [N, T] (-100 where a sequence is over), for outputs [B, K, T]; "dense", [N, H, W] (255 where
            nothing is labelled), for outputs [B, K, h, w].
        weights: of the classes in the loss, one a class, or "balanced"; None: all equal.
        tokens: modalities whose values are integers that an embedding looks up; they stay integers.
        groups: one name per sample of what it shares with others (a speaker). No group may be in two parts.
        transforms: modality -> module, as for ``Dataset``.

    Raises:
        ValueError: as ``Dataset``, a target that does not fit the task, or a group in two parts.
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        target: Any,
        split: Sequence[str],
        classes: Sequence[str] | None = None,
        name: str = "arrays",
        *,
        task: str = "classification",
        weights: Any = None,
        tokens: Collection[str] = (),
        ids: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        transforms: Mapping[str, nn.Module] | None = None,
    ):
        if not isinstance(inputs, Mapping):
            given = f"inputs is a {type(inputs).__name__}"
            raise ValueError(f"data set {name!r}: {given}; give one array per modality, by name, e.g. {{'audio': x}}")
        if isinstance(tokens, str):
            raise ValueError(f"data set {name!r}: tokens is {tokens!r}; give a collection, e.g. tokens=({tokens!r},)")
        if task == "classification":
            target, classes = _numbered(target, classes, name)
        stored = {m: as_tensor(x, f"modality {m!r}", name) for m, x in inputs.items()}
        for modality in tokens:
            _check_tokens(modality, stored, name)
        super().__init__(
            stored,
            as_tensor(target, "target", name),
            np.asarray(split).tolist(),
            name=name,
            classes=classes,
            ids=ids,
            groups=groups,
            source="arrays given by the user",
            transforms={m: ToIndex() for m in tokens} | dict(transforms or {}),
            task=task,
            weights=weights,
        )
        if self.groups is not None:
            check_leak(self.groups, self.split, f"data set {name!r}")


def _numbered(target: Any, classes: Sequence[str] | None, name: str) -> tuple[Any, Sequence[str] | None]:
    """Number labels that are given as text, by ``classes`` or in sorted order; other labels come back as they are."""
    labels = np.asarray(target, dtype=object) if not isinstance(target, Tensor) else np.empty(0)
    if labels.ndim != 1 or not len(labels) or not all(isinstance(label, str) for label in labels):
        return target, classes
    known = listed_names(sorted(set(labels)) if classes is None else classes, name)
    for row, label in enumerate(labels):
        if label not in known:
            raise unknown_name(f"class of sample {row} of data set {name!r}", label, known)
    place = {label: number for number, label in enumerate(known)}
    return np.array([place[label] for label in labels]), known


def _check_tokens(modality: str, stored: Mapping[str, Tensor], name: str) -> None:
    """Refuse tokens that are no whole numbers of 0 or more, or of a modality that is not there."""
    if modality not in stored:
        raise unknown_name(f"modality of data set {name!r} with tokens", modality, stored)
    x = stored[modality]
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f"data set {name!r}: the tokens of {modality!r} are {shown(x)}; give integers")
    if x.numel() and int(x.min()) < 0:
        raise ValueError(f"data set {name!r}: modality {modality!r} has the token {int(x.min())}; count them from 0")


def check_leak(groups: Sequence[str], split: Sequence[str], owner: str) -> None:
    """Refuse a group that is in two parts: the model would be tested on speakers that it was trained on."""
    part_of: dict[str, str] = {}
    for group, part in zip(groups, split, strict=True):
        if part_of.setdefault(group, part) != part:
            raise ValueError(f"{owner}: group {group!r} is in {part_of[group]!r} and in {part!r}; cut with "
                             "random_split(target, groups=groups), which keeps groups whole")  # fmt: skip


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Copy stored rows ``[B, ...]``; large half-precision rows become float32 on the way, in one pass."""
    if x.device.type != "cpu" or x.dtype != torch.float16 or x[0].numel() < 8192:
        return x.index_select(0, index)
    rows = torch.empty(len(index), *x.shape[1:])
    for row, place in zip(rows, index.tolist(), strict=True):
        row.copy_(x[place])
    return rows


def _check_modality(modality: Any, x: Tensor, name: str) -> None:
    """Refuse a name that is no word or that the house uses, and values that no network takes."""
    word = isinstance(modality, str) and modality.isidentifier()
    affixed = word and (modality.startswith(("without_", "official_")) or modality.endswith("_reestimated"))
    taken = affixed or word and (modality in TAKEN or hasattr(nn.ModuleDict, modality))
    if taken or not word:
        why = "is a name that models and records use themselves" if taken else "is no word of letters, digits and _"
        raise ValueError(f"data set {name!r}: modality {modality!r} {why}; name it otherwise, e.g. 'audio' or 'face_2'")
    if x.is_complex():
        remedy = "give real numbers, e.g. its absolute value"
        raise ValueError(f"data set {name!r}: modality {modality!r} is complex; {remedy}")
    if len(x) and not x[0].numel():
        raise ValueError(f"data set {name!r}: modality {modality!r} has shape {list(x.shape)}, so no value a sample")


def _digest(x: Tensor, chunk: int = 256) -> str:
    """Return the SHA-256 of type, shape and values."""
    digest = hashlib.sha256(f"{x.dtype} {list(x.shape)}".encode())
    for rows in x.split(chunk):
        digest.update(rows.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def as_tensor(x: Any, what: str, name: str) -> Tensor:
    """Take an array, a tensor, a table or nested lists of numbers as a tensor, first axis samples; float64 as float32.

    Raises:
        ValueError: it is none; the message says ``what`` of which data set (``name``).
    """
    if np.ma.is_masked(x):
        raise ValueError(f"data set {name!r}: {what} has masked values; fill them, or drop their samples")
    try:
        array = x if isinstance(x, (Tensor, np.ndarray)) else np.array(x)
        if isinstance(array, np.ndarray) and array.dtype == object:  # nullable columns of a table, for example
            array = np.array(array.tolist())
        tensor = torch.as_tensor(array).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"data set {name!r}: {what} is no array of numbers ({error})") from error
    if tensor.dim() == 0:
        raise ValueError(f"data set {name!r}: {what} is a single number; its first axis must be the samples")
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def _listing(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what} {n}" for what, n in counts.items())
