"""The judge is judged: planted differences, and words that are wrong in at most one of twenty."""

from __future__ import annotations

import numpy as np
import pytest

from dgl_core.verdicts.calibration import is_wrong, planted_differences, rates, replay
from dgl_core.verdicts.families import BETTER, EQUAL, UNDECIDED, WORSE, Member
from dgl_core.verdicts.inference import Draws, Fold, Folds


def of_draws(seed: int) -> Member:
    return Member(Draws(np.random.default_rng(seed).standard_t(5, 30) * 1.5), 1.0)


def of_folds(seed: int) -> Member:
    """Right and wrong answers of 150 items, of 30 speakers in five folds, by two rows that are equally good."""
    rng, folds = np.random.default_rng(seed), []
    for _ in range(5):
        speakers = np.arange(30) % 6
        chance = np.clip(0.8 + 0.05 * rng.standard_normal(6)[speakers, None], 0, 1)
        right = rng.random((2, 30, 6)) < chance
        folds.append(Fold(right[0].astype(float) - right[1], speakers))
    return Member(Folds(folds), 2.0)


@pytest.mark.parametrize("correction", ["holm", "benjamini-hochberg"])
@pytest.mark.parametrize("make", [of_draws, of_folds])
def test_at_most_one_word_of_twenty_is_wrong(make, correction):
    members = {seed: make(seed) for seed in range(4)}
    for planted in planted_differences(members[0].delta):
        found = rates(members, 4, correction, planted, times=25)
        assert found.wrong <= 0.05, f"{planted} points planted: {found}"
    assert found.decided > 0.5 or make is of_folds, "four points are seen"


@pytest.mark.parametrize("make", [of_draws, of_folds])
def test_a_replay_has_the_planted_mean_and_the_old_spread(make):
    evidence, rng = make(0).evidence, np.random.default_rng(0)
    means = [replay(evidence, 3.0, rng).mean for _ in range(200)]
    low, high = evidence.interval(0.6827)
    assert np.mean(means) == pytest.approx(3.0, abs=0.2)
    assert np.std(means) == pytest.approx((high - low) / 2, rel=0.25)


def test_what_counts_as_wrong():
    assert is_wrong(BETTER, 0.0, 1.0) and is_wrong(WORSE, 0.5, 1.0) and is_wrong(EQUAL, 1.0, 1.0)
    assert not is_wrong(BETTER, 0.5, 1.0) and not is_wrong(EQUAL, 0.5, 1.0) and not is_wrong(UNDECIDED, 4.0, 1.0)
