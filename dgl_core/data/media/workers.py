"""Processes that read clips: each takes one at a time, writes its row and says how it went; a crash costs one clip."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dgl_core.data.media.clip_arrays import ClipArrays
from dgl_core.data.media.pictures import picture_files, read_picture
from dgl_core.data.media.sound import read_wav
from dgl_core.data.media.spectrogram import Form, spectrogram
from dgl_core.data.media.video import VIDEO, Frames, read_video
from dgl_core.utils import ROOT


@dataclass(frozen=True)
class Source:
    """Where the media of one clip are.

    Args:
        clip: name, unique in its set.
        sound: wav or other sound file, or a video.
        pictures: video, or a folder of frames; may be the file of the sound.
    """

    clip: str
    sound: str
    pictures: str

    def stamp(self) -> str:
        """Changes when a file does (size or time); "missing" parts are noted too."""
        return " ".join(_stamp(Path(path)) for path in dict.fromkeys((self.sound, self.pictures)))


def settings(form: Form, frames: Frames) -> dict[str, Any]:
    """What decides the arrays, for ``ClipArrays``."""
    shapes = {"sound": form.shape, "frames": (frames.count, frames.size, frames.size, 3)}
    return shapes | {"form": asdict(form), "which": asdict(frames)}


def read_clip(source: Source, form: Form, frames: Frames) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Spectrogram float64 ``[F, T]``, frames uint8 ``[T, S, S, 3]``, width and height of a picture.

    Raises:
        ValueError, FileNotFoundError: with file, reason and remedy.
    """
    sound, pictures = Path(source.sound), Path(source.pictures)
    for path in (sound, pictures):
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing; copy or extract it again, or drop the clip from the lists")
    in_video = sound.suffix.lower() in VIDEO and sound.is_file()
    media = None
    if pictures.is_dir():
        stack, size = _from_folder(pictures, frames)
    else:
        media = read_video(pictures, frames, sound=in_video and sound == pictures)
        stack, size = media.frames, media.picture
    if not in_video:
        wave = read_wav(sound, form.rate)
    else:
        heard = media if sound == pictures else read_video(sound, None, sound=True)
        wave = heard.mono(sound, form.rate)
    return spectrogram(wave, form), stack, size


def _from_folder(folder: Path, frames: Frames) -> tuple[np.ndarray, tuple[int, int]]:
    files = picture_files(folder)
    if len(files) < frames.count:
        raise FileNotFoundError(
            f"{folder}: {len(files) or 'no'} frame{'s' if len(files) > 1 else ''} of clip {folder.name!r} where "
            f"{frames.count} are wanted; extract the frames of this clip again, or drop it from the lists"
        )
    if frames.rule == "even":
        files = [files[(2 * k + 1) * len(files) // (2 * frames.count)] for k in range(frames.count)]
    read = [read_picture(file, frames.size) for file in files[: frames.count]]
    return np.stack([picture for picture, _ in read]), read[0][1]


class Hand:
    """Reads a clip and writes its row; the answer is (width, height, problem)."""

    def __init__(self, arrays: ClipArrays, form: Form, frames: Frames):
        self.arrays, self.form, self.frames = arrays, form, frames

    def __call__(self, row: int, source: Source) -> list:
        try:
            sound, frames, (width, height) = read_clip(source, self.form, self.frames)
        except (ValueError, FileNotFoundError) as error:
            return [0, 0, str(error)]
        self.arrays.write(row, sound, frames)
        return [width, height, ""]


class Worker(threading.Thread):
    """A thread that feeds one process clip by clip; when the process dies, the clip it had is to blame."""

    def __init__(self, order: str, waiting: queue.SimpleQueue, results: queue.SimpleQueue):
        super().__init__(daemon=True)
        self.order, self.waiting, self.results = order, waiting, results
        self.process: subprocess.Popen | None = None
        self.stopped = False
        self.start()

    def run(self) -> None:
        try:
            while not self.stopped:
                row, source = self.waiting.get_nowait()
                self.results.put((row, source, self._ask(row, source)))
        except queue.Empty:
            pass
        except BaseException as error:  # handed to the one who waits for results
            self.results.put(error)
        finally:
            self.stop()

    def stop(self) -> None:
        self.stopped = True
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _ask(self, row: int, source: Source) -> list:
        if self.process is None or self.process.poll() is not None:
            self.process = _start(self.order)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps([row, asdict(source)]) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if line.endswith("\n"):
            answer = json.loads(line)
            if isinstance(answer, str):
                raise OSError(f"cannot write the prepared arrays: {answer}; free some space or set DGL_DATA_CACHE")
            return answer
        code = self.process.wait()
        return [0, 0, f"{source.pictures}: its decoder crashed (exit code {code}); download it again, or drop the clip"]


def _start(order: str) -> subprocess.Popen:
    """A plain process: works from scripts without a main guard, from notebooks and from daemonic workers alike."""
    package_root = str(ROOT)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([package_root, os.environ.get("PYTHONPATH", "")]),
        "PYTHONIOENCODING": "utf-8",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "dgl_core.data.media.workers", order],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, encoding="utf-8",
    )  # fmt: skip


def _serve(order: str) -> None:
    """The worker process: a clip a line comes in, an answer a line goes out; it ends with whoever asks."""
    folder, how, form, frames = json.loads(order)
    rule = Form(**{key: tuple(value) if isinstance(value, list) else value for key, value in form.items()})
    hand = Hand(ClipArrays(Path(folder), how), rule, Frames(**frames))
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        for line in sys.stdin:
            row, source = json.loads(line)
            try:
                answer: list | str = hand(row, Source(**source))
            except OSError as error:
                answer = error.strerror or str(error)
            print(json.dumps(answer), flush=True)


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "missing"
    if path.is_dir():
        return "+".join(_stamp(file) for file in picture_files(path)) or "empty"
    return f"{status.st_size}.{status.st_mtime_ns}"


if __name__ == "__main__":
    _serve(sys.argv[1])
