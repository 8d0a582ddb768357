"""Families: words from p-values, corrections against statsmodels' known cases, wrong words at most as often as said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dgl_core.verdicts.families import BETTER, EQUAL, UNDECIDED, WORSE, Member, benjamini_hochberg, holm, judge
from dgl_core.verdicts.inference import Draws


def draws(mean: float, deviation: float = 1.0, n: int = 30, seed: int = 0) -> Draws:
    noise = np.random.default_rng(seed).standard_normal(n)
    return Draws(mean + deviation * (noise - noise.mean()) / noise.std(ddof=1))


def test_the_four_words():
    members = {
        "up": Member(draws(3), 1.0), "down": Member(draws(-3), 1.0), "same": Member(draws(0.05), 1.0),
        "open": Member(draws(0.5, 5), 1.0), "little": Member(draws(0.4, 0.3), 1.0), "none": Member(None, 1.0),
    }  # fmt: skip
    found = judge(members, len(members), "holm")
    words = {name: judged.word for name, judged in found.items()}
    assert words == {
        "up": BETTER, "down": WORSE, "same": EQUAL, "open": UNDECIDED, "little": BETTER, "none": UNDECIDED
    }  # fmt: skip
    assert found["little"].small and not found["up"].small and "replicates would decide" in found["open"].missing()
    assert "less than delta" in str(found["little"]) and "no replicates" in str(found["none"])


def test_an_interval_excludes_zero_exactly_where_the_word_says_so():
    for correction in ("holm", "benjamini-hochberg"):
        members = {seed: Member(draws(0.15 * seed, seed=seed), 1.0) for seed in range(8)}
        for judged in judge(members, 8, correction).values():
            assert (judged.low > 0 or judged.high < 0) == (judged.word in (BETTER, WORSE))


def test_holm_is_the_closed_bonferroni():
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    levels = holm(p, 4, 0.05)
    assert [name for name in p if p[name] <= levels[name]] == ["a", "d"], "the case of every textbook"


def test_benjamini_hochberg_rejects_as_scipy_adjusts():
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = dict(enumerate(rng.random(12) ** 3))
        adjusted = stats.false_discovery_control(list(p.values()))
        levels = benjamini_hochberg(p, 12, 0.05)
        assert [value <= levels[key] for key, value in p.items()] == list(adjusted <= 0.05)


def test_a_family_has_a_size_of_its_own():
    """Questions that have no runs yet count: later runs of one cannot move the verdict on another."""
    borderline = Member(draws(0.42), 0.1)
    alone = judge({"a": borderline}, 1, "holm")["a"]
    among = judge({"a": borderline}, 20, "holm")["a"]
    assert alone.word == BETTER and among.word == UNDECIDED
    with_others = judge({"a": borderline, **{i: Member(None, 1.0) for i in range(19)}}, 20, "holm")["a"]
    assert str(with_others) == str(among)
    with pytest.raises(ValueError, match="register the new ones first"):
        judge({"a": borderline, "b": borderline}, 1, "holm")
