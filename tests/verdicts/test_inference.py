"""Replicates: intervals against scipy, tests against what they are known to promise, bad evidence."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dgl_core.verdicts.inference import RESAMPLES, Draws, Fold, Folds


def folds(mean: float, seed: int = 0, items: int = 120, seeds: int = 6, clusters: int = 12) -> Folds:
    """Five folds whose gains have a mean, an effect of each cluster and noise of each item and seed."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(5):
        group = np.arange(items) % clusters
        gains = mean + 0.1 * rng.standard_normal(clusters)[group, None] + 0.3 * rng.standard_normal((items, seeds))
        found.append(Fold(gains, group))
    return Folds(found)


def test_independent_replicates_are_judged_by_students_t():
    values = np.random.default_rng(0).normal(1.0, 2.0, 30)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert Draws(values).interval() == pytest.approx((low, high))
    assert Draws(values).p_above(0.3) == pytest.approx(stats.ttest_1samp(values, 0.3, alternative="greater").pvalue)


def test_a_difference_needs_students_t_and_the_sign_flip():
    """Student's t assumes normal noise, flipping signs only symmetric noise: the larger p-value counts."""
    values = np.random.default_rng(5).standard_t(2, 12) + 1.2
    flipped = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    student = stats.ttest_1samp(values, 0).pvalue
    assert student < 0.1, "or the test would show nothing"
    assert Draws(values).p_different() == pytest.approx(max(student, flipped.pvalue), rel=0.1)


def test_equality_is_two_one_sided_tests():
    values = np.random.default_rng(1).normal(0.0, 1.0, 40)
    found, (low, high) = Draws(values), Draws(values).interval(0.90)
    limit = max(-low, high)
    assert found.p_equal(1.001 * limit) < 0.05 < found.p_equal(0.999 * limit)


def test_equal_differences_decide_nothing():
    found = Draws([5.0] * 8)
    assert found.p_different() == 1 and found.p_equal(10) == 1


def test_the_mean_of_folds_is_that_of_their_replicates():
    found = folds(0.02)
    assert found.mean == pytest.approx(100 * np.mean([f.gains.mean() for f in found.folds])) and found.n == 30
    assert found.resampled.mean() == pytest.approx(found.mean, abs=0.1)


def test_clusters_widen_the_interval():
    """Items of one speaker are no independent items: with as many clusters as items the interval is too narrow."""
    tied = folds(0.0)
    free = Folds([Fold(fold.gains, np.arange(len(fold.gains))) for fold in tied.folds])
    width = [high - low for low, high in (tied.interval(), free.interval())]
    assert width[0] > 1.2 * width[1]


def test_the_variance_of_the_bootstrap_is_owens():
    """Without clusters: between items / N + between seeds / S + what is left / NS (Owen 2007, eq. 13), unbiased."""
    gains = np.random.default_rng(2).standard_normal((60, 8))
    found = Folds([Fold(gains, np.arange(60))])
    items, seeds = gains.mean(axis=1).var(ddof=1) / 60, gains.mean(axis=0).var(ddof=1) / 8
    centred = gains - gains.mean(axis=1, keepdims=True) - gains.mean(axis=0) + gains.mean()
    expected = 1e4 * (items + seeds + centred.var() / (59 * 7))
    assert found.resampled.var() == pytest.approx(expected, rel=5 / np.sqrt(RESAMPLES))


def test_more_replicates_are_asked_for_where_the_difference_is_close():
    rng = np.random.default_rng(3)
    noise = rng.standard_normal(20)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    assert Draws(0.5 + 2 * noise).needed(2.0, 0.05) < Draws(0.9 + 2 * noise).needed(2.0, 0.05), "nearer to the middle"
    wide = Draws(1.0 + 2 * noise)
    n = wide.needed(1.0, 0.05)
    power = stats.nct.sf(stats.t.isf(0.025, n - 1), n - 1, 1.0 / 2.0 * np.sqrt(n))
    assert power == pytest.approx(0.8, abs=0.03)


def test_seeds_cannot_make_up_for_items():
    """Twenty items that disagree with each other: no number of seeds decides about the next twenty."""
    gains = np.repeat(np.random.default_rng(4).choice([-1.0, 0.0, 1.0], (20, 1)), 6, axis=1)
    assert Folds([Fold(gains, np.arange(20))]).needed(1.0, 0.05) is None


def test_superiority_counts_ties_half():
    share, low, high = Draws([1.0, 2.0, 0.0, -1.0]).superiority()
    assert share == 0.625 and low < share < high


@pytest.mark.parametrize("values", [[1.0], [], [1.0, np.nan], [1.0, np.inf]])
def test_bad_differences_are_refused(values):
    with pytest.raises(ValueError, match="at least two, all of them finite"):
        Draws(values)


def test_one_seed_a_fold_is_refused():
    with pytest.raises(ValueError, match="two seeds or more"):
        Fold(np.zeros((10, 1)), np.arange(10))
    with pytest.raises(ValueError, match="no folds"):
        Folds([])
