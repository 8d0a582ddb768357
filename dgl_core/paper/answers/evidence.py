"""Turn confirming records into evidence on a question: paired differences by replicate, or by test item and seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from dgl_core.paper.answers.regimes import best_form, confirming, needed, rate_of, regime
from dgl_core.paper.claims import measures
from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.verdicts.inference import Draws, Evidence
from dgl_core.verdicts.registration import WEAKEST, Question
from dgl_core.verdicts.statistics import Rows, consistent, gains_by_fold, pairs

Find = Callable[[RunSpec], RunRecord | None]
MEASURES: dict[str, Callable[[Rows, str], list[float]]] = {
    "smaller_gradient": measures.smaller_gradient,
    "always_below_one": lambda rows, m: [share - 99.9 for share in measures.always_below_one(rows, m)],
    "near_zero": measures.near_zero,
    "growing_suppression": partial(measures.growing_suppression, centre="q50"),
    "faster_alone": measures.faster_alone,
    "larger_gradient": measures.larger_gradient,
    "larger_gradient_per_alpha": partial(measures.larger_gradient, per_alpha=True),
}


def evidence(
    question: Question, name: str, count: int, find: Find, which: str = "rate", first: int = 0
) -> Evidence | None:
    """Collect what ``count`` replicates say about a question; None unless all are recorded, and all rows piloted.

    Args:
        find: the record of a specification, or None. which: "rate", "second" or "longer", as of ``confirming``.
        first: number of the first replicate; 0: as registered.
    """
    of, than = regime(name), best_form(name, question.than)
    asked = replace(question, than=(than,))
    named = needed(asked, of.modalities)
    if not all(rate_of(name, row, which) for row in named):
        return None
    wanted = confirming(name, named, count, which, first)
    rows = {row: [find(spec) for spec in specs] for row, specs in wanted.items()}
    if not all(record is not None for records in rows.values() for record in records):
        return None
    return measured(asked, rows, of.modalities, drawn=of.draws)


def measured(question: Question, rows: Rows, modalities: Sequence[str], drawn: bool) -> Evidence:
    """Measure paired differences of a question's two rows, by replicate or by test item and seed.

    A question about the weakest branch asks about the modality that is worst alone on average over the validation
    parts of these replicates, so that the test part has no say.

    Args:
        rows: one record a replicate; those of ``question`` among them, and every modality alone for the weakest one.
        drawn: every replicate has data of its own; else items and seeds are resampled.

    Raises:
        ValueError: the records must not be compared (``consistent``).
    """
    consistent(rows)
    if question.measure:
        return Draws(MEASURES[question.measure](rows, question.modality))
    modality = weakest(modalities, rows) if WEAKEST in (question.branch, question.other) else ""
    one, branch = side(question.row, question.branch, modality)
    other, of_other = side(question.than[0], question.other, modality)
    together = pairs(rows, one, other)
    if drawn:
        return Draws([100 * (a.score(branch) - b.score(of_other)) for a, b in together])
    return gains_by_fold(together, branch, of_other)


def weakest(modalities: Sequence[str], rows: Rows) -> str:
    """Find the modality whose validation score alone is the lowest on average."""
    return min(modalities, key=lambda m: sum(record.score(part="val") for record in rows[f"{m} alone"]))


def side(row: str, branch: str, modality: str) -> tuple[str, str]:
    """Resolve one side of a question into a row and one of its branches; a row alone has its fused one only."""
    if row == "alone":
        return f"{modality} alone", "fused"
    return row, modality if branch == WEAKEST else branch
