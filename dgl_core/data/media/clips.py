"""Load sets of audio-visual clips, each a list of ``Clips`` and a ``View``: a spectrogram and some frames of each."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dgl_core import data
from dgl_core.data.files import cache
from dgl_core.data.media import arrays as stored
from dgl_core.data.media.reader import Source
from dgl_core.data.media.spectrogram import FORMS, LONG_FORMS, Form
from dgl_core.data.media.video import Frames

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dgl_core.data.dataset import Dataset

CROP_MARGIN = 8 / 7  # pictures to be cropped are stored this much larger: 256 for 224
PIECE = 626  # columns of 5 s in the official long form


@dataclass(frozen=True)
class Clips:
    """List the clips of a set, and where their media lie."""

    classes: tuple[str, ...]
    labels: Sequence[int | None]  # index into ``classes``; None for a clip that is listed but not there
    parts: Sequence[str]  # "train", "val" or "test"
    sources: Sequence[Source]


@dataclass(frozen=True)
class View:
    """Set what a clip becomes; the recipe has checked the values."""

    spectrogram: str  # "official", "paper" or "compact"
    frame_size: int  # pixels of a side
    augment: str  # "none", "shift" or "crop"
    frames: int = 1  # of a clip
    rule: str = "1fps"  # which ones, see ``Frames``
    long: bool = False  # ten seconds of sound, not three

    @property
    def form(self) -> Form:
        return (LONG_FORMS if self.long else FORMS)[self.spectrogram]

    @property
    def stored(self) -> Frames:
        """Set the frames that are kept: larger than they are used, where they are cropped."""
        size = round(self.frame_size * CROP_MARGIN) if self.augment == "crop" else self.frame_size
        return Frames(self.frames, self.rule, size)

    def folder(self, name: str) -> Path:
        """Name the folder of the arrays of a set in this view."""
        kept = self.stored
        length = "-10s" if self.long else ""
        return cache.cache_root() / name / f"{self.spectrogram}{length}-{kept.count}x{kept.size}-{kept.rule}"


def prepare_clips(clips: Clips, view: View, name: str, again: bool = False) -> stored.Report:
    """Make or complete the arrays of a real set."""
    return stored.ensure(view.folder(name), clips.sources, view.form, view.stored, again)


def load_clips(
    clips: Clips,
    view: View,
    *,
    name: str,
    source: str,
    key: str,
    complete: bool = False,
    groups: Mapping[str, str] | None = None,
) -> Dataset:
    """Load a real set from its media; what was read before is not read again.

    Args:
        key: name of the folder of its arrays.
        source: where the values come from, in words; clips that could not be read are added to it.
        complete: a clip that cannot be read is an error, as where the lists are the benchmark.
        groups: clip -> what it shares with others, as for ``Dataset``.

    Raises:
        ValueError: for such a clip, or if no clip can be read.
    """
    report = prepare_clips(clips, view, key)
    if report.unreadable:
        cache.say(f"{name}: {report}")
        bad = f"{len(report.unreadable)} of {len(clips.sources)}"
        if complete or not report.clips:
            first = f"e.g. {report.unreadable[0].problem} (all: {report.folder / stored.REPORT})"
            raise ValueError(f"{bad} clips of {name} could not be read, {first}")
        source += f"; {bad} listed clips missing or unreadable"
    arrays, entries = stored.load(report.folder)
    sound, frames = arrays["sound"], arrays["frames"][:, 0] if view.frames == 1 else arrays["frames"]
    names = [entry.clip for entry in entries]
    listed = {s.clip: told for s, *told in zip(clips.sources, clips.labels, clips.parts, strict=True)}
    labels, parts = zip(*(listed[clip] for clip in names), strict=True)
    ratios = sorted(entry.width / max(1, entry.height) for entry in entries)
    about = {"name": name, "classes": clips.classes, "source": source, "stretch": ratios[len(ratios) // 2]}
    about |= {"groups": [groups[clip] for clip in names]} if groups else {}
    return dataset(sound, frames, labels, parts, names, view, **about)


def dataset(
    sound: np.ndarray,
    frames: np.ndarray,
    labels: Sequence[int],
    parts: Sequence[str],
    names: Sequence[str],
    view: View,
    *,
    stretch: float,
    version: str = "",
    **about: Any,
) -> Dataset:
    """Make a ``Dataset`` of sound float16 ``[N, F, T]`` and frames uint8 ``[N, S, S, 3]`` or ``[N, T, S, S, 3]``.

    Args:
        stretch: width / height of the original pictures (their median, where they differ).
        version: of the generator, for a generated set. about: name, classes and source, as for ``Dataset``.
    """
    import torch

    inputs = {"audio": torch.from_numpy(sound), "visual": torch.from_numpy(frames)}
    transforms = _transforms(parts, inputs["audio"], view, stretch)
    about |= {"generated": bool(version), "version": version, "finite": True}
    return data.Dataset(inputs, torch.tensor(labels), parts, ids=names, transforms=transforms, **about)


def _transforms(parts: Sequence[str], audio: Tensor, view: View, stretch: float) -> dict[str, nn.Module]:
    """Standardise the compact form over the training part; the full forms stay as the official code leaves them."""
    from dgl_core.data.transforms import IMAGENET_MEAN, IMAGENET_STD, PerFrame, RandomResizedCrop, Standardise, TimeCrop

    moved, size = view.augment == "shift", view.frame_size
    mean, std = 0.0, 1.0
    if view.spectrogram == "compact":
        train = audio[[i for i, part in enumerate(parts) if part == "train"]].double()
        mean, std = float(train.mean()), float(train.std())
    sound: nn.Module = Standardise(mean, std, shift=(0, audio.shape[2] // 12 if moved else 0))
    if view.long and view.spectrogram == "official":
        sound = TimeCrop(PIECE)
    means, stds = [255 * m for m in IMAGENET_MEAN], [255 * s for s in IMAGENET_STD]
    shift = size // 16 if moved else 0
    frame: nn.Module = Standardise(means, stds, channels="last", shift=(shift, shift), flip=moved)
    if view.augment == "crop":
        frame = RandomResizedCrop(size, stretch=stretch)
    return {"audio": sound, "visual": frame if view.frames == 1 else PerFrame(frame)}


def read_list(path: Path, classes: Sequence[str]) -> list[tuple[str, int]]:
    """Read clip names and labels from a list of the official form, one ``name,label`` a line.

    Raises:
        ValueError: a line of another form or an unknown label; the message has file and line number.
    """
    cache.check_listed(path)
    clips = []
    with open(path, encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if len(row) != 2 or row[1] not in classes:
                raise ValueError(f"{path}, line {number}: {','.join(row)!r} is not 'clip,label' with one of {classes}")
            clips.append((row[0], classes.index(row[1])))
    return clips
