"""Write folders that appear whole or not at all; check files against checksums."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from dgl_core.data.files.atomic import remove_abandoned, temporary, write_atomic
from dgl_core.utils import project_root

MANIFEST = "MANIFEST.sha256"
_remembering = True  # whether files that were right before are read again only if they have changed
DEPTH = 4  # folders above a file that may be its set's: set/part/class/clip/frame


def cache_root() -> Path:
    """Name the folder of generated sets and prepared arrays: ``$DGL_DATA_CACHE``, else ``data/generated``."""
    return Path(os.environ.get("DGL_DATA_CACHE") or project_root() / "data" / "generated")


def say(message: str) -> None:
    """Print a line for the person at the terminal, to stderr: the compared output of a notebook stays the same."""
    print(message, file=sys.stderr, flush=True)


def ensure(folder: Path, write: Callable[[Path], None], problem: Callable[[Path], str], what: str) -> Path:
    """Return ``folder`` complete: reused when it is sound, else written beside it and moved into place in one step.

    Args:
        write: fills an empty folder.
        problem: says what is wrong with a folder, "" when nothing is.
        what: the thing in words, for messages.

    Raises:
        OSError: the place cannot be written; the message names the variable that moves it.
    """
    if folder.exists():
        reason = problem(folder)
        if not reason:
            return folder
        say(f"{what} in {folder}: {reason}; making it again")
    remove_abandoned(folder.parent, f".{folder.name}.*")
    fresh = temporary(folder)
    try:
        with writing(what, folder):
            fresh.mkdir(parents=True)
            write(fresh)
            _move_in(fresh, folder, problem)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


@contextlib.contextmanager
def writing(what: str, folder: Path) -> Iterator[None]:
    """Name the folder and the remedy where something cannot be written (full disk, no permission)."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # of a library that reads, not of the system
            raise
        remedy = "free some space there or set DGL_DATA_CACHE to a folder that can be written"
        raise OSError(error.errno, f"cannot write {what} to {folder} ({error.strerror or error}): {remedy}") from error


def _move_in(fresh: Path, folder: Path, problem: Callable[[Path], str]) -> None:
    for _ in range(3):  # another process may put its own copy there, or take a broken one away, at any moment
        try:
            os.replace(fresh, folder)
            return
        except OSError:
            if not folder.exists():
                raise
            if not problem(folder):
                return
        broken = temporary(folder)
        with contextlib.suppress(FileNotFoundError):
            os.replace(folder, broken)
        shutil.rmtree(broken, ignore_errors=True)
    os.replace(fresh, folder)


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, files: Iterable[Path]) -> None:
    """Write ``MANIFEST.sha256`` (the format of ``sha256sum``) over files given relative to ``folder``."""
    lines = [f"{sha256(folder / file)}  {file.as_posix()}\n" for file in sorted(files)]
    (folder / MANIFEST).write_text("".join(lines), encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, str]:
    """Read ``{file: checksum}`` from ``MANIFEST.sha256``."""
    entries = {}
    for line in (folder / MANIFEST).read_text(encoding="utf-8", errors="replace").splitlines():
        checksum, _, file = line.partition("  ")
        safe = file.isprintable() and not Path(file).is_absolute() and ".." not in Path(file).parts
        if not re.fullmatch("[0-9a-f]{64}", checksum) or not file or not safe or "\ufffd" in file:
            what = f"{line[:100]!r} is no line of a SHA-256 manifest"
            raise ValueError(f"{folder / MANIFEST}: {what}; fetch the folder again")
        entries[file] = checksum
    return entries


class Damaged(ValueError):
    """Raised where a file differs from the manifest of its set."""


def check_listed(path: Path) -> None:
    """Hold a file against the manifest of its set, in one of the folders above it, if there is one.

    Raises:
        Damaged: another content than the manifest says, or it lists the neighbours of the file but not the file.
    """
    for folder in path.absolute().parents[:DEPTH]:
        if not (folder / MANIFEST).is_file():
            continue
        listed, tops = _listed(folder, (folder / MANIFEST).stat().st_mtime_ns)
        name = path.absolute().relative_to(folder)
        if name.parts[0] in tops and listed.get(name.as_posix()) != sha256(path):
            remedy = "copy or extract it again, or delete the folder if it was generated"
            raise Damaged(f"{path}: not the file that {folder / MANIFEST} lists; {remedy}")


@functools.lru_cache(maxsize=8)
def _listed(folder: Path, _changed: int) -> tuple[dict[str, str], set[str]]:
    """Read a manifest and the names at its top; again when it changes."""
    listed = read_manifest(folder)
    return listed, {Path(name).parts[0] for name in listed}


def wrong_files(folder: Path, expected: Mapping[str, str]) -> dict[str, str]:
    """Find missing and changed files of ``folder``: ``{file: "missing" | "wrong checksum"}``.

    A file that was right before and has kept its size and times is not read again, except ``afresh``.
    """
    memory = cache_root() / "verified.json"  # it can be lost without harm
    known, right, wrong = _known(memory), {}, {}
    for file, checksum in expected.items():
        path = folder / file
        if not path.is_file():
            wrong[file] = "missing"
            continue
        status, place = path.stat(), str(path.resolve())
        entry = [checksum, status.st_size, status.st_mtime_ns, status.st_ctime_ns]  # nobody can set the last one back
        if _remembering and known.get(place) == entry:
            continue
        if sha256(path) == checksum:
            right[place] = entry
        else:
            wrong[file] = "wrong checksum"
    if right:
        remove_abandoned(memory.parent, f".{memory.name}.*")
        with contextlib.suppress(OSError):  # a read-only place costs time, not correctness
            write_atomic(memory, json.dumps(_known(memory) | right))
    return wrong


def _known(memory: Path) -> dict[str, list]:
    """Read which files had which checksum at which size and times."""
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


@contextlib.contextmanager
def afresh() -> Iterator[None]:
    """Read all files that are checked, also those that were right before: a damaged disk leaves times as they were."""
    global _remembering
    before, _remembering = _remembering, False
    try:
        yield
    finally:
        _remembering = before
