"""Say how every claim fares on every set: the words of ``answers``, which judges, and what follows for a user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas

from dgl_core.paper.answers.regimes import TITLES
from dgl_core.paper.answers.verdicts import CONTRADICTED, NOT_TESTED, REPRODUCED, Answer, answers
from dgl_core.paper.claims.ledger import CLAIMS, Claim, claim_named
from dgl_core.paper.tables.results import ABSENT
from dgl_core.verdicts.families import BETTER, UNDECIDED
from dgl_core.verdicts.registration import registration
from dgl_core.verdicts.statistics import signed

MATHEMATICS, PARTS = "mathematics", "sentences of several parts"
NAMED = 3  # parts that fail or are open, of a claim of several
ACROSS = "several sets"  # where the parts of a claim lie on different ones
Answers = Mapping[tuple[str, str], Answer]


@dataclass(frozen=True)
class Line:
    """One claim on one set.

    Attributes:
        id: of the claim, with the modality where it has one. family: of its question. dataset: title of the set.
        outcome: reproduced | contradicted | undecided, or for a question of ours the word of the judge.
        detail: the numbers behind it. follows: what it means for a user. answers: what it rests on.
    """

    id: str
    text: str
    place: str
    family: str
    dataset: str
    outcome: str
    detail: str
    follows: str
    answers: tuple[Answer, ...] = ()

    @property
    def holds(self) -> bool | None:
        """Say whether the claim holds here; None while it is undecided."""
        if len(self.answers) == 1 and self.family != PARTS:
            return self.answers[0].holds
        return {REPRODUCED: True, CONTRADICTED: False}.get(self.outcome)

    def __str__(self) -> str:
        return f"{self.outcome}: {self.detail}" if self.detail else self.outcome


def lines(found: Answers | None = None, claims: Sequence[Claim] = CLAIMS) -> list[Line]:
    """List the whole ledger, or some claims: one line for a claim, set and modality, in the ledger's order."""
    found = answers() if found is None else found
    return [line for claim in claims for line in of_claim(claim, found)]


def of_claim(claim: Claim, found: Answers) -> list[Line]:
    """List the lines of one claim."""
    if claim.check is not None:
        holds, detail = claim.check()
        outcome = REPRODUCED if holds else CONTRADICTED
        told = f"by computation, {detail}"
        return [Line(claim.id, claim.text, claim.place, MATHEMATICS, "every model", outcome, told, claim.follows)]
    if claim.parts:
        return _several(claim, found)
    known = [answer for answer in found.values() if answer.question.base == claim.id]
    return [
        Line(a.question.id, claim.of(a.question.modality), claim.place, a.question.family, TITLES[a.dataset], a.outcome,
             a.detail, _follows(claim, a.holds), (a,))
        for a in known
    ]  # fmt: skip


def _several(claim: Claim, found: Answers) -> list[Line]:
    """Judge a claim of several parts: it holds where all of them do, and fails where one does (intersection-union)."""
    named = dict.fromkeys(part.rpartition("@")[2] for part in claim.parts if "@" in part)
    shared = [name for name in registration().regimes if all(_part(part, name, found) for part in claim.parts)]
    made = []
    for sets in [list(named)] if named else [[name] for name in shared]:
        called = [(a, _name(a, words)) for part, words in claim.parts.items() for name in sets
                  for a in _part(part, name, found)]  # fmt: skip
        parts = [a for a, _ in called]
        holds = [a.holds for a in parts]
        verdict = False if False in holds else None if None in holds else True
        outcome = {True: REPRODUCED, False: CONTRADICTED, None: UNDECIDED}[verdict]
        if verdict is None and any(a.untested for a in parts):
            outcome = NOT_TESTED
        against = [words for a, words in called if a.holds is verdict and verdict is not True]
        named_parts = against[:NAMED] + ([f"{len(against) - NAMED} more"] if len(against) > NAMED else [])
        detail = _list(named_parts) if against else f"all {len(parts)} parts"
        if outcome == NOT_TESTED and len(whys := {a.untested for a in parts}) == 1:
            detail = whys.pop()
        title = TITLES[sets[0]] if len(sets) == 1 else ACROSS
        follows = _follows(claim, verdict)
        made.append(Line(claim.id, claim.of(""), claim.place, PARTS, title, outcome, detail, follows, tuple(parts)))
    return made


def _part(part: str, name: str, found: Answers) -> list[Answer]:
    question, _, only = part.partition("@")
    return [a for a in found.values() if a.question.base == question and a.dataset == name and only in ("", name)]


def _name(answer: Answer, words: str) -> str:
    return words.replace("{m}", answer.question.modality) or TITLES[answer.dataset]


def _follows(claim: Claim, holds: bool | None) -> str:
    return {True: claim.yes, False: claim.no, None: "Nothing follows yet."}[holds]


def sentence(claim: Claim, found: Answers | None = None) -> str:
    """Say in one sentence where a claim holds, where it fails and where it is open: how a notebook answers."""
    groups: dict[bool | None | str, dict[str, list[str]]] = {}  # outcome -> set -> what was found there
    for line in of_claim(claim, answers() if found is None else found):
        group = groups.setdefault(NOT_TESTED if line.outcome == NOT_TESTED else line.holds, {})
        group.setdefault(line.dataset, []).append(_short(line))
    if not groups:
        return f"No registered data set asks whether {claim.of('')}."
    told = []
    for holds, verb in VERBS.items():
        places = [f"{title} ({'; '.join(what)})" for title, what in groups.get(holds, {}).items()]
        told += [f"{verb} on {_list(places)}"] if places else []
    return f"“{claim.of('')}” {_list(told)}."


VERBS = {True: "holds", False: "fails", None: "is undecided", NOT_TESTED: "cannot be tested"}


def _short(line: Line) -> str:
    """Write in a few words what a line found: the modality, the judge's word, and by how much."""
    if line.outcome == NOT_TESTED:
        return line.detail.partition(":")[0]
    if line.family in (PARTS, MATHEMATICS):
        return line.detail
    (answer,) = line.answers
    judged = answer.judged
    found = f"{judged.word}, {signed(judged.member.evidence.mean)}" if judged.n else "not run yet"
    return f"{answer.question.modality} {found}".strip()


def _list(items: Sequence[str]) -> str:
    return ", ".join(items[:-1]) + f" and {items[-1]}" if len(items) > 1 else items[0]


TEN = (
    "dgl-vanilla", "dgl-rate-control", "dgl-gblend", "dgl-ensemble", "dgl-frozen", "table-1",
    "dgl-vanilla-weakest", "dgl-gblend-weakest", "dgl-alone-weakest", "dgl-ut",
)  # fmt: skip
"""The claims behind the questions that a user has, as README shows them."""


def ten(found: Answers | None = None) -> list[Line]:
    """List the lines of the claims that a user asks about."""
    return lines(found, [claim_named(name) for name in TEN])


def ten_lines(found: Answers | None = None) -> pandas.DataFrame:
    """Show the claims that a user asks about: one row a claim, one column a set."""
    found = answers() if found is None else found
    table: dict[str, dict[str, str]] = {}
    for name in TEN:
        claim = claim_named(name)
        table[claim.text] = {line.dataset: _cell(line) for line in of_claim(claim, found)}
    sets = [title for title in TITLES.values() if any(title in row for row in table.values())]
    rows = [[row.get(title, ABSENT) for title in sets] for row in table.values()]
    return pandas.DataFrame(rows, columns=sets, index=pandas.Index(table, name="is it true here?"))


def _cell(line: Line) -> str:
    """Write a cell of the ten lines: holds or not, and by how much."""
    said = {True: "yes", False: "no", None: "undecided"}[line.holds]
    if line.outcome == NOT_TESTED:
        return f"{NOT_TESTED}: {line.detail.partition(':')[0]}"
    if len(line.answers) != 1:
        against = sum(answer.holds is line.holds for answer in line.answers)
        told = "fail" if line.holds is False else "are open"
        return said if line.holds else f"{said}: {against} of {len(line.answers)} parts {told}"
    judged = line.answers[0].judged
    if not judged.n:
        return "undecided: not run yet"
    word = "" if judged.word in (BETTER, UNDECIDED) else f", {judged.word}"
    numbers = f"{signed(judged.member.evidence.mean)} [{signed(judged.low)}, {signed(judged.high)}], n = {judged.n}"
    return f"{said}{word}: {numbers}"


def decided(found: Answers | None = None) -> tuple[int, int]:
    """Count the registered cells that are decided, and all that their sets can answer."""
    tested = [answer for answer in (answers() if found is None else found).values() if not answer.untested]
    return sum(answer.judged.word != UNDECIDED for answer in tested), len(tested)


def ledger_table(found: Answers | None = None) -> pandas.DataFrame:
    """Show the ledger as a table of strings, one row a line, without what follows."""
    columns = ["id", "in the paper", "set", "verdict"]
    rows = [(line.text, line.id, line.place, line.dataset, str(line)) for line in lines(found)]
    return pandas.DataFrame(rows, columns=["claim", *columns]).set_index("claim")


def ledger_page(found: Answers | None = None) -> dict[str, pandas.DataFrame]:
    """Show the ledger as the page of README does: family -> one row a claim, set and modality."""
    families: dict[str, list[Line]] = {}
    for line in lines(found):
        families.setdefault(line.family, []).append(line)
    columns = ["claim", "id", "in the paper", "set", "verdict", "what follows"]
    return {
        family: pandas.DataFrame(
            [(line.text, line.id, line.place, line.dataset, str(line), line.follows) for line in of], columns=columns
        ).set_index("claim")
        for family, of in families.items()
    }
