"""A small speech synthesiser: glottal pulses and noise through the formants of a vocal tract, syllable by syllable."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter, sosfilt

from dgl_core.data.generated.emotions.acting import SENTENCES, bell
from dgl_core.data.generated.portable import cosine, decibel, exponential, semitones, sine

RATE = 22050  # Hz, the rate at which the official code loads its sound
_STEP = 220  # samples per control frame, 10 ms
_VOWELS = {  # first three formants of an adult man (Hz)
    "a": (730, 1090, 2440), "e": (530, 1840, 2480), "i": (270, 2290, 3010), "o": (570, 840, 2410),
    "u": (300, 870, 2240), "-": (500, 1500, 2500),
}  # fmt: skip
_HUM = (250, 1100, 2300)
_WIDTHS = np.array([70.0, 100.0, 140.0, 220.0, 300.0])  # formant bandwidths (Hz)
_HISS, _HUMMED = "hsfz", "mnlwrj"


class Speaker:
    """Draw what an actor brings to every clip: resting pitch (Hz), length of the vocal tract, speed and level (dB)."""

    def __init__(self, rng: np.random.Generator):
        high = rng.random() < 0.5  # half of the voices
        self.pitch = (165.0 + 60.0 * rng.random()) if high else (90.0 + 45.0 * rng.random())
        self.tract = (1.08 if high else 0.95) + 0.12 * rng.random()
        self.tempo = 0.2 * rng.random() - 0.1
        self.level = 4.0 * rng.random() - 2.0


def speak(rng: np.random.Generator, code: str, who: Speaker, cues: dict[str, float], noise: float) -> np.ndarray:
    """Speak one sentence, int16 ``[n]``, 1.4 to 4 s at 22 050 Hz.

    Args:
        code: sentence, key of ``SENTENCES``. cues: vocal cues (``acting.act_voice``).
        noise: 0..1, level of the room's noise (-62 to -38 dB).
    """
    tracks = _plan(rng, code, who, cues)
    frames = len(tracks["f0"])
    time = np.arange(frames * _STEP) / _STEP
    f0, voiced, hissed = (np.interp(time, np.arange(frames), tracks[t]) for t in ("f0", "voiced", "hissed"))
    phase = np.cumsum(f0 / RATE)
    part = (phase - np.floor(phase)) / (0.55 + 0.25 * cues["breath"])  # of the open phase
    pulse = np.where(part < 1.0, part * (2.0 - 3.0 * part), 0.0)  # derivative of the glottal flow p^2 - p^3
    dark = 0.93 - 0.6 * cues["bright"]
    pulse = lfilter([1.0 - dark], [1.0, -dark], pulse) * (1.0 + dark)
    air = 2.0 * rng.random(len(time)) - 1.0
    throat = voiced * ((1.0 - 0.7 * cues["breath"]) * pulse + 0.12 * cues["breath"] * air)
    sound = _tract(throat, tracks["formants"]) + 0.15 * hissed * lfilter([1.0, -0.9], [1.0], air)
    sound = sound * (0.25 * decibel(cues["level"] + who.level - 6.0) / np.abs(sound).max())
    silence = np.zeros(int((0.08 + 0.12 * rng.random()) * RATE))
    sound = np.concatenate([silence, sound, silence])
    room = decibel(-62.0 + 24.0 * noise) * lfilter([0.5], [1.0, -0.5], 2.0 * rng.random(len(sound)) - 1.0)
    return np.rint(np.clip(sound + room, -1.0, 1.0) * 32767.0).astype(np.int16)


def _plan(rng: np.random.Generator, code: str, who: Speaker, cues: dict[str, float]) -> dict[str, np.ndarray]:
    """Control tracks at 100 Hz: pitch (Hz) ``[F]``, voice and hiss gains ``[F]``, formants (Hz) ``[F, 5]``."""
    syllables = SENTENCES[code].split()
    slow = semitones(-12.0 * (cues["tempo"] + who.tempo))  # 2^-tempo
    stress = 0.5 + 0.5 * bell(rng, len(syllables)) * 0.5  # which syllables carry the sentence
    slack = (1.0 - cues["attack"]) * 8.0
    f0, voiced, hissed, formants = [], [], [], []
    for k, (consonant, *_, vowel) in enumerate(syllables):
        place = k / max(len(syllables) - 1, 1)
        length = float(slow) * (0.15 + 0.06 * stress[k]) * (1.0 if vowel != "-" else 0.4)
        (voice, hiss), body = _lead(consonant), max(int(length * 100), 5)
        n = len(voice) + body
        swing = cues["swing"] * (stress[k] - 0.5 + 0.5 * sine(0.5 * place)) + cues["slope"] * (place - 0.5)
        f0.append(cues["pitch"] + swing + cues["accent"] * (np.arange(n) / n - 0.5))
        hissed += [hiss, np.zeros(body)]
        rise = np.minimum(1.0, np.arange(1, body + 1) / (1.0 + slack))
        fall = np.minimum(1.0, np.arange(body, 0, -1) / (2.0 + slack))
        voiced += [voice, rise * fall * decibel(3.0 * stress[k] - 3.0 * place)]
        for sound, frames in ((_HUM, len(voice)), (_VOWELS[vowel], body)):
            formants.append(np.tile([who.tract * f for f in (*sound, 3500.0, 4500.0)], (frames, 1)))
    f0, formants = np.concatenate(f0), np.concatenate(formants)
    tremor = sine(np.arange(len(f0)) * (7.0 / 100) + rng.random()) + 0.7 * bell(rng, len(f0))
    ends = np.pad(formants, ((2, 2), (0, 0)), mode="edge")
    formants = (ends[:-4] + ends[1:-3] + ends[2:-2] + ends[3:-1] + ends[4:]) / 5.0  # the tongue takes 50 ms to move
    return {
        "f0": who.pitch * semitones(f0 + cues["shake"] * tremor),
        "voiced": np.concatenate(voiced),
        "hissed": np.concatenate(hissed),
        "formants": formants,
    }


def _lead(consonant: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the gains of voice and hiss ``[n]`` of a consonant: hissed, hummed, stopped or none."""
    if consonant == "-":
        return np.zeros(0), np.zeros(0)
    if consonant in _HISS:
        return np.zeros(9), np.array([0.3, 0.7, 1.0, 1.0, 1.0, 1.0, 1.0, 0.7, 0.3])
    if consonant in _HUMMED:
        return np.full(6, 0.3), np.zeros(6)
    return np.zeros(7), np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.2, 0.4])


def _tract(source: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Filter by five second-order resonances in a row; coefficients change every 10 ms at most, the state stays."""
    radius = exponential(-np.pi * _WIDTHS / RATE)  # [5]
    first, second = 2.0 * radius * cosine(formants / RATE), -radius * radius  # [F, 5], [5]
    sections = np.zeros((len(formants), 5, 6))
    sections[..., 0] = 1.0 - first - second  # gain 1 at 0 Hz
    sections[..., 3], sections[..., 4], sections[..., 5] = 1.0, -first, -second
    changes = np.flatnonzero((formants[1:] != formants[:-1]).any(axis=1)) + 1
    bounds = [0, *changes.tolist(), len(formants)]
    state, output = np.zeros((5, 2)), np.empty_like(source)
    for begin, end in zip(bounds, bounds[1:], strict=False):
        piece = slice(begin * _STEP, end * _STEP)
        output[piece], state = sosfilt(sections[begin], source[piece], zi=state)
    return output
