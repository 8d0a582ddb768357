"""Which records a claim rests on: the committed ones, those of this machine, or a folder of the reader's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.verdicts.selection import AT
from dgl_core.verdicts.statistics import Rows

GENERATED, REAL = "generated data", "real data"
COLUMNS = (GENERATED, REAL)
Experiment = Mapping[str, list[RunSpec]]
Find = Callable[[RunSpec], RunRecord | None]


class Source:
    """An experiment as the reference records have it: cpu profile, the seeds of the reference.

    Args:
        shown: what it is in the paper. sets: data set of each column. make: experiment of a data set.
    """

    def __init__(self, shown: str, sets: tuple[str, str], make: Callable[[str], Experiment]):
        self.shown, self.make = shown, make
        self.sets = dict(zip(COLUMNS, sets, strict=True))

    def specs(self, column: str) -> Experiment:
        return self.make(self.sets[column])


def _late(name: str) -> Callable[[str], Experiment]:
    def make(dataset: str) -> Experiment:
        from dgl_core.paper.experiments import late_fusion, profiles

        return getattr(late_fusion, name)("cpu", dataset, profiles.REFERENCE_SEEDS)

    return make


def _grid(dataset: str) -> Experiment:
    from dgl_core.paper.experiments import late_fusion, profiles

    grid = late_fusion.table1_grid("cpu", dataset, profiles.REFERENCE_SEEDS)
    return {f"{row}{AT}{rate:g}": specs for rate, rows in grid.items() for row, specs in rows.items()}


def _table2(name: str) -> Callable[[str], Experiment]:
    def make(dataset: str) -> Experiment:
        from dgl_core.paper.experiments import table2
        from dgl_core.paper.experiments.profiles import REFERENCE_SEEDS

        # CMU-MOSI: one run on every fold; more seeds on a fold share its test samples and would feign independence
        seeds = table2.NESTED_SEEDS[:1] if dataset == "mosi" else REFERENCE_SEEDS
        return getattr(table2, name)("cpu", dataset, seeds)

    return make


def _table5(dataset: str) -> Experiment:
    from dgl_core.paper.experiments import table5

    return table5.table5_reference(dataset)


SOUND = ("emotions", "grid_letters")
FEATURES = ("triplet", "mosi")
EXPERIMENTS: dict[str, Source] = {
    "branches": Source("Figures 1 and 3, Table 1", SOUND, _late("branches")),
    "table1": Source("Table 1", SOUND, _late("table1")),
    "table1_grid": Source("Table 1 with a grid of learning rates", SOUND, _grid),
    "table3": Source("Table 3", SOUND, _late("table3")),
    "table4": Source("Table 4", SOUND, _late("table4")),
    "fusion_heads": Source("fusion heads", SOUND, _late("fusion_heads")),
    "table2_dense": Source("Table 2, left", SOUND, _table2("table2_dense")),
    "table2_features": Source("Table 2, right", FEATURES, _table2("table2_features")),
    "table5": Source("Table 5", ("rooms", "nyuv2"), _table5),
}


class Records:
    """Rows of any experiment of one column, looked up once.

    Args:
        column: one of ``COLUMNS``. find: record of a specification, or None.
    """

    def __init__(self, column: str, find: Find):
        self.column, self._find, self._known = column, find, {}

    def rows(self, experiment: str, labels: Iterable[str]) -> Rows:
        specs = self._specs(experiment)
        return {label: self._row(experiment, label, specs.get(label, [])) for label in labels}

    def title(self, experiment: str) -> str:
        """Name of the data set that an experiment uses in this column."""
        return title_of(EXPERIMENTS[experiment].sets[self.column])

    def lacking(self, experiment: str) -> str:
        """What a claim without records waits for: a real data set that nobody has recorded, or only the runs."""
        from dgl_core import utils

        dataset = EXPERIMENTS[experiment].sets[self.column]
        recorded = any((utils.reference_root() / dataset).glob("*.json"))
        return "records" if recorded or self.column == GENERATED else f"data: {title_of(dataset)}"

    def _specs(self, experiment: str) -> Experiment:
        if experiment not in self._known:
            self._known[experiment] = EXPERIMENTS[experiment].specs(self.column)
        return self._known[experiment]

    def _row(self, experiment: str, label: str, specs: Iterable[RunSpec]) -> list[RunRecord]:
        place = (experiment, label)
        if place not in self._known:
            self._known[place] = [r for r in map(self._find, specs) if r is not None]
        return self._known[place]


class Given(Records):
    """Rows that are already in hand: ``experiments.branches`` of a notebook, or a folder of the reader's own.

    Args:
        title: what they were trained on. rows: row -> records; serve every experiment that has such rows.
        experiments: those that they may stand for; None: all.
    """

    def __init__(self, title: str, rows: Rows, experiments: tuple[str, ...] | None = None):
        super().__init__(title, lambda spec: None)
        self._rows, self._experiments = rows, experiments

    def rows(self, experiment: str, labels: Iterable[str]) -> Rows:
        fits = self._experiments is None or experiment in self._experiments
        return {label: list(self._rows.get(label, ())) if fits else [] for label in labels}

    def title(self, experiment: str) -> str:
        return self.column

    def lacking(self, experiment: str) -> str:
        return "records"


def title_of(dataset: str) -> str:
    from dgl_core.paper.experiments import profiles

    return profiles.TITLES.get(dataset, dataset)


def committed() -> dict[str, Records]:
    """The reference records, column by column."""
    from dgl_core.runs import keys, run

    cache: dict[str, RunRecord | None] = {}

    def find(spec: RunSpec) -> RunRecord | None:
        key = keys.key(spec)
        if key not in cache:
            found = run.reference([spec])
            cache[key] = found[0] if found else None
        return cache[key]

    return {column: Records(column, find) for column in COLUMNS}


def here() -> dict[str, Records]:
    """The records of this machine's store."""
    from dgl_core.runs import run

    return {column: Records(column, lambda spec: run.same_data(run.find(spec))) for column in COLUMNS}


def reference_groups() -> dict[str, Rows]:
    """Committed records of ``experiments.branches`` for every data set that has them, by title."""
    from dgl_core.paper.experiments import late_fusion, profiles
    from dgl_core.runs import run

    groups = {}
    for dataset in profiles.REFERENCE_DATASETS:
        rows = run.reference(late_fusion.branches("cpu", dataset, profiles.REFERENCE_SEEDS))
        if any(rows.values()):
            groups[profiles.TITLES[dataset]] = rows
    return groups


def own(folder: Path) -> dict[str, Given]:
    """A folder of the reader's records, one entry per data set and model, rows named as ours.

    Raises:
        ValueError: no record there, or two settings that would share a row.
    """
    from dgl_core.runs.store import Store

    found = Store(folder).records() if Path(folder).is_dir() else []
    if not found:
        raise ValueError(f"No run records in {str(folder)!r}: write RunRecord.to_json() of your runs there, as *.json.")
    groups: dict[str, dict[str, list[RunRecord]]] = {}
    for record in found:
        rows = groups.setdefault(f"{record.spec.dataset} ({record.spec.model})", {})
        for label in labels_of(record):
            rows.setdefault(label, []).append(record)
    return {title: Given(title, _settled(title, rows)) for title, rows in groups.items()}


def labels_of(record: RunRecord) -> list[str]:
    """The rows of our experiments that a run belongs to."""
    from dgl_core.paper.experiments.late_fusion import CONTROL, TABLE_1
    from dgl_core.paper.experiments.profiles import ALPHA

    spec = record.spec
    alpha = float(spec.method_options.get("alpha", ALPHA))
    if spec.method == "unimodal":
        base = f"{record.data['modalities'][0]} alone"
        return [base if spec.encoder_lr_scale == 1 else f"{base}, rate x alpha"]
    if spec.method == "vanilla":
        return ["vanilla"] if spec.encoder_lr_scale == 1 else [CONTROL, f"vanilla, rate x {spec.encoder_lr_scale:g}"]
    if spec.method in ("dgl", "dgl_dense", "gblend"):
        label = "G-Blending" if spec.method == "gblend" else "DGL"
        return [label, f"{label}, alpha {alpha:g}"]
    if spec.method == "partial":
        gates = (spec.method_options.get("encoder_gate", 0.0), spec.method_options.get("fusion_gate", 0.0))
        return [{(0.0, 1.0): "+MT", (1.0, 0.0): "+UT"}.get(gates, f"gates {gates[0]:g} and {gates[1]:g}")]
    return [label for label, (method, _) in TABLE_1.items() if method == spec.method] or [spec.method]


def _settled(title: str, rows: dict[str, list[RunRecord]]) -> Rows:
    """Refuse a row with two settings; of several alphas a plain "DGL" or "G-Blending" means the paper's."""
    from dgl_core.paper.experiments.profiles import ALPHA

    settled: dict[str, list[RunRecord]] = {}
    for label, records in rows.items():
        settings = {record.spec.but(seed=0, dataset_options={}).identity(): record for record in records}
        if len(settings) > 1 and label in ("DGL", "G-Blending"):
            records = [r for r in records if float(r.spec.method_options.get("alpha", ALPHA)) == ALPHA]
            settings = {record.spec.but(seed=0, dataset_options={}).identity(): record for record in records}
        if len(settings) > 1:
            one, other, *_ = settings
            raise ValueError(
                f"{title}: row {label!r} has runs of different settings, {one} and {other}; one setting a folder."
            )
        settled[label] = records
    return settled
