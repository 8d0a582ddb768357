"""Make, keep and load the arrays of a set of clips: a spectrogram and a few frames of each.

A folder has ``sound.npy`` (float16 ``[N, F, T]``), ``frames.npy`` (uint8 ``[N, K, S, S, 3]``), ``index.csv`` (a line a
clip; those without a problem are the rows of the arrays, in this order), ``unreadable.csv`` (the others alone) and
``cache.json`` (how they were made, and checksums). While work goes on, every finished clip is a small file in
``<folder>.clips``: ``.npz``, or ``.txt`` with the reason why it cannot be read; so a pass that is killed goes on where
it was. At the end they are gathered into the arrays and removed: until then a set takes twice its room on the disk.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import AcquireReturnProxy, FileLock, Timeout

from dgl_core.data.files import cache
from dgl_core.data.files.arrays import new_array, problem
from dgl_core.data.files.atomic import write_atomic
from dgl_core.data.media.reader import TYPES, VERSION, ClipReader, Source, check_names, opened, read_all
from dgl_core.data.media.sound import resampler
from dgl_core.data.media.spectrogram import Form
from dgl_core.data.media.video import Frames, is_video, pyav

REPORT = "unreadable.csv"


class Entry(NamedTuple):
    """Describe one clip in the index."""

    clip: str
    stamp: str  # size and time of change of its files: a repaired one is noticed
    width: int = 0  # of its pictures
    height: int = 0
    problem: str = ""  # why it could not be read


class Report(NamedTuple):
    """Count the clips in the arrays, and name the others with the reasons."""

    folder: Path
    clips: int
    unreadable: list[Entry]

    def __str__(self) -> str:
        made = f"{self.clips} clips in {self.folder}"
        if not self.unreadable:
            return made
        first = f"{self.unreadable[0].clip}: {self.unreadable[0].problem}"
        return f"{made}; {len(self.unreadable)} could not be read, e.g. {first} (all: {self.folder / REPORT})"


def ensure(folder: Path, sources: Sequence[Source], form: Form, frames: Frames, again: bool = False) -> Report:
    """Make the arrays of these clips as far as they are not there yet; rows are in the order of ``sources``.

    Args:
        form, frames: what is made of a clip.
        again: try clips that could not be read before once more, although their files have not changed.

    Raises:
        ValueError: a clip is listed twice, has a name that no list can hold, or crashes its decoder each time.
    """
    stamps = {source.clip: source.stamp() for source in sources}
    twice = [clip for clip, times in Counter(source.clip for source in sources).items() if times > 1]
    if twice:
        raise ValueError(f"{len(twice)} clip ids occur more than once, e.g. {twice[0]!r}; every clip needs its own id")
    check_names(text for source in sources for text in (source.clip, source.sound, source.pictures))
    how = settings(form, frames)
    if resampler() != "librosa" and problem(folder, how):  # arrays that librosa resampled are as good or better
        how |= {"resampler": resampler()}
    reader = ClipReader(folder.with_name(f"{folder.name}.clips"), form, frames)

    def whole() -> bool:
        """Tell whether the arrays are sound and of these very files, with nothing left to do."""
        if reader.folder.exists() or problem(folder, how):
            return False
        entries = read_index(folder)
        same = {clip: entry.stamp for clip, entry in entries.items()} == stamps
        return same and not (again and any(entry.problem for entry in entries.values()))

    if whole():
        return _report(folder)
    if any(is_video(Path(source.pictures)) for source in sources):
        pyav()  # said here, once, if it is not installed
    with _lock(folder):
        if whole():  # by the process that had the lock
            return _report(folder)
        before = {} if problem(folder, how) else read_index(folder)
        kept = {c: entry for c, entry in before.items() if entry.stamp == stamps.get(c) and not entry.problem}
        if again:
            for reason in reader.folder.glob("*.txt"):
                reason.unlink()
        tasks = [(source, stamps[source.clip]) for source in sources if source.clip not in kept]
        read_all(reader, [task for task in tasks if not reader.result(*task)])
        found = {source.clip: reader.result(source, stamp) for source, stamp in tasks}
        entries = [kept.get(clip) or _entry(clip, stamp, found[clip]) for clip, stamp in stamps.items()]
        cache.ensure(
            folder,
            lambda fresh: _gather(fresh, entries, how, found, folder, kept),
            lambda place: problem(place, how) or _changed(place, entries),
            "the arrays of clips",
        )
        shutil.rmtree(reader.folder, ignore_errors=True)
    return _report(folder)


def settings(form: Form, frames: Frames) -> dict[str, Any]:
    """Collect what decides the arrays: the shapes of a row of each, and how a clip becomes one."""
    shapes = {"sound": form.shape, "frames": (frames.count, frames.size, frames.size, 3)}
    return json.loads(json.dumps({"version": VERSION} | shapes | {"form": asdict(form), "which": asdict(frames)}))


def load(folder: Path) -> tuple[dict[str, np.ndarray], list[Entry]]:
    """Load ``{"sound": [N, F, T], "frames": [N, K, S, S, 3]}`` memory-mapped copy-on-write, and the rows' entries."""
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False) for name in TYPES}
    return arrays, [entry for entry in read_index(folder).values() if not entry.problem]


def read_index(folder: Path) -> dict[str, Entry]:
    """Read ``{clip: entry}`` of whole arrays, in the order in which the clips were listed."""
    with open(folder / "index.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return {row[0]: Entry(row[0], row[1], int(row[2]), int(row[3]), row[4]) for row in rows}


def state(folder: Path) -> str:
    """Say how many clips a folder of arrays, or of clips on their way there, has."""
    if folder.name.endswith(".clips"):
        return f"{len(list(folder.glob('*.npz')))} clips read, not finished, prepare goes on there"
    try:
        report = _report(folder)
    except (OSError, ValueError, IndexError):
        return "half-written, prepare makes it again"
    unread = f", {len(report.unreadable)} could not be read ({REPORT})" if report.unreadable else ""
    return f"{report.clips} clips{unread}, complete"


def _report(folder: Path) -> Report:
    entries = read_index(folder).values()
    bad = sorted((entry for entry in entries if entry.problem), key=lambda entry: entry.clip)
    return Report(folder, len(entries) - len(bad), bad)


def _entry(clip: str, stamp: str, file: Path) -> Entry:
    """Make the line of the index about a clip that was read into ``file``."""
    if file.suffix == ".txt":
        return Entry(clip, stamp, problem=file.read_text(encoding="utf-8"))
    with opened(file) as content:
        return Entry(clip, stamp, *content["size"].tolist())


def _changed(folder: Path, entries: list[Entry]) -> str:
    return "" if list(read_index(folder).values()) == entries else "its clips or files have changed"


def _gather(
    fresh: Path, entries: Sequence[Entry], how: Mapping, found: Mapping[str, Path], before: Path, kept: Mapping
) -> None:
    """Write the arrays into ``fresh``: rows of ``kept`` clips from the folder ``before``, others from their files."""
    good = [entry for entry in entries if not entry.problem]
    bad = sorted((entry.clip, entry.problem) for entry in entries if entry.problem)
    arrays = {name: new_array(fresh / f"{name}.npy", (len(good), *how[name]), TYPES[name]) for name in TYPES}
    old, lines = load(before) if kept else ({}, [])
    place = {entry.clip: row for row, entry in enumerate(lines)}
    for row, entry in enumerate(good):
        if entry.clip in kept:
            for name, array in arrays.items():
                array[row] = old[name][place[entry.clip]]
        else:
            with opened(found[entry.clip]) as content:
                for name, array in arrays.items():
                    array[row] = content[name]
    for array in arrays.values():
        array.flush()
    _write_csv(fresh / "index.csv", [Entry._fields, *entries])
    _write_csv(fresh / REPORT, [("clip", "reason"), *bad])
    sums = {file: cache.sha256(fresh / file) for file in ("sound.npy", "frames.npy", "index.csv", REPORT)}
    write_atomic(fresh / "cache.json", json.dumps({**how, "sha256": sums}, indent=1) + "\n")


def _write_csv(path: Path, rows: Iterable[Sequence]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _lock(folder: Path) -> AcquireReturnProxy:
    """Wait until no other process works on a folder; the system frees the lock when its holder ends in whatever way."""
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    with cache.writing("the arrays of clips", folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            return lock.acquire(timeout=0)
        except Timeout:
            cache.say(f"another process prepares {folder}; waiting for it")
            return lock.acquire()
