"""Read the media of clips: one clip, or many on all cores, each into a small file that appears in one step."""

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
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from dgl_core.data.files import cache
from dgl_core.data.files.atomic import write_atomic
from dgl_core.data.media.pictures import picture_files, read_picture
from dgl_core.data.media.sound import read_wav, resampler
from dgl_core.data.media.spectrogram import Form, spectrogram
from dgl_core.data.media.video import Frames, is_video, read_video
from dgl_core.utils import Clock, Progress, importable, without_interrupts

VERSION = 2  # raised when the same media give other arrays, or the folder has another layout
FEW = 64  # clips that are read in this process
SECONDS = 0.05  # that a clip takes one core, about
TYPES = {"sound": np.dtype("<f2"), "frames": np.dtype("u1")}


@dataclass(frozen=True)
class Source:
    """Name the media of one clip: a sound file or video, and a video or a folder of frames."""

    clip: str
    sound: str
    pictures: str

    def stamp(self) -> str:
        """Describe the files by size and time of change; "missing" ones are noted too."""
        return " ".join(_stamp(Path(path)) for path in dict.fromkeys((self.sound, self.pictures)))


def check_names(paths: Iterable[str]) -> None:
    """Refuse names that no list can hold: ``ValueError`` for one with a line break, or one that is not UTF-8."""
    for path in paths:
        if "\n" in path or "\r" in path or path != path.encode("utf-8", "replace").decode():
            raise ValueError(f"{ascii(path)}: this name has a line break or is not UTF-8; rename the file or folder")


def read_clip(source: Source, form: Form, frames: Frames) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Read a clip: spectrogram float64 ``[F, T]``, frames uint8 ``[K, S, S, 3]``, width and height of a picture.

    Raises:
        ValueError, FileNotFoundError: with file, reason and remedy.
    """
    sound, pictures = Path(source.sound), Path(source.pictures)
    for path in (sound, pictures):
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing; copy or extract it again, or drop the clip from the lists")
    heard = is_video(sound)
    media = None if pictures.is_dir() else read_video(pictures, frames, sound=heard and sound == pictures)
    stack, size = (media.frames, media.picture) if media else _from_folder(pictures, frames)
    if heard and sound != pictures:
        media = read_video(sound, None, sound=True)
    return spectrogram(media.mono(sound, form.rate) if heard else read_wav(sound, form.rate), form), stack, size


def _from_folder(folder: Path, frames: Frames) -> tuple[np.ndarray, tuple[int, int]]:
    files = picture_files(folder)
    if len(files) < frames.count:
        there = f"{len(files) or 'no'} frame{'s' if len(files) > 1 else ''} of clip {folder.name!r}"
        remedy = "extract the frames of this clip again, or drop it from the lists"
        raise FileNotFoundError(f"{folder}: {there} where {frames.count} are wanted; {remedy}")
    if frames.rule == "even":
        files = [files[number] for number in frames.middles(len(files))]
    read = [read_picture(file, frames.size) for file in files[: frames.count]]
    return np.stack([picture for picture, _ in read]), read[0][1]


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "missing"
    if path.is_dir():
        return "+".join(_stamp(file) for file in picture_files(path)) or "empty"
    return f"{status.st_size}.{status.st_mtime_ns}"


@dataclass(frozen=True)
class ClipReader:
    """Read one clip and keep what it gave as a file of ``folder``; worker processes have a copy of this object."""

    folder: Path
    form: Form
    frames: Frames

    def __call__(self, source: Source, stamp: str) -> bool:
        """Read a clip; False if it cannot be read, which is noted."""
        content = io.BytesIO()
        try:
            sound, frames, size = read_clip(source, self.form, self.frames)
            np.savez(content, sound=sound.astype(TYPES["sound"]), frames=frames, size=size)
            place, kept = self._place(source, stamp, ".npz"), content.getvalue()
        except (ValueError, OSError) as error:
            place, kept = self._place(source, stamp, ".txt"), " ".join(str(error).splitlines())
        with cache.writing("what a clip gave", self.folder):
            write_atomic(place, kept)
        return place.suffix == ".npz"

    def result(self, source: Source, stamp: str) -> Path | None:
        """Find the file that a clip gave, if it was read."""
        places = [self._place(source, stamp, ending) for ending in (".npz", ".txt")]
        return next((place for place in places if place.is_file()), None)

    def _place(self, source: Source, stamp: str, ending: str) -> Path:
        other = [name for name in [resampler()] if name != "librosa"]
        name = json.dumps([VERSION, source.clip, stamp, asdict(self.form), asdict(self.frames), *other])
        return self.folder / (hashlib.sha256(name.encode()).hexdigest()[:32] + ending)


def read_all(reader: ClipReader, tasks: list[tuple[Source, str]]) -> None:
    """Read clips on all cores; one that was being read when a process died is read once more, alone.

    Raises:
        ValueError: clips that killed their process twice; what the others gave is kept.
    """
    few = len(tasks) <= FEW or multiprocessing.current_process().daemon  # which must not start processes
    if not few:
        alone = "" if importable("joblib") else "; joblib is not installed, so one after the other"
        cache.say(f"reading {len(tasks)} clips into {reader.folder} (can be interrupted; goes on where it was){alone}")
    if few or not importable("joblib"):
        for task in tasks:
            reader(*task)
        return
    from joblib.externals.loky import cpu_count

    clock, done = Clock(SECONDS * len(tasks), cpu_count()), Counter({True: 0, False: 0})

    def note(readable: bool) -> None:
        done[readable] += 1
        clock.finished(SECONDS)

    rest, crashed = tasks, []
    with Progress(lambda: progress(done, len(tasks), clock), sys.stderr):
        while rest:
            for task in _in_processes(reader, rest, cpu_count(), note):
                crashed += _in_processes(reader, [task], 1, note)
            rest = [task for task in rest if task not in crashed and not reader.result(*task)]
    if crashed:
        files = ", ".join(source.pictures for source, _ in crashed[:5])
        raise ValueError(
            f"{len(crashed)} clips killed the process that read them, twice: {files}; try again, download them again, "
            "or drop them from the lists (what the other clips gave is kept)"
        )


def progress(done: Mapping[bool, int], total: int, clock: Clock) -> str:
    """Say how many clips are read, how many of them could not be, and how long the rest takes."""
    bad = f", {done[False]} could not be read" if done[False] else ""
    return f"{done[True] + done[False]} of {total} clips{bad}, {clock.says()}"


def _in_processes(reader: ClipReader, tasks: list[tuple], processes: int, note: Callable[[bool], None]) -> list[tuple]:
    """Read clips in worker processes until one of these dies; the clips that were being read then, [] if none did."""
    from joblib.externals.loky import ProcessPoolExecutor  # processes without torch and the caller's script

    one_thread = {"OMP_NUM_THREADS": "1"}
    pool = ProcessPoolExecutor(processes, initializer=_end_with, initargs=(os.getpid(),), env=one_thread)
    waiting, reading = iter(tasks), {}
    try:
        while True:
            with without_interrupts():
                reading |= {pool.submit(reader, *task): task for task in islice(waiting, 2 * processes - len(reading))}
            if not reading:
                return []
            for future in wait(reading, return_when=FIRST_COMPLETED).done:
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
    """Open what a clip gave; a damaged file is removed and a ``ValueError``: the next pass reads its clip again."""
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except (ValueError, KeyError, EOFError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        path.unlink(missing_ok=True)
        raise ValueError(f"{path} was damaged and is removed; try again, only its clip is read once more") from error
