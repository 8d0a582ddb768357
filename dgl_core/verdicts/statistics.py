"""Turn paired differences into intervals and verdicts: the one judge of the house."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dgl_core.training.records import RunRecord, RunSpec

DECIDING = 5  # pairs; with fewer a comparison describes: at five a gap has to be 1.2 deviations wide, at three 2.5


@dataclass(frozen=True)
class Interval:
    """A mean with a two-sided Student-t interval."""

    mean: float
    low: float
    high: float
    n: int
    sd: float


def mean_interval(values: Sequence[float], confidence: float = 0.95, comparisons: int = 1) -> Interval:
    """Mean and t-interval of ``values``, widened for ``comparisons`` simultaneous intervals (Bonferroni).

    One value has no spread: its interval is infinite, so nothing can be concluded from it.
    """
    from scipy.stats import t

    n = len(values)
    if not n:
        raise ValueError("No values to average; were the runs made?")
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, -math.inf, math.inf, 1, math.nan)
    sd = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(t.ppf(1 - (1 - confidence) / 2 / comparisons, n - 1)) * sd / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n, sd)


def holm(groups: Mapping[str, Sequence[float]], confidence: float = 0.95) -> dict[str, Interval]:
    """Intervals of several mean differences, corrected for looking at all of them (Holm's step-down).

    The difference with the smallest p-value gets the interval of Bonferroni's correction for all m groups, the next one
    for m - 1, and so on; after the first interval that holds zero the level stays. So an interval excludes zero exactly
    when Holm's test rejects.

    Args:
        groups: name -> paired differences; groups of fewer than two values get an infinite interval.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    from scipy.stats import ttest_1samp

    def p_value(values: Sequence[float]) -> float:
        if len(values) < 2 or len(set(values)) == 1:
            return 0.0 if len(values) > 1 and values[0] else 1.0
        return float(ttest_1samp(values, 0.0).pvalue)

    intervals, left, stopped = {}, sum(len(values) > 0 for values in groups.values()), False
    for name in sorted((n for n, values in groups.items() if values), key=lambda n: p_value(groups[n])):
        intervals[name] = mean_interval(groups[name], confidence, max(left, 1))
        stopped = stopped or intervals[name].low <= 0 <= intervals[name].high
        left -= not stopped
    return {name: intervals[name] for name in groups if name in intervals}


@dataclass(frozen=True)
class Verdict:
    """How a claim of the paper fares here; printed by ``verdict`` when it is made."""

    claim: str
    outcome: str  # REPRODUCED | CONTRADICTED | UNDECIDED
    mean: float
    low: float
    high: float
    n: int
    unit: str
    threshold: float

    def __str__(self) -> str:
        if self.n == 0:
            return f"{self.outcome}  {self.claim}: no runs"
        text = f"{self.outcome}  {self.claim}: mean {_signed(self.mean)} {self.unit}".rstrip()
        if self.n == 1:
            return f"{text}, one run has no interval, n = 1"
        against = f", needs {_signed(self.threshold)}" if self.threshold else ""
        return f"{text}, 95 % interval [{_signed(self.low)}, {_signed(self.high)}]{against}, n = {self.n}"

    def _ipython_display_(self) -> None:
        """Nothing: the line was printed when the verdict was made, a cell that ends with it must not repeat it."""


def _signed(value: float) -> str:
    """One decimal with its sign; rounding never leaves "-0.0", which would differ between machines."""
    return f"{round(value, 1) + 0.0:+.1f}"


def judge(
    claim: str,
    differences: Sequence[float],
    *,
    unit: str = "points",
    comparisons: int = 1,
    threshold: float = 0.0,
    fewest: int = 2,
) -> Verdict:
    """Judge "the difference is larger than ``threshold``" from paired differences.

    REPRODUCED: the whole confidence interval lies above the threshold. CONTRADICTED: the whole interval lies below it.
    UNDECIDED: the interval holds the threshold, there are fewer than ``fewest`` pairs, or all differences are equal.

    Args:
        claim: what the paper says, in words.
        differences: one paired difference per seed (or fold), in ``unit``.
        unit: of the differences; percentage "points" by default.
        comparisons: how many claims are judged together; widens the interval so that all hold at 95 %.
        threshold: what the mean difference has to exceed.
        fewest: pairs below which nothing is decided.

    Raises:
        ValueError: a difference is not finite (a run that failed must be left out by name, not averaged in).
    """
    values = [float(value) for value in differences]
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"verdict {claim!r}: differences must be finite, got {values}")
    mean = sum(values) / len(values) if values else math.nan
    low = high = math.nan
    outcome = "UNDECIDED"
    if len(values) > 1:
        interval = mean_interval(values, comparisons=comparisons)
        mean, low, high = interval.mean, interval.low, interval.high
        if (
            interval.sd > 0 and interval.n >= fewest
        ):  # equal differences, as two seeds on a small test part can give, say nothing of the spread
            outcome = "REPRODUCED" if low > threshold else "CONTRADICTED" if high < threshold else "UNDECIDED"
    return Verdict(claim, outcome, mean, low, high, len(values), unit, threshold)


Rows = Mapping[str, Sequence[RunRecord]]  # row of an experiment -> one record per seed
Pairing = Callable[[Rows, str, str, str, str], list[float]]  # rows, better, worse and their branches -> differences


def pairs(rows: Rows, one: str, other: str) -> list[tuple[RunRecord, RunRecord]]:
    """Records of two rows with the same seed, in the order of the first row."""
    partner = {record.spec.seed: record for record in rows[other]}
    return [(record, partner[record.spec.seed]) for record in rows[one] if record.spec.seed in partner]


def paired(rows: Rows, better: str, worse: str, branch: str = "fused", other: str = "fused") -> list[float]:
    """Last-epoch test score of ``better``'s branch minus that of ``worse``'s, in points, paired by seed."""
    return [100 * (score(a, branch) - score(b, other)) for a, b in pairs(rows, better, worse)]


def score(record: RunRecord, branch: str) -> float:
    """Raises:
    KeyError: the model has no such branch, as when the reader's modalities have other names.
    """
    if branch not in record.branches():
        raise KeyError(branch)
    return record.score(branch)


def fold_of(item: RunSpec | RunRecord) -> int:
    """The outer fold that a run was tested on."""
    return int((item if isinstance(item, RunSpec) else item.spec).dataset_options.get("fold", 0))


def fold_differences(
    rows: Mapping[str, Sequence[RunRecord]], better: str, worse: str, branch: str = "fused", other: str = "fused"
) -> list[float]:
    """Test accuracy of ``better``'s branch minus that of ``worse``'s, in points: one value per fold.

    Seeds on one fold share its test samples, so they are averaged first: the folds are what a verdict counts.
    """
    partner = {record.spec.seed: record for record in rows[worse]}
    by_fold: dict[int, list[float]] = defaultdict(list)
    for record in rows[better]:
        if record.spec.seed in partner:
            gap = record.score(branch) - partner[record.spec.seed].score(other)
            by_fold[fold_of(record)].append(100 * gap)
    return [statistics.fmean(gaps) for _, gaps in sorted(by_fold.items())]


def percent(records: Sequence[RunRecord], branch: str = "fused", protocol: str = "last") -> list[float]:
    return [100 * record.score(branch, protocol) for record in records]


def seeds_needed(gap: float, deviation: float, power: float = 0.8, level: float = 0.05, most: int = 10_000) -> int:
    """Pairs of seeds after which a paired two-sided t-test finds a true mean difference with this probability.

    Args:
        gap: true mean difference. deviation: standard deviation of the paired differences, both in points.

    Raises:
        ValueError: a gap or a deviation that is not positive.
    """
    from scipy.stats import nct, t

    if not gap > 0 or not deviation > 0:
        raise ValueError(f"gap {gap} and deviation {deviation} must be positive.")

    def found(n: int) -> bool:
        limit, shift = t.ppf(1 - level / 2, n - 1), gap / deviation * math.sqrt(n)
        return bool(nct.sf(limit, n - 1, shift) >= power)  # the other tail adds less than 0.1 %

    low, high = 2, 2
    while not found(high):
        low, high = high, 2 * high
        if high > most:
            return most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle + 1, high)
    return high
