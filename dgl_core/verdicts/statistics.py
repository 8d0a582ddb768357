"""Turn paired differences into intervals and verdicts: the one judge of the house."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from scipy import stats

from dgl_core.training.records import RunRecord, RunSpec

DECIDING = 5  # pairs; with fewer a comparison describes: at five a gap has to be 1.2 deviations wide, at three 2.5
Rows = Mapping[str, Sequence[RunRecord]]  # row of an experiment -> one record per seed
Pairing = Callable[[Rows, str, str, str, str], list[float]]  # rows, better, worse and their branches -> differences
Key = TypeVar("Key")


# -- from rows to differences -----------------------------------------------------------------------------------------


def processes_of(record: RunRecord) -> int:
    """Count the processes that trained a run together (``torchrun``)."""
    return int(record.environment.get("processes", 1))


def consistent(rows: Rows) -> None:
    """Refuse records that must not be compared: of mixed revisions, of different data, of mixed numbers of processes.

    Raises:
        ValueError: naming the row, and what it mixes.
    """
    revisions: dict[str, object] = {}
    fingerprints: dict[int, object] = {}
    processes: set[int] = set()
    for label, records in rows.items():
        for record in records:
            found = {"data": record.revisions.get("dataset"), "loop": record.revisions.get("loop")}
            found[f"model {record.spec.model}"] = record.revisions.get("model")
            found[f"method {record.spec.method}"] = record.revisions.get("method")
            for what, revision in found.items():
                if revisions.setdefault(what, revision) != revision:
                    raise ValueError(
                        f"Row {label!r} mixes revisions {revisions[what]} and {revision} of the {what}; run it again."
                    )
            fingerprint = record.data.get("fingerprint")
            if fingerprints.setdefault(record.spec.seed, fingerprint) != fingerprint:
                raise ValueError(f"Row {label!r}, seed {record.spec.seed}: trained on other data than its partners.")
            processes.add(processes_of(record))
            if len(processes) > 1:  # the statistics of batch-norm are those of each process's share of a batch
                raise ValueError(
                    f"Row {label!r}, seed {record.spec.seed}: the runs were trained on {min(processes)} and on "
                    f"{max(processes)} processes, which differ in batch statistics; train all on the same number."
                )


def pairs(rows: Rows, one: str, other: str) -> list[tuple[RunRecord, RunRecord]]:
    """Pair the records of two rows by seed, in the order of the first row.

    Raises:
        ValueError: the rows must not be compared (``consistent``).
    """
    consistent({one: rows[one], other: rows[other]})
    partner = {record.spec.seed: record for record in rows[other]}
    return [(record, partner[record.spec.seed]) for record in rows[one] if record.spec.seed in partner]


def _gap(one: RunRecord, other: RunRecord, branch: str, other_branch: str) -> float:
    """Subtract two last-epoch test scores, in points.

    Raises:
        KeyError: a model has no such branch, as when the reader's modalities have other names.
    """
    for record, name in ((one, branch), (other, other_branch)):
        if name not in record.branches():
            raise KeyError(name)
    return 100 * (one.score(branch) - other.score(other_branch))


def paired(rows: Rows, better: str, worse: str, branch: str = "fused", other: str = "fused") -> list[float]:
    """Subtract the test score of ``worse``'s branch from that of ``better``'s, in points: one value per seed."""
    return [_gap(a, b, branch, other) for a, b in pairs(rows, better, worse)]


def fold_of(item: RunSpec | RunRecord) -> int:
    """Name the outer fold that a run was tested on."""
    return int((item if isinstance(item, RunSpec) else item.spec).dataset_options.get("fold", 0))


def fold_differences(rows: Rows, better: str, worse: str, branch: str = "fused", other: str = "fused") -> list[float]:
    """Subtract as ``paired`` does and average over the seeds of each fold: one value per fold.

    Seeds on one fold share its test samples, so the folds are what a verdict counts.
    """
    by_fold: dict[int, list[float]] = defaultdict(list)
    for a, b in pairs(rows, better, worse):
        by_fold[fold_of(a)].append(_gap(a, b, branch, other))
    return [statistics.fmean(gaps) for _, gaps in sorted(by_fold.items())]


def percent(records: Sequence[RunRecord], branch: str = "fused", protocol: str = "last") -> list[float]:
    """Read the test score of one branch from every record, in per cent."""
    return [100 * record.score(branch, protocol) for record in records]


# -- from differences to intervals ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A mean with a two-sided Student-t interval."""

    mean: float
    low: float
    high: float
    n: int
    sd: float


def mean_interval(values: Sequence[float], confidence: float = 0.95, comparisons: int = 1) -> Interval:
    """Compute mean and t-interval of ``values``, widened for ``comparisons`` simultaneous intervals (Bonferroni).

    One value has no spread: its interval is infinite, so nothing can be concluded from it; none is a ValueError.
    """
    n = len(values)
    if not n:
        raise ValueError("No values to average; were the runs made?")
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, -math.inf, math.inf, 1, math.nan)
    sd = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(stats.t.ppf(1 - (1 - confidence) / 2 / comparisons, n - 1)) * sd / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n, sd)


def holm(groups: Mapping[str, Sequence[float]], confidence: float = 0.95) -> dict[str, Interval]:
    """Compute intervals of several mean differences, corrected for looking at all of them (Holm's step-down).

    The difference with the smallest p-value gets the interval of Bonferroni's correction for all m groups, the next one
    for m - 1, and so on; after the first interval that holds zero the level stays. So an interval excludes zero exactly
    when Holm's test rejects.

    Args:
        groups: name -> paired differences; groups of fewer than two values get an infinite interval.

    **Source:** S. Holm, Scandinavian Journal of Statistics 6 (1979).
    """

    def p_value(values: Sequence[float]) -> float:
        if len(values) < 2 or len(set(values)) == 1:
            return 0.0 if len(values) > 1 and values[0] else 1.0
        return float(stats.ttest_1samp(values, 0.0).pvalue)

    intervals, left, stopped = {}, sum(len(values) > 0 for values in groups.values()), False
    for name in sorted((n for n, values in groups.items() if values), key=lambda n: p_value(groups[n])):
        intervals[name] = mean_interval(groups[name], confidence, max(left, 1))
        stopped = stopped or intervals[name].low <= 0 <= intervals[name].high
        left -= not stopped
    return {name: intervals[name] for name in groups if name in intervals}


def seeds_needed(gap: float, deviation: float, power: float = 0.8, level: float = 0.05, most: int = 10_000) -> int:
    """Count the pairs of seeds after which a paired two-sided t-test finds a true mean difference with this power.

    Args:
        gap: true mean difference. deviation: standard deviation of the paired differences, both in points.

    Raises:
        ValueError: a gap or a deviation that is not positive.
    """
    if not gap > 0 or not deviation > 0:
        raise ValueError(f"gap {gap} and deviation {deviation} must be positive.")

    def found(n: int) -> bool:
        limit, shift = stats.t.ppf(1 - level / 2, n - 1), gap / deviation * math.sqrt(n)
        return bool(stats.nct.sf(limit, n - 1, shift) >= power)  # the other tail adds less than 0.1 %

    low, high = 2, 2
    while not found(high):
        low, high = high, 2 * high
        if high > most:
            return most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle + 1, high)
    return high


# -- from intervals to verdicts ---------------------------------------------------------------------------------------


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
        text = f"{self.outcome}  {self.claim}: mean {signed(self.mean)} {self.unit}".rstrip()
        if self.n == 1:
            return f"{text}, one run has no interval, n = 1"
        against = f", needs {signed(self.threshold)}" if self.threshold else ""
        return f"{text}, 95 % interval [{signed(self.low)}, {signed(self.high)}]{against}, n = {self.n}"

    def _ipython_display_(self) -> None:
        """Nothing: the line was printed when the verdict was made, a cell that ends with it must not repeat it."""


def signed(value: float) -> str:
    """Write one decimal with its sign; rounding never leaves "-0.0", which would differ between machines."""
    return f"{round(value, 1) + 0.0:+.1f}"


def outcome_of(interval: Interval, threshold: float = 0.0) -> str:
    """Decide whether a mean difference exceeds ``threshold``: the one rule of the house.

    REPRODUCED: the whole interval lies above the threshold. CONTRADICTED: the whole interval lies below it. UNDECIDED:
    the interval holds the threshold, there are fewer than ``DECIDING`` pairs, or all differences are equal (as two
    seeds on a small test part can give: that says nothing of the spread).
    """
    if interval.n < DECIDING or not interval.sd > 0:
        return "UNDECIDED"
    return "REPRODUCED" if interval.low > threshold else "CONTRADICTED" if interval.high < threshold else "UNDECIDED"


def judge(
    claim: str, differences: Sequence[float], *, unit: str = "points", comparisons: int = 1, threshold: float = 0.0
) -> Verdict:
    """Judge "the difference is larger than ``threshold``" from paired differences, by ``outcome_of``.

    Args:
        claim: what the paper says, in words.
        differences: one paired difference per seed (or fold), in ``unit``.
        unit: of the differences; percentage "points" by default.
        comparisons: how many claims are judged together; widens the interval so that all hold at 95 %.
        threshold: what the mean difference has to exceed.

    Raises:
        ValueError: a difference is not finite (a run that failed must be left out by name, not averaged in).
    """
    values = [float(value) for value in differences]
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"verdict {claim!r}: differences must be finite, got {values}")
    if len(values) < 2:  # no interval
        mean = values[0] if values else math.nan
        return Verdict(claim, "UNDECIDED", mean, math.nan, math.nan, len(values), unit, threshold)
    found = mean_interval(values, comparisons=comparisons)
    return Verdict(claim, outcome_of(found, threshold), found.mean, found.low, found.high, found.n, unit, threshold)


def all_hold(verdicts: Mapping[Key, Verdict]) -> tuple[Key, Verdict]:
    """Combine the verdicts on the parts of one claim, all of which have to hold: the smallest mean decides.

    A part with fewer than ``DECIDING`` pairs keeps the claim undecided, unless another part contradicts it.

    Returns:
        The deciding part, and the verdict on the claim.
    """
    parts = sorted(verdicts, key=lambda part: verdicts[part].mean)
    few = [verdict.n for verdict in verdicts.values() if verdict.n < DECIDING]
    decided = [part for part in parts if verdicts[part].n >= DECIDING]
    if not few or (decided and verdicts[decided[0]].outcome == "CONTRADICTED"):
        return decided[0], verdicts[decided[0]]
    return parts[0], dataclasses.replace(verdicts[parts[0]], outcome="UNDECIDED", n=min(few))
