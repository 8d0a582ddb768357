"""Turn confirming records into evidence on a question: paired differences by replicate, or by test item and seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from dgl_core.paper.answers.regimes import Regime, best_form, confirming, needed, rate_of, regime
from dgl_core.paper.claims import measures
from dgl_core.training.records import RunRecord, RunSpec, unpack, unpack_bits
from dgl_core.verdicts.inference import Draws, Evidence, Fold, Folds
from dgl_core.verdicts.registration import Question
from dgl_core.verdicts.statistics import Rows, consistent

Find = Callable[[RunSpec], RunRecord | None]
WEAKEST = "weakest"
MEASURES: dict[str, Callable[[Rows, str], list[float]]] = {
    "smaller_gradient": measures.smaller_gradient,
    "always_below_one": lambda rows, m: [share - 99.9 for share in measures.always_below_one(rows, m)],
    "near_zero": measures.near_zero,
    "growing_suppression": partial(measures.growing_suppression, centre="q50"),
    "faster_alone": measures.faster_alone,
    "larger_gradient": measures.larger_gradient,
    "larger_gradient_per_alpha": partial(measures.larger_gradient, per_alpha=True),
}


def evidence(question: Question, name: str, count: int, find: Find, which: str = "rate") -> Evidence | None:
    """Collect what the first ``count`` replicates say about a question; None unless all of them are recorded,
    and the pilots of every row.

    A question about the weakest branch asks about the modality that is worst alone on average over these replicates'
    validation parts, so that the test part has no say.

    Args:
        find: the record of a specification, or None. which: "rate", or "second" for each row's second-best one.
    """
    of, than = regime(name), best_form(name, question.than)
    asked = replace(question, than=(than,))
    if not all(rate_of(name, row, which) for row in needed(asked, of)):
        return None
    wanted = confirming(name, needed(asked, of), count, which)
    rows = {row: [find(spec) for spec in specs] for row, specs in wanted.items()}
    if not all(record is not None for records in rows.values() for record in records):
        return None
    consistent(rows)
    if question.measure:
        return Draws(MEASURES[question.measure](rows, question.modality))
    modality = weakest(of, rows) if WEAKEST in (question.branch, question.other) else ""
    one, branch = side(question.row, question.branch, modality)
    other, of_other = side(than, question.other, modality)
    pairs = list(zip(rows[one], rows[other], strict=True))
    if not of.folds:
        return Draws([100 * (a.score(branch) - b.score(of_other)) for a, b in pairs])
    return folds(pairs, branch, of_other)


def weakest(of: Regime, rows: dict[str, Sequence[RunRecord]]) -> str:
    """Find the modality whose validation score alone is the lowest on average."""
    return min(of.modalities, key=lambda m: sum(record.score(part="val") for record in rows[f"{m} alone"]))


def side(row: str, branch: str, modality: str) -> tuple[str, str]:
    """Resolve one side of a question into a row and one of its branches; a row alone has its fused one only."""
    if row == "alone":
        return f"{modality} alone", "fused"
    return row, modality if branch == WEAKEST else branch


def folds(pairs: Sequence[tuple[RunRecord, RunRecord]], branch: str, other: str) -> Folds:
    """Collect gains by fold: right(A) - right(B) of every test item [N] and seed [S]."""
    gains, groups = defaultdict(list), {}
    for a, b in pairs:
        fold, n = int(a.spec.dataset_options["fold"]), a.data["counts"]["test"]
        right = [unpack_bits(r.right["last"][name], n).astype(float) for r, name in ((a, branch), (b, other))]
        gains[fold].append(right[0] - right[1])
        groups[fold] = unpack(a.data["groups"]) if "groups" in a.data else np.arange(n)
    return Folds([Fold(np.stack(columns, axis=1), groups[fold]) for fold, columns in sorted(gains.items())])
