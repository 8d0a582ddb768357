"""Sine and exponential that give the same bits on every x86-64 processor.

numpy and the C library choose other code on other processors, and their sin, exp and log differ in the last bit. These
use only additions, multiplications and rounding, each of which IEEE 754 defines to the bit. Accurate to about 1e-11.
"""

from __future__ import annotations

import math

import numpy as np


def _series(first: float, ratios: list[float]) -> list[float]:
    terms = [first]
    for ratio in ratios:
        terms.append(terms[-1] * ratio)
    return terms


_TURN = 2 * math.pi
_SINE = _series(_TURN, [-_TURN * _TURN / ((2 * k) * (2 * k + 1)) for k in range(1, 9)])  # of t, t^3, t^5 ...
_EXPONENTIAL = _series(1.0, [1.0 / k for k in range(1, 13)])  # of 1, r, r^2 ...
_LN2 = math.log(2.0)


def sine(turns: np.ndarray) -> np.ndarray:
    """Return sin(2 pi turns), any shape."""
    t = np.asarray(turns, dtype=np.float64)
    t = t - np.rint(t)  # [-1/2, 1/2]
    t = np.where(t > 0.25, 0.5 - t, np.where(t < -0.25, -0.5 - t, t))  # [-1/4, 1/4]
    square, total = t * t, np.zeros_like(t)
    for coefficient in reversed(_SINE):
        total = total * square + coefficient
    return total * t


def cosine(turns: np.ndarray) -> np.ndarray:
    """Return cos(2 pi turns), any shape."""
    return sine(np.asarray(turns, dtype=np.float64) + 0.25)


def exponential(x: np.ndarray) -> np.ndarray:
    """Return e^x, any shape, |x| < 700."""
    x = np.asarray(x, dtype=np.float64)
    power = np.rint(x / _LN2)
    rest, total = x - power * _LN2, np.zeros_like(x)
    for coefficient in reversed(_EXPONENTIAL):
        total = total * rest + coefficient
    return np.ldexp(total, power.astype(np.int32))


def decibel(level: np.ndarray) -> np.ndarray:
    """Return the amplitude ratio of a level in dB."""
    return exponential(np.asarray(level, dtype=np.float64) * (math.log(10.0) / 20))


def semitones(interval: np.ndarray) -> np.ndarray:
    """Return the frequency ratio of an interval in semitones."""
    return exponential(np.asarray(interval, dtype=np.float64) * (_LN2 / 12))
