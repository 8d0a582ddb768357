"""Make an array once from other files, then memory-map it: the array, an index of its rows, version and checksum."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dgl_core.data.files import cache

VERSION = 1  # raised when the same files give other arrays


def prepared(
    folder: Path, stamp: str, names: Sequence[str], shape: tuple[int, ...], dtype: type, fill: Callable
) -> np.ndarray:
    """Load the array ``[N, *shape]`` of a folder, memory-mapped copy-on-write; made first if absent, damaged or old.

    Args:
        folder: where it is kept: ``array.npy``, ``index.csv`` (row, clip), ``cache.json`` (version, stamp, checksum).
        stamp: what identifies the files it is made from.
        names: one per row ``[N]``.
        shape, dtype: of one row.
        fill: ``fill(array)`` writes the rows of an array ``[N, *shape]``.
    """
    about = {"version": VERSION, "stamp": stamp}

    def write(place: Path) -> None:
        array = new_array(place / "array.npy", (len(names), *shape), dtype)
        fill(array)
        array.flush()
        rows = "".join(f"{row},{name}\n" for row, name in enumerate(names))
        (place / "index.csv").write_text("row,clip\n" + rows, encoding="utf-8")
        sums = {"sha256": cache.sha256(place / "array.npy")}
        (place / "cache.json").write_text(json.dumps(about | sums), encoding="utf-8")

    cache.ensure(folder, write, lambda place: problem(place, about), "the prepared array")
    return np.load(folder / "array.npy", mmap_mode="c", allow_pickle=False)


def new_array(path: Path, shape: tuple[int, ...], dtype: type | np.dtype) -> np.memmap:
    """Make a memory-mapped array with room on the disk; a full disk is an error now, not a killed process later."""
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, array.offset + array.nbytes)
    return array


def check_kept(name: str) -> int:
    """Check all arrays that are kept of a data set against their checksums; return how many folders there are.

    Raises:
        ValueError: a damaged one, with the remedy.
    """
    folders = sorted(place.parent for place in cache.cache_root().glob(f"{name}*/**/cache.json"))
    for folder in folders:
        about = _about(folder)
        wrong = cache.wrong_files(folder, about["sha256"]) if about else {"cache.json": "damaged"}
        for file, why in wrong.items():
            raise ValueError(f"{folder / file}: {why}; delete this folder, its arrays are made again")
    return len(folders)


def problem(folder: Path, how: Mapping[str, Any]) -> str:
    """Say what keeps the arrays of a folder from being used, "" if nothing does.

    Args:
        how: what its ``cache.json`` must hold beside the checksums: the version, the stamp of the files, the settings.
    """
    about = _about(folder)
    if not about:
        return "half-written"
    sums, version = about.pop("sha256"), about.get("version")
    if version != how.get("version"):
        return f"of version {version}, this is version {how['version']}"
    if about != how:
        return "made in another way, or the files it was made from have changed"
    return "".join(f"{file}: {why}" for file, why in cache.wrong_files(folder, sums).items())


def _about(folder: Path) -> dict[str, Any]:
    """Read how arrays were made, with the checksum of each file under "sha256"; {} if this is missing or damaged."""
    try:
        about = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
        sums = about["sha256"]
        return about | {"sha256": {"array.npy": sums} if isinstance(sums, str) else dict(sums)}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
