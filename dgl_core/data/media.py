"""Sound and picture files to arrays; whatever cannot be read is named with what to do about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

VIDEO = frozenset({".flv", ".mp4", ".mpg", ".mpeg", ".avi", ".mkv", ".mov", ".webm"})  # read with PyAV, see video.py


def read_wav(path: Path, rate: int) -> np.ndarray:
    """A sound file as mono float32 ``[n]`` at ``rate`` Hz: channels averaged, other rates resampled by librosa.

    Raises:
        ValueError: the file cannot be read or holds no sound; the message names it and the remedy.
    """
    import soundfile

    try:
        sound, own = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise ValueError(f"{path}: not a readable sound file ({error}); copy or extract it again") from error
    if not len(sound):
        raise ValueError(f"{path}: the sound file is empty (0 samples); copy or extract it again, or drop the clip")
    return mono(path, sound.T, own, rate)


def mono(path: Path, sound: np.ndarray, own: int, rate: int) -> np.ndarray:
    """Channels ``[C, n]`` at ``own`` Hz as their average ``[n]`` at ``rate`` Hz; ``path`` is for the message."""
    sound = sound.mean(axis=0)
    if not np.isfinite(sound).all():
        raise ValueError(f"{path}: the sound has values that are not finite; extract it again, or drop the clip")
    if own != rate:
        import librosa

        sound = librosa.resample(sound, orig_sr=own, target_sr=rate)
    return sound


def read_frame(path: Path, size: int) -> np.ndarray:
    """A picture file as uint8 ``[size, size, 3]``: the whole picture scaled, as the official code does in testing."""
    return read_picture(path, size)[0]


def read_picture(path: Path, size: int) -> tuple[np.ndarray, tuple[int, int]]:
    """As ``read_frame``, with the width and height that the file has."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            own = image.size
            return scaled(image.convert("RGB"), size), own
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path}: not a readable picture ({error}); extract the frame again") from error


def scaled(image, size: int) -> np.ndarray:
    """A PIL picture in RGB as uint8 ``[size, size, 3]``."""
    from PIL import Image

    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def picture_files(folder: Path) -> list[Path]:
    """The frames of a clip that were extracted into a folder, by name (the official code lists them unsorted)."""
    return sorted(folder.glob("*.*"))
