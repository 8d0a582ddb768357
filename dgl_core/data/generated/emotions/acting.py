"""How the generated actors show an emotion: what each one does to the voice and to the face, and how clearly.

The numbers follow the textbook pictures: Scherer's vocal cues (pitch, range, tempo, loudness, voice quality) and
Ekman's facial action units (brows, lids, nose, mouth). They are a caricature, not a model of people.
"""

from __future__ import annotations

import numpy as np

EMOTIONS = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")  # label order of CREMA-D in the official code

# The twelve sentences of CREMA-D as syllables: a consonant ("-" none, "h s f z" hissed, "m n l w r j" hummed, the rest
# stopped) and a vowel.
SENTENCES = {
    "IEO": "-i s- -i le we n- -o klo k-",
    "TIE": "da t- -i zi ka li wo ha pe n-",
    "IOM": "-a -o na wa tu da mi ti n-",
    "IWW": "-a wo no da wo di si sa bu",
    "TAI": "di -e pe le ni so mo su fu l-",
    "MTI": "me bi tu mo ro -i wi bi ko l-",
    "IWL": "-a wu la ka nu -e la klo k-",
    "ITH": "-a si ka ha fe do to sa po me",
    "DFA": "do fo ge ta ja ke t-",
    "ITS": "-a si ka si n- di bi fo r-",
    "TSI": "di sa fe si si li k-",
    "WSI": "wi to pi na ko po mi ni s-",
}

VOICE_CUES = ("pitch", "swing", "slope", "accent", "tempo", "level", "attack", "bright", "breath", "shake")
_VOICE = {  # semitones x4, octaves of speed, dB, 0..1 x3, semitones of tremor
    "NEU": (0.0, 1.5, -1.5, -0.5, 0.00, 0.0, 0.3, 0.45, 0.08, 0.0),
    "HAP": (5.0, 6.5, 1.5, 3.5, 0.20, 4.0, 0.5, 0.70, 0.08, 0.0),
    "SAD": (-2.0, 0.8, -4.0, -1.0, -0.35, -8.0, 0.0, 0.10, 0.45, 0.1),
    "FEA": (7.5, 2.0, 3.0, 1.0, 0.35, -2.0, 0.4, 0.50, 0.60, 1.2),
    "DIS": (-4.0, 3.0, -2.0, -5.0, -0.30, 1.0, 0.2, 0.25, 0.15, 0.5),
    "ANG": (2.5, 4.5, -1.0, -4.0, 0.10, 9.0, 1.0, 1.00, 0.00, 0.2),
}
_VOICE_SPREAD = np.array([3.0, 2.0, 2.0, 2.0, 0.20, 4.0, 0.3, 0.25, 0.20, 0.4])  # of one clip at difficulty 1

FACE_CUES = (
    "brow_inner", "brow_outer", "brow_pinch", "lid", "cheek", "nose", "corner", "lip_up", "open", "width", "teeth",
)  # fmt: skip
_FACE = {  # each -1..1: up is positive
    "NEU": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "HAP": (0.1, 0.2, 0.0, -0.35, 1.0, 0.0, 1.0, 0.1, 0.45, 0.5, 0.9),
    "SAD": (0.9, -0.5, 0.4, -0.45, 0.0, 0.0, -0.9, 0.0, 0.0, -0.3, 0.0),
    "FEA": (0.9, 0.6, 0.5, 1.0, 0.0, 0.0, -0.3, 0.0, 0.75, 0.25, 0.1),
    "DIS": (-0.5, -0.2, 0.5, -0.65, 0.5, 1.0, -0.5, 1.0, 0.15, -0.1, 0.3),
    "ANG": (-1.0, 0.5, 1.0, 0.35, 0.0, 0.3, -0.35, 0.2, 0.3, 0.15, 1.0),
}
_FACE_SPREAD = np.array([0.45, 0.4, 0.3, 0.4, 0.3, 0.3, 0.5, 0.3, 0.35, 0.35, 0.4])


def bell(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw numbers of mean 0 and deviation 1, nearly normal: sums of uniforms, the same bits on every processor."""
    return sum((rng.random(size) for _ in range(12)), np.full(size, -6.0))


def _act(rng: np.random.Generator, label: int, difficulty: float, profiles: dict, spread: np.ndarray) -> np.ndarray:
    table = np.array([profiles[emotion] for emotion in EMOTIONS])
    strength = 1.0 - 0.6 * difficulty * rng.random()  # a reserved actor shows less
    other = int(rng.integers(len(EMOTIONS)))  # a mixed feeling leans towards another emotion
    lean = difficulty * rng.random()
    shown = (1.0 - lean) * table[label] + lean * table[other]
    return table[0] + strength * (shown - table[0]) + (0.08 + difficulty) * spread * bell(rng, len(spread))


def act_voice(rng: np.random.Generator, label: int, difficulty: float) -> dict[str, float]:
    """Return the vocal cues of one clip (``VOICE_CUES``); 0 = as in the table, 1 = hardly to be told apart."""
    cues = dict(zip(VOICE_CUES, _act(rng, label, difficulty, _VOICE, _VOICE_SPREAD).tolist(), strict=True))
    limits = {"attack": (0, 1), "bright": (0, 1), "breath": (0, 1), "shake": (0, 2), "tempo": (-0.5, 0.5)}
    return cues | {cue: min(max(cues[cue], low), high) for cue, (low, high) in limits.items()}


def act_face(rng: np.random.Generator, label: int, difficulty: float) -> dict[str, float]:
    """Return the facial actions of one clip (``FACE_CUES``), each cut to -1.2..1.2."""
    values = np.clip(_act(rng, label, difficulty, _FACE, _FACE_SPREAD), -1.2, 1.2)
    return dict(zip(FACE_CUES, values.tolist(), strict=True))
