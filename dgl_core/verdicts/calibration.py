"""Test the judge itself: how often does a family's procedure say a wrong word about differences planted in records?"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dgl_core.verdicts.families import BETTER, EQUAL, UNDECIDED, WORSE, Key, Member, judge
from dgl_core.verdicts.inference import Draws, Evidence, Fold, Folds


@dataclass(frozen=True)
class Rates:
    """What a procedure did over repeated families, as shares of all verdicts.

    Attributes:
        wrong: better where nothing or less is there, worse where nothing or more is, equal where delta or more is.
        decided: any word but "undecided".
    """

    wrong: float
    decided: float


@functools.singledispatch
def replay(evidence: Evidence, planted: float, rng: np.random.Generator) -> Evidence:
    """Draw new evidence with the spread of the old and a known mean, ``planted`` points."""
    raise TypeError(type(evidence).__name__)


@replay.register
def _(evidence: Draws, planted: float, rng: np.random.Generator) -> Draws:
    return Draws(rng.choice(evidence.values - evidence.mean, evidence.n) + planted)


@replay.register
def _(evidence: Folds, planted: float, rng: np.random.Generator) -> Folds:
    return Folds([_replayed(fold, planted, rng) for fold in evidence.folds], resamples=500)


def _replayed(fold: Fold, planted: float, rng: np.random.Generator) -> Fold:
    """Draw clusters of items, and seeds, with replacement from gains whose mean was replaced."""
    seeds = rng.integers(0, fold.gains.shape[1], fold.gains.shape[1])
    gains = fold.gains[:, seeds] - fold.gains.mean() + planted / 100
    names = np.unique(fold.clusters)
    parts = [np.flatnonzero(fold.clusters == name) for name in rng.choice(names, len(names))]
    clusters = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Fold(gains[np.concatenate(parts)], clusters)


def is_wrong(word: str, planted: float, delta: float) -> bool:
    """Say whether a word contradicts what was planted."""
    truth = {BETTER: planted > 0, WORSE: planted < 0, EQUAL: abs(planted) < delta, UNDECIDED: True}
    return not truth[word]


def rates(
    members: Mapping[Key, Member],
    size: int,
    correction: str,
    planted: float | Mapping[Key, float],
    times: int = 200,
    seed: int = 0,
) -> Rates:
    """Judge a family ``times`` times with the same difference planted in every question.

    Args:
        members: with evidence, whose spread is used. planted: in units of points; one for all, or one for each.
    """
    rng, words = np.random.default_rng(seed), []
    means = planted if isinstance(planted, Mapping) else dict.fromkeys(members, planted)
    for _ in range(times):
        drawn = {key: Member(replay(m.evidence, means[key], rng), m.delta) for key, m in members.items()}
        judged = judge(drawn, size, correction)
        words += [(judged[key].word, means[key], member.delta) for key, member in members.items()]
    wrong = np.mean([is_wrong(*said) for said in words])
    return Rates(float(wrong), float(np.mean([word != UNDECIDED for word, *_ in words])))


def planted_differences(delta: float) -> Sequence[float]:
    """List the differences that are planted: none, half of delta, 2 and 4 points."""
    return (0.0, delta / 2, 2.0, 4.0)
