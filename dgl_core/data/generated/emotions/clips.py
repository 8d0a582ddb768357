"""The generated emotion set as a ``Dataset``: a set of clips that is written first and then read like a real one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dgl_core.data.files.arrays import prepared
from dgl_core.data.generated import kept
from dgl_core.data.generated.emotions import emotion_files as generated
from dgl_core.data.generated.emotions.acting import EMOTIONS
from dgl_core.data.media.clips import View, dataset, read_list
from dgl_core.data.media.pictures import picture_files, read_frame, read_picture
from dgl_core.data.media.sound import read_wav
from dgl_core.data.media.spectrogram import spectrogram
from dgl_core.data.recipe import SEEDS, Recipe

if TYPE_CHECKING:
    from dgl_core.data.dataset import Dataset


def load_emotions(
    root: Path | None, *, clips: int, seed: int, audio_difficulty: float, visual_difficulty: float, **view
) -> Dataset:
    """Load the generated set, written on first use; it lives in its own cache, so ``root`` is not used."""
    settings = generated.Settings(clips, seed, audio_difficulty, visual_difficulty)
    chosen, folder = View(**view), generated.ensure(settings)
    try:
        return _read(settings, folder, chosen)
    except kept.Damaged:
        return _read(settings, generated.ensure(settings, read=True), chosen)


def _read(settings: generated.Settings, folder: Path, chosen: View) -> Dataset:
    """Read the set from its media and the arrays beside them.

    Raises:
        Damaged: a file that is read differs from the manifest.
    """
    kept.check(folder, [folder / f"{part}.csv" for part in ("train", "val", "test")])
    lists = {part: read_list(folder / f"{part}.csv", EMOTIONS) for part in ("train", "val", "test")}
    rows = sorted((name, label, part) for part, listed in lists.items() for name, label in listed)
    names, labels, parts = zip(*rows, strict=True)
    sounds = [folder / generated.AUDIO / f"{name}.wav" for name in names]
    pictures = [picture_files(folder / generated.FRAMES / name)[0] for name in names]
    size, rule = chosen.stored.size, chosen.form
    width, height = read_picture(pictures[0], size)[1]
    return dataset(
        _array(folder, f"audio-{chosen.spectrogram}", names, sounds, rule.shape, np.float16,
               lambda path: spectrogram(read_wav(path, rule.rate), rule)),
        _array(folder, f"frames-{size}", names, pictures, (size, size, 3), np.uint8,
               lambda path: read_frame(path, size)),
        labels,
        parts,
        names,
        chosen,
        name="emotions",
        classes=EMOTIONS,
        source=f"generated: {settings.clips} clips, seed {settings.seed}, difficulty "
        f"{settings.audio_difficulty:g} / {settings.visual_difficulty:g}",
        stretch=width / height,
        version=f"emotions {generated.VERSION} {settings.digest}",
    )  # fmt: skip


def _array(
    folder: Path, what: str, names: Sequence[str], files: Sequence[Path], shape: tuple, dtype: type, make: Callable
) -> np.ndarray:
    """Return the array ``[N, *shape]`` of a generated set, kept beside its media."""

    def fill(array: np.ndarray) -> None:
        kept.check(folder, files)
        for row, file in enumerate(files):
            array[row] = make(file)

    return prepared(folder / "prepared" / what, _stamp(what, files), names, shape, dtype, fill)


def _stamp(what: str, files: Sequence[Path]) -> str:
    """Return a mark that changes when a source file does (name, size or time)."""
    lines = [what]
    for file in files:
        status = file.stat()
        lines.append(f"{file.name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


RECIPE = Recipe(
    "emotions",
    load_emotions,
    asdict(generated.Settings()) | {"spectrogram": "compact", "frame_size": 48, "augment": "shift"},
    generated=True,
    choices={"spectrogram": ("compact", "official", "paper"), "augment": ("none", "shift", "crop")},
    limits={"seed": SEEDS, "frame_size": (16, 512)},
    verify=lambda root: kept.verify("emotions"),
)
