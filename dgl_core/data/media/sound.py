"""Read sound files into arrays; an unreadable one is named with what to do about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dgl_core.data.files.cache import check_listed
from dgl_core.data.media.whole import check_whole
from dgl_core.utils import needs


def read_wav(path: Path, rate: int) -> np.ndarray:
    """Read a sound file as mono float32 ``[n]`` at ``rate`` Hz: channels averaged, other rates resampled by librosa.

    Raises:
        ValueError: the file cannot be read or holds no sound; the message names it and the remedy.
    """
    needs("Sound files", "soundfile")
    import soundfile

    check_listed(path)
    try:
        with soundfile.SoundFile(path) as file:
            declared, own = file.frames, file.samplerate
            sound = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise ValueError(f"{path}: not a readable sound file ({error}); copy or extract it again") from error
    if not len(sound):
        raise ValueError(f"{path}: the sound file is empty (0 samples); copy or extract it again, or drop the clip")
    if len(sound) < declared:
        decoded = f"{len(sound)} of {declared} samples can be decoded"
        raise ValueError(f"{path}: truncated, {decoded}; copy or extract it again")
    check_whole(path)
    return mono(path, sound.T, own, rate)


def mono(path: Path, sound: np.ndarray, own: int, rate: int) -> np.ndarray:
    """Average channels ``[C, n]`` at ``own`` Hz to ``[n]`` at ``rate`` Hz; ``path`` is for the message."""
    sound = sound.mean(axis=0)
    if not np.isfinite(sound).all():
        raise ValueError(f"{path}: the sound has values that are not finite; extract it again, or drop the clip")
    if own != rate:
        needs("Sounds of another rate", "librosa")
        import librosa

        sound = librosa.resample(sound, orig_sr=own, target_sr=rate)
    return sound
