"""The arrays made from the media of a set: one spectrogram and a few frames a clip, kept through kills and changes.

A folder with ``sound.npy`` (float16 ``[N, F, T]``), ``frames.npy`` (uint8 ``[N, T, S, S, 3]``), ``index.csv`` (a line a
clip: its row, what it was made from, or why it could not be read), ``settings.json`` (how they were made) and, once
everything is done, ``cache.json`` with the checksums. While work goes on ``cache.json`` is absent and lines are added
to the index, each after the data it speaks of are on disk: a killed process loses a few seconds, never a row.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from dgl_core.data.files import cache
from dgl_core.utils import write_atomic

VERSION = 1  # raised when the same media give other arrays
HEADER = 128  # bytes before the first row; always the same, so that a file can grow and shrink in place
TYPES = {"sound": np.dtype("<f2"), "frames": np.dtype("u1")}


@dataclass(frozen=True)
class Entry:
    """A line of the index.

    Args:
        row: of both arrays; -1 if the clip could not be read.
        clip: its name.
        stamp: what its files were (size and time of change), so that a repaired file is noticed.
        width, height: of its pictures.
        problem: why it could not be read, "" if it could.
    """

    row: int
    clip: str
    stamp: str
    width: int = 0
    height: int = 0
    problem: str = ""


NAMES = tuple(field.name for field in fields(Entry))


class ClipArrays:
    """The rows that are there, those that are free, and the index.

    Args:
        folder: where everything is; made if it is absent.
        settings: how a clip becomes a row, and the shapes ``sound`` and ``frames`` of a row. Arrays made in another
            way, or by another version, are made again; it is said so.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self.folder = folder
        self.settings = {"version": VERSION} | json.loads(json.dumps(settings))
        self.shapes = {name: tuple(self.settings[name]) for name in TYPES}
        self.bytes = {name: int(np.prod(self.shapes[name])) * TYPES[name].itemsize for name in TYPES}
        self.entries: dict[str, Entry] = {}
        self._lines: list[str] = []

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def open(self) -> None:
        """Read what an earlier call left behind, and mark the folder as being worked on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        before = _read_json(self.folder / "settings.json")
        if before != self.settings:
            if before is not None:
                what = "version" if before.get("version") != VERSION else "way"
                cache.say(f"the arrays in {self.folder} were made in another {what}; making them again")
            for file in ("cache.json", "index.csv", "sound.npy", "frames.npy"):
                (self.folder / file).unlink(missing_ok=True)
            write_atomic(self.folder / "settings.json", json.dumps(self.settings, indent=1) + "\n")
        self.entries = read_index(self.folder)
        capacity = min(self._capacity(name) for name in TYPES)
        self.entries = {c: e for c, e in self.entries.items() if e.row < capacity}
        (self.folder / "cache.json").unlink(missing_ok=True)
        self._write_index()

    def keep(self, stamps: Mapping[str, str]) -> list[str]:
        """Forget clips that are not listed any more or whose files have changed; the names that remain to be made."""
        self.entries = {c: e for c, e in self.entries.items() if stamps.get(c) == e.stamp and not e.problem}
        return [clip for clip in stamps if clip not in self.entries]

    def reserve(self, count: int) -> list[int]:
        """Rows for ``count`` new clips: first those that are free, then new ones at the end of the files.

        Raises:
            OSError: the disk has no room for them.
        """
        used = {entry.row for entry in self.entries.values()}
        size = max(used, default=-1) + 1
        free = [row for row in range(size) if row not in used][:count]
        rows = free + list(range(size, size + count - len(free)))
        for name in TYPES:
            self._resize(name, max(rows, default=-1) + 1 if rows[len(free) :] else size)
        return rows

    def write(self, row: int, sound: np.ndarray, frames: np.ndarray) -> None:
        """Put one clip into its row; any process may do this for rows of its own."""
        for name, values in (("sound", sound), ("frames", frames)):
            data = np.ascontiguousarray(values, dtype=TYPES[name])
            if data.shape != self.shapes[name]:
                raise ValueError(f"{name} is {list(data.shape)}, not {list(self.shapes[name])}")
            with open(self.path(name), "r+b") as file:
                file.seek(HEADER + row * self.bytes[name])
                file.write(data)

    def note(self, entry: Entry) -> None:
        """Remember a finished clip; ``sync`` puts it into the index."""
        self.entries[entry.clip] = entry
        self._lines.append(_line(entry))

    def sync(self) -> None:
        """First the data, then the lines about them."""
        if self._lines:
            for name in TYPES:
                with open(self.path(name), "r+b") as file:
                    os.fsync(file.fileno())
            with open(self.folder / "index.csv", "a", encoding="utf-8", newline="") as file:
                file.write("".join(self._lines))
                file.flush()
                os.fsync(file.fileno())
            self._lines = []

    def finish(self) -> None:
        """Close the gaps with rows from the end, cut the files, write the sorted index and the checksums."""
        self.sync()
        good = sorted((e for e in self.entries.values() if not e.problem), key=lambda e: e.row)
        used = {entry.row for entry in good}
        gaps = [row for row in range(len(good)) if row not in used]
        moved = [entry for entry in good if entry.row >= len(good)]
        for gap, entry in zip(gaps, moved, strict=True):
            self._copy(entry.row, gap)
            self.note(Entry(gap, *astuple(entry)[1:]))
        self.sync()
        for name in TYPES:
            self._resize(name, len(good))
        self._write_index()
        sums = {file: cache.sha256(self.folder / file) for file in ("sound.npy", "frames.npy", "index.csv")}
        write_atomic(self.folder / "cache.json", json.dumps(self.settings | {"sha256": sums}, indent=1) + "\n")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One process at a time works here; the system frees the lock when its holder ends in whatever way."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as file:
            with contextlib.suppress(ImportError):  # no such lock on Windows
                import fcntl

                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    cache.say(f"another process prepares {self.folder}; waiting for it")
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _capacity(self, name: str) -> int:
        size = self.path(name).stat().st_size if self.path(name).is_file() else 0
        return max(0, size - HEADER) // self.bytes[name]

    def _resize(self, name: str, rows: int) -> None:
        text = repr({"descr": TYPES[name].str, "fortran_order": False, "shape": (rows, *self.shapes[name])})
        head = b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.ljust(HEADER - 11).encode() + b"\n"
        size = HEADER + rows * self.bytes[name]
        with open(self.path(name), "r+b" if self.path(name).exists() else "w+b") as file:
            file.write(head)
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):  # a full disk is an error now, not in the middle of the work
                os.posix_fallocate(file.fileno(), 0, size)

    def _copy(self, source: int, target: int) -> None:
        for name in TYPES:
            with open(self.path(name), "r+b") as file:
                file.seek(HEADER + source * self.bytes[name])
                data = file.read(self.bytes[name])
                file.seek(HEADER + target * self.bytes[name])
                file.write(data)

    def _write_index(self) -> None:
        entries = sorted(self.entries.values(), key=lambda e: (e.row < 0, e.row, e.clip))
        write_atomic(self.folder / "index.csv", _line_of(NAMES) + "".join(_line(e) for e in entries))


def read_index(folder: Path) -> dict[str, Entry]:
    """``{clip: entry}``; of several lines about a clip the last counts, a line that was cut off does not."""
    try:
        text = (folder / "index.csv").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    found = {}
    for number, row in enumerate(csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))):
        with contextlib.suppress(ValueError, TypeError):
            if number:
                entry = Entry(int(row[0]), row[1], row[2], int(row[3]), int(row[4]), *row[5:])
                found[entry.clip] = entry
    return found


def problem(folder: Path, settings: Mapping[str, Any]) -> str:
    """What keeps the arrays of a folder from being used, "" if nothing does."""
    about = _read_json(folder / "cache.json")
    if about is None:
        return "not finished" if (folder / "settings.json").is_file() else "not made"
    if about.get("version") != VERSION:
        return f"of version {about.get('version')}, this is version {VERSION}"
    sums = about.pop("sha256", {})
    if about != {"version": VERSION} | json.loads(json.dumps(settings)):
        return "made in another way"
    return "".join(f"{file}: {why}" for file, why in cache.wrong_files(folder, sums).items())


def load(folder: Path) -> tuple[dict[str, np.ndarray], list[Entry]]:
    """``{"sound": [N, F, T], "frames": [N, T, S, S, 3]}``, memory-mapped copy-on-write, and the entry of each row."""
    entries = sorted((e for e in read_index(folder).values() if not e.problem), key=lambda e: e.row)
    return {name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False) for name in TYPES}, entries


def unreadable(folder: Path) -> list[Entry]:
    """The clips that could not be read, with the reasons."""
    return sorted((e for e in read_index(folder).values() if e.problem), key=lambda e: e.clip)


def _read_json(path: Path) -> dict | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _line(entry: Entry) -> str:
    return _line_of(astuple(entry))


def _line_of(values: Iterable) -> str:
    text = io.StringIO(newline="")
    row = [" ".join(value.splitlines()) if isinstance(value, str) else value for value in values]
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue()
