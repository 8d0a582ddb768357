"""What every data set looks like to the rest of the house: tensors keyed by modality, one target, one split."""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dgl_core.data.tasks.classes import Classification, Task
from dgl_core.utils import unknown_name

PARTS = ("train", "val", "test")


class ToFloat(nn.Module):
    """The plainest transform: stored values as float32, in training and in evaluation."""

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return x.to(torch.float32)


class Dataset:
    """Samples of several modalities, held in memory in a compact type and converted batch by batch.

    Args:
        inputs: one tensor ``[N, ...]`` per modality, in the order that the model uses; any dtype (uint8 and
            float16 save memory, memory-mapped storage is fine).
        target: class of each sample, integer ``[N]``.
        split: "train", "val" or "test" for each sample; every part needs at least one sample.
        name: what tables and records call the set.
        classes: class names in label order; by default the labels themselves.
        ids: one name per sample (default: its number); with labels and split they make the fingerprint.
        source: where the values come from, in words for people.
        generated: True for a set that this project computes; such a set never passes for a real one.
        version: generator version and settings, part of the fingerprint of a generated set.
        finite: the values are known to be finite (arrays that this project prepared and checksummed), so they are not
            read through once more; for the largest sets that takes minutes.
        transforms: per modality a module ``transform(x, generator) -> float32``; ``x`` are stored values ``[B, ...]``;
            with a generator it augments (training), without it does not (evaluation). Default ``ToFloat``.

    Raises:
        ValueError: for wrong lengths, values that are not finite, labels outside the classes, unknown or empty parts.
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
        source: str = "",
        generated: bool = False,
        version: str = "",
        finite: bool = False,
        transforms: Mapping[str, nn.Module] | None = None,
    ):
        self.inputs = dict(inputs)
        self.modalities = tuple(self.inputs)
        self.target = _labels(target, name)
        self.split = [str(part) for part in split]
        self.name, self.source, self.generated, self.version = name, source, generated, version
        count = len(self.target)
        self.ids = tuple(str(i) for i in (range(count) if ids is None else ids))
        self.classes = tuple(classes) if classes is not None else _names(self.target)
        self.task: Task = Classification()
        self.transforms = {m: (transforms or {}).get(m, ToFloat()) for m in self.modalities}
        self._check()
        for modality, x in self.inputs.items() if not finite else ():
            self._check_finite(modality, x)
        self._indices = {p: torch.tensor([i for i, s in enumerate(self.split) if s == p]) for p in PARTS}

    def _check(self) -> None:
        count = len(self.target)
        if not self.inputs:
            raise ValueError(f"data set {self.name!r} has no modality: give at least one, e.g. inputs={{'audio': x}}")
        lengths = {m: len(x) for m, x in self.inputs.items()} | {"split": len(self.split), "ids": len(self.ids)}
        wrong = {what: n for what, n in lengths.items() if n != count}
        if wrong:
            raise ValueError(f"data set {self.name!r}: target has {count} samples, but " + _listing(wrong))
        if len(set(self.ids)) != count:
            twice = [i for i, n in Counter(self.ids).items() if n > 1]
            raise ValueError(f"data set {self.name!r}: sample id {twice[0]!r} occurs twice; ids must be unique")
        unknown = sorted(set(self.split) - set(PARTS))
        if unknown:
            raise unknown_name(f"part in the split of data set {self.name!r}", unknown[0], PARTS)
        empty = [part for part in PARTS if part not in self.split]
        if empty:
            raise ValueError(
                f"data set {self.name!r}: part {empty[0]!r} is empty; mark some samples {empty[0]!r} "
                "(dgl_core.data.random_split(target) cuts all three parts at random, class by class)"
            )
        low, high = int(self.target.min()), int(self.target.max())
        if low < 0 or high >= len(self.classes):
            wrong_label = low if low < 0 else high
            place = self.ids[int((self.target == wrong_label).nonzero()[0])]
            raise ValueError(
                f"data set {self.name!r}: label {wrong_label} of sample {place!r} is outside the "
                f"{len(self.classes)} classes 0..{len(self.classes) - 1}"
            )

    def _check_finite(self, modality: str, x: Tensor, chunk: int = 1024) -> None:
        if not x.is_floating_point():
            return
        for start in range(0, len(x), chunk):
            part = x[start : start + chunk]
            good = torch.isfinite(part).flatten(1).all(1) if part.dim() > 1 else torch.isfinite(part)
            if not good.all():
                place = self.ids[start + int((~good).nonzero()[0])]
                raise ValueError(
                    f"data set {self.name!r}: modality {modality!r} of sample {place!r} has values that are not finite "
                    "(NaN or infinite); repair or drop this sample"
                )

    def __len__(self) -> int:
        return len(self.target)

    def __repr__(self) -> str:
        kind = "generated" if self.generated else "real"
        return (
            f"{self.name} ({kind}): {_listing(self.counts)}, {len(self.classes)} classes, {' + '.join(self.modalities)}"
        )

    @property
    def counts(self) -> dict[str, int]:
        """Samples per part."""
        return {part: len(index) for part, index in self._indices.items()}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of ids, labels and split (and of the generator's version and settings, for a generated set)."""
        lines = [self.version if self.generated else ""]
        lines += [f"{i}\t{t}\t{s}" for i, t, s in zip(self.ids, self.target.tolist(), self.split, strict=True)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one sample per modality, as ``batch`` returns it."""
        inputs, _ = self.batch(self._indices["train"][:1])
        return {modality: tuple(x.shape[1:]) for modality, x in inputs.items()}

    def indices(self, part: str) -> Tensor:
        """Rows of one part ("train", "val" or "test"), LongTensor ``[n]`` in storage order."""
        if part not in self._indices:
            raise unknown_name("part", part, PARTS)
        return self._indices[part]

    def batch(self, index: Tensor, generator: torch.Generator | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """One batch, ready for the model.

        Args:
            index: rows ``[B]``.
            generator: source of the training augmentation, so that a resumed run draws the same; None: evaluation.

        Returns:
            ``({modality: float32 [B, ...]}, target [B])``, on the device of the data set.
        """
        index = index.to(self.target.device)
        inputs = {m: self.transforms[m](_rows(x, index), generator) for m, x in self.inputs.items()}
        return inputs, self.target.index_select(0, index)

    def to(self, device: torch.device | str) -> Dataset:
        """A copy of the set whose tensors live on ``device`` (the copy shares nothing that changes)."""
        moved = copy.copy(self)
        moved.inputs = {m: x.to(device) for m, x in self.inputs.items()}
        moved.target = self.target.to(device)
        moved._indices = {part: index.to(device) for part, index in self._indices.items()}
        moved.transforms = {m: copy.deepcopy(t).to(device) for m, t in self.transforms.items()}
        return moved


class ArrayDataset(Dataset):
    """Your own data: tensors or arrays, first axis = samples.

    ``ArrayDataset(inputs={"audio": x1, "face": x2}, target=y, split=s)``; ``split`` says "train", "val" or "test" per
    sample (``random_split(target)`` makes one). Values are used as they are: scale them before, convert strings before.
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        target: Any,
        split: Sequence[str],
        classes: Sequence[str] | None = None,
        name: str = "arrays",
    ):
        super().__init__(
            {m: _tensor(x, f"modality {m!r}", name) for m, x in inputs.items()},
            _tensor(target, "target", name),
            np.asarray(split).tolist(),
            name=name,
            classes=classes,
            source="arrays given by the user",
        )


def _labels(target: Any, name: str) -> Tensor:
    target = torch.as_tensor(target)
    if target.dim() != 1 or target.is_floating_point() or target.is_complex():
        raise ValueError(
            f"data set {name!r}: target is {str(target.dtype).removeprefix('torch.')} {list(target.shape)}; "
            "give one integer class per sample, shape [N]"
        )
    if len(target) == 0:
        raise ValueError(f"data set {name!r} is empty: target has no sample")
    return target.long()


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Stored rows ``[B, ...]``, always a copy. Large half-precision rows become float32 on the way, in one pass."""
    if x.device.type != "cpu" or x.dtype != torch.float16 or x[0].numel() < 8192:
        return x.index_select(0, index)
    rows = torch.empty(len(index), *x.shape[1:])
    for row, place in zip(rows, index.tolist(), strict=True):
        row.copy_(x[place])
    return rows


def _names(target: Tensor) -> tuple[str, ...]:
    return tuple(str(label) for label in range(max(int(target.max()) + 1, 1)))


def _tensor(x: Any, what: str, name: str) -> Tensor:
    try:
        tensor = torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"data set {name!r}: {what} is no array of numbers ({error})") from error
    if tensor.dim() == 0:
        raise ValueError(f"data set {name!r}: {what} is a single number; its first axis must be the samples")
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def _listing(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what} {n}" for what, n in counts.items())
