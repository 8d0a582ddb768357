"""Generated features of three modalities (or more): a strong one that is sometimes blind, and weak ones that see then.

Every sample has one of four classes, two bits. The strong modality shows the class as a direction: easy to learn. In
some samples it is blind and shows noise alone; there, and in few others, the weak modalities show it. A weak modality
shows each bit as the *product* of two signs, so no linear map of it tells anything: an encoder has to be trained.

The same options give the same bytes on every x86-64 processor: uniform numbers, sums and products only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dgl_core import data
from dgl_core.data.generated.emotions.acting import bell
from dgl_core.data.generated.portable import generator
from dgl_core.data.recipe import SEEDS, Recipe, split_with

if TYPE_CHECKING:
    from dgl_core.data.dataset import Dataset

VERSION = 1  # raised when the same options give other values
CLASSES = ("none", "first", "second", "both")  # which of the two bits are set
SIZE = 24  # numbers in a feature vector
BLIND = 0.3  # share of the samples in which the strong modality shows noise alone
HELP = 0.85  # share of those in which a weak modality shows the class
STRAY = 0.2  # share of the other samples in which it does all the same
STRONG, WEAK = 2.0, 1.6  # length of what is shown, where the noise has deviation NOISE in every number
NOISE = 0.5


def load_triplet(root: Path | None, *, samples: int, modalities: int, seed: int, weak: str, test: float) -> Dataset:
    """Load the generated set; ``root`` is not used.

    Args:
        samples: how many, as equal as possible over the classes.
        modalities: "strong" and ``modalities - 1`` weak ones ("weak_1", "weak_2", ...), 2 to 5.
        seed: of everything random.
        weak: how a weak modality shows the class: "products" of signs, which its encoder has to learn, or a
            "direction" a class, which is there from the start.
        test: share of the test part.
    """
    import torch

    label, blind = plan(samples, seed)
    inputs = {}
    for number in range(modalities):
        own = generator(VERSION, seed, number)
        if number == 0:
            shown = STRONG * _directions(own, len(CLASSES))[label] * (~blind)[:, None]
        else:
            informed = own.random(samples) < np.where(blind, HELP, STRAY)
            shown = _weak(own, label, informed) if weak == "products" else _plain(own, label, informed)
        values = (shown + NOISE * bell(own, shown.size).reshape(shown.shape)).astype(np.float32)
        inputs[f"weak_{number}" if number else "strong"] = torch.from_numpy(values)
    return data.Dataset(
        inputs,
        torch.from_numpy(label),
        split_with(label, test, seed),
        name="triplet",
        classes=CLASSES,
        source=f"generated features: {samples} samples, {modalities} modalities, seed {seed}",
        generated=True,
        version=f"triplet {VERSION} {samples} {modalities} 0 {seed}" + ("" if weak == "products" else f" {weak}"),
    )


def plan(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the class of every sample ``[N]``, and whether its strong modality is blind ``[N]``."""
    rng = generator(VERSION, seed)
    return rng.permutation(np.arange(samples) % len(CLASSES)), rng.random(samples) < BLIND


def _directions(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return rows of plus and minus one over the root of SIZE: about orthogonal, of length one, ``[count, SIZE]``."""
    return np.where(rng.random((count, SIZE)) < 0.5, -1.0, 1.0) / np.sqrt(float(SIZE))


def _weak(rng: np.random.Generator, label: np.ndarray, informed: np.ndarray) -> np.ndarray:
    """Return two pairs of signed directions; the product of a pair's signs is a bit of the class where ``informed``."""
    random_bits = rng.integers(0, 2, (len(label), 2))
    bits = np.where(informed[:, None], np.stack([label & 1, label >> 1], axis=1), random_bits)  # [N, 2]
    first = np.where(rng.random((len(label), 2)) < 0.5, -1.0, 1.0)
    signs = np.stack([first, first * np.where(bits == 1, 1.0, -1.0)], axis=2)  # [N, bit, place in the pair]
    directions = _directions(rng, 4)
    return WEAK * sum(signs[:, k // 2, k % 2, None] * directions[k] for k in range(4))


def _plain(rng: np.random.Generator, label: np.ndarray, informed: np.ndarray) -> np.ndarray:
    """Return one direction per class, that of the label where ``informed``, else of any class, ``[N, SIZE]``."""
    shown = np.where(informed, label, rng.integers(0, len(CLASSES), len(label)))
    return WEAK * _directions(rng, len(CLASSES))[shown]


RECIPE = Recipe(
    "triplet",
    load_triplet,
    {"samples": 1500, "modalities": 3, "seed": 0, "weak": "products", "test": 0.2},
    generated=True,
    choices={"weak": ("products", "direction")},
    limits={"samples": (60, 100_000), "modalities": (2, 5), "seed": SEEDS, "test": (0.05, 0.9)},
)
