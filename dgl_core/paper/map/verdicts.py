"""Judge the map by the house's one rule: comparisons column by column, predictions as they were registered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dgl_core.gradients import FUSED
from dgl_core.paper.map.design import RESULTS, Prediction, predictions, registered
from dgl_core.paper.map.records import Record, available, load, record, synergies
from dgl_core.paper.map.remedy import fronts, scored
from dgl_core.verdicts.families import BETTER, EQUAL, UNDECIDED, WORSE, Judged, Member, judge, signed
from dgl_core.verdicts.inference import Draws

HELD, FAILED = "held", "failed"
NOT_WORSE = "not worse"
RESAMPLES = 4000


def delta(branch: str) -> float:
    """Look up the smallest difference that anyone would care about, in points."""
    return registered()["delta"]["fused" if branch == FUSED else "absent"]


def columns(of: Record, row: str, than: str, branch: str = FUSED) -> dict[float, Judged]:
    """Judge two rows in every column of synergy that was run; one value a draw, the mean over imbalances."""
    values = of.difference(row, than, branch).mean(axis=1)  # [S, D]
    members = {float(synergies()[s]): Member(Draws(values[s]), delta(branch)) for s in of.columns}
    return judge(members, len(synergies()), registered()["correction"])


def cells(of: Record, row: str, than: str, branch: str = FUSED) -> np.ndarray:
    """Mean differences of a map in points ``[S, I]``."""
    return of.difference(row, than, branch).mean(axis=2)


def crossing(of: Record, row: str, than: str) -> tuple[float, float, float]:
    """Find the synergy beyond which the fused difference stays below zero, with its 95 % bootstrap interval over draws.

    Interpolated between columns; 0 if every column is below, 1 if the last one is not.
    """
    values, places = of.difference(row, than).mean(axis=1)[of.columns], synergies()[of.columns]  # [S, D], [S]
    rng = np.random.default_rng(0)
    picks = rng.integers(0, values.shape[1], (RESAMPLES, values.shape[1]))
    found = [last_crossing(values[:, pick].mean(axis=1), places) for pick in picks]
    low, high = np.quantile(found, (0.025, 0.975))
    return last_crossing(values.mean(axis=1), places), float(low), float(high)


def last_crossing(curve: Sequence[float], places: np.ndarray) -> float:
    """Interpolate where a curve over some columns goes below zero for the last time."""
    at = np.flatnonzero(np.asarray(curve) >= 0)
    if not len(at):
        return float(places[0])
    if (last := int(at[-1])) == len(places) - 1:
        return float(places[-1])
    above, below = curve[last], curve[last + 1]
    return float(places[last] + (places[last + 1] - places[last]) * above / (above - below))


@dataclass(frozen=True)
class Outcome:
    """What became of a prediction on one map.

    Attributes:
        word: held, failed or undecided. against: columns that speak against it. where: the difference crosses zero.
    """

    prediction: Prediction
    map: str
    word: str
    against: tuple[float, ...]
    columns: dict[float, Judged]
    where: tuple[float, float, float] | None

    def __str__(self) -> str:
        text = f"{self.word.upper()}  {self.prediction.id}, {self.map}"
        if self.against:
            worst = max(self.against, key=lambda s: abs(self.columns[s].member.evidence.mean))
            text += f": not at synergy {', '.join(f'{s:g}' for s in self.against)}; at {worst:g} {self.columns[worst]}"
        if self.where:
            text += f"; crosses zero at {self.where[0]:.2f} [{self.where[1]:.2f}, {self.where[2]:.2f}]"
        return text


def agrees(word: str, found: Judged) -> str:
    """Say whether a verdict agrees with a predicted word: held, failed or undecided."""
    if word == NOT_WORSE:
        return FAILED if found.word == WORSE and not found.small else HELD
    if word == EQUAL:
        return HELD if found.word == EQUAL or found.small else UNDECIDED if found.word == UNDECIDED else FAILED
    if found.word == UNDECIDED:
        return UNDECIDED
    return HELD if found.word == word else FAILED


def outcome(prediction: Prediction, of: Record) -> Outcome:
    """Compare a prediction with a map; it fails if one column fails, or the crossing lies elsewhere for sure."""
    judged = columns(of, prediction.row, prediction.than, prediction.branch)
    judged = {s: found for s, found in judged.items() if prediction.above - 1e-9 <= s <= prediction.below + 1e-9}
    each = {s: agrees(prediction.word, found) for s, found in judged.items()}
    where = crossing(of, prediction.row, prediction.than) if prediction.crossing else None
    asked = sum(prediction.above - 1e-9 <= s <= prediction.below + 1e-9 for s in synergies())
    words = set(each.values()) | ({UNDECIDED} if len(each) < asked else set())  # a column was not run yet
    if where and (where[2] < prediction.crossing[0] or where[1] > prediction.crossing[1]):
        words.add(FAILED)
    word = FAILED if FAILED in words else UNDECIDED if UNDECIDED in words else HELD
    return Outcome(prediction, of.name, word, tuple(s for s, w in each.items() if w != HELD), judged, where)


def outcomes() -> list[Outcome]:
    """Compare all predictions with all maps that are recorded."""
    known = {name: record(name) for name in available()}
    return [outcome(p, known[name]) for p in predictions() for name in p.maps if name in known]


def law() -> dict[str, dict[str, Judged]]:
    """Judge the law: head -> comparison -> verdict; DGL's branches against training alone, alphas against alpha 1."""
    arrays, about = load(RESULTS / "law.npz")
    percent = {name: hits.astype(float) * 100 / about["test"] for name, hits in arrays.items()}
    found: dict[str, dict[str, Member]] = {}
    for name, values in percent.items():
        head, row = name.split("/")
        members = found.setdefault(head, {})
        if row == "DGL":
            for b, m in enumerate(("first", "second"), 1):
                members[f"{m} branch, DGL - alone at alpha x rate"] = _member((values - percent[f"{head}/alone"])[:, b])
        elif row.startswith("adamw") and row != "adamw 1":
            gap = values - percent[f"{head}/adamw 1"]
            for b, branch in enumerate(("fused", "first", "second")):
                members[f"AdamW, {branch}, alpha {row.split()[1]} - alpha 1"] = _member(gap[:, b])
    return {head: judge(members, len(members), registered()["correction"]) for head, members in found.items()}


def _member(values: np.ndarray) -> Member:
    return Member(Draws(values), registered()["delta"]["fused"])


@dataclass(frozen=True)
class Remedied:
    """What the remedy does at one point against the better of DGL and G-Blending, each at the alpha of its pilots."""

    point: tuple[float, float]
    rival: str
    fused: Judged
    weakest: Judged

    @property
    def survives(self) -> bool:
        """Say whether it is better in one and not worse in the other."""
        words = [self.fused, self.weakest]
        fine = all(agrees(NOT_WORSE, found) == HELD for found in words)
        return fine and any(found.word == BETTER for found in words)


def remedies() -> dict[str, list[Remedied]]:
    """Judge every candidate at every point; one family of all candidates, points and both scores."""
    arrays, about = load(RESULTS / "remedy.npz")
    points, body = [tuple(p) for p in registered()["remedy"]["points"]], registered()["remedy"]

    def scores(name: str, p: int, part: str) -> tuple[np.ndarray, np.ndarray]:
        return scored(arrays[f"{part}/{name}"][p, arrays[f"alpha/{name}"][p]], about[part])

    better = [max(body["rivals"], key=lambda name, p=p: sum(x.mean() for x in scores(name, p, "val")))
              for p in range(len(points))]  # fmt: skip
    members = {}
    for name in body["candidates"]:
        for p, rival in enumerate(better):
            gaps = [a - b for a, b in zip(scores(name, p, "test"), scores(rival, p, "test"), strict=True)]
            for what, gap, limit in zip(("fused", "weakest"), gaps, ("fused", "absent"), strict=True):
                members[name, p, what] = Member(Draws(gap), registered()["delta"][limit])
    judged = judge(members, len(members), registered()["correction"])
    return {
        name: [Remedied(points[p], rival, judged[name, p, "fused"], judged[name, p, "weakest"])
               for p, rival in enumerate(better)]
        for name in body["candidates"]
    }  # fmt: skip


def front(name: str, point: int) -> dict[float, tuple[float, float]]:
    """Trace a front at a point: alpha -> mean fused and weakest-branch test accuracy, in percent."""
    arrays, about = load(RESULTS / "remedy.npz")
    found = {}
    for a, alpha in enumerate(fronts()[name]):
        fused, weakest = scored(arrays[f"test/{name}"][point, a], about["test"])
        found[alpha] = float(fused.mean()), float(weakest.mean())
    return found


def in_words(found: Judged) -> str:
    """Write a verdict for a table, numbers first: a cell that begins with the word would be one of the ledger's."""
    return f"{signed(found.member.evidence.mean)} [{signed(found.low)}, {signed(found.high)}]: {found.word}"
