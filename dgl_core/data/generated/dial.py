"""Generated features with two dials: how much of the label is in the combination alone, and how hard one modality is.

Every sample has one of four classes, and every modality shows a *part*, one of four values, or nothing:

* redundant samples show the class in every modality;
* complementary samples show it in one modality, chosen at random, and nothing in the others;
* combined samples show parts that add up to the class modulo 4, so that no modality alone tells anything.

The dial *synergy* goes from redundant (0) over complementary (0.5) to combined (1). The first modality shows its part
as one of four directions, which a linear map reads. The dial *imbalance* turns the others, from directions (0) to two
bits (1), each the product of two signs, which tell a linear map nothing: they are as informative, and harder to learn.

The same options give the same bytes on every x86-64 processor: uniform numbers, sums, products and roots only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dgl_core import data
from dgl_core.data.generated.emotions.acting import bell
from dgl_core.data.generated.portable import generator
from dgl_core.data.recipe import SEEDS, Recipe, split_with
from dgl_core.utils import needs

if TYPE_CHECKING:
    from dgl_core.data.dataset import Dataset

VERSION = 1  # raised when the same options give other values
NAMES = ("first", "second", "third")
CLASSES = ("0", "1", "2", "3")
PARTS = len(CLASSES)
BLIND = -1  # the part of a modality that shows nothing
SIZE = 16  # numbers in a feature vector
SHOWN = 1.2  # length of a direction, where the noise has deviation NOISE in every number
HIDDEN = 1.05  # length of each of the four signed directions whose products are the bits
NOISE = 0.5


class Shares(NamedTuple):
    """Shares of the three kinds of samples, adding up to 1."""

    redundant: float
    complementary: float
    combined: float


def shares(synergy: float) -> Shares:
    """Split the samples into kinds: all redundant at 0, all complementary at 0.5, all combined at 1."""
    return Shares(max(0.0, 1 - 2 * synergy), 1 - abs(1 - 2 * synergy), max(0.0, 2 * synergy - 1))


def load_dial(
    root: Path | None, *, samples: int, modalities: int, synergy: float, imbalance: float, seed: int, test: float
) -> Dataset:
    """Load the generated set; ``root`` is not used.

    Args:
        samples: how many, as equal as possible over the classes. modalities: 2 or 3.
        synergy, imbalance: the dials, in [0, 1].
        seed: of everything random. test: share of the test part.
    """
    import torch

    label, parts = plan(samples, modalities, synergy, seed)
    inputs = {}
    for number in range(modalities):
        own = generator(VERSION, seed, number)
        values = codes(own, parts[number], hardness(number, imbalance)) @ directions(own)  # [N, SIZE]
        noise = NOISE * bell(own, values.size).reshape(values.shape)
        inputs[NAMES[number]] = torch.from_numpy((values + noise).astype(np.float32))
    return data.Dataset(
        inputs,
        torch.from_numpy(label),
        split_with(label, test, seed),
        name="dial",
        classes=CLASSES,
        source=f"generated features: {samples} samples, synergy {synergy:g}, imbalance {imbalance:g}, seed {seed}",
        generated=True,
        version=f"dial {VERSION} {samples} {modalities} {synergy!r} {imbalance!r} {test!r} {seed}",
    )


def hardness(number: int, imbalance: float) -> float:
    """Give the share of a modality's signal that is in products: none in the first, ``imbalance`` in the others."""
    return imbalance if number else 0.0


def plan(samples: int, modalities: int, synergy: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the class of every sample ``[N]`` and the part that each modality shows ``[M, N]``, ``BLIND`` for none."""
    rng = generator(VERSION, seed)
    label = rng.permutation(np.arange(samples) % PARTS)
    kind, informed = rng.random(samples), rng.integers(0, modalities, samples)
    parts = rng.integers(0, PARTS, (modalities, samples))
    parts[-1] = (label - parts[:-1].sum(axis=0)) % PARTS
    redundant, complementary, _ = shares(synergy)
    alone = np.where(np.arange(modalities)[:, None] == informed, label, BLIND)
    parts = np.where(kind < redundant + complementary, alone, parts)
    return label, np.where(kind < redundant, label, parts)


def table(synergy: float, noise: float = 0.1) -> np.ndarray:
    """List the probabilities of two parts and a label, ``[5, 5, 4]``, nothing shown last; without features.

    A share ``noise`` of the labels is drawn anew, because the best weights of an additive head would be infinite.
    """
    redundant, complementary, combined = shares(synergy)
    known = np.zeros((PARTS + 1, PARTS + 1, PARTS))
    for label in range(PARTS):
        known[label, label, label] += redundant / PARTS
        known[label, BLIND, label] += complementary / (2 * PARTS)
        known[BLIND, label, label] += complementary / (2 * PARTS)
        for first in range(PARTS):
            known[first, (label - first) % PARTS, label] += combined / PARTS**2
    return (1 - noise) * known + noise * known.mean(axis=2, keepdims=True)


def directions(rng: np.random.Generator) -> np.ndarray:
    """Draw eight orthogonal directions of length 1, ``[8, SIZE]``: rows of a Hadamard matrix, columns signed."""
    rows = np.ones((1, 1))
    while len(rows) < SIZE:
        rows = np.block([[rows, rows], [rows, -rows]])
    return rows[rng.permutation(SIZE)[: 2 * PARTS]] * np.where(rng.random(SIZE) < 0.5, -1.0, 1.0) / np.sqrt(float(SIZE))


def codes(rng: np.random.Generator, part: np.ndarray, hard: float) -> np.ndarray:
    """Write parts ``[N]`` as lengths along eight directions ``[N, 8]``: one of four, and two pairs of signs."""
    first = np.where(rng.random((len(part), 2)) < 0.5, -1.0, 1.0)  # of each pair; the bit decides the second
    return means(hard)[part, (first[:, 0] > 0).astype(int), (first[:, 1] > 0).astype(int)]


def means(hard: float) -> np.ndarray:
    """List the lengths along the directions by part and by the two free signs ``[5, 2, 2, 8]``, nothing shown last."""
    shown = np.zeros((PARTS + 1, 2, 2, 2 * PARTS))
    for part in range(PARTS):
        shown[part, :, :, part] = SHOWN * np.sqrt(1 - hard)
        for a, b in np.ndindex(2, 2):
            free = np.array([2 * a - 1, 2 * b - 1])
            bits = np.array([2 * (part & 1) - 1, 2 * (part >> 1) - 1])
            shown[part, a, b, PARTS:] = HIDDEN * np.sqrt(hard) * np.stack([free, free * bits], axis=1).ravel()
    return shown


class Information(NamedTuple):
    """Accuracies that a point of the dials allows, as fractions.

    Attributes:
        unimodal: of the best predictor that sees one modality, the better one. additive: of the best sum of one score
            a modality. joint: of the best predictor of all modalities together.
    """

    unimodal: float
    additive: float
    joint: float


def information(synergy: float, imbalance: float, modalities: int = 2, samples: int = 40_000) -> Information:
    """Compute what a point allows, from the exact posteriors of the parts in a large reference sample.

    The joint and the unimodal predictors are Bayes' rule, summed over all parts and signs. The additive one is the best
    in cross-entropy, which is what heads are trained by: a multinomial logistic regression, fitted on half of the
    sample, on functions of each modality's posterior.
    """
    needs("Best predictors on a dial", "sklearn")
    from sklearn.linear_model import LogisticRegression

    label, parts = plan(samples, modalities, synergy, seed=2**31 - 1)
    likelihood = [_likelihood(parts[m], hardness(m, imbalance), m) for m in range(modalities)]  # each [N, 5]
    scores = [_unimodal(values, shares(synergy), modalities) for values in likelihood]
    unimodal = max(float((s.argmax(axis=1) == label).mean()) for s in scores)
    joint = float((_joint(likelihood, shares(synergy)).argmax(axis=1) == label).mean())
    known = [values / values.sum(axis=1, keepdims=True) for values in likelihood]
    seen = np.hstack([np.hstack([p, _squares(p), np.log(s + 1e-12)]) for p, s in zip(known, scores, strict=True)])
    half = samples // 2
    fitted = LogisticRegression(tol=1e-3, max_iter=2000).fit(seen[:half], label[:half])
    return Information(unimodal, float(fitted.score(seen[half:], label[half:])), joint)


def _squares(p: np.ndarray) -> np.ndarray:
    first, second = np.triu_indices(p.shape[1])
    return p[:, first] * p[:, second]


def _likelihood(part: np.ndarray, hard: float, number: int) -> np.ndarray:
    """Draw what a modality shows, and compute the likelihood of each part, nothing last, up to a factor ``[N, 5]``."""
    rng = generator(VERSION, 2**31 - 1, number)
    seen = codes(rng, part, hard) + NOISE * rng.standard_normal((len(part), 2 * PARTS))
    gap = ((seen[:, None, None, None] - means(hard)) ** 2).sum(axis=4) / (2 * NOISE**2)  # [N, 5, 2, 2]
    return np.exp(gap.min(axis=(1, 2, 3), keepdims=True) - gap).mean(axis=(2, 3))


def _unimodal(likelihood: np.ndarray, kinds: Shares, modalities: int) -> np.ndarray:
    """Score the classes by one modality, up to a factor ``[N, 4]``."""
    shown, nothing = likelihood[:, :PARTS], likelihood[:, PARTS:]
    alone = (shown + (modalities - 1) * nothing) / modalities
    return kinds.redundant * shown + kinds.complementary * alone + kinds.combined * shown.mean(axis=1, keepdims=True)


def _joint(likelihood: list[np.ndarray], kinds: Shares) -> np.ndarray:
    """Score the classes by all modalities, up to a factor ``[N, 4]``."""
    shown, nothing = [x[:, :PARTS] for x in likelihood], [x[:, PARTS:] for x in likelihood]
    redundant = np.prod(shown, axis=0)
    blind = np.prod(nothing, axis=0)
    alone = [x * blind / none for x, none in zip(shown, nothing, strict=True)]
    combined = shown[0]
    for x in shown[1:]:  # the sum of parts modulo 4
        combined = np.stack(
            [sum(combined[:, a] * x[:, (k - a) % PARTS] for a in range(PARTS)) for k in range(PARTS)], 1
        )
    combined = combined / PARTS ** (len(shown) - 1)
    return kinds.redundant * redundant + kinds.complementary * np.mean(alone, axis=0) + kinds.combined * combined


_LIMITS = {"samples": (60, 100_000), "modalities": (2, 3), "seed": SEEDS, "test": (0.05, 0.9)}
RECIPE = Recipe(
    "dial",
    load_dial,
    {"samples": 2400, "modalities": 2, "synergy": 0.0, "imbalance": 0.0, "seed": 0, "test": 0.5},
    generated=True,
    limits=_LIMITS | {"synergy": (0.0, 1.0), "imbalance": (0.0, 1.0)},
)
