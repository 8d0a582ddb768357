"""Make an array once from other files, then memory-map it: the array, an index of its rows, version and checksum."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dgl_core.data.files import cache

VERSION = 1  # raised when the same files give other arrays


def prepared(
    folder: Path,
    stamp: str,
    names: Sequence[str],
    shape: tuple[int, ...],
    dtype: type,
    fill: Callable[[np.ndarray], None],
) -> np.ndarray:
    """Load the array of ``folder``; it is made first if it is absent, damaged, or made from other files.

    Args:
        folder: where it is kept: ``array.npy``, ``index.csv`` (row, clip), ``cache.json`` (version, stamp, checksum).
        stamp: what identifies the files it is made from.
        names: one per row ``[N]``.
        shape: of one row.
        dtype: of the array.
        fill: writes the rows of an array ``[N, *shape]``.

    Returns:
        ``[N, *shape]``, memory-mapped copy-on-write.
    """

    def write(place: Path) -> None:
        array = new_array(place / "array.npy", (len(names), *shape), dtype)
        fill(array)
        array.flush()
        rows = "".join(f"{row},{name}\n" for row, name in enumerate(names))
        (place / "index.csv").write_text("row,clip\n" + rows, encoding="utf-8")
        about = {"version": VERSION, "stamp": stamp, "sha256": cache.sha256(place / "array.npy")}
        (place / "cache.json").write_text(json.dumps(about), encoding="utf-8")

    cache.ensure(folder, write, lambda place: problem(place, stamp), "the prepared array")
    return np.load(folder / "array.npy", mmap_mode="c", allow_pickle=False)


def new_array(path: Path, shape: tuple[int, ...], dtype: type | np.dtype) -> np.memmap:
    """Make a memory-mapped array with room on the disk; a full disk is an error now, not a killed process later."""
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, array.offset + array.nbytes)
    return array


def check_kept(name: str) -> int:
    """Check all arrays that are kept of a data set against their checksums; how many folders there are.

    Raises:
        ValueError: a damaged one, with the remedy.
    """
    abouts = sorted(cache.cache_root().glob(f"{name}*/**/cache.json"))
    for place in abouts:
        try:
            sums = json.loads(place.read_text(encoding="utf-8"))["sha256"]
            wrong = cache.wrong_files(place.parent, {"array.npy": sums} if isinstance(sums, str) else sums)
        except (ValueError, KeyError, TypeError, AttributeError):
            wrong = {place.name: "damaged"}
        for file, why in wrong.items():
            raise ValueError(f"{place.parent / file}: {why}; delete this folder, its arrays are made again")
    return len(abouts)


def problem(folder: Path, stamp: str) -> str:
    """Say what is wrong with a prepared array, "" when nothing is."""
    try:
        about = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
        version, made_from, checksum = about["version"], about["stamp"], about["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return "half-written"
    if version != VERSION:
        return f"of version {version}, this is version {VERSION}"
    if made_from != stamp:
        return "the files it was made from have changed"
    return "".join(f"{file}: {why}" for file, why in cache.wrong_files(folder, {"array.npy": checksum}).items())
