"""Judge one claim on one column of records, or the whole ledger, and show it as README and the report do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas

from dgl_core.paper.claims.ledger import CLAIMS, NOT_IN_THE_PAPER, Claim
from dgl_core.paper.claims.records import COLUMNS, GivenRecords, Records, reference_records
from dgl_core.paper.tables.results import ABSENT
from dgl_core.training.records import RunRecord
from dgl_core.verdicts import statistics
from dgl_core.verdicts.statistics import DECIDING, Rows, Verdict, signed

LEDGER = tuple(claim for claim in CLAIMS if not claim.family)  # judged together; a family is judged by itself


@dataclass(frozen=True)
class Judgement:
    """How a claim fares on one column."""

    outcome: str  # reproduced | contradicted | undecided | needs
    text: str  # the same with numbers, for a table: interval, unit and n, or what is missing
    verdict: Verdict | None = None  # the interval behind it; None for mathematics and where records are missing
    records: tuple[RunRecord, ...] = ()  # what it rests on


def judgement(claim: Claim, records: Records, comparisons: int) -> Judgement:
    """Judge one claim on one column, corrected for ``comparisons`` (Bonferroni). Of its parts the weakest counts."""
    if claim.check is not None:
        holds, found = claim.check()
        outcome = "reproduced" if holds else "contradicted"
        return Judgement(outcome, f"{outcome}: by computation, {found}")
    values = {part: records.measured(part) for part in claim.parts}
    behind = tuple(record for _, found in values.values() for record in found)
    for part, (differences, _) in values.items():
        if not differences:
            return Judgement("needs", f"needs {records.lacking(part.experiment)}", None, behind)
    options = {"unit": claim.unit, "comparisons": comparisons, "threshold": claim.threshold}
    verdicts = {part: statistics.judge(claim.text, found, **options) for part, (found, _) in values.items()}
    part, verdict = statistics.all_hold(verdicts)
    weakest = f", weakest: {part.label}" if len(claim.parts) > 1 else ""
    return Judgement(verdict.outcome.lower(), describe(verdict) + weakest, verdict, behind)


def describe(verdict: Verdict) -> str:
    """Write a verdict as a table cell."""
    mean = f"{verdict.outcome.lower()}: {signed(verdict.mean)}"
    if verdict.n < DECIDING:
        return f"{mean} {verdict.unit}, n = {verdict.n} ({DECIDING} needed)"
    return f"{mean} [{signed(verdict.low)}, {signed(verdict.high)}] {verdict.unit}, n = {verdict.n}"


def judged_together(claims: Iterable[Claim], columns: Iterable[Records]) -> int:
    """Count the intervals of a ledger: pairs of claim and column of which some part has enough seeds for one."""
    count = 0
    for records in columns:
        for claim in claims:
            sizes = [len(records.measured(part)[0]) for part in claim.parts]
            count += all(sizes) and max(sizes, default=0) >= DECIDING
    return max(1, count)


def comparisons_of(claim: Claim, together: int) -> int:
    """Count what a claim is corrected for: all claims of its family, or the ``together`` intervals of the ledger."""
    return sum(other.family == claim.family for other in CLAIMS) if claim.family else together


def judge_ledger(
    columns: Mapping[str, Records] | None = None, claims: Sequence[Claim] = LEDGER, comparisons: int = 0
) -> list[tuple[Claim, dict[str, Judgement]]]:
    """Judge every claim on every column that has a data set for it; by default on the reference records.

    ``comparisons`` 0 counts the whole ledger on these columns, whichever claims are asked for.
    """
    columns = reference_records() if columns is None else columns
    comparisons = comparisons or judged_together(LEDGER, columns.values())
    judged = []
    for claim in claims:
        fitting = {t: records for t, records in columns.items() if all(map(records.covers, claim.experiments))}
        shown = dict(list(fitting.items())[:1]) if claim.check else fitting  # mathematics holds for all columns
        number = comparisons_of(claim, comparisons)
        judged.append((claim, {title: judgement(claim, records, number) for title, records in shown.items()}))
    return judged


def ledger_table(groups: Mapping[str, Rows] | None = None) -> pandas.DataFrame:
    """Show the ledger as a table of strings, one row a claim: all of it on the reference records, with their ids.

    With ``groups`` (title -> rows of ``late_fusion.branches``) the claims that rest on these alone, a column a title.
    """
    if groups is None:
        return _table(judge_ledger(), COLUMNS)
    columns = {title: GivenRecords(title, rows, ("branches",)) for title, rows in groups.items()}
    claims = [claim for claim in LEDGER if claim.experiments == ("branches",)]
    return _table(judge_ledger(columns, claims), tuple(groups)).drop(columns="id")


def _table(judged: Sequence[tuple[Claim, Mapping[str, Judgement]]], titles: Sequence[str]) -> pandas.DataFrame:
    text = [f"{claim.text} (added later: {claim.added})" if claim.added else claim.text for claim, _ in judged]
    columns = {"id": [claim.id for claim, _ in judged], "in the paper": [claim.place for claim, _ in judged]}
    for title in titles:
        columns[title] = [found[title].text if title in found else ABSENT for _, found in judged]
    return pandas.DataFrame(columns, index=pandas.Index(text, name="claim"))


def family_table(family: str, records: Records) -> pandas.DataFrame:
    """Show the claims of one family on one column: verdict, mean difference with its interval, number of pairs."""
    lines = {}
    for claim in (claim for claim in CLAIMS if claim.family == family):
        found = judgement(claim, records, comparisons_of(claim, 0))
        line = ["needs records" if found.outcome == "needs" else found.outcome, ABSENT, "0"]
        if found.verdict is not None:
            mean, low, high = map(signed, (found.verdict.mean, found.verdict.low, found.verdict.high))
            line[1:] = f"{mean} [{low}, {high}]" if found.verdict.n > 1 else ABSENT, str(found.verdict.n)
        lines[f"{claim.text} ({'our control' if claim.place == NOT_IN_THE_PAPER else claim.place})"] = line
    return pandas.DataFrame.from_dict(lines, orient="index", columns=["verdict", "difference in points", "pairs"])
