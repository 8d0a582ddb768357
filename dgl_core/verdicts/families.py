"""Judge the questions of a family together: the one place where differences become words.

A family has a fixed size, so that runs for one question never move the verdict on another one.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from dgl_core.verdicts.inference import Evidence
from dgl_core.verdicts.statistics import signed

BETTER, WORSE, EQUAL, UNDECIDED = "better", "worse", "practically equal", "undecided"
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Member:
    """One question on one data set.

    Attributes:
        evidence: its paired differences; None: not run yet.
        delta: the smallest difference that anyone would care about, in points.
    """

    evidence: Evidence | None
    delta: float


@dataclass(frozen=True)
class Judged:
    """The verdict on one question and data set.

    Attributes:
        word: better | worse | practically equal | undecided.
        member: what was judged. level: that of the family's correction at which its difference was tested.
        low, high: interval of the mean difference at that level, in points; NaN before there are replicates.
        small: also practically equal: there is a difference, but less than delta.
    """

    word: str
    member: Member
    level: float = math.nan
    low: float = math.nan
    high: float = math.nan
    small: bool = False

    @property
    def n(self) -> int:
        """Count the replicates."""
        return self.member.evidence.n if self.member.evidence else 0

    def __str__(self) -> str:
        return f"{self.word}: {self.numbers()}"

    def numbers(self, repeat: bool = False) -> str:
        """Write mean, interval, share of replicates in which it wins, and n; with ``repeat`` the word before them."""
        evidence = self.member.evidence
        if evidence is None:
            return "no replicates yet"
        less = "but by less than delta, " if self.small and self.word in (BETTER, WORSE) else ""
        text = f"{less}{signed(evidence.mean)} [{signed(self.low)}, {signed(self.high)}], "
        share, low, high = evidence.superiority()
        text += f"P(A > B) {share:.2f} [{low:.2f}, {high:.2f}], n = {self.n}"
        text = f"{self.word} {text}" if repeat else text
        return text if self.word != UNDECIDED else f"{text}; {self.missing()}"

    def missing(self) -> str:
        """Say how many replicates would decide."""
        needed = self.member.evidence.needed(self.member.delta, self.level)
        return f"about {needed} replicates would decide" if needed else "only more test items would decide"


def holm(p: Mapping[Key, float], size: int, level: float) -> dict[Key, float]:
    """Find the level at which each p-value is compared (Holm's step-down, which controls any wrong rejection).

    **Source:** S. Holm, Scandinavian Journal of Statistics 6 (1979).

    Args:
        p: question -> p-value. size: of the family, its unanswered questions included.

    Returns:
        question -> level; it is rejected where its p-value is not above.
    """
    levels, left = {}, size
    for key in sorted(p, key=p.__getitem__):
        levels[key] = level / left
        if p[key] <= levels[key]:
            left -= 1
    return levels


def benjamini_hochberg(p: Mapping[Key, float], size: int, level: float) -> dict[Key, float]:
    """Find the common level at which p-values are compared, which controls the share of wrong rejections.

    **Source:** Y. Benjamini, Y. Hochberg, Journal of the Royal Statistical Society B 57 (1995); intervals at the same
    level cover with the same share (Y. Benjamini, D. Yekutieli, JASA 100, 2005).
    """
    ranked = sorted(p.values())
    rejected = max((rank for rank, value in enumerate(ranked, 1) if value <= level * rank / size), default=0)
    return dict.fromkeys(p, level * max(rejected, 1) / size)


CORRECTIONS = {"holm": holm, "benjamini-hochberg": benjamini_hochberg}


def judge(members: Mapping[Key, Member], size: int, correction: str, level: float = 0.05) -> dict[Key, Judged]:
    """Judge the members of a family: first for a difference, then for practical equality, each at ``level``.

    Args:
        members: question -> evidence. size: how many the registration fixed. correction: a key of ``CORRECTIONS``.

    Raises:
        ValueError: more members than the family has.
    """
    if len(members) > size:
        raise ValueError(f"a family of {size} questions cannot hold {len(members)}; register the new ones first.")
    known = {key: member for key, member in members.items() if member.evidence is not None}
    rule = CORRECTIONS[correction]
    different = {key: member.evidence.p_different() for key, member in known.items()}
    equal = {key: member.evidence.p_equal(member.delta) for key, member in known.items()}
    levels, equal_levels = rule(different, size, level), rule(equal, size, level)
    found = {}
    for key, member in members.items():
        if key not in known:
            found[key] = Judged(UNDECIDED, member)
            continue
        same = equal[key] <= equal_levels[key]
        word = EQUAL if same else UNDECIDED
        if different[key] <= levels[key]:
            word = BETTER if member.evidence.mean > 0 else WORSE
        low, high = member.evidence.interval(1 - levels[key])
        found[key] = Judged(word, member, levels[key], low, high, same)
    return found
