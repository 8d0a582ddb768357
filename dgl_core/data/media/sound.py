"""Read sound files into arrays; an unreadable one is named with what to do about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read_wav(path: Path, rate: int) -> np.ndarray:
    """Read a sound file as mono float32 ``[n]`` at ``rate`` Hz: channels averaged, other rates resampled by librosa.

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
    """Average channels ``[C, n]`` at ``own`` Hz to ``[n]`` at ``rate`` Hz; ``path`` is for the message."""
    sound = sound.mean(axis=0)
    if not np.isfinite(sound).all():
        raise ValueError(f"{path}: the sound has values that are not finite; extract it again, or drop the clip")
    if own != rate:
        import librosa

        sound = librosa.resample(sound, orig_sr=own, target_sr=rate)
    return sound
