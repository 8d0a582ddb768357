"""One pass over the media of a set on all cores: sound and frames of every clip into ``ClipArrays``.

It can be killed at any moment and goes on where it was; a clip that cannot be read is counted and named with the
reason, and so is one whose decoder crashes. Clips whose files have not changed are never read again.
"""

from __future__ import annotations

import csv
import json
import os
import queue
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dgl_core.data.files import cache
from dgl_core.data.media import clip_arrays, video
from dgl_core.data.media.clip_arrays import ClipArrays, Entry
from dgl_core.data.media.spectrogram import Form
from dgl_core.data.media.video import VIDEO, Frames
from dgl_core.data.media.workers import Hand, Source, Worker, settings
from dgl_core.utils import Progress, duration

FEW = 64  # clips that are read here and now, without further processes
SYNC = 2.0  # seconds of work that a power cut may cost
REPORT = "unreadable.csv"


@dataclass(frozen=True)
class Report:
    """How many clips there are in the arrays, and the others with the reasons."""

    folder: Path
    clips: int
    unreadable: list[Entry]

    def __str__(self) -> str:
        if not self.unreadable:
            return f"{self.clips} clips in {self.folder}"
        return (
            f"{self.clips} clips in {self.folder}; {len(self.unreadable)} could not be read, e.g. "
            f"{self.unreadable[0].clip}: {self.unreadable[0].problem} (all: {self.folder / REPORT})"
        )


def ensure(folder: Path, sources: Sequence[Source], form: Form, frames: Frames, again: bool = False) -> Report:
    """The arrays of these clips, made now as far as they are not there yet; readers come after.

    Args:
        folder: where they are kept.
        sources: the clips.
        form, frames: what is made of a clip.
        again: try clips that could not be read before once more, although their files have not changed.
    """
    stamps = {source.clip: source.stamp() for source in sources}
    if len(stamps) < len(sources):
        twice = [clip for clip, times in Counter(source.clip for source in sources).items() if times > 1]
        raise ValueError(f"{len(twice)} clip ids occur more than once, e.g. {twice[0]!r}; every clip needs its own id")
    how = settings(form, frames)
    if not again and _complete(folder, how, stamps):
        return _report(folder)
    if any(_is_video(Path(source.pictures)) for source in sources):
        video.pyav()  # said here, once, if it is not installed
    arrays = ClipArrays(folder, how)
    with arrays.lock():
        if not again and _complete(folder, how, stamps):  # by the process that had the lock
            return _report(folder)
        arrays.open()
        todo = set(arrays.keep(stamps))
        rows = arrays.reserve(len(todo))
        tasks = [(row, s) for row, s in zip(rows, (s for s in sources if s.clip in todo), strict=True)]
        _Pass(arrays, tasks, stamps, form, frames).run()
        arrays.finish()
    report = _report(folder)
    with open(folder / REPORT, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("clip", "reason"), *((e.clip, e.problem) for e in report.unreadable)])
    return report


def _complete(folder: Path, how: dict, stamps: dict[str, str]) -> bool:
    """Whether the arrays are sound and of these very files."""
    if clip_arrays.problem(folder, how):
        return False
    return {clip: entry.stamp for clip, entry in clip_arrays.read_index(folder).items()} == stamps


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO and path.is_file()


def _report(folder: Path) -> Report:
    bad = clip_arrays.unreadable(folder)
    return Report(folder, len(clip_arrays.read_index(folder)) - len(bad), bad)


class _Pass:
    """The clips that remain, handed out one by one to processes that read and write them."""

    def __init__(self, arrays: ClipArrays, tasks: list[tuple[int, Source]], stamps: dict, form: Form, frames: Frames):
        self.arrays, self.tasks, self.stamps = arrays, tasks, stamps
        self.order = json.dumps([str(arrays.folder), arrays.settings, asdict(form), asdict(frames)])
        self.read = Hand(arrays, form, frames)
        self.total, self.done, self.bad = len(tasks), 0, 0
        self.started = self.synced = time.monotonic()

    def run(self) -> None:
        if self.total <= FEW:
            for row, source in self.tasks:
                self._note(row, source, self.read(row, source))
            return
        cache.say(f"reading {self.total} clips into {self.arrays.folder} (can be interrupted; goes on where it was)")
        waiting: queue.SimpleQueue = queue.SimpleQueue()
        results: queue.SimpleQueue = queue.SimpleQueue()
        for task in self.tasks:
            waiting.put(task)
        workers = [Worker(self.order, waiting, results) for _ in range(min(_processors(), self.total))]
        try:
            with Progress(self.says, sys.stderr):
                for _ in range(self.total):
                    result = results.get()
                    if isinstance(result, BaseException):
                        raise result
                    self._note(*result)
        finally:
            for worker in workers:
                worker.stop()
            self.arrays.sync()

    def _note(self, row: int, source: Source, answer: list) -> None:
        width, height, problem = answer
        stamp = self.stamps[source.clip]
        self.arrays.note(Entry(-1 if problem else row, source.clip, stamp, width, height, problem))
        self.done, self.bad = self.done + 1, self.bad + bool(problem)
        if time.monotonic() - self.synced > SYNC:
            self.arrays.sync()
            self.synced = time.monotonic()

    def says(self) -> str:
        spent = time.monotonic() - self.started
        left = f"about {duration(spent / self.done * (self.total - self.done))} left" if self.done else "starting"
        bad = f", {self.bad} could not be read" if self.bad else ""
        return f"{self.done} of {self.total} clips{bad}, {left}"


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
