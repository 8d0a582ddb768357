"""Answer every registered question once; each notebook, table, README and report shows these answers."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from dgl_core.paper.answers.evidence import Find, evidence
from dgl_core.paper.answers.followup import Study, studies
from dgl_core.paper.answers.regimes import best_form, confirming, confirming_root, no_room, regime, varied
from dgl_core.paper.answers.remembered import remembered
from dgl_core.runs import run
from dgl_core.verdicts.families import BETTER, EQUAL, UNDECIDED, Judged, Member, judge
from dgl_core.verdicts.registration import Family, Question, registration
from dgl_core.verdicts.statistics import signed

REPRODUCED, CONTRADICTED, NOT_TESTED = "reproduced", "contradicted", "not tested here"
SAID = {"better": BETTER, "equal": EQUAL}  # what the paper says -> the word that reproduces it


@dataclass(frozen=True)
class Answer:
    """The verdict on one question and set.

    Attributes:
        dataset: the regime. judged: the words and numbers.
        look: replicates at which it was decided; 0: no look was reached yet.
        untested: why the set does not meet the question's own condition; empty where it does.
        study: the follow-up that it comes from; None: the registered looks. before: then, what those had found.
    """

    question: Question
    dataset: str
    judged: Judged
    look: int
    untested: str = ""
    study: Study | None = None
    before: Judged | None = None

    @property
    def holds(self) -> bool | None:
        """Say whether the claim holds; None while undecided. A question of ours holds where the row is better."""
        if self.judged.word == UNDECIDED or self.untested:
            return None
        return self.judged.word == SAID.get(self.question.says, BETTER)

    @property
    def outcome(self) -> str:
        """Name the outcome: reproduced | contradicted | undecided | not tested here; of ours the judge's word."""
        if self.untested:
            return NOT_TESTED
        if not self.question.says or self.holds is None:
            return self.judged.word
        return REPRODUCED if self.holds else CONTRADICTED

    @property
    def detail(self) -> str:
        """Write the numbers behind the outcome."""
        if self.untested:
            return f"{self.untested}; {self.judged}"
        numbers = self.judged.numbers(repeat=self.outcome != self.judged.word)
        if self.before is None:
            return numbers
        found = f" at {signed(self.before.member.evidence.mean)}, n = {self.before.n}" if self.before.n else ""
        return f"{numbers} (follow-up; the registered looks left it open{found})"


def answer_family(family: Family, find: Find) -> dict[str, Answer]:
    """Judge a family at each of its looks; what one look decides, no later one changes.

    A look counts for a question once all rows of its replicates are recorded.
    """
    found: dict[str, Answer] = {}
    for look in family.looks:
        members = {}
        for question in registration().of_family(family):
            known = evidence(question, family.dataset, look.replicates, find)
            members[question.id] = Member(known, delta(question, family.dataset))
        judged = judge(members, family.size, family.correction, look.level)
        for question in registration().of_family(family):
            before, now = found.get(question.id), judged[question.id]
            if before is None or (before.judged.word == UNDECIDED and now.n):
                reached = look.replicates if now.n else 0
                why = untested(question, family.dataset) or fallen(question, family.dataset, reached, find)
                found[question.id] = Answer(question, family.dataset, now, reached, why)
    return found


def untested(question: Question, name: str) -> str:
    """Say why a set cannot answer a question: a gain of fusion needs room above the best modality alone."""
    return no_room(name) if not question.of_branches and not question.measure else ""


FALLEN = 20.0  # points below the row whose learning rate it takes: there a row did not train


def fallen(question: Question, name: str, count: int, find: Find) -> str:
    """Say that a rival did not train at the rate that it takes from the row it varies; empty where it did.

    Validation scores decide. The registration has no such rule; it was added when the runs had shown the need, and it
    can only take a word away.
    """
    than = best_form(name, question.than)
    if varied(than) == than or not count:
        return ""
    rows = confirming(name, [than, varied(than)], count)
    scores = {row: [found.score(part="val") for found in map(find, specs) if found] for row, specs in rows.items()}
    if not all(scores.values()):
        return ""
    own, other = (100 * statistics.fmean(found) for found in scores.values())
    if own > other - FALLEN:
        return ""
    return (f"{than} reaches {own:.1f} % on validation at the rate of {varied(than)}, which reaches {other:.1f} %: it "
            "would need a rate of its own")  # fmt: skip


def delta(question: Question, name: str) -> float:
    """Look up the smallest difference that anyone would care about: the question's own, or the regime's."""
    return question.delta or regime(name).delta["branch" if question.of_branches else "fused"]


def ask_again(study: Study, before: Mapping[str, Answer], find: Find) -> dict[str, Answer]:
    """Judge a follow-up study: those of its questions that were left open before, once its replicates are recorded."""
    name, count = study.family.dataset, study.replicates
    known = {q.id: evidence(q, name, count, find, first=study.first) for q in study.questions}
    members = {q.id: Member(known[q.id], delta(q, name)) for q in study.questions}
    judged = judge(members, study.family.size, study.family.correction, study.family.looks[0].level)
    return {
        q.id: Answer(q, name, judged[q.id], count, before[q.id].untested, study, before[q.id].judged)
        for q in study.questions
        if judged[q.id].n and before[q.id].judged.word == UNDECIDED
    }


@functools.cache
def registered_answers() -> Mapping[tuple[str, str], Answer]:
    """Answer all questions by the registered looks alone: (question, regime) -> answer."""
    found = {}
    for family in registration().families.values():
        for name, answer in answer_family(family, committed(family.dataset)).items():
            found[name, family.dataset] = answer
    return found


@functools.cache
def answers() -> Mapping[tuple[str, str], Answer]:
    """Answer all questions from the committed confirming records: (question, regime) -> answer."""
    return remembered("answers", _answers)


def _answers() -> Mapping[tuple[str, str], Answer]:
    found = dict(registered_answers())
    for study in studies():
        name = study.family.dataset
        before = {question.id: found[question.id, name] for question in study.questions}
        found |= {(q, name): answer for q, answer in ask_again(study, before, committed(name)).items()}
    return found


@functools.cache
def committed(name: str) -> Find:
    """Find the committed records of a regime, each read once: many questions share rows."""
    return functools.cache(partial(run.find, root=confirming_root() / name))
