"""Sound and picture files to arrays; whatever cannot be read is named with what to do about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np


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
    sound = sound.mean(axis=1)
    if not np.isfinite(sound).all():
        raise ValueError(f"{path}: the sound has values that are not finite; extract it again, or drop the clip")
    if own != rate:
        import librosa

        sound = librosa.resample(sound, orig_sr=own, target_sr=rate)
    return sound


def read_frame(path: Path, size: int) -> np.ndarray:
    """A picture file as uint8 ``[size, size, 3]``: the whole picture scaled, as the official code does in testing."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image = image.convert("RGB")
            if image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(image)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path}: not a readable picture ({error}); extract the frame again") from error
