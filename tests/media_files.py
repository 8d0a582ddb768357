"""Videos and folders in the layouts of the real sets, written with PyAV; every frame tells its number."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile

STEP = 8  # grey levels between two frames


def tone(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """A rising tone, float32 ``[channels, n]``, another loudness in each channel."""
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.4 * np.sin(2 * np.pi * (300 + 200 * time) * time)
    return np.stack([wave * (1 - 0.3 * c) for c in range(channels)]).astype(np.float32)


def write_wav(path: Path, sound: np.ndarray, rate: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound.T, rate)
    return path


def number_of(picture: np.ndarray) -> int:
    """The number of a frame, from its brightness."""
    return round((float(picture.mean()) - 16) / STEP)


def write_video(
    path: Path,
    seconds: float = 1.0,
    *,
    fps: int = 10,
    size: tuple[int, int] = (64, 48),
    rate: int = 44100,
    channels: int = 1,
    sound: bool = True,
    pictures: bool = True,
    codecs: tuple[str, str] = ("mpeg4", "aac"),
) -> Path:
    """A video whose frame k is grey 16 + 8 k (up to 29 frames), with a rising tone."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    layout = {1: "mono", 2: "stereo", 3: "2.1", 6: "5.1"}[channels]
    with av.open(str(path), "w") as container:
        picture = container.add_stream(codecs[0], rate=fps) if pictures else None
        if picture is not None:
            picture.width, picture.height = size
            picture.pix_fmt, picture.bit_rate = "yuv420p", 2_000_000
        voice = container.add_stream(codecs[1], rate=rate, layout=layout) if sound else None
        if picture is not None:
            for number in range(round(seconds * fps)):
                grey = np.full((size[1], size[0], 3), 16 + STEP * number, np.uint8)
                container.mux(picture.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(picture.encode())
        if voice is not None:
            wave = tone(seconds, rate, channels)
            length = voice.codec_context.frame_size or 1024
            for start in range(0, wave.shape[1], length):
                piece = np.ascontiguousarray(wave[:, start : start + length])
                frame = av.AudioFrame.from_ndarray(piece, "fltp", layout)
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                container.mux(voice.encode(frame))
            container.mux(voice.encode())
    return path


FLV = ("flv", "libmp3lame")  # what CREMA-D has
MPG = ("mpeg1video", "mp2")  # what GRID has
