"""Find the records that a claim rests on: the committed ones, those of this machine, or rows in hand."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from dgl_core import utils
from dgl_core.paper.claims.measures import Part
from dgl_core.paper.experiments import late_fusion, table2, table5
from dgl_core.paper.experiments.profiles import REFERENCE_DATASETS, REFERENCE_SEEDS, TITLES, Experiment
from dgl_core.runs import run
from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.verdicts.selection import AT
from dgl_core.verdicts.statistics import Rows, consistent

GENERATED, REAL = "generated data", "real data"
COLUMNS = (GENERATED, REAL)
Find = Callable[[RunSpec], RunRecord | None]


@dataclass(frozen=True)
class ReferenceExperiment:
    """An experiment as the reference records have it: cpu profile, the seeds of the reference."""

    paper_name: str  # what it is in the paper
    sets: Mapping[str, str]  # column -> data set; a column may be absent
    make: Callable[[str], Experiment]  # experiment of a data set
    modalities: int = 2  # that its models join
    metric: str = "accuracy"  # that its claims compare

    def specs(self, column: str) -> Experiment:
        """Specify the experiment on the data set of a column; nothing where the column has none."""
        return self.make(self.sets[column]) if column in self.sets else {}


def _reference(make: Callable[..., Experiment]) -> Callable[[str], Experiment]:
    return lambda dataset: make("cpu", dataset, REFERENCE_SEEDS)


def _by_rate(grid: Mapping[float, Experiment]) -> Experiment:
    return {f"{row}{AT}{rate:g}": specs for rate, rows in grid.items() for row, specs in rows.items()}


def _features(dataset: str) -> Experiment:
    # CMU-MOSI: one run on every fold; more seeds on a fold share its test samples and would feign independence
    seeds = table2.NESTED_SEEDS[:1] if dataset == "mosi" else REFERENCE_SEEDS
    return table2.table2_features("cpu", dataset, seeds)


SOUND = {GENERATED: "emotions", REAL: "grid_letters"}
FEATURES = {GENERATED: "triplet", REAL: "mosi"}
PICTURES = {GENERATED: "rooms", REAL: "nyuv2"}
EXPERIMENTS: dict[str, ReferenceExperiment] = {
    "branches": ReferenceExperiment("Figures 1 and 3, Table 1", SOUND, _reference(late_fusion.branches)),
    "table1": ReferenceExperiment("Table 1", SOUND, _reference(late_fusion.table1)),
    "table1_grid": ReferenceExperiment(
        "Table 1 with a grid of learning rates", SOUND, lambda d: _by_rate(_reference(late_fusion.table1_grid)(d))
    ),
    "table3": ReferenceExperiment("Table 3", SOUND, _reference(late_fusion.table3)),
    "table4": ReferenceExperiment("Table 4", SOUND, _reference(late_fusion.table4)),
    "fusion_heads": ReferenceExperiment("fusion heads", SOUND, _reference(late_fusion.fusion_heads)),
    "table2_dense": ReferenceExperiment("Table 2, left", SOUND, _reference(table2.table2_dense)),
    "table2_features": ReferenceExperiment("Table 2, right", FEATURES, _features, modalities=3),
    "table2_nested": ReferenceExperiment(
        "Table 2, right, with a grid of learning rates",
        {REAL: "mosi"},
        lambda dataset: _by_rate(table2.table2_grid("cpu", table2.NESTED_SEEDS)),
        modalities=3,
    ),
    "table5": ReferenceExperiment("Table 5", PICTURES, table5.table5_reference, metric="miou"),
}


class Records:
    """Rows of any experiment of one column, looked up once by ``find``."""

    def __init__(self, column: str, find: Find):
        self.column, self._find = column, find
        self._specs: dict[str, Experiment] = {}
        self._rows: dict[tuple[str, str], list[RunRecord]] = {}

    def rows(self, experiment: str, labels: Sequence[str]) -> Rows:
        """Find the records of some rows of an experiment; a row without any is empty."""
        if experiment not in self._specs:
            self._specs[experiment] = EXPERIMENTS[experiment].specs(self.column)
        for label in labels:
            if (experiment, label) not in self._rows:
                found = map(self._find, self._specs[experiment].get(label, ()))
                self._rows[experiment, label] = [record for record in found if record is not None]
        return {label: self._rows[experiment, label] for label in labels}

    def measured(self, part: Part) -> tuple[list[float], tuple[RunRecord, ...]]:
        """Measure one part of a claim: a difference per seed, and the records behind them; nothing where some lack.

        Raises ValueError if the records must not be compared (``statistics.consistent``).
        """
        rows = self.rows(part.experiment, part.rows)
        consistent(rows)
        if not all(rows.values()):
            return [], ()
        try:
            return part.measure(rows), tuple(record for found in rows.values() for record in found)
        except KeyError:  # a column or branch that these records do not have
            return [], ()

    def covers(self, experiment: str) -> bool:
        """Say whether this column has a data set for an experiment."""
        return self.column in EXPERIMENTS[experiment].sets

    def title(self, experiment: str) -> str:
        """Name the data set that an experiment uses in this column."""
        return TITLES[EXPERIMENTS[experiment].sets[self.column]]

    def lacking(self, experiment: str) -> str:
        """Say what a claim without records waits for: a real data set that nobody has recorded, or only the runs."""
        dataset = EXPERIMENTS[experiment].sets[self.column]
        recorded = any((utils.reference_root() / dataset).glob("*.json"))
        return "records" if recorded or self.column == GENERATED else f"data: {TITLES[dataset]}"


class GivenRecords(Records):
    """Rows that are already in hand: of a notebook, or a folder of the reader's own. They serve ``experiments``."""

    def __init__(self, title: str, rows: Rows, experiments: Collection[str] = EXPERIMENTS):
        super().__init__(title, lambda spec: None)
        self._given, self._experiments = rows, experiments

    def rows(self, experiment: str, labels: Sequence[str]) -> Rows:
        given = self._given if experiment in self._experiments else {}
        return {label: list(given.get(label, ())) for label in labels}

    def covers(self, experiment: str) -> bool:
        return True

    def title(self, experiment: str) -> str:
        return self.column

    def lacking(self, experiment: str) -> str:
        return "records"


def reference_records() -> dict[str, Records]:
    """Open the reference records, column by column."""

    @functools.cache
    def find(spec: RunSpec) -> RunRecord | None:
        return next(iter(run.reference([spec])), None)

    return {column: Records(column, find) for column in COLUMNS}


def records_here() -> dict[str, Records]:
    """Open the records of this machine's store, column by column."""
    return {column: Records(column, lambda spec: run.same_data(run.find(spec))) for column in COLUMNS}


def reference_groups() -> dict[str, Rows]:
    """Load the reference records of ``late_fusion.branches``: title of the data set -> rows."""
    groups = {d: run.reference(late_fusion.branches("cpu", d, REFERENCE_SEEDS)) for d in REFERENCE_DATASETS}
    return {TITLES[dataset]: rows for dataset, rows in groups.items() if any(rows.values())}
