"""Turn sound into log-magnitude spectrograms: as the official code, as the paper, or in a compact form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WINDOW = 512  # samples
FLOOR = 1e-7  # added to the magnitude before the logarithm


@dataclass(frozen=True)
class Form:
    """Set how a sound becomes a spectrogram."""

    rate: int  # Hz, to which the sound is brought
    samples: int  # length to which the sound is repeated and cut
    hop: int  # samples between two windows
    centred: bool  # windows centred on their time, zeros beyond the ends (librosa's default)
    shape: tuple[int, int]  # frequency, time
    block: tuple[int, int] = (1, 1)  # frequency x time that are averaged (compact form)
    window: int = WINDOW  # samples, Hann


FORMS = {
    "official": Form(22050, 66150, 353, True, (257, 188)),
    "paper": Form(16000, 48000, WINDOW - 353, False, (257, 299)),
    "compact": Form(22050, 66150, 353, True, (64, 47), (4, 4)),
}
# Ten seconds, for Kinetics-Sounds and VGGSound. The official code cuts 5 s (626 columns) at random; see TimeCrop.
LONG_FORMS = {
    "official": Form(16000, 160000, 128, True, (129, 1251), window=256),
    "paper": Form(16000, 160000, WINDOW - 353, False, (257, 1004)),
    "compact": Form(16000, 160000, 128, True, (32, 156), (4, 8), window=256),
}


def spectrogram(sound: np.ndarray, form: Form) -> np.ndarray:
    """Compute the log magnitude of the short-time Fourier transform.

    Args:
        sound: ``[n]`` at ``form.rate``, any length, -1..1.

    Returns:
        float64 ``[F, T]`` = ``form.shape``: ln(|S| + 1e-7).

    **Source:** official ``dataset/CramedDataset.py``: repeat three times, cut to 3 s, clip to [-1, 1],
    ``librosa.stft(n_fft=512, hop_length=353)``, ``log(abs + 1e-7)``. The paper gives "window 512, overlap 353" and
    257 x 299, which is a hop of 512 - 353 = 159 samples at 16 kHz without centring. ``dataset/KSDataset.py`` and
    ``VGGSoundDataset.py``: 16 kHz, repeated to 10 s, ``n_fft=256, hop_length=128``.
    **Difference:** sound shorter than 1 s is repeated until it fills 3 s (there, the picture would get narrower);
    computed in float64, so that rounding to float16 gives the same bits on every processor.
    """
    sound = np.asarray(sound, dtype=np.float64)
    sound = np.clip(np.tile(sound, -(-form.samples // len(sound)))[: form.samples], -1.0, 1.0)
    if form.centred:
        sound = np.pad(sound, form.window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(sound, form.window)[:: form.hop]  # [T, window]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(form.window) / form.window)
    picture = np.log(np.abs(np.fft.rfft(frames * hann, axis=1)).T + FLOOR)  # [window / 2 + 1, T]
    high, wide = form.block
    rows, columns = form.shape
    return picture[: rows * high, : columns * wide].reshape(rows, high, columns, wide).mean(axis=(1, 3))
