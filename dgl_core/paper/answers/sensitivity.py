"""Ask how much hangs on what the pilots chose: every row at its second-best rate, and with a schedule twice as long."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pandas

from dgl_core.paper.answers.evidence import Find, evidence
from dgl_core.paper.answers.regimes import TITLES, chosen
from dgl_core.paper.answers.remembered import remembered
from dgl_core.paper.answers.verdicts import Answer, answers, committed, delta, untested
from dgl_core.verdicts.families import BETTER, WORSE, Judged, Member, judge
from dgl_core.verdicts.registration import Family, Question, registration
from dgl_core.verdicts.statistics import signed

HEADLINE = "headline"
LONG_ENOUGH = 0.5  # points on validation: what a schedule twice as long may gain at most
KEPT, OPEN, TURNED, NEW, NEITHER = "the same way", "no longer decided", "the other way", "only here", "neither"


def answerable(family: Family) -> list[Question]:
    """List the questions of a family that its set can answer."""
    return [q for q in registration().of_family(family) if not untested(q, family.dataset)]


def otherwise(family: Family, find: Find, which: str) -> dict[str, Judged]:
    """Judge a family at its first look with other runs: question -> judged, where all is recorded.

    Nothing is registered about these: they take no word from an answer and give it none.

    Args:
        which: "second", every row at its second-best rate, or "longer", with a schedule twice as long.
    """
    look = family.looks[0]
    known = {q: evidence(q, family.dataset, look.replicates, find, which) for q in answerable(family)}
    members = {q.id: Member(e, delta(q, family.dataset)) for q, e in known.items() if e is not None}
    return judge(members, family.size, family.correction, look.level)


def compare(answer: Answer, other: Judged) -> str:
    """Say how a difference fares in the other runs: KEPT | OPEN | TURNED | NEW, or NEITHER is one."""
    before, now = (judged.word if judged.word in (BETTER, WORSE) else "" for judged in (answer.judged, other))
    if not before:
        return NEW if now else NEITHER
    return KEPT if now == before else TURNED if now else OPEN


@functools.cache
def pairs(which: str) -> list[tuple[Answer, Judged]]:
    """List the headline's answers with the same question ``otherwise``, from the committed records."""
    return remembered(which, functools.partial(_pairs, which))


def _pairs(which: str) -> list[tuple[Answer, Judged]]:
    found = []
    for (name, dataset), family in registration().families.items():
        if name == HEADLINE:
            found += [(answers()[q, dataset], j) for q, j in otherwise(family, committed(dataset), which).items()]
    return found


def counts(found: Sequence[tuple[Answer, Judged]]) -> pandas.DataFrame:
    """Count how the differences of each set compare: one row a set, one column a word of ``compare``."""
    words = pandas.Series([compare(answer, other) for answer, other in found], name="differences")
    sets = pandas.Series([TITLES[answer.dataset] for answer, _ in found], name="set")
    known = pandas.crosstab(sets, words).reindex(columns=[KEPT, OPEN, TURNED, NEW, NEITHER], fill_value=0)
    return known.reindex([title for title in TITLES.values() if title in known.index])


WHICH = {"second": "at the second-best rates", "longer": "with twice the epochs"}


def table(found: Sequence[tuple[Answer, Judged]], which: str) -> pandas.DataFrame:
    """Show both differences with their intervals, in points, and how they compare; one row a question and set."""
    rows = [(a.question.asks, TITLES[a.dataset], _interval(a.judged), _interval(s), compare(a, s)) for a, s in found]
    columns = ["question", "set", "as registered", WHICH[which], "points"]
    return pandas.DataFrame(rows, columns=columns).set_index("question")


def _interval(judged: Judged) -> str:
    return f"{signed(judged.member.evidence.mean)} [{signed(judged.low)}, {signed(judged.high)}]"


def too_short(name: str) -> bool:
    """Tell whether a row of a set gains more than ``LONG_ENOUGH`` from a schedule twice as long."""
    return any(found.get("doubled", 0.0) > LONG_ENOUGH for found in chosen().get(name, {}).values())


def longer() -> pandas.DataFrame:
    """Show what a schedule twice as long gains in the pilots, in points on validation: one row a row, one column a set.

    A row that was not tried is empty there: NaN.
    """
    gains = {
        TITLES[name]: {row: found.get("doubled") for row, found in rows.items()} for name, rows in chosen().items()
    }
    columns = [title for title in TITLES.values() if title in gains]
    return pandas.DataFrame(gains, columns=columns, dtype=float).dropna(how="all").rename_axis("row")


def long_enough(gains: pandas.DataFrame) -> str:
    """Say of ``longer`` in one sentence which rows twice the schedule would help by more than ``LONG_ENOUGH``."""
    cells = gains.unstack().dropna()
    found = [f"{row} on {title} ({signed(gain)})" for (title, row), gain in cells.items() if gain > LONG_ENOUGH]
    return f"Twice the schedule gains more than {LONG_ENOUGH} points in {len(found)} of {len(cells)} cases" + (
        f": {', '.join(found)}." if found else "."
    )
