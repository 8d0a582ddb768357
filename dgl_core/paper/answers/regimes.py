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
from dgl_core.utils import ROOT, unknown_name
from dgl_core.verdicts.registration import PATH, Question, registration
from dgl_core.verdicts.selection import best

PILOTS = ROOT / "results" / "pilots.toml"  # which rate each row chose, written by ``tools.confirm``


def confirming_root() -> Path:
    """Name the folder of the committed confirming records: ``results/confirming``."""
    return ROOT / "results" / "confirming"


@dataclass(frozen=True)
class Regime:
    """A data set with its network and schedule, as registered.

    Attributes:
        draws: a replicate has data of its own; else it is a fold and a seed. alpha: that of every row with one.
        delta: smallest difference that anyone would care about, in points: "fused" and "branch".
        rates: learning rates that every row may choose from. spec: fields of ``RunSpec``. options: of the data set.
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
        own = {"seed": replicate} if self.draws else {"fold": replicate % self.folds}
        settings = dict(self.spec) | {"milestones": tuple(self.spec["milestones"])}
        return RunSpec(self.dataset, dataset_options=dict(self.options) | own, seed=replicate, **settings)

    def rows(self) -> tuple[str, ...]:
        """List the rows that questions ask about, each once."""
        asked = (needed(question, self) for question in registration().questions if self.name in question.sets)
        return tuple(dict.fromkeys(row for rows in asked for row in rows))

    def run(self, row: str, replicate: int, rate: float) -> RunSpec:
        """Specify one run of a row.

        Raises:
            ValueError: no such row.
        """
        modality = row.removesuffix(" alone")
        if modality in self.modalities:
            return self.base(replicate).but(method="unimodal", method_options={"modality": modality}, lr=rate)
        blocks = _body()["rows"]
        if row not in blocks or row == "alone":
            raise unknown_name("registered row", row, blocks)
        block = blocks[row]
        options = {k: self.alpha if v == "alpha" else v for k, v in block.get("options", {}).items()}
        scale = self.alpha if block.get("encoder_lr_scale") == "alpha" else 1.0
        return self.base(replicate).but(method=block["method"], method_options=options, encoder_lr_scale=scale, lr=rate)


@functools.cache
def _body(path: Path = PATH) -> dict:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def needed(question: Question, of: Regime) -> tuple[str, ...]:
    """List the rows that answer a question; every modality alone where it is about the weakest one."""
    alone = [f"{m} alone" for m in of.modalities] if "weakest" in (question.branch, question.other) else []
    return tuple(dict.fromkeys([question.row, *(row for row in question.than if row != "alone"), *alone]))


@functools.cache
def regime(name: str) -> Regime:
    """Look up a registered regime."""
    blocks = _body()["regimes"]
    if name not in blocks:
        raise unknown_name("registered regime", name, blocks)
    block = blocks[name]
    return Regime(name, **block | {key: tuple(block[key]) for key in ("modalities", "rates")})


def pilots(name: str, rows: Sequence[str]) -> dict[float, Experiment]:
    """Specify the pilots of some rows: rate -> row -> one run a pilot replicate."""
    of, numbers = regime(name), registration().pilots
    return {rate: {row: [of.run(row, r, rate) for r in numbers] for row in rows} for rate in of.rates}


@functools.cache
def chosen() -> dict[str, dict[str, dict[str, float]]]:
    """Read what the pilots chose: regime -> row -> {"rate", "second", "val"}."""
    return tomllib.loads(PILOTS.read_text(encoding="utf-8")) if PILOTS.exists() else {}


def choose(grid: Mapping[float, Mapping[str, Sequence[RunRecord]]], row: str) -> dict[str, float]:
    """Choose a row's rate by the mean validation score of its pilots, and the second best; also return that score."""
    candidates = {rate: rows[row] for rate, rows in grid.items() if rows.get(row)}
    first = best(candidates)
    rest = {rate: records for rate, records in candidates.items() if rate != first}
    val = statistics.fmean(record.score(part="val") for record in candidates[first])
    return {"rate": first, "val": round(val, 6)} | ({"second": best(rest)} if rest else {})


def best_form(name: str, forms: Sequence[str]) -> str:
    """Choose the form of a rival with the best validation score in the pilots of a regime."""
    rows = chosen().get(name, {})
    known = [row for row in forms if row in rows]
    if len(forms) == 1 or len(known) < len(forms):
        return forms[0]
    return max(known, key=lambda row: rows[row]["val"])


def confirming(name: str, rows: Sequence[str], count: int, which: str = "rate") -> Experiment:
    """Specify the confirming runs of some rows, ``count`` replicates, each row at the rate that its pilots chose.

    Raises:
        ValueError: a row without pilots.
    """
    of, first, rates = regime(name), registration().first, chosen().get(name, {})
    for row in rows:
        if row not in rates:
            raise ValueError(f"row {row!r} of regime {name!r} has no pilots yet: python -m tools.confirm pilots {name}")
    return {row: [of.run(row, first + i, rates[row][which]) for i in range(count)] for row in rows}
