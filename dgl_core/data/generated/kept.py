"""Check generated sets that are kept on disk against their manifests, reading every file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dgl_core.data.files import cache
from dgl_core.data.files.arrays import check_kept
from dgl_core.data.files.cache import Damaged


def check(folder: Path, files: Iterable[Path]) -> None:
    """Compare files of a generated set with its manifest before anything is made from them.

    Raises:
        Damaged: names the first that differs.
    """
    expected = cache.read_manifest(folder)
    for file in files:
        if expected.get(file.relative_to(folder).as_posix()) != cache.sha256(file):
            raise Damaged(f"{file}: wrong checksum; delete {folder}, it is generated again on the next use")


def wrong(folder: Path) -> str:
    """Return what is wrong with the files that a manifest lists, "" if nothing is."""
    try:
        expected = cache.read_manifest(folder)
    except (OSError, ValueError) as error:
        return f"no readable {cache.MANIFEST} ({error})"
    missing = [file for file in expected if not (folder / file).is_file()]
    if missing:
        return f"{len(missing)} of {len(expected)} files are missing, e.g. {missing[0]}"
    changed = [file for file, checksum in expected.items() if cache.sha256(folder / file) != checksum]
    return f"{changed[0]}: wrong checksum" if changed else ""


def verify(name: str) -> str:
    """Read every file of every generated set of a name and compare it with its manifest.

    Raises:
        ValueError: a file is missing or changed; names it and the remedy.
    """
    folders = sorted(f for f in cache.cache_root().glob(f"{name}-*") if f.is_dir())
    for folder in folders:
        if reason := wrong(folder):
            raise ValueError(f"{folder}: {reason}; delete this folder, it is generated again on the next use")
    with cache.afresh():
        check_kept(name)
    return f"{len(folders)} generated sets, every file as its manifest says"
