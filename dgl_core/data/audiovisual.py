"""Sets of short audio-visual clips in the layout of CREMA-D: one folder of wav files, one folder of frames per clip."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dgl_core.data import cache, generated
from dgl_core.data.arrays import prepared
from dgl_core.data.emotions import EMOTIONS
from dgl_core.data.media import read_frame, read_wav
from dgl_core.data.recipe import data_roots, random_split
from dgl_core.data.spectrogram import FORMS, spectrogram

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dgl_core.data.base import Dataset

CROP_MARGIN = 8 / 7  # pictures to be cropped are stored this much larger: 256 for 224
CREMAD = "cremad"  # folder of the real set below a data root


@dataclass(frozen=True)
class Clips:
    """Which clips there are and where their media lie.

    Args:
        folder: holds ``AudioWAV/<clip>.wav`` and ``Image-01-FPS/<clip>/*.jpg``.
        names: clip names ``[N]``.
        labels: class of each, index into ``EMOTIONS``.
        parts: "train", "val" or "test" for each.
        prepared: where arrays made from the media are kept.
    """

    folder: Path
    names: Sequence[str]
    labels: Sequence[int]
    parts: Sequence[str]
    prepared: Path

    def wav(self, name: str) -> Path:
        return self.folder / generated.AUDIO / f"{name}.wav"

    def frame(self, name: str) -> Path:
        """The first frame of a clip by name (the official code takes the first of an unsorted listing)."""
        frames = sorted((self.folder / generated.FRAMES / name).glob("*.*"))
        if not frames:
            raise FileNotFoundError(
                f"{self.folder / generated.FRAMES / name}: no frame of clip {name!r}; extract the frames of this clip "
                "again, or drop it from the lists"
            )
        return frames[0]

    def has_frame(self, name: str) -> bool:
        return any((self.folder / generated.FRAMES / name).glob("*.*"))

    def spectrograms(self, form: str) -> np.ndarray:
        """Float16 ``[N, F, T]``, memory-mapped; ``form`` is a key of ``FORMS``."""
        rule = FORMS[form]
        files = [self.wav(name) for name in self.names]
        return self._array(
            f"audio-{form}", rule.shape, np.float16, files, lambda path: spectrogram(read_wav(path, rule.rate), rule)
        )

    def frames(self, size: int) -> np.ndarray:
        """uint8 ``[N, size, size, 3]``, memory-mapped: one RGB frame per clip, resized with antialiasing."""
        files = [self.frame(name) for name in self.names]
        return self._array(f"frames-{size}", (size, size, 3), np.uint8, files, lambda path: read_frame(path, size))

    def _array(
        self, what: str, shape: tuple[int, ...], dtype: type, files: Sequence[Path], make: Callable
    ) -> np.ndarray:
        def fill(array: np.ndarray) -> None:
            for row, file in enumerate(files):
                array[row] = make(file)

        return prepared(self.prepared / what, _stamp(what, files), self.names, shape, dtype, fill)


def _stamp(what: str, files: Sequence[Path]) -> str:
    """Changes when a source file does (name, size or time)."""
    lines = [what]
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            raise FileNotFoundError(
                f"{file}: missing or unreadable ({error.strerror}); copy or extract it again, "
                "or drop the clip from the lists"
            ) from error
        lines.append(f"{file.name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_list(path: Path) -> list[tuple[str, int]]:
    """Clip names and labels from a list of the official form, one ``name,label`` a line.

    Raises:
        ValueError: a line of another form or an unknown label; the message has file and line number.
    """
    clips = []
    with open(path, encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if len(row) != 2 or row[1] not in EMOTIONS:
                raise ValueError(f"{path}, line {number}: {','.join(row)!r} is not 'clip,label' with one of {EMOTIONS}")
            clips.append((row[0], EMOTIONS.index(row[1])))
    return clips


def load_emotions(
    root: Path | None, *, clips: int, seed: int, audio_difficulty: float, visual_difficulty: float, **view
) -> Dataset:
    """The generated set (written on first use); it lives in its own cache, so ``root`` is not used."""
    settings = generated.Settings(clips, seed, audio_difficulty, visual_difficulty)
    folder = generated.ensure(settings)
    lists = {part: read_list(folder / f"{part}.csv") for part in ("train", "val", "test")}
    return _dataset(
        _clips(folder, lists, folder / "prepared"),
        name="emotions",
        source=f"generated: {clips} clips, seed {seed}, difficulty {audio_difficulty:g} / {visual_difficulty:g}",
        version=f"emotions {generated.VERSION} {settings.digest}",
        **view,
    )


def load_cremad(root: Path | None, *, seed: int, **view) -> Dataset:
    """Real CREMA-D from ``<root>/cremad``; validation is cut from the training list, as large as the test list."""
    folder = find_cremad(root)
    lists = {part: read_list(_list_file(folder, part)) for part in ("train", "test")}
    share = len(lists["test"]) / len(lists["train"])
    cut = random_split([label for _, label in lists["train"]], val=share, test=0.0, seed=seed)
    lists["val"] = [clip for clip, part in zip(lists["train"], cut, strict=True) if part == "val"]
    lists["train"] = [clip for clip, part in zip(lists["train"], cut, strict=True) if part == "train"]
    clips = _clips(folder, lists, cache.cache_root() / "cremad")
    return _dataset(clips, name="cremad", source="CREMA-D, official split lists", **view)


def find_cremad(root: Path | None) -> Path:
    """The folder of the real set.

    Raises:
        FileNotFoundError: says where it was looked for, what belongs there, and what can be used instead.
    """
    looked = [place / CREMAD for place in data_roots(root)]
    for folder in looked:
        if all((folder / name).is_dir() for name in (generated.AUDIO, generated.FRAMES)):
            return folder
    raise FileNotFoundError(
        f"CREMA-D is not here: no {CREMAD}/{generated.AUDIO} and {CREMAD}/{generated.FRAMES} in "
        f"{', '.join(str(f.parent) for f in looked)}. Put the set there, or set DGL_DATA to the folder that holds "
        f"{CREMAD!r}, or use the generated set 'emotions', which has the same layout"
    )


def verify_cremad(root: Path | None) -> str:
    """Check that every clip of the official lists has a sound and a frame, and that no clip is in both lists."""
    folder = find_cremad(root)
    lists = {part: read_list(_list_file(folder, part)) for part in ("train", "test")}
    clips = _clips(folder, lists, folder)
    if len(set(clips.names)) < len(clips.names):
        twice = next(name for name, after in zip(clips.names, clips.names[1:], strict=False) if name == after)
        raise ValueError(
            f"clip {twice!r} is listed twice in the train and test lists of CREMA-D; fetch the lists again"
        )
    absent = [name for name in clips.names if not (clips.wav(name).is_file() and clips.has_frame(name))]
    if absent:
        raise FileNotFoundError(
            f"{folder}: {len(absent)} of {len(clips.names)} listed clips lack their sound or frames, "
            f"e.g. {absent[0]!r}; copy or extract them again"
        )
    return f"{len(lists['train'])} train and {len(lists['test'])} test clips, each with sound and frame"


def _list_file(folder: Path, part: str) -> Path:
    places = [folder / f"{part}.csv", folder.parent / "split_lists" / f"cremad_{part}.csv"]
    for path in places:
        if path.is_file():
            return path
    raise FileNotFoundError(f"the official {part} list of CREMA-D (clip,label) is missing: put it at {places[0]}")


def _clips(folder: Path, lists: dict[str, list[tuple[str, int]]], prepared: Path) -> Clips:
    rows = sorted((name, label, part) for part, clips in lists.items() for name, label in clips)
    names, labels, parts = zip(*rows, strict=True)
    return Clips(folder, names, labels, parts, prepared)


def _dataset(
    clips: Clips, *, name: str, source: str, spectrogram: str, frame_size: int, augment: str, version: str = ""
) -> Dataset:
    import torch

    from dgl_core.data.base import Dataset

    if not 16 <= frame_size <= 512:
        raise ValueError(f"frame_size is {frame_size}; give 16 to 512 pixels")
    audio = torch.from_numpy(clips.spectrograms(spectrogram))  # float16 [N, F, T]
    stored = round(frame_size * CROP_MARGIN) if augment == "crop" else frame_size
    visual = torch.from_numpy(clips.frames(stored))  # uint8 [N, H, W, 3]
    return Dataset(
        {"audio": audio, "visual": visual},
        torch.tensor(clips.labels),
        clips.parts,
        name=name,
        classes=EMOTIONS,
        ids=clips.names,
        source=source,
        generated=bool(version),
        version=version,
        transforms={
            "audio": _sound_transform(clips, audio, spectrogram, augment),
            "visual": _frame_transform(clips, frame_size, augment),
        },
    )


def _sound_transform(clips: Clips, audio: Tensor, form: str, augment: str) -> nn.Module:
    """The compact form is standardised over the training part; the full forms stay as the official code leaves them."""
    from dgl_core.data.augment import Standardise

    mean, std = 0.0, 1.0
    if form == "compact":
        train = audio[[i for i, part in enumerate(clips.parts) if part == "train"]].double()
        mean, std = float(train.mean()), float(train.std())
    return Standardise(mean, std, shift=(0, audio.shape[2] // 12) if augment == "shift" else (0, 0))


def _frame_transform(clips: Clips, size: int, augment: str) -> nn.Module:
    from dgl_core.data.augment import IMAGENET_MEAN, IMAGENET_STD, RandomResizedCrop, Standardise

    if augment == "crop":
        from PIL import Image

        with Image.open(clips.frame(clips.names[0])) as image:
            return RandomResizedCrop(size, stretch=image.width / image.height)
    mean, std = [255 * m for m in IMAGENET_MEAN], [255 * s for s in IMAGENET_STD]
    moved = augment == "shift"
    return Standardise(mean, std, channels="last", shift=(size // 16, size // 16) if moved else (0, 0), flip=moved)
