"""Check generated sets that are kept on disk against their manifests."""

from __future__ import annotations

from pathlib import Path

from dgl_core.data.files import cache
from dgl_core.data.files.arrays import check_kept


def problem(folder: Path, files: int = 0, read: bool = True) -> str:
    """Return what is wrong with a generated set, "" if nothing is.

    Args:
        files: how many its manifest must list at least.
        read: compare the content of every file with the manifest; else only look for absence.
    """
    try:
        expected = cache.read_manifest(folder)
    except (OSError, ValueError) as error:
        return f"no readable {cache.MANIFEST} ({error})"
    if len(expected) < files:
        return f"{cache.MANIFEST} is incomplete"
    missing = [file for file in expected if not (folder / file).is_file()]
    if missing:
        return f"{len(missing)} of {len(expected)} files are missing, e.g. {missing[0]}"
    changed = cache.wrong_files(folder, expected) if read else {}
    return next((f"{file}: {why}" for file, why in changed.items()), "")


def verify(name: str) -> str:
    """Read every file of every generated set of a name, and the arrays made of it.

    Raises:
        ValueError: a file is missing or changed; names it and the remedy.
    """
    folders = sorted(f for f in cache.cache_root().glob(f"{name}-*") if f.is_dir())
    with cache.afresh():
        for folder in folders:
            if reason := problem(folder):
                raise ValueError(f"{folder}: {reason}; delete this folder, it is generated again on the next use")
        check_kept(name)
    return f"{len(folders)} generated sets, every file as its manifest says"
