"""Pairs, intervals, and what must not be compared."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from dgl_core.training.records import RunRecord, RunSpec, pack, pack_array, pack_bits
from dgl_core.verdicts import statistics
from dgl_core.verdicts.statistics import mean_interval


def record(seed: int, fused: float, audio: float = 0.5, *, fingerprint: str = "same", loop: int = 1) -> RunRecord:
    curves = {"lr": [0.1], "test/fused/accuracy": [fused], "test/audio/accuracy": [audio]}
    spec = RunSpec("emotions", seed=seed)
    return RunRecord(spec, "k", {"dataset": 1, "loop": loop}, {"fingerprint": fingerprint}, curves, {}, {}, {}, "now")


def test_pairs_are_made_by_seed_not_by_order():
    rows = {"DGL": [record(0, 0.6), record(1, 0.9)], "vanilla": [record(1, 0.8), record(0, 0.4), record(7, 0.0)]}
    assert statistics.paired(rows, "DGL", "vanilla") == pytest.approx([20.0, 10.0])


def test_branches_are_compared_as_named():
    rows = {"DGL": [record(0, 0.9, audio=0.7)], "audio alone": [record(0, 0.5)]}
    assert statistics.paired(rows, "DGL", "audio alone", "audio") == pytest.approx([20.0])


def test_what_an_item_adds_is_right_or_wrong_or_a_share_of_mean_iou():
    right, shares = np.array([True, False, True]), np.array([0.25, -0.5, 1.0], np.float32)
    about = {"fingerprint": "same", "counts": {"test": 3}, "groups": pack([0, 0, 1])}
    said = dataclasses.replace(record(0, 2 / 3), data=about, right={"last": {"fused": pack_bits(right)}})
    dense = dataclasses.replace(
        record(0, 0.25), data=about, arrays={"last": {"fused": {"shares": pack_array(shares)}, "audio": {}}}
    )
    assert statistics.by_item(said, "fused").tolist() == [1, 0, 1]
    assert statistics.by_item(dense, "fused").tolist() == [0.25, -0.5, 1.0]
    assert statistics.by_item(dense, "audio") is None is statistics.by_item(record(0, 0.5), "fused")
    (fold,) = statistics.gains_by_fold([(said, dense), (said, dense)], "fused", "fused").folds
    assert fold.gains.tolist() == [[0.75, 0.75], [0.5, 0.5], [0.0, 0.0]] and fold.clusters.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="do not say which test items were right"):
        statistics.gains_by_fold([(said, record(0, 0.5))], "fused", "fused")
    with pytest.raises(KeyError, match="touch"):
        statistics.gains_by_fold([(said, said)], "touch", "fused")


def test_interval_is_students():
    interval = mean_interval([1.0, 2.0, 3.0])
    assert (interval.mean, interval.n) == (2.0, 3)
    assert interval.high - 2.0 == pytest.approx(4.302653 / 3**0.5, rel=1e-6)  # t(0.975; 2) times sd 1 over root 3


def test_mixed_data_are_refused():
    rows = {"DGL": [record(0, 0.9)], "vanilla": [record(0, 0.8, fingerprint="other")]}
    with pytest.raises(ValueError, match="other data"):
        statistics.consistent(rows)


def test_mixed_revisions_are_refused():
    rows = {"DGL": [record(0, 0.9)], "vanilla": [record(0, 0.8, loop=2)]}
    with pytest.raises(ValueError, match="revisions"):
        statistics.consistent(rows)


@pytest.mark.parametrize("compare", [statistics.pairs, statistics.paired, statistics.fold_differences])
def test_runs_on_different_numbers_of_processes_are_not_compared(compare):
    """Batch-norm sees each process's share of a batch: a run on two processes is another method."""
    alone, team = [record(seed, 0.5) for seed in range(5)], [record(seed, 0.7) for seed in range(5)]
    for one in team:
        one.environment["processes"] = 2
    with pytest.raises(ValueError, match="seed 0: the runs were trained on 1 and on 2 processes"):
        compare({"DGL": alone, "vanilla": team}, "DGL", "vanilla")
    with pytest.raises(ValueError, match="on 1 and on 2 processes"):
        statistics.consistent({"DGL": [alone[0], team[1]]})
    assert len(compare({"DGL": team, "vanilla": team}, "DGL", "vanilla")) in (1, 5)


def test_pairs_share_data_and_revisions():
    with pytest.raises(ValueError, match="other data"):
        statistics.paired({"a": [record(0, 0.9)], "b": [record(0, 0.8, fingerprint="other")]}, "a", "b")
    with pytest.raises(ValueError, match="revisions"):
        statistics.paired({"a": [record(0, 0.9)], "b": [record(0, 0.8, loop=2)]}, "a", "b")


def test_folds_may_differ_between_seeds():
    statistics.consistent({"DGL": [record(0, 0.9), record(1, 0.9, fingerprint="fold 1")]})


def test_mixed_models_are_refused():
    one, other = record(0, 0.9), record(0, 0.8)
    one.revisions["model"], other.revisions["model"] = 1, 2
    with pytest.raises(ValueError, match="model resnet18"):
        statistics.consistent({"DGL": [one], "vanilla": [other]})


@pytest.mark.parametrize(("ratio", "pairs"), [(0.5, 34), (1.0, 10), (2.0, 5)])
def test_seeds_are_those_of_the_textbook(ratio, pairs):
    """Paired t-test, two-sided 5 %, power 80 %: Cohen's tables give 34, 10 and 5 pairs (exact noncentral t: 4 or 5)."""
    assert abs(statistics.seeds_needed(2 * ratio, 2.0) - pairs) <= (ratio == 2.0)


def test_fewer_seeds_would_not_do():
    generator = np.random.default_rng(0)
    n = statistics.seeds_needed(1.0, 1.0)
    found = []
    for size in (n, n - 2):
        draws = generator.normal(1.0, 1.0, (4000, size))
        found.append((ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05).mean())
    assert found[0] > 0.78 > found[1]


@pytest.mark.parametrize(("gap", "deviation"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_a_gap_of_nothing_needs_no_answer(gap, deviation):
    with pytest.raises(ValueError, match="must be positive"):
        statistics.seeds_needed(gap, deviation)
