"""Read sound files into arrays; an unreadable one is named with what to do about it."""

from __future__ import annotations

import functools
import math
import wave
from pathlib import Path

import numpy as np

from dgl_core.data.files.cache import check_listed, say
from dgl_core.data.media.whole import check_whole
from dgl_core.utils import importable, needs


def read_wav(path: Path, rate: int) -> np.ndarray:
    """Read a sound file as mono float32 ``[n]`` at ``rate`` Hz: channels averaged, other rates resampled by librosa.

    Without soundfile, wav files of plain samples are read by Python itself, with the same values. Without librosa,
    scipy resamples, with other values at the top of the spectrogram (``resampler``).

    Raises:
        ValueError: the file cannot be read or holds no sound; the message names it and the remedy.
    """
    check_listed(path)
    sound, declared, own = (_by_soundfile if importable("soundfile") else _by_python)(path)
    if not len(sound):
        raise ValueError(f"{path}: the sound file is empty (0 samples); copy or extract it again, or drop the clip")
    if len(sound) < declared:
        decoded = f"{len(sound)} of {declared} samples can be decoded"
        raise ValueError(f"{path}: truncated, {decoded}; copy or extract it again")
    check_whole(path)
    return mono(path, sound.T, own, rate)


def _by_soundfile(path: Path) -> tuple[np.ndarray, int, int]:
    """Read samples ``[n, C]``, how many the file declares, and their rate."""
    needs("Sound files", "soundfile")
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            return file.read(dtype="float32", always_2d=True), file.frames, file.samplerate
    except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError, MemoryError) as error:  # the last two: of an
        # ogg file that is cut off, some versions of libsndfile say that it has more samples than any memory holds
        raise ValueError(f"{path}: not a readable sound file ({error}); copy or extract it again") from error


def _by_python(path: Path) -> tuple[np.ndarray, int, int]:
    """Read a wav file of plain samples of 8 to 32 bits, as ``_by_soundfile`` does."""
    try:
        with wave.open(str(path), "rb") as file:
            declared, own, channels, width = (
                file.getnframes(), file.getframerate(), file.getnchannels(), file.getsampwidth(),
            )  # fmt: skip
            content = file.readframes(declared)
    except (wave.Error, EOFError, OSError) as error:
        needed = "without soundfile only wav files of plain samples are read: pip install 'dgl-core[data]'"
        reason = str(error) or "it ends early"
        raise ValueError(f"{path}: not a readable sound file ({reason}); copy or extract it again; {needed}") from error
    whole = np.frombuffer(content[: len(content) // (width * channels) * width * channels], np.uint8)
    padded = np.zeros((len(whole) // width, 4), np.uint8)  # the bytes of a sample, at the top of 32 bits
    padded[:, 4 - width :] = whole.reshape(-1, width)
    if width == 1:  # 8 bits have no sign
        padded[:, 3] ^= 0x80
    return (padded.view("<i4")[:, 0] / 2**31).astype(np.float32).reshape(-1, channels), declared, own


def mono(path: Path, sound: np.ndarray, own: int, rate: int) -> np.ndarray:
    """Average channels ``[C, n]`` at ``own`` Hz to ``[n]`` at ``rate`` Hz; ``path`` is for the message."""
    sound = sound.mean(axis=0)
    if not np.isfinite(sound).all():
        raise ValueError(f"{path}: the sound has values that are not finite; extract it again, or drop the clip")
    return sound if own == rate else _resampled(sound, own, rate)


def resampler() -> str:
    """Name what brings sounds to another rate here: "librosa", or "scipy" where that is not installed.

    The two differ where the spectrogram is nearly empty, above half of the lower rate; so arrays say which it was.
    """
    return "librosa" if importable("librosa") else "scipy"


def _resampled(sound: np.ndarray, own: int, rate: int) -> np.ndarray:
    if resampler() == "librosa":
        import librosa

        return librosa.resample(sound, orig_sr=own, target_sr=rate)
    _say_scipy()
    needs("Sounds of another rate", "scipy")
    from scipy.signal import resample_poly

    common = math.gcd(own, rate)
    return resample_poly(sound, rate // common, own // common).astype(np.float32)


@functools.cache
def _say_scipy() -> None:
    say("librosa is not installed, so scipy resamples: spectrograms differ from others' where they are nearly empty")
