"""Ask how much hangs on what the pilots chose: every row at its second-best rate, and with a schedule twice as long."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pandas

from dgl_core.paper.answers.evidence import Find, evidence
from dgl_core.paper.answers.regimes import TITLES, chosen
from dgl_core.paper.answers.verdicts import Answer, answers, committed, delta, untested
from dgl_core.verdicts.families import BETTER, WORSE, Judged, Member, judge
from dgl_core.verdicts.registration import Family, registration
from dgl_core.verdicts.statistics import signed

HEADLINE = "headline"
LONG_ENOUGH = 0.5  # points on validation: what a schedule twice as long may gain at most
KEPT, OPEN, TURNED, NEW, NEITHER = "the same way", "no longer decided", "the other way", "only here", "neither"


def at_second_rates(family: Family, find: Find) -> dict[str, Judged]:
    """Judge a family at its first look, every row at its second-best rate: question -> judged, where all is recorded.

    Nothing is registered about these: they take no word from an answer and give it none.
    """
    look = family.looks[0]
    asked = [q for q in registration().of_family(family) if not untested(q, family.dataset)]
    known = {q: evidence(q, family.dataset, look.replicates, find, "second") for q in asked}
    members = {q.id: Member(e, delta(q, family.dataset)) for q, e in known.items() if e is not None}
    return judge(members, family.size, family.correction, look.level)


def compare(answer: Answer, second: Judged) -> str:
    """Say how a difference fares at second-best rates: KEPT | OPEN | TURNED | NEW, or NEITHER is one."""
    before, now = (judged.word if judged.word in (BETTER, WORSE) else "" for judged in (answer.judged, second))
    if not before:
        return NEW if now else NEITHER
    return KEPT if now == before else TURNED if now else OPEN


@functools.cache
def pairs() -> list[tuple[Answer, Judged]]:
    """List the headline's answers with the same question at second-best rates, from the committed records."""
    found = []
    for (name, dataset), family in registration().families.items():
        if name == HEADLINE:
            found += [(answers()[q, dataset], j) for q, j in at_second_rates(family, committed(dataset)).items()]
    return found


def counts(found: Sequence[tuple[Answer, Judged]]) -> pandas.DataFrame:
    """Count how the differences of each set compare: one row a set, one column a word of ``compare``."""
    words = pandas.Series([compare(answer, second) for answer, second in found], name="differences")
    sets = pandas.Series([TITLES[answer.dataset] for answer, _ in found], name="set")
    known = pandas.crosstab(sets, words).reindex(columns=[KEPT, OPEN, TURNED, NEW, NEITHER], fill_value=0)
    return known.reindex([title for title in TITLES.values() if title in known.index])


def table(found: Sequence[tuple[Answer, Judged]]) -> pandas.DataFrame:
    """Show both differences with their intervals, in points, and how they compare; one row a question and set."""
    rows = [(a.question.asks, TITLES[a.dataset], _interval(a.judged), _interval(s), compare(a, s)) for a, s in found]
    columns = ["question", "set", "at the chosen rates", "at the second-best rates", "points"]
    return pandas.DataFrame(rows, columns=columns).set_index("question")


def _interval(judged: Judged) -> str:
    return f"{signed(judged.member.evidence.mean)} [{signed(judged.low)}, {signed(judged.high)}]"


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
