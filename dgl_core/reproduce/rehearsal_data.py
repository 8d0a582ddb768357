"""Random data in the true size and shape of a data set, for rehearsals (``dgl_core.reproduce.rehearse``)."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dgl_core.data.dataset import Dataset
from dgl_core.data.files import cache
from dgl_core.data.recipe import facts
from dgl_core.data.transforms import RandomResizedCrop, Standardise
from dgl_core.utils import unknown_name

LABEL = "REHEARSAL on random data"
BLOCK = 256  # clips of random content; the files repeat them


@dataclass(frozen=True)
class Size:
    """A data set as it is stored.

    Args:
        counts: clips for training, validation, test.
        classes: how many. audio: stored spectrogram (F, T). columns: how many of T a batch has, 0 for all.
        frames: pictures per clip. side: of a picture in a batch; stored ones are 8/7 as large.
    """

    counts: tuple[int, int, int]
    classes: int
    audio: tuple[int, int]
    columns: int = 0
    frames: int = 1
    side: int = 224

    @property
    def stored(self) -> int:
        return round(self.side * 8 / 7)

    @property
    def bytes(self) -> int:
        return sum(self.counts) * (2 * self.audio[0] * self.audio[1] + 3 * self.frames * self.stored**2)

    def scaled(self, size: str) -> Size:
        if size == "small":
            return Size((48, 8, 8), 3, (32, 24), min(self.columns, 12), self.frames, 28)
        counts = tuple(max(round(float(size) * n), 64) for n in self.counts)
        return Size(counts, self.classes, self.audio, self.columns, self.frames, self.side)


SIZES = {
    name: Size(**block.rehearsal | {key: tuple(block.rehearsal[key]) for key in ("counts", "audio")})
    for name, block in facts().items()
    if block.rehearsal
}


def check_size(size: str) -> str:
    """Raise a ``ValueError`` unless the size is "small" or a share above 0 and up to 1."""
    if size == "small" or (re.fullmatch(r"\d*\.?\d+", size) and 0 < float(size) <= 1):
        return size
    raise ValueError(f"the size of a rehearsal is {size!r}; give 1 (all clips), a share such as 0.05, or 'small'.")


def make(name: str, size: str = "1") -> Dataset:
    """Random data in the size of a set, memory-mapped as prepared media are; written on first use.

    Raises:
        ValueError: unknown set, or too little space on the disk.
    """
    if name not in SIZES:
        raise unknown_name("data set to rehearse", name, SIZES)
    shape = SIZES[name].scaled(check_size(size))
    count, folder = sum(shape.counts), cache.cache_root() / "rehearsal" / f"{name}-{size}"
    if not (folder / "done").exists():
        _write(folder, name, shape)
    arrays = {m: np.load(folder / f"{m}.npy", mmap_mode="c", allow_pickle=False) for m in ("audio", "visual")}
    parts = [part for part, n in zip(("train", "val", "test"), shape.counts, strict=True) for _ in range(n)]
    return Dataset(
        {m: torch.from_numpy(array) for m, array in arrays.items()},
        torch.arange(count) % shape.classes,
        parts,
        name=f"rehearsal_{name}",
        classes=[str(k) for k in range(shape.classes)],
        source=f"{LABEL} in the size of {facts()[name].title}: scores mean nothing",
        generated=True,
        version=f"rehearsal {name} {size}",
        transforms=_transforms(shape),
    )


def _write(folder: Path, name: str, shape: Size) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if shape.bytes > free:
        raise ValueError(
            f"rehearsing {name} takes {shape.bytes / 1e9:.0f} GB in {folder}, {free / 1e9:.0f} GB are free: name "
            "another disk in DGL_DATA_CACHE, or rehearse a share, for example REHEARSE=0.05"
        )
    count, generator = sum(shape.counts), np.random.default_rng(0)
    block, frames = min(BLOCK, count), (shape.frames,) * (shape.frames > 1)
    sound = generator.normal(-5, 2, (block, *shape.audio)).astype(np.float16)
    pictures = generator.integers(0, 256, (block, *frames, shape.stored, shape.stored, 3), dtype=np.uint8)
    _fill(folder / "audio.npy", sound, count)
    _fill(folder / "visual.npy", pictures, count)
    (folder / "done").touch()


def _fill(path: Path, block: np.ndarray, count: int) -> None:
    array = np.lib.format.open_memmap(path, "w+", block.dtype, (count, *block.shape[1:]))
    for start in range(0, count, len(block)):
        rows = array[start : start + len(block)]
        rows[:] = block[: len(rows)]
    array.flush()


def _transforms(shape: Size) -> dict[str, torch.nn.Module]:
    sound, picture = Standardise(0.0, 1.0), RandomResizedCrop(shape.side)
    if shape.columns or shape.frames > 1:
        from dgl_core.data.transforms import PerFrame, TimeCrop

        sound, picture = TimeCrop(shape.columns), PerFrame(picture)
    return {"audio": sound, "visual": picture}
