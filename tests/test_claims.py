"""The ledger: what decides a claim, and what it refuses."""

from __future__ import annotations

import pytest

from dgl_core import claims
from dgl_core.records import RunRecord, RunSpec
from dgl_core.verdicts import holm, judge, mean_interval


def record(seed: int, fused: float, audio: float = 0.5, *, fingerprint: str = "same", loop: int = 1) -> RunRecord:
    curves = {"lr": [0.1], "test/fused/accuracy": [fused], "test/audio/accuracy": [audio]}
    spec = RunSpec("emotions", seed=seed)
    return RunRecord(spec, "k", {"dataset": 1, "loop": loop}, {"fingerprint": fingerprint}, curves, {}, {}, {}, "now")


def test_pairs_are_made_by_seed_not_by_order():
    rows = {"DGL": [record(0, 0.6), record(1, 0.9)], "vanilla": [record(1, 0.8), record(0, 0.4), record(7, 0.0)]}
    assert claims.paired(rows, "DGL", "vanilla") == pytest.approx([20.0, 10.0])


def test_branches_are_compared_as_named():
    rows = {"DGL": [record(0, 0.9, audio=0.7)], "audio alone": [record(0, 0.5)]}
    assert claims.paired(rows, "DGL", "audio alone", "audio") == pytest.approx([20.0])


@pytest.mark.parametrize(
    ("differences", "outcome"),
    [
        ([5, 6, 5, 6], "REPRODUCED"),
        ([-5, -6, -5, -6], "CONTRADICTED"),
        ([-5, 6, -5, 6], "UNDECIDED"),
        ([9], "UNDECIDED"),
        ([6.2, 6.2], "UNDECIDED"),
    ],
)
def test_outcome_follows_the_interval(differences, outcome):
    assert judge("a claim", differences).outcome == outcome


def test_more_comparisons_make_a_verdict_harder():
    differences = [1.0, 2.0, 3.0, 2.0, 1.0]
    assert judge("a claim", differences).outcome == "REPRODUCED"
    assert judge("a claim", differences, comparisons=1000).outcome == "UNDECIDED"


def test_interval_is_students():
    interval = mean_interval([1.0, 2.0, 3.0])
    assert (interval.mean, interval.n) == (2.0, 3)
    assert interval.high - 2.0 == pytest.approx(4.302653 / 3**0.5, rel=1e-6)  # t(0.975; 2) times sd 1 over root 3


def test_mixed_data_are_refused():
    rows = {"DGL": [record(0, 0.9)], "vanilla": [record(0, 0.8, fingerprint="other")]}
    with pytest.raises(ValueError, match="other data"):
        claims.consistent(rows)


def test_mixed_revisions_are_refused():
    rows = {"DGL": [record(0, 0.9)], "vanilla": [record(0, 0.8, loop=2)]}
    with pytest.raises(ValueError, match="revisions"):
        claims.consistent(rows)


def test_folds_may_differ_between_seeds():
    claims.consistent({"DGL": [record(0, 0.9), record(1, 0.9, fingerprint="fold 1")]})


def test_a_claim_without_records_says_so():
    rows = {label: [] for label in ("DGL", "vanilla")}
    verdict = claims.judge(claims.claim_named("dgl-vanilla"), rows, comparisons=1)
    assert (verdict.outcome, verdict.n) == ("UNDECIDED", 0)


def test_unknown_claim_names_the_nearest():
    with pytest.raises(ValueError, match="dgl-vanilla"):
        claims.claim_named("dgl-vanila")


def test_ids_are_unique():
    ids = [claim.id for claim in claims.CLAIMS]
    assert len(ids) == len(set(ids))


def test_suppression_growth_is_a_drop_of_r():
    falling = record(0, 0.5)
    falling.curves["suppression/audio/R_mean"] = [1.0, 0.9, 0.8, 0.7, 0.5]
    assert claims.growing_suppression({"vanilla": [falling]}, "audio") == pytest.approx([50.0])


def test_smaller_gradient_is_in_per_cent():
    alone, joint = record(0, 0.5), record(0, 0.5)
    alone.curves["gradient/audio"], joint.curves["gradient/audio"] = [2.0, 2.0], [1.0, 0.0]
    assert claims.smaller_gradient({"audio alone": [alone], "vanilla": [joint]}, "audio") == pytest.approx([75.0])


def test_holm_rejects_what_holms_test_rejects():
    from scipy.stats import ttest_1samp

    groups = {"clear": [5.0, 5.1, 4.9, 5.2], "fair": [1.0, 1.2, 0.7, 1.1], "weak": [0.5, -0.2, 0.6, 0.1]}
    groups["none"] = [1.0, -1.0, 2.0, -2.0]
    intervals = holm(groups)
    ordered = sorted(groups, key=lambda name: ttest_1samp(groups[name], 0).pvalue)
    rejecting = True
    for place, name in enumerate(ordered):
        rejecting = rejecting and ttest_1samp(groups[name], 0).pvalue < 0.05 / (len(groups) - place)
        assert (intervals[name].low > 0 or intervals[name].high < 0) == rejecting


def test_holm_with_one_group_is_the_plain_interval():
    assert holm({"only": [1.0, 2.0, 4.0]})["only"] == mean_interval([1.0, 2.0, 4.0])


def test_holm_leaves_out_groups_without_values():
    assert list(holm({"a": [], "b": [1.0, 2.0]})) == ["b"]
