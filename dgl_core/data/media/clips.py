"""Load sets of audio-visual clips: a spectrogram and one or more frames of each, in one class of several.

Every such set is a list of ``Clips`` and a ``View`` of them; the recipes (CREMA-D, Kinetics-Sounds, VGGSound, a folder
of your own) differ in where their lists come from and in how long their sounds are.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dgl_core import data
from dgl_core.data.files import cache
from dgl_core.data.media import arrays as stored
from dgl_core.data.media.source import Source
from dgl_core.data.media.spectrogram import FORMS, LONG_FORMS, Form
from dgl_core.data.media.video import Frames

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dgl_core.data.dataset import Dataset

CROP_MARGIN = 8 / 7  # pictures to be cropped are stored this much larger: 256 for 224
PIECE = 626  # columns of 5 s in the official long form


@dataclass(frozen=True)
class Clips:
    """List the clips of a set, and where their media lie.

    Args:
        classes: class names.
        labels: class of each, index into ``classes`` ``[N]``; None for a clip that is listed but not there.
        parts: "train", "val" or "test" for each.
        sources: name, sound file and video or folder of frames of each.
    """

    classes: tuple[str, ...]
    labels: Sequence[int | None]
    parts: Sequence[str]
    sources: Sequence[Source]


@dataclass(frozen=True)
class View:
    """Set what a clip becomes.

    Args:
        spectrogram: "official", "paper" or "compact".
        frame_size: pixels of a side.
        augment: "none", "shift" or "crop".
        frames: frames a clip.
        rule: which ones, see ``Frames``.
        long: ten seconds of sound, not three.
    """

    spectrogram: str
    frame_size: int
    augment: str
    frames: int = 1
    rule: str = "1fps"
    long: bool = False

    def __post_init__(self):
        if not 16 <= self.frame_size <= 512:
            raise ValueError(f"frame_size is {self.frame_size}; give 16 to 512 pixels")
        if not 1 <= self.frames <= 64:
            raise ValueError(f"frames is {self.frames}; give 1 to 64 frames a clip")

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


def load_clips(clips: Clips, view: View, *, name: str, source: str, key: str = "", complete: bool = False) -> Dataset:
    """Load a real set from its media; what was read before is not read again.

    Args:
        name: of the data set; ``key`` is that of the folder of its arrays, if another.
        source: where the values come from, in words; clips that could not be read are added to it.
        complete: a clip that cannot be read is an error, as where the lists are the benchmark.

    Raises:
        ValueError: for such a clip, or if no clip can be read.
    """
    report = prepare_clips(clips, view, key or name)
    if report.unreadable:
        cache.say(f"{name}: {report}")
        if complete or not report.clips:
            first = report.unreadable[0]
            raise ValueError(
                f"{len(report.unreadable)} of {len(clips.sources)} clips of {name} could not be read, e.g. "
                f"{first.problem} (all: {report.folder / stored.REPORT})"
            )
        source += f"; {len(report.unreadable)} of {len(clips.sources)} listed clips missing or unreadable"
    arrays, entries = stored.load(report.folder)
    place = {listed.clip: number for number, listed in enumerate(clips.sources)}
    order = [place[entry.clip] for entry in entries]
    ratios = sorted(entry.width / max(1, entry.height) for entry in entries)
    return dataset(
        arrays["sound"],
        arrays["frames"][:, 0] if view.frames == 1 else arrays["frames"],
        [clips.labels[number] for number in order],
        [clips.parts[number] for number in order],
        [entry.clip for entry in entries],
        view,
        name=name,
        classes=clips.classes,
        source=source,
        stretch=ratios[len(ratios) // 2],
    )


def dataset(
    sound: np.ndarray,
    frames: np.ndarray,
    labels: Sequence[int],
    parts: Sequence[str],
    names: Sequence[str],
    view: View,
    *,
    name: str,
    classes: Sequence[str],
    source: str,
    stretch: float,
    version: str = "",
) -> Dataset:
    """Make a ``Dataset`` of sound float16 ``[N, F, T]`` and frames uint8 ``[N, S, S, 3]`` or ``[N, T, S, S, 3]``.

    Args:
        stretch: width / height of the original pictures (their median, where they differ).
        version: of the generator, for a generated set.
    """
    import torch

    audio, visual = torch.from_numpy(sound), torch.from_numpy(frames)
    return data.Dataset(
        {"audio": audio, "visual": visual},
        torch.tensor(labels),
        parts,
        name=name,
        classes=classes,
        ids=names,
        source=source,
        generated=bool(version),
        version=version,
        finite=True,
        transforms={
            "audio": _sound_transform(parts, audio, view),
            "visual": _frame_transform(view, stretch),
        },
    )


def _sound_transform(parts: Sequence[str], audio: Tensor, view: View) -> nn.Module:
    """Standardise the compact form over the training part; the full forms stay as the official code leaves them."""
    from dgl_core.data.transforms import Standardise, TimeCrop

    if view.long and view.spectrogram == "official":
        return TimeCrop(PIECE)
    mean, std = 0.0, 1.0
    if view.spectrogram == "compact":
        train = audio[[i for i, part in enumerate(parts) if part == "train"]].double()
        mean, std = float(train.mean()), float(train.std())
    return Standardise(mean, std, shift=(0, audio.shape[2] // 12) if view.augment == "shift" else (0, 0))


def _frame_transform(view: View, stretch: float) -> nn.Module:
    from dgl_core.data.transforms import IMAGENET_MEAN, IMAGENET_STD, PerFrame, RandomResizedCrop, Standardise

    size = view.frame_size
    if view.augment == "crop":
        transform: nn.Module = RandomResizedCrop(size, stretch=stretch)
    else:
        mean, std = [255 * m for m in IMAGENET_MEAN], [255 * s for s in IMAGENET_STD]
        moved = view.augment == "shift"
        shift = (size // 16, size // 16) if moved else (0, 0)
        transform = Standardise(mean, std, channels="last", shift=shift, flip=moved)
    return transform if view.frames == 1 else PerFrame(transform)


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
