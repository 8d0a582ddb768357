"""Read clips on all cores, each into a small file of its own.

A file appears in one step, so whatever kills the work costs only the clips that were being read.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from joblib.externals.loky import ProcessPoolExecutor  # its processes import neither torch nor the caller's script

from dgl_core.data.files import cache
from dgl_core.data.files.atomic import write_atomic
from dgl_core.data.media.source import Source, read_clip
from dgl_core.data.media.spectrogram import Form
from dgl_core.data.media.video import Frames
from dgl_core.utils import Clock, Progress

VERSION = 2  # raised when the same media give other arrays, or the folder has another layout
FEW = 64  # clips that are read in this process
SECONDS = 0.05  # that a clip takes one core, about
TYPES = {"sound": np.dtype("<f2"), "frames": np.dtype("u1")}


@dataclass(frozen=True)
class ClipReader:
    """Read one clip and keep what it gave as a file of ``folder``; worker processes have a copy of this object."""

    folder: Path
    form: Form
    frames: Frames

    def __call__(self, source: Source, stamp: str) -> bool:
        """Read a clip; False if it cannot be read, which is noted."""
        try:
            sound, frames, size = read_clip(source, self.form, self.frames)
        except (ValueError, OSError) as error:
            self._keep(source, stamp, ".txt", " ".join(str(error).splitlines()))
            return False
        content = io.BytesIO()
        np.savez(content, sound=sound.astype(TYPES["sound"]), frames=frames, size=size)
        self._keep(source, stamp, ".npz", content.getvalue())
        return True

    def result(self, source: Source, stamp: str) -> Path | None:
        """Find the file that a clip gave, if it was read."""
        places = [self._place(source, stamp, ending) for ending in (".npz", ".txt")]
        return next((place for place in places if place.is_file()), None)

    def _keep(self, source: Source, stamp: str, ending: str, content: str | bytes) -> None:
        with cache.writing("what a clip gave", self.folder):
            write_atomic(self._place(source, stamp, ending), content)

    def _place(self, source: Source, stamp: str, ending: str) -> Path:
        name = json.dumps([VERSION, source.clip, stamp, asdict(self.form), asdict(self.frames)])
        return self.folder / (hashlib.sha256(name.encode()).hexdigest()[:32] + ending)


def read_all(reader: ClipReader, tasks: list[tuple[Source, str]]) -> None:
    """Read clips on all cores; one that was being read when a process died is read once more, alone.

    Raises:
        ValueError: clips that killed their process twice; what the others gave is kept.
    """
    if len(tasks) <= FEW or multiprocessing.current_process().daemon:  # which must not start processes
        for task in tasks:
            reader(*task)
        return
    cache.say(f"reading {len(tasks)} clips into {reader.folder} (can be interrupted; goes on where it was)")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    clock, done = Clock(SECONDS * len(tasks), cores), Counter({True: 0, False: 0})

    def note(readable: bool) -> None:
        done[readable] += 1
        clock.finished(SECONDS)

    rest, crashed = tasks, []
    with Progress(lambda: progress(done, len(tasks), clock), sys.stderr):
        while rest:
            for task in _in_processes(reader, rest, cores, note):
                crashed += _in_processes(reader, [task], 1, note)
            rest = [task for task in rest if task not in crashed and not reader.result(*task)]
    if crashed:
        raise ValueError(
            f"{len(crashed)} clips killed the process that read them, twice: "
            f"{', '.join(source.pictures for source, _ in crashed[:5])}; try again, download them again, or drop them "
            "from the lists (what the other clips gave is kept)"
        )


def progress(done: Mapping[bool, int], total: int, clock: Clock) -> str:
    """Say how many clips are read, how many of them could not be, and how long the rest takes."""
    bad = f", {done[False]} could not be read" if done[False] else ""
    return f"{done[True] + done[False]} of {total} clips{bad}, {clock.says()}"


def _in_processes(
    reader: ClipReader, tasks: Sequence[tuple], processes: int, note: Callable[[bool], None]
) -> list[tuple]:
    """Read clips in worker processes until one of these dies; the clips that were being read then, [] if none did."""
    one_thread = {"OMP_NUM_THREADS": "1"}
    pool = ProcessPoolExecutor(processes, initializer=_end_with, initargs=(os.getpid(),), env=one_thread)
    waiting, reading = iter(tasks), {}
    try:
        while True:
            for task in islice(waiting, 2 * processes - len(reading)):
                reading[pool.submit(reader, *task)] = task
            if not reading:
                return []
            finished: set[Future] = wait(reading, return_when=FIRST_COMPLETED).done
            for future in finished:
                note(future.result())
                del reading[future]
    except BrokenProcessPool:
        return [task for task in reading.values() if not reader.result(*task)]
    finally:
        pool.shutdown(kill_workers=True)


def _end_with(parent: int) -> None:
    """End this worker process soon after the one that started it, even if that was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """Open what a clip gave.

    Raises:
        ValueError: the file is damaged; it is removed, so that the clip is read again.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except (ValueError, KeyError, EOFError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        path.unlink(missing_ok=True)
        raise ValueError(f"{path} was damaged and is removed; try again, only its clip is read once more") from error
