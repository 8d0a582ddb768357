"""Read sound and frames of video files (flv, mp4, mpg, avi, ...) with PyAV, which brings its own FFmpeg."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dgl_core.data.files.cache import check_listed
from dgl_core.data.media.pictures import scaled
from dgl_core.data.media.sound import mono
from dgl_core.data.media.whole import check_whole
from dgl_core.utils import needs

VIDEO = frozenset({".flv", ".mp4", ".mpg", ".mpeg", ".avi", ".mkv", ".mov", ".webm"})  # endings
RULES = ("1fps", "even")
SLACK = 0.5  # seconds that a stream may end before its file says it does
BROKEN = 0.05  # share of damaged sound packets that is let pass, as FFmpeg itself does
EVEN = 0.95  # of the smallest other packet is the last one of mp2 sound at least, whose packets are of one size


@dataclass(frozen=True)
class Frames:
    """Set which frames of a video are taken.

    Rule "1fps": the first ``count`` of the frames that the official scripts keep, one a second, the first of the video
    included; "even": the frames in the middles of ``count`` equal parts of the video.

    **Source:** ``video_preprocessing.py`` (OGM-GE, which the official README names): frames whose number is a multiple
    of ``int(frames per second)``. **Difference:** taken in order of time (there, of an unsorted directory listing).
    """

    count: int = 1
    rule: str = "1fps"
    size: int = 224  # side in pixels; the whole picture is scaled

    def middles(self, total: int) -> list[int]:
        """Return the numbers of the frames in the middles of ``count`` equal parts of ``total`` frames."""
        return [(2 * k + 1) * total // (2 * self.count) for k in range(self.count)]


@dataclass
class Media:
    """Hold what was read: sound ``[C, n]`` at ``rate`` Hz, frames ``[T, size, size, 3]``, size of a picture."""

    sound: np.ndarray | None = None
    rate: int = 0
    frames: np.ndarray | None = None
    picture: tuple[int, int] = (0, 0)

    def mono(self, path: Path, rate: int) -> np.ndarray:
        return mono(path, self.sound, self.rate, rate)


def read_video(path: Path, frames: Frames | None, sound: bool) -> Media:
    """Read sound, frames or both from one file, in one pass over it.

    Raises:
        FileNotFoundError: no such file. MissingPackage: PyAV is not installed.
        ValueError: it cannot be decoded, lacks a stream or frames, or ends early; names file, reason and remedy.
    """
    pyav()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; copy it again, or drop the clip from the lists")
    with _opened(path) as container:
        media = _Reader(path, container, frames, sound).read()
    check_whole(path)
    return media


def is_video(path: Path) -> bool:
    """Tell whether a path is a video file that is there."""
    return path.suffix.lower() in VIDEO and path.is_file()


def pictures(path: Path) -> Iterator[np.ndarray]:
    """Yield all frames of a video in order, in grey, uint8 ``[H, W]``."""
    with _opened(path) as container:
        if not container.streams.video:
            raise ValueError(f"{path}: has no pictures; copy it again, or drop the clip")
        for frame in container.decode(container.streams.video[0]):
            yield frame.to_ndarray(format="gray")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file that agrees with its manifest; what FFmpeg says of damage becomes one sentence."""
    av = pyav()
    check_listed(path)
    try:
        with _container(path) as container:
            yield container
    except av.FFmpegError as error:
        raise ValueError(f"{path}: cannot be decoded ({error.strerror or error}); download or copy it again") from None


def _container(path: Path):
    """Open a file with PyAV, which before version 19 refuses a title that is no UTF-8 unless it is told otherwise."""
    av = pyav()
    lenient = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
    return av.open(f"file:{path}", **lenient)


class _Reader:
    """Read the packets of an open file once; no more frames are decoded than are wanted."""

    def __init__(self, path: Path, container, frames: Frames | None, sound: bool):
        self.path, self.container, self.frames = path, container, frames
        streams = container.streams
        self.video = streams.video[0] if frames and streams.video else None
        self.audio = streams.audio[0] if sound and streams.audio else None
        if sound and self.audio is None:
            raise ValueError(f"{path}: has no sound; download it again, give a wav file of it, or drop the clip")
        if frames and self.video is None:
            raise ValueError(f"{path}: has no pictures; download it again, or drop the clip")
        self.streams = [stream for stream in (self.video, self.audio) if stream is not None]
        for stream in self.streams:
            if stream.codec_context is None:
                raise ValueError(f"{path}: its header is damaged, or of an unknown codec; download or copy it again")
            stream.codec_context.thread_count = 1  # clips are read side by side, one on each core
        self.kept: list = []
        self.number = 0  # of the frame that comes next
        self.damaged = False  # is a frame since the last one that stands for itself?
        self.chunks: list[np.ndarray] = []
        self.sizes: list[int] = []  # of the packets of the sound
        self.broken = 0
        self.ends: dict[int, float] = {}  # stream index: seconds

    def read(self) -> Media:
        self.wanted = self._wanted() if self.video is not None else []
        resampler = pyav().AudioResampler(format="fltp")
        for packet in self.container.demux(self.streams):
            if packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self.ends[packet.stream.index] = max(end, self.ends.get(packet.stream.index, end))
            if packet.stream is self.audio:
                self._hear(packet, resampler)
            elif len(self.kept) < self.frames.count:
                self._look(packet)
        self._check_ends()
        sound, rate = (self._sound(), self.audio.rate) if self.audio is not None else (None, 0)
        frames, size = self._pictures() if self.video is not None else (None, (0, 0))
        return Media(sound, rate, frames, size)

    def _wanted(self) -> list[int]:
        """Choose the numbers of the frames to keep."""
        if self.frames.rule == "1fps":
            rate = self.video.average_rate or self.video.guessed_rate or 1
            step = max(1, rate.numerator // rate.denominator)  # a Fraction before PyAV 19, since then a type of its own
            return [k * step for k in range(self.frames.count)]
        with _container(self.path) as container:  # each packet holds one frame
            return self.frames.middles(sum(p.size > 0 for p in container.demux(container.streams.video[0])))

    def _look(self, packet) -> None:
        for frame in packet.decode():
            times = self.wanted.count(self.number)
            self.damaged = frame.is_corrupt or self.damaged and not frame.key_frame  # the next ones are built on it
            if times and self.damaged:
                raise ValueError(f"{self.path}: frame {self.number} is damaged; download or copy it again")
            self.kept += [frame.to_image()] * times if times else []
            self.number += 1

    def _hear(self, packet, resampler) -> None:
        self.sizes += [packet.size] if packet.size else []
        try:
            for frame in packet.decode():
                self.chunks += [part.to_ndarray() for part in resampler.resample(frame)]
        except pyav().FFmpegError:
            self.broken += 1

    def _check_ends(self) -> None:
        """Refuse a stream that ends early; where only the file as a whole has a length, the last stream counts."""
        ends = {s.index: self.ends.get(s.index, 0.0) - float((s.start_time or 0) * s.time_base) for s in self.streams}
        whole = (self.container.duration or 0) / 1_000_000
        for stream in self.streams:
            said = float(stream.duration * stream.time_base) if stream.duration else 0.0
            end, said = (ends[stream.index], said) if said else (max(ends.values()), whole)
            if end < said - max(SLACK, 0.05 * said):
                what = f"its {'sound' if stream is self.audio else 'video'} ends at {end:.1f} of {said:.1f} s"
                raise ValueError(f"{self.path}: truncated, {what}; download or copy it again")

    def _sound(self) -> np.ndarray:
        if self.broken > BROKEN * len(self.sizes):
            damaged = f"{self.broken} of {len(self.sizes)} packets of its sound are damaged"
            raise ValueError(f"{self.path}: {damaged}; download or copy it again")
        even = self.audio.codec_context.name.startswith("mp2") and self.sizes
        if even and self.sizes[-1] < EVEN * min(self.sizes[:-1], default=0):
            raise ValueError(f"{self.path}: truncated within its last packet of sound; download or copy it again")
        sound = np.concatenate(self.chunks, axis=1) if self.chunks else np.zeros((1, 0), np.float32)
        if not sound.shape[1]:
            raise ValueError(f"{self.path}: its sound is empty (0 samples); download it again, or drop the clip")
        return sound

    def _pictures(self) -> tuple[np.ndarray, tuple[int, int]]:
        if len(self.kept) < self.frames.count:
            raise ValueError(
                f"{self.path}: {len(self.kept)} frames (rule {self.frames.rule!r}) where {self.frames.count} are "
                "wanted; download it again, ask for fewer frames, or drop the clip"
            )
        return np.stack([scaled(image, self.frames.size) for image in self.kept]), self.kept[0].size


def pyav():
    """Import PyAV, or say how to get it."""
    needs("Videos", "av")
    import av

    return av
