"""Infer from replicates: how large a difference is, how sure that is, and how many replicates would settle it.

Two kinds of evidence, because data sets differ in what a replicate can redraw. A generated set redraws everything, its
data too, so replicates are independent (``Draws``). The test items of a real set are fixed, so its interval comes from
resampling items and seeds (``Folds``). Both are paired: the two rows of a replicate share data, folds and weights.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

RESAMPLES = 10_000
POWER = 0.8
UNLIKELY = 0.1  # a larger p-value decides nothing in any family


class Evidence:
    """Hold paired differences in points, and what they tell about their mean.

    Attributes:
        values: one difference a replicate, the claim's direction positive [n].
    """

    values: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def n(self) -> int:
        return len(self.values)

    def p_above(self, threshold: float) -> float:
        """Compute the one-sided p-value of "the mean lies above ``threshold``"."""
        raise NotImplementedError

    def p_below(self, threshold: float) -> float:
        """Compute the one-sided p-value of "the mean lies below ``threshold``"."""
        raise NotImplementedError

    def p_different(self) -> float:
        """Compute the two-sided p-value of "the mean is not 0"."""
        return min(1.0, 2 * min(self.p_above(0.0), self.p_below(0.0)))

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Compute the two-sided interval of the mean."""
        raise NotImplementedError

    def needed(self, delta: float, level: float) -> int | None:
        """Count the replicates that would decide, if the mean and the spread stay as they are; None: no number does."""
        raise NotImplementedError

    def p_equal(self, delta: float) -> float:
        """Compute the p-value of "the mean lies within (-delta, +delta)": the larger of two one-sided tests.

        **Source:** D. J. Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15 (1987).
        """
        return max(self.p_above(-delta), self.p_below(delta))

    def superiority(self, confidence: float = 0.95) -> tuple[float, float, float]:
        """Estimate P(A > B) over replicates, ties counted half, with its bootstrap interval.

        **Source:** Bouthillier et al. (arXiv 2103.03098), who call .75 meaningful.
        """
        wins = (np.sign(self.values) + 1) / 2
        rng = np.random.default_rng(0)
        means = wins[rng.integers(0, self.n, (RESAMPLES, self.n))].mean(axis=1)
        low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
        return float(wins.mean()), float(low), float(high)


def _spread(values: np.ndarray) -> float:
    """Compute the standard error of a mean."""
    return float(values.std(ddof=1) / math.sqrt(len(values)))


@dataclass(frozen=True)
class Draws(Evidence):
    """Differences of independent replicates, each with data of its own: Student's t, and a sign-flip that must agree.

    Args:
        values: [n], n at least 2.
    """

    values: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "values", np.asarray(self.values, dtype=float))
        if self.n < 2 or not np.isfinite(self.values).all():
            raise ValueError(f"differences {self.values.tolist()}: give at least two, all of them finite.")

    def p_above(self, threshold: float) -> float:
        return self._student(threshold, "greater")

    def p_below(self, threshold: float) -> float:
        return self._student(threshold, "less")

    def _student(self, threshold: float, alternative: str) -> float:
        if not np.ptp(self.values):  # equal differences, as few test items can give, say nothing about the spread
            return 1.0
        return float(stats.ttest_1samp(self.values, threshold, alternative=alternative).pvalue)

    def p_different(self) -> float:
        """Compute the larger p-value of Student's t and, where that may decide, of flipping signs."""
        student = super().p_different()
        return student if student > UNLIKELY else max(student, _sign_flip(self.values))

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        half = float(stats.t.ppf((1 + confidence) / 2, self.n - 1)) * _spread(self.values)
        return self.mean - half, self.mean + half

    def needed(self, delta: float, level: float) -> int | None:
        return _replicates(abs(self.mean), self.values.std(ddof=1), delta, level)


@functools.lru_cache(maxsize=8)
def _signs(n: int) -> np.ndarray:
    """Draw signs of ``n`` differences [RESAMPLES - 1, n], the same ones always."""
    return np.random.default_rng(0).choice((-1.0, 1.0), (RESAMPLES - 1, n))


def _sign_flip(values: np.ndarray) -> float:
    """Compute the two-sided p-value of a mean, if every difference could as well have had the other sign."""
    observed, flipped = abs(values.sum()), abs(_signs(len(values)) @ values)
    return (1 + int((flipped >= observed - 1e-9).sum())) / RESAMPLES


def _replicates(gap: float, deviation: float, delta: float, level: float, most: int = 10_000) -> int | None:
    """Count the replicates after which either test finds what is there with a power of 80 %; None: more than ``most``.

    Normal approximation: n = (deviation (z_level + z_power) / distance)^2, for the difference the distance to 0 (two-
    sided), for equality that to delta.
    """
    power = stats.norm.ppf(POWER)
    plans = [(gap, stats.norm.isf(level / 2)), (delta - gap, stats.norm.isf(level))]
    needed = [(deviation * (limit + power) / distance) ** 2 for distance, limit in plans if distance > 0]
    fewest = math.ceil(min(needed, default=math.inf)) if min(needed, default=math.inf) < math.inf else most + 1
    return max(fewest, 2) if fewest <= most else None


@dataclass(frozen=True)
class Fold:
    """What the replicates on one fold say: which of its test items one row has right and the other has not.

    Attributes:
        gains: right(A) - right(B), one row an item and one column a seed [N, S].
        clusters: group of every item (its speaker or video), resampled together [N].
    """

    gains: np.ndarray
    clusters: np.ndarray

    def __post_init__(self):
        if self.gains.ndim != 2 or len(self.gains) != len(self.clusters) or self.gains.shape[1] < 2:
            raise ValueError(f"a fold's gains have shape {self.gains.shape}: give [items, seeds], two seeds or more.")

    def sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Sum the gains over each cluster [G, S]; also return the clusters' sizes [G]."""
        _, group = np.unique(self.clusters, return_inverse=True)
        sums = np.zeros((group.max() + 1, self.gains.shape[1]))
        np.add.at(sums, group, self.gains)
        return sums, np.bincount(group)


@functools.lru_cache(maxsize=8)
def _draws(shapes: tuple[int, ...], times: int) -> list[np.ndarray]:
    """Draw with replacement from several groups of ``n`` things, n - 1 times (one of one), the same draws always.

    Returns:
        how often each thing was drawn, a group an array [times, n] of floats, as they are multiplied.
    """
    rng = np.random.default_rng(0)
    return [rng.multinomial(max(n - 1, 1), np.full(n, 1 / n), times).astype(float) for n in shapes]


@dataclass(frozen=True)
class Folds(Evidence):
    """Differences on fixed test items, by fold: the two-way bootstrap over items (or their clusters) and seeds.

    **Source:** A. B. Owen, Annals of Applied Statistics 1 (2007), the pigeonhole bootstrap: rows and columns are drawn
    with replacement, independently. **Difference:** within each fold, since its seeds share a training part; one item
    and one seed less than there are, which keeps the variance of few of them from coming out too small (J. N. K. Rao,
    C. F. J. Wu, JASA 83, 1988).

    Args:
        folds: what to resample. resamples: how often.
    """

    folds: Sequence[Fold]
    resamples: int = RESAMPLES
    values: np.ndarray = field(init=False)

    def __post_init__(self):
        if not self.folds:
            raise ValueError("no folds to judge; were the runs made?")
        each = [100 * fold.gains.mean(axis=0) for fold in self.folds]
        object.__setattr__(self, "values", np.concatenate(each))

    @functools.cached_property
    def resampled(self) -> np.ndarray:
        """Resample the mean difference over items and seeds [resamples]."""
        return self._resample(items=True, seeds=True)

    def _resample(self, items: bool, seeds: bool) -> np.ndarray:
        summed, total = [fold.sums() for fold in self.folds], np.zeros(self.resamples)
        sizes_drawn = [n for sums, _ in summed for n, drawn in zip(sums.shape, (items, seeds), strict=True) if drawn]
        draws = iter(_draws(tuple(sizes_drawn), self.resamples))
        for sums, sizes in summed:
            clusters, count = sums.shape
            shown = next(draws) if items else np.ones((1, clusters))
            drawn = next(draws) if seeds else np.ones((1, count))
            gained = ((shown @ sums) * drawn).sum(axis=1) / drawn.sum(axis=1)  # of one replicate [resamples]
            total += 100 * count * gained / (shown @ sizes)
        return total / self.n

    def p_above(self, threshold: float) -> float:
        return float((1 + (self.resampled <= threshold).sum()) / (1 + self.resamples))

    def p_below(self, threshold: float) -> float:
        return float((1 + (self.resampled >= threshold).sum()) / (1 + self.resamples))

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        low, high = np.quantile(self.resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
        return float(low), float(high)

    def needed(self, delta: float, level: float) -> int | None:
        """Count as for independent replicates, after the part of the variance that more seeds cannot lower."""
        fixed = self._resample(items=True, seeds=False).var()
        power = stats.norm.ppf(POWER)
        gap = abs(self.mean)
        plans = [(gap, stats.norm.isf(level / 2)), (delta - gap, stats.norm.isf(level))]
        allowed = max(((distance / (limit + power)) ** 2 for distance, limit in plans if distance > 0), default=0.0)
        if allowed <= fixed:
            return None  # the items decide: this set is too small for the question
        return math.ceil(self.n * max(self.resampled.var() - fixed, 0.0) / (allowed - fixed)) or 2
