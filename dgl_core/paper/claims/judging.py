"""Judging: one claim on one column of records, the whole ledger, and the table that README and the report show."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas

from dgl_core.paper.claims.ledger import CLAIMS, Claim
from dgl_core.paper.claims.measures import Part
from dgl_core.paper.claims.records import COLUMNS, EXPERIMENTS, Given, Records, committed
from dgl_core.training.records import RunRecord
from dgl_core.verdicts import statistics
from dgl_core.verdicts.statistics import Rows


@dataclass(frozen=True)
class Judgement:
    """How a claim fares on one column.

    Attributes:
        outcome: reproduced | contradicted | undecided | needs.
        text: the same with numbers, for a table: interval, unit and n, or what is missing.
        verdict: the interval behind it; None for mathematics and where records are missing.
        records: what it rests on.
    """

    outcome: str
    text: str
    verdict: statistics.Verdict | None = None
    records: tuple[RunRecord, ...] = ()


def consistent(rows: Rows) -> None:
    """Refuse records of mixed revisions, or seeds whose rows were trained on different data.

    Raises:
        ValueError: naming the row, and what it mixes.
    """
    revisions: dict[object, object] = {}
    fingerprints: dict[object, object] = {}
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
            mark = fingerprints.setdefault(record.spec.seed, record.data["fingerprint"])
            if mark != record.data["fingerprint"]:
                raise ValueError(f"Row {label!r}, seed {record.spec.seed}: trained on other data than its partners.")


def differences(part: Part, records: Records) -> tuple[list[float], tuple[RunRecord, ...]]:
    """One difference per seed, and the records behind them; nothing where a row or a column is missing.

    Raises:
        ValueError: the records come from different data (fingerprints differ beyond the fold) or revisions.
    """
    rows = records.rows(part.experiment, part.rows)
    consistent(rows)
    if not all(rows.values()):
        return [], ()
    try:
        return part.measure(rows), tuple(record for found in rows.values() for record in found)
    except KeyError:  # a column or branch that these records do not have
        return [], ()


def judge(claim: Claim, records: Records, comparisons: int) -> Judgement:
    """One claim on one column. Of several parts the weakest counts, since the claim says that all of them hold.

    A part with too few seeds keeps a claim from being reproduced; another part can contradict it all the same.

    Args:
        comparisons: how many claims and columns are judged together (Bonferroni).
    """
    if claim.check is not None:
        holds, found = claim.check()
        outcome = "reproduced" if holds else "contradicted"
        return Judgement(outcome, f"{outcome}: by computation, {found}")
    measured = [(part, *differences(part, records)) for part in claim.parts]
    behind = tuple(record for _, _, found in measured for record in found)
    missing = [part for part, values, _ in measured if not values]
    if missing:
        return Judgement("needs", f"needs {records.lacking(missing[0].experiment)}", None, behind)
    part, verdict = _weakest(claim, measured, comparisons)
    decided = [item for item in measured if len(item[1]) >= statistics.DECIDING]
    if len(decided) < len(measured):
        fewest = min(len(values) for _, values, _ in measured)
        verdict = dataclasses.replace(verdict, outcome="UNDECIDED", low=math.nan, high=math.nan, n=fewest)
        against = _weakest(claim, decided, comparisons) if decided else None
        if against and against[1].outcome == "CONTRADICTED":
            part, verdict = against
    weakest = f", weakest: {part.label}" if len(claim.parts) > 1 else ""
    return Judgement(verdict.outcome.lower(), describe(verdict) + weakest, verdict, behind)


def _weakest(
    claim: Claim, measured: Sequence[tuple[Part, list[float], tuple[RunRecord, ...]]], comparisons: int
) -> tuple[Part, statistics.Verdict]:
    """The part with the smallest mean difference, and the verdict on it."""
    part, values, _ = min(measured, key=lambda item: sum(item[1]) / len(item[1]))
    return part, statistics.judge(
        claim.text, values, unit=claim.unit, comparisons=comparisons, threshold=claim.threshold
    )


def describe(verdict: statistics.Verdict) -> str:
    """A verdict as a table cell."""
    mean = f"{verdict.outcome.lower()}: {round(verdict.mean, 1) + 0.0:+.1f}"
    if math.isnan(verdict.low):
        return f"{mean} {verdict.unit}, n = {verdict.n} ({statistics.DECIDING} needed)"
    low, high = (f"{round(value, 1) + 0.0:+.1f}" for value in (verdict.low, verdict.high))
    return f"{mean} [{low}, {high}] {verdict.unit}, n = {verdict.n}"


def judged_together(claims: Iterable[Claim], columns: Iterable[Records]) -> int:
    """How many intervals a ledger has: pairs of claim and column of which some part has enough seeds for one."""
    count = 0
    for records in columns:
        for claim in claims:
            sizes = [len(differences(part, records)[0]) for part in claim.parts]
            count += all(sizes) and max(sizes, default=0) >= statistics.DECIDING
    return max(1, count)


def ledger(
    columns: Mapping[str, Records] | None = None, claims: Sequence[Claim] = CLAIMS, comparisons: int = 0
) -> list[tuple[Claim, dict[str, Judgement]]]:
    """Every claim with its judgement on every column; by default the committed records.

    Args:
        comparisons: 0 counts all claims of the project on these columns, whichever are asked for.
    """
    columns = committed() if columns is None else columns
    comparisons = comparisons or judged_together(CLAIMS, columns.values())
    judged = []
    for claim in claims:
        shown = dict(list(columns.items())[:1]) if claim.check else columns  # mathematics holds for all columns
        judged.append((claim, {title: judge(claim, records, comparisons) for title, records in shown.items()}))
    return judged


def table(groups: Mapping[str, Rows] | None = None) -> pandas.DataFrame:
    """The ledger as a table of strings: one row a claim.

    Args:
        groups: title -> rows of ``experiments.branches``: judges the claims that rest on these alone, one column a
            title. By default all claims on the committed records, with their ids.
    """
    if groups is None:
        return _table(ledger(), COLUMNS)
    columns = {title: Given(title, rows, ("branches",)) for title, rows in groups.items()}
    claims = [claim for claim in CLAIMS if claim.experiments == ("branches",)]
    return _table(ledger(columns, claims), tuple(groups)).drop(columns="id")


def _table(judged: Sequence[tuple[Claim, Mapping[str, Judgement]]], titles: Sequence[str]) -> pandas.DataFrame:
    text = [f"{claim.text} (added later: {claim.added})" if claim.added else claim.text for claim, _ in judged]
    columns = {"id": [claim.id for claim, _ in judged], "in the paper": [claim.place for claim, _ in judged]}
    for title in titles:
        columns[title] = [found[title].text if title in found else "–" for _, found in judged]
    return pandas.DataFrame(columns, index=pandas.Index(text, name="claim"))


def rests_on(claim: Claim) -> str:
    """The experiments behind a claim, as the paper calls them."""
    return ", ".join(EXPERIMENTS[name].shown for name in claim.experiments) or "a computation in float64"


def replace_block(text: str, begin: str, end: str, content: str) -> str:
    """``text`` with what stands between two marker lines replaced.

    Raises:
        ValueError: a marker is missing.
    """
    if begin not in text or end not in text:
        raise ValueError(f"no block to renew: put the lines {begin!r} and {end!r} where it belongs.")
    head, rest = text.split(begin, 1)
    return f"{head}{begin}\n{content.strip()}\n{end}{rest.split(end, 1)[1]}"
