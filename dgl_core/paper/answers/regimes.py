"""Specify the runs that the registration asks for: pilots at every learning rate, confirming ones at the row's own."""

from __future__ import annotations

import functools
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dgl_core.paper.experiments.profiles import Experiment
from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.utils import project_root, unknown_name
from dgl_core.verdicts.registration import WEAKEST, Question, body, registration
from dgl_core.verdicts.selection import best

TITLES = {  # regime -> what a reader calls it
    "emotions": "generated emotions",
    "grid_letters": "GRID letters",
    "triplet": "three hard vectors",
    "triplet_plain": "three plain vectors",
    "mosi": "CMU-MOSI",
    "rooms": "generated rooms",
    "nyuv2": "NYUv2",
}
PILOTS = project_root() / "results" / "pilots.toml"  # which rate each row chose, written by ``tools.confirm``


def confirming_root() -> Path:
    """Name the folder of the committed confirming records: ``results/confirming``."""
    return project_root() / "results" / "confirming"


@dataclass(frozen=True)
class Regime:
    """A data set with its network and schedule, as registered.

    Attributes:
        draws: a replicate has data of its own; else it is a fold and a seed. alpha: that of every row with one.
        delta: smallest difference that anyone would care about, in points: "fused" and "branch".
        rates: learning rates where the search of every row starts; one alone is not searched. spec: fields of
            ``RunSpec``. options: of the data set.
    """

    name: str
    dataset: str
    modalities: tuple[str, ...]
    alpha: float
    delta: Mapping[str, float]
    rates: tuple[float, ...]
    options: Mapping[str, object]
    spec: Mapping[str, object]
    draws: bool = False
    folds: int = 0

    def base(self, replicate: int) -> RunSpec:
        """Specify vanilla training of one replicate at the default rate."""
        own = {"seed": replicate} if self.draws else {"fold": replicate % self.folds} if self.folds else {}
        settings = dict(self.spec) | {"milestones": tuple(self.spec["milestones"])}
        return RunSpec(self.dataset, dataset_options=dict(self.options) | own, seed=replicate, **settings)

    def rows(self) -> tuple[str, ...]:
        """List the rows that questions ask about, each once."""
        questions = (question for question in registration().questions if self.name in question.sets)
        asked = (needed(question, self.modalities) for question in questions)
        return tuple(dict.fromkeys(row for rows in asked for row in rows))

    def run(self, row: str, replicate: int, rate: float) -> RunSpec:
        """Specify one run of a row.

        Raises:
            ValueError: no such row.
        """
        modality = row.removesuffix(" alone")
        if modality in self.modalities:
            return self.base(replicate).but(method="unimodal", method_options={"modality": modality}, lr=rate)
        block = _row(row)
        options = {k: self.alpha if v == "alpha" else v for k, v in block.get("options", {}).items()}
        scale = self.alpha if block.get("encoder_lr_scale") == "alpha" else 1.0
        base = self.base(replicate)
        model = {
            "model": block.get("model", base.model),
            "model_options": base.model_options | block.get("network", {}),
        }
        return base.but(method=block["method"], method_options=options, encoder_lr_scale=scale, lr=rate, **model)


def _row(row: str) -> Mapping:
    blocks = body()["rows"]
    if row not in blocks or row == "alone":
        raise unknown_name("registered row", row, blocks)
    return blocks[row]


def needed(question: Question, modalities: Sequence[str]) -> tuple[str, ...]:
    """List the rows that answer a question; every modality alone where it is about the weakest one."""
    alone = [f"{m} alone" for m in modalities] if WEAKEST in (question.branch, question.other) else []
    return tuple(dict.fromkeys([question.row, *(row for row in question.than if row != "alone"), *alone]))


@functools.cache
def regime(name: str) -> Regime:
    """Look up a registered regime."""
    blocks = body()["regimes"]
    if name not in blocks:
        raise unknown_name("registered regime", name, blocks)
    block = blocks[name]
    return Regime(name, **block | {key: tuple(block[key]) for key in ("modalities", "rates")})


def searched(name: str) -> tuple[str, ...]:
    """List the rows of a regime that search a learning rate: not those that take the rate of the row they vary."""
    rows = regime(name).rows() if len(regime(name).rates) > 1 else ()
    return tuple(row for row in rows if varied(row) == row)


def longer(spec: RunSpec) -> RunSpec:
    """Stretch the schedule of a run to twice its length; it is scored once, at the end."""
    milestones = tuple(2 * milestone for milestone in spec.milestones)
    return spec.but(epochs=2 * spec.epochs, milestones=milestones, evaluate_every=2 * spec.epochs)


def pilots(name: str, row: str, rate: float) -> list[RunSpec]:
    """Specify the pilots of a row at a rate, one run a pilot replicate, scored once at the end."""
    of = regime(name)
    return [of.run(row, r, rate).but(evaluate_every=of.spec["epochs"]) for r in registration().pilots]


LADDER = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def wider(tried: Sequence[float], found: float) -> tuple[float, ...]:
    """List the neighbours of the best rate that were not tried: none once it lies between two that were."""
    place = LADDER.index(found)
    return tuple(rate for rate in LADDER[max(place - 1, 0) : place + 2] if rate not in tried)


@functools.cache
def chosen() -> dict[str, dict[str, dict[str, float]]]:
    """Read what the pilots chose: regime -> row -> {"rate", "second", "val"}."""
    return tomllib.loads(PILOTS.read_text(encoding="utf-8")) if PILOTS.exists() else {}


def choose(candidates: Mapping[float, Sequence[RunRecord]]) -> dict[str, float]:
    """Choose a row's rate by the mean validation score of its pilots, and the second best; also return that score.

    Args:
        candidates: rate -> pilots. A rate at which training diverged is left out.
    """
    first = best(candidates)
    rest = {rate: records for rate, records in candidates.items() if rate != first}
    val = statistics.fmean(record.score(part="val") for record in candidates[first])
    return {"rate": first, "val": round(val, 6)} | ({"second": best(rest)} if rest else {})


def rate_of(name: str, row: str, which: str = "rate") -> float | None:
    """Look up the rate that a row's pilots chose, or those of the row that it varies; None before they did.

    A schedule twice as long ("longer") keeps the rate, and there is none where pilots did not try such a schedule.
    """
    if len(regime(name).rates) == 1:
        return regime(name).rates[0]
    found = chosen().get(name, {}).get(varied(row), {})
    if which == "longer":
        return found["rate"] if "doubled" in found else None
    return found.get(which)


def varied(row: str) -> str:
    """Name the row whose learning rate a row takes: the one that it varies, else itself."""
    return row if row.endswith("alone") else _row(row).get("like", row)


ROOM = 0.02  # by which a fused model has to lead the best modality alone


def no_room(name: str) -> str:
    """Say why a set cannot show a gain of fusion, by the pilots' validation scores; empty where it can."""
    scores = {row: found["val"] for row, found in chosen().get(name, {}).items()}
    alone = {row: scores[row] for row in (f"{m} alone" for m in regime(name).modalities) if row in scores}
    fused = max((score for row, score in scores.items() if row not in alone), default=0.0)
    if not alone or not fused or max(alone.values()) < fused - ROOM:
        return ""
    single = max(alone, key=alone.__getitem__)
    return f"no room for fusion: {single} reaches {100 * alone[single]:.1f} %, the best fused model {100 * fused:.1f} %"


def best_form(name: str, forms: Sequence[str]) -> str:
    """Choose the form of a rival with the best validation score in the pilots of a regime."""
    rows = chosen().get(name, {})
    known = [row for row in forms if row in rows]
    if len(forms) == 1 or len(known) < len(forms):
        return forms[0]
    return max(known, key=lambda row: rows[row]["val"])


def confirming(name: str, rows: Sequence[str], count: int, which: str = "rate", first: int = 0) -> Experiment:
    """Specify the confirming runs of some rows, ``count`` replicates, each row at the rate that its pilots chose.

    ``which``: "rate"; or for what hangs on it "second", each row's second-best rate, or "longer", twice the schedule.
    ``first`` numbers the first replicate: 0 means as registered, another one that they are fresh.

    Raises:
        ValueError: a row without pilots.
    """
    rates = {row: rate_of(name, row, which) for row in rows}
    first = first or registration().first
    for row, rate in rates.items():
        if rate is None:
            raise ValueError(f"row {row!r} of regime {name!r} has no pilots yet: python -m tools.confirm pilots {name}")
    specs = {row: [_spec(name, row, first + i, rates[row]) for i in range(count)] for row in rows}
    return {row: list(map(longer, known)) for row, known in specs.items()} if which == "longer" else specs


@functools.cache
def _spec(name: str, row: str, replicate: int, rate: float) -> RunSpec:
    """Specify a run once: many questions ask about the same rows."""
    return regime(name).run(row, replicate, rate)
