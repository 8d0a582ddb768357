"""Compare methods on a reader's own data: every row at its own rate, paired by seed, judged together.

``compare(factory, dataset, methods=["vanilla", "dgl"], rates=[0.01, 0.1], seeds=5, folder="mine")`` trains what the
folder does not have yet, and says for each row whether it is better or worse than the first one, practically equal, or
undecided. ``dgl_core.figures.comparison.panels`` draws it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from dgl_core import methods as known
from dgl_core.data.dataset import Dataset
from dgl_core.gradients import FUSED
from dgl_core.models.description import tensors_of
from dgl_core.runs.store import Store
from dgl_core.training.loop import TrainingDiverged
from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.training.train import fitted, made, specified
from dgl_core.utils import Range, brief, check_count, coerce, needs
from dgl_core.verdicts.families import Judged, Member, judge
from dgl_core.verdicts.inference import Draws, Evidence
from dgl_core.verdicts.selection import best
from dgl_core.verdicts.statistics import by_item, gains_by_fold

if TYPE_CHECKING:
    import pandas

ALONE = "ensemble"  # the method whose branches are every modality trained alone, and whose mean is their ensemble
Runs = dict[float, dict[int, RunRecord]]  # rate -> seed -> record
Chosen = tuple[str, dict[str, object]]  # a method and its options


@dataclass(frozen=True)
class Row:
    """One row of a comparison.

    Attributes:
        records: of its own rate, one a seed. branch: which of their branches the row is.
        rate: learning rate, chosen on validation. verdict: against the first row; None for that row itself.
    """

    records: tuple[RunRecord, ...]
    rate: float
    branch: str = FUSED
    verdict: Judged | None = None

    def percent(self, branch: str = "", part: str = "test") -> list[float]:
        """Read the last score of a branch from every record, in per cent; by default that of the row."""
        return [100 * record.score(branch or self.branch, part=part) for record in self.records]

    @property
    def at_chance(self) -> bool:
        """Tell whether most of its runs have learnt nothing."""
        return 2 * sum(record.at_chance(self.branch) for record in self.records) > len(self.records)


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found: rows by name, the first one the baseline, and what could not be compared.

    Attributes:
        rows: name -> row. score: what is compared ("accuracy"). delta: smallest difference that counts, in points.
        notes: sentences on what is missing or to be known.
    """

    rows: dict[str, Row]
    score: str
    delta: float
    notes: list[str] = field(default_factory=list)

    @property
    def baseline(self) -> str:
        return next(iter(self.rows))

    def table(self) -> pandas.DataFrame:
        """Tabulate: rate, validation and test score of every row (mean and deviation over seeds), branches, verdict."""
        needs("Tables of comparisons", "pandas")
        import pandas

        return pandas.DataFrame.from_dict({name: self._cells(row) for name, row in self.rows.items()}, orient="index")

    def _cells(self, row: Row) -> dict[str, str]:
        cells = {"rate": f"{row.rate:g}", "validation": _mean(row.percent(part="val")), "test": _mean(row.percent())}
        for m in row.records[0].data["modalities"] if row.branch == FUSED else ():
            cells[m] = _mean(row.percent(m))
        compared = "the baseline" if row.verdict is None else str(row.verdict)
        return cells | {f"against {self.baseline}": compared + (", at chance" if row.at_chance else "")}

    def __str__(self) -> str:
        cells = {name: self._cells(row) for name, row in self.rows.items()}
        columns = list(dict.fromkeys(column for found in cells.values() for column in found))
        lines = [["", *columns]] + [[name, *(found.get(c, "") for c in columns)] for name, found in cells.items()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        about = f"Test {self.score} in per cent, mean and deviation over seeds; delta = {self.delta:g} points."
        return "\n".join([about, *text, *self.notes])


def _mean(values: Sequence[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{deviation}"


def compare(
    factory: Callable[[], nn.Module],
    dataset: Dataset,
    methods: Iterable[str | Chosen] | Mapping[str, str | Chosen] = ("vanilla", "dgl"),
    rates: Iterable[float] = (0.003, 0.01, 0.03),
    seeds: int | Iterable[int] = 5,
    *,
    folder: str | Path | None = None,
    delta: float = 1.0,
    alone: bool = True,
    log: bool = False,
    device: str = "",
    **options: Any,
) -> Comparison:
    """Train every method at every rate with every seed, and judge each against the first one.

    Each row takes the rate with the best mean score on validation; the test part has no say in it. Rows of one seed
    share initial weights, so they are paired. The verdicts are those of ``dgl_core.verdicts.families`` with Holm's
    correction over all rows: "better" or "worse" (a difference), "practically equal" (surely less than ``delta``) or
    "undecided" (and how many seeds would decide). For one class a sample and for label maps, test samples (or their
    groups) and seeds are both resampled; for other tasks the seeds alone vary, which says nothing about other samples.

    Args:
        factory: a function that makes a fresh model; its weights follow the seed.
        dataset: for example ``ArrayDataset``; its groups are what verdicts count as independent.
        methods: names, or (name, options) such as ``("dgl", {"alpha": 2.0})``, or row -> one of these. The first is
            what the others are compared with.
        rates: learning rates. seeds: how many, or which.
        folder: keeps one record a run; the same call goes on there, and ``dgl claims --mine FOLDER`` reads it.
        delta: smallest difference that anyone would care about, in points (hundredths of the score).
        alone: also every modality trained alone, and their ensemble: one run trains all encoders side by side, each
            with a linear head and nothing flowing between them.
        log: print a line a run. device: as for ``fit``. **options: fields of ``RunSpec`` for all (``epochs=20``).

    Raises:
        ValueError: what ``fit`` refuses, no rate at which a row can be trained, or nothing to compare.
    """
    rows, rates, seeds = _rows(methods), _rates(rates), _seeds(seeds)
    Range(above=0).check("delta", delta := coerce("delta", delta, 1.0))
    if isinstance(factory, nn.Module) or not callable(factory):
        raise ValueError(f"factory is {brief(factory)}; give a function that makes a fresh model: lambda: model.")
    notes: list[str] = []
    if alone and (reason := _not_alone(factory, dataset, seeds[0])):
        notes.append(f"Modalities alone and their ensemble are left out: {reason}")
    elif alone:
        rows |= {ALONE: (ALONE, {})}
    place, total = Path(folder) if folder else None, len(rows) * len(rates) * len(seeds)
    work = _Work(factory, dataset, place, device, log, total, notes=notes)
    grid = {row: work.grid(chosen, rates, seeds, options) for row, chosen in rows.items()}
    sides = _sides(rows, dataset)
    found = {name: _at_own_rate(name, grid[row], seeds, branch) for name, (row, branch) in sides.items()}
    return Comparison(_judged(found, delta, notes), dataset.task.score, delta, notes)


def _judged(found: Mapping[str, Row], delta: float, notes: list[str]) -> dict[str, Row]:
    """Judge all rows but the first together, against the first; add to ``notes`` what limits the verdicts."""
    first, *others = found
    evidence = {name: _evidence(found[name], found[first]) for name in others}
    members = {name: Member(of, delta) for name, of in evidence.items()}
    verdicts = judge(members, len(members), "holm") if members else {}
    if len(found[first].records) < 2:
        notes.append("One seed decides nothing: give two or more, five for a first answer.")
    elif any(isinstance(of, Draws) for of in evidence.values()):
        notes.append("Seeds alone vary here; the verdicts are about these test samples, not about others.")
    return {name: dataclasses.replace(row, verdict=verdicts.get(name)) for name, row in found.items()}


def _rows(methods: Any) -> dict[str, Chosen]:
    """Name every method and its options; a name without one of its own is the method and its options."""
    if isinstance(methods, str):
        raise ValueError(f"methods is {methods!r}; give a list, for example ['vanilla', {methods!r}].")
    given = methods.items() if isinstance(methods, Mapping) else ((None, one) for one in methods)
    rows: dict[str, Chosen] = {}
    for name, one in given:
        method, options = (one, {}) if isinstance(one, str) else (one if isinstance(one, Sequence) else (one, None))
        if not isinstance(method, str) or not isinstance(options, Mapping):
            raise ValueError(f"method {brief(one)} is no name and no (name, options), as ('dgl', {{'alpha': 2.0}}).")
        known.build(method, options)
        title = name or ", ".join([method, *(f"{option} {value}" for option, value in options.items())])
        if title in rows:
            raise ValueError(f"row {title!r} occurs twice; give each row a name: {{'mine': ({method!r}, {{...}})}}.")
        rows[title] = method, dict(options)
    if not rows:
        raise ValueError("methods is empty; give for example ['vanilla', 'dgl'].")
    return rows


def _rates(rates: Any) -> list[float]:
    found = [rates] if isinstance(rates, int | float) else list(rates)
    if not found:
        raise ValueError("rates is empty; give learning rates, for example [0.003, 0.01, 0.03].")
    for rate in found:
        Range(above=0).check("rates", coerce("rates", rate, 0.1))
    return sorted(dict.fromkeys(float(rate) for rate in found))


def _seeds(seeds: Any) -> list[int]:
    if isinstance(seeds, int):
        check_count("seeds", seeds)
        return list(range(seeds))
    found = [coerce("seeds", seed, 0) for seed in seeds]
    if not found:
        raise ValueError("seeds is empty; say how many, or which.")
    return list(dict.fromkeys(found))


def _not_alone(factory: Callable[[], nn.Module], dataset: Dataset, seed: int) -> str:
    """Say why modalities cannot be trained alone here, "" if they can."""
    method = known.METHODS[ALONE]
    if len(dataset.modalities) < 2:
        return "there is one modality only."
    if dataset.task.kind not in method.TARGETS:
        return f"they put one answer on each sample, and the task is {dataset.task.kind}."
    try:
        method().heads(made(factory, seed), len(dataset.classes))
    except ValueError as error:
        return str(error)
    return ""


def _sides(rows: Mapping[str, Chosen], dataset: Dataset) -> dict[str, tuple[str, str]]:
    """Name all rows of the table: the row of runs and the branch that each reads."""
    sides = {row: (row, FUSED) for row in rows}
    if ALONE in rows:
        sides |= {f"{m} alone": (ALONE, m) for m in dataset.modalities}
    return sides


def _at_own_rate(name: str, runs: Runs, seeds: Sequence[int], branch: str) -> Row:
    """Choose the rate of a row on validation, among those at which no seed diverged; ties go to the smallest."""
    whole = {rate: [found[seed] for seed in seeds] for rate, found in runs.items() if len(found) == len(seeds)}
    if not whole:
        raise ValueError(f"row {name!r} diverged at every rate: give smaller ones.")
    rate = best(whole, branch)
    return Row(tuple(whole[rate]), rate, branch)


def _evidence(row: Row, first: Row) -> Evidence | None:
    """Pair two rows by seed: by test sample too, where records say what each adds to the score; None for one seed."""
    if len(row.records) < 2:
        return None
    pairs = list(zip(row.records, first.records, strict=True))
    if any(by_item(a, row.branch) is None or by_item(b, first.branch) is None for a, b in pairs):
        return Draws(np.subtract(row.percent(), first.percent()))
    return gains_by_fold(pairs, row.branch, first.branch)


@dataclass
class _Work:
    """The runs of a comparison: found in a folder, or trained and kept there."""

    factory: Callable[[], nn.Module]
    dataset: Dataset
    folder: Path | None
    device: str
    log: bool
    total: int
    done: int = 0
    notes: list[str] = field(default_factory=list)

    def grid(self, chosen: Chosen, rates: Sequence[float], seeds: Sequence[int], options: Mapping[str, Any]) -> Runs:
        """Find or make the runs of one row."""
        method, own = chosen
        runs: Runs = {}
        for rate in rates:
            for seed in seeds:
                self.done += 1
                spec = specified(method, self.dataset, {**options, **own, "lr": rate, "seed": seed})
                if (record := self.run(spec)) is not None:
                    runs.setdefault(rate, {})[seed] = record
        return runs

    def run(self, spec: RunSpec) -> RunRecord | None:
        """Find or make one run; None if it diverged, which is noted."""
        model = made(self.factory, spec.seed)
        key, store = run_key(spec, self.dataset, model), self.folder and Store(self.folder)
        record = store.load(spec, key) if store else None
        state = "recorded"
        if record is None:
            checkpoint = store.path(spec, key).with_suffix(".checkpoint") if store else None
            try:
                made_now = fitted(model, spec, self.dataset, device=self.device, checkpoint=checkpoint)
            except TrainingDiverged as error:
                self.notes.append(f"Rate {spec.lr:g} is out for {spec}: {str(error).split(': ', 1)[-1]}")
                return None
            record, state = dataclasses.replace(made_now, key=key), f"{made_now.cost['seconds']:.1f} s"
            if store:
                record = store.save(record)
        if self.log:
            score = 100 * record.score(part="val")
            where = f"{self.done}/{self.total} {spec}, rate {spec.lr:g}"
            print(f"{where}: validation {record.selecting} {score:.1f} % ({state})", flush=True)
        return record


def run_key(spec: RunSpec, dataset: Dataset, model: nn.Module) -> str:
    """Name a run on a reader's own data: by its settings, the data, the layers of the model and its initial weights."""
    digest = hashlib.sha256(json.dumps([spec.plain(), dataset.fingerprint, repr(model)], sort_keys=True).encode())
    for name, tensor in sorted(tensors_of(model).items()):
        digest.update(name.encode() + tensor.detach().cpu().double().numpy().tobytes())
    return digest.hexdigest()
