"""Random numbers, sine and exponential that give the same bits on every x86-64 processor.

numpy and the C library choose other code on other processors, and their sin, exp and log differ in the last bit. These
use only additions, multiplications and rounding, each of which IEEE 754 defines to the bit. Accurate to about 1e-11.
"""

from __future__ import annotations

import math
from itertools import accumulate
from operator import mul

import numpy as np

_TURN = 2 * math.pi
_SINE = list(accumulate((-_TURN * _TURN / ((2 * k) * (2 * k + 1)) for k in range(1, 9)), mul, initial=_TURN))
_EXPONENTIAL = list(accumulate((1.0 / k for k in range(1, 13)), mul, initial=1.0))  # of 1, r, r^2 ...
_LN2 = math.log(2.0)


def generator(*key: int) -> np.random.Generator:
    """Make the random generator of a key; another key, other numbers."""
    return np.random.Generator(np.random.PCG64(key))


def _polynomial(coefficients: list[float], x: np.ndarray) -> np.ndarray:
    total = np.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return total


def sine(turns: np.ndarray) -> np.ndarray:
    """Return sin(2 pi turns), any shape."""
    t = np.asarray(turns, dtype=np.float64)
    t = t - np.rint(t)  # [-1/2, 1/2]
    t = np.where(t > 0.25, 0.5 - t, np.where(t < -0.25, -0.5 - t, t))  # [-1/4, 1/4]
    return _polynomial(_SINE, t * t) * t


def cosine(turns: np.ndarray) -> np.ndarray:
    """Return cos(2 pi turns), any shape."""
    return sine(np.asarray(turns, dtype=np.float64) + 0.25)


def exponential(x: np.ndarray) -> np.ndarray:
    """Return e^x, any shape, |x| < 700."""
    x = np.asarray(x, dtype=np.float64)
    power = np.rint(x / _LN2)
    return np.ldexp(_polynomial(_EXPONENTIAL, x - power * _LN2), power.astype(np.int32))


def decibel(level: np.ndarray) -> np.ndarray:
    """Return the amplitude ratio of a level in dB."""
    return exponential(np.asarray(level, dtype=np.float64) * (math.log(10.0) / 20))


def semitones(interval: np.ndarray) -> np.ndarray:
    """Return the frequency ratio of an interval in semitones."""
    return exponential(np.asarray(interval, dtype=np.float64) * (_LN2 / 12))
