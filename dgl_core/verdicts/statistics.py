"""Pair runs and turn their differences into intervals that describe; ``families`` judges."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import stats

from dgl_core.training.records import RunRecord, RunSpec, unpack, unpack_array, unpack_bits
from dgl_core.verdicts.inference import Fold, Folds

DECIDING = 5  # pairs; fewer describe and decide nothing
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


def _check_branches(*sides: tuple[RunRecord, str]) -> None:
    """Raise a ``KeyError`` where a model has no such branch, as when the reader's modalities have other names."""
    for record, name in sides:
        if name not in record.branches():
            raise KeyError(name)


def _gap(one: RunRecord, other: RunRecord, branch: str, other_branch: str) -> float:
    """Subtract two last-epoch test scores, in points; a ``KeyError`` as of ``_check_branches``."""
    _check_branches((one, branch), (other, other_branch))
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


def gains_by_fold(pairs: Iterable[tuple[RunRecord, RunRecord]], branch: str, other: str) -> Folds:
    """Collect by fold what every test item adds to one branch's score more than to the other's: items [N], seeds [S].

    Raises:
        KeyError: a model has no such branch. ValueError: records that do not say what the items add.
    """
    gains, groups = defaultdict(list), {}
    for a, b in pairs:
        _check_branches((a, branch), (b, other))
        one, two = by_item(a, branch), by_item(b, other)
        if one is None or two is None:
            raise ValueError("they do not say which test items were right, as older records: run them again")
        gains[fold_of(a)].append(one - two)
        groups[fold_of(a)] = unpack(a.data["groups"]) if "groups" in a.data else np.arange(len(one))
    return Folds([Fold(np.stack(columns, axis=1), groups[fold]) for fold, columns in sorted(gains.items())])


def by_item(record: RunRecord, branch: str) -> np.ndarray | None:
    """Read what every test item adds to a branch's last score, float64 [N]; its mean is the score.

    1 or 0, right or wrong; of a mean intersection over union the picture's share (``miou_shares``). None: the record
    does not say.
    """
    if branch in record.right.get("last", {}):
        return unpack_bits(record.right["last"][branch], record.data["counts"]["test"]).astype(float)
    shares = record.arrays.get("last", {}).get(branch, {}).get("shares")
    return None if shares is None else unpack_array(shares).astype(float)


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


def signed(value: float) -> str:
    """Write one decimal with its sign; rounding never leaves "-0.0", which would differ between machines."""
    return f"{round(value, 1) + 0.0:+.1f}"
