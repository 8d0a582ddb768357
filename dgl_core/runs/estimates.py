"""Estimate how long a run will take: from records of similar runs, from a rehearsal of its data set, or by arithmetic.

By arithmetic: the operations of the run (``results/operations.json``, which ``tests/bench/bench_operations.py`` counts)
divided by the operations a second that rehearsals here reached in the same precision.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import operator
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path

from dgl_core.runs.store import Store
from dgl_core.training.records import RunSpec
from dgl_core.utils import project_root

GUESS = 0.5  # seconds an epoch of a run of which nothing is known
# Methods whose cost does not arise in each step -> their cost in epochs of vanilla training: one trial training per
# modality and one of all together as long as the run; three extractions of all features.
DERIVED = {"gblend_ogr": 4.0, "relearn": 1.05}
SCORED = "scored"  # the entry of the counts that is the scoring of a sample, not a method
HALVED = "halved"  # in the counts of a method: the same at half the height and width of pictures and spectrograms
PROBE = 256  # training samples that are scored with the validation and test part, at most
LIKE = operator.attrgetter("dataset", "model", "precision")  # what runs that cost about the same have in common


class Estimates:
    """Collect the times per epoch of the records in ``stores`` and of the full-size reports in ``rehearsals``, once."""

    def __init__(self, stores: Iterable[Path], rehearsals: Path):
        self._recorded: dict[tuple, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._rehearsed: dict[tuple, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        records = chain.from_iterable(Store(store).records() for store in stores)
        for record in (record for record in records if not record.spec.half_resolution):  # its epochs are of two kinds
            self._recorded[LIKE(record.spec)][cost_name(record.spec)].append(
                record.cost["seconds"] / record.spec.epochs
            )
        for report in reports(rehearsals):
            if report["scale"] == 1:
                about = report["dataset"], report["model"], report["precision"]
                for method, cost in report["methods"].items():
                    self._rehearsed[about][method].append(cost["seconds_per_epoch"])

        self._speeds = speeds(reports(rehearsals))

    def seconds(self, spec: RunSpec) -> float | None:
        """Estimate the seconds of a run: measured if anything like it was, else by arithmetic; None: not known."""
        measured = self.measured(spec)
        return self.computed(spec) if measured is None else measured

    def computed(self, spec: RunSpec) -> float | None:
        """Estimate the seconds of a run by arithmetic; None without counts or without a rehearsal in its precision."""
        counted, speed = operations(spec), self._speeds.get(spec.precision)
        return counted / speed if counted and speed else None

    def measured(self, spec: RunSpec) -> float | None:
        """Estimate the seconds of a run by the same method on the same data, else by other methods.

        None: not known, or epochs at half resolution, which arithmetic tells apart.
        """
        if spec.half_resolution:
            return None
        for known in (self._recorded.get(LIKE(spec)), self._rehearsed.get(LIKE(spec))):
            if known:
                each = known.get(cost_name(spec)) or [seconds for values in known.values() for seconds in values]
                return spec.epochs * sum(each) / len(each)
        return None


def cost_name(spec: RunSpec) -> str:
    """Name what a step of a run costs by: its method, and the modality of one that trains alone."""
    modality = spec.method_options.get("modality")
    return f"{spec.method} {modality}" if modality else spec.method


@lru_cache(maxsize=4)
def counts(path: Path) -> dict[str, dict]:
    """Read the counts: "<data set> <model>" -> ``counts`` of the parts, ``methods`` -> operations and bytes."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["rows"]
    except OSError:  # an installed package has none
        return {}


def counted(spec: RunSpec) -> tuple[Mapping, float] | None:
    """Find the counts of a run's data set and network, and the operations of a training step for each sample of it.

    Where some epochs are at half resolution, it is the mean over all epochs.
    """
    row = counts(project_root() / "results" / "operations.json").get(f"{spec.dataset} {spec.model}")
    if row is None:
        return None
    factor, name = DERIVED.get(spec.method, 1.0), cost_name(spec)
    found = row["methods"].get("vanilla" if spec.method in DERIVED else name) or row["methods"]["vanilla"]
    half = spec.halved_epochs / spec.epochs
    if half and HALVED not in found:
        return None
    sizes = ((1 - half, found), (half, found.get(HALVED, found)))
    each = sum(share * (at["operations"] + at.get("fixed_operations", 0.0) / spec.batch_size) for share, at in sizes)
    return row, factor * each


def step_work(spec: RunSpec) -> tuple[float, float] | None:
    """Find the operations and the bytes of one training step of a run; None where they were not counted."""
    found = counted(spec)
    if found is None:
        return None
    row, each = found
    moved = row["methods"].get(cost_name(spec)) or row["methods"]["vanilla"]
    return each * spec.batch_size, moved["fixed_bytes"] + moved["bytes"] * spec.batch_size


def operations(spec: RunSpec) -> float | None:
    """Count the floating-point operations of a whole run, evaluation included; None where they were not counted."""
    found = counted(spec)
    if found is None:
        return None
    row, each = found
    train, *others = row["counts"]
    alone = row["methods"][cost_name(spec)]["operations"] if "modality" in spec.method_options else None
    share = alone / row["methods"]["vanilla"]["operations"] if alone else 1.0  # one modality is scored alone, too
    scored = min(PROBE, train) + sum(others)
    trained = train // spec.batch_size * spec.batch_size
    scorings = -(-spec.epochs // spec.evaluate_every)
    return spec.epochs * trained * each + scorings * scored * share * row["methods"][SCORED]["operations"]


def speeds(rehearsed: Iterable[Mapping]) -> dict[str, float]:
    """Find the operations a second that rehearsals reached: precision -> median over data sets and methods."""
    found: dict[str, list[float]] = defaultdict(list)
    for report in rehearsed:
        for cost in report["methods"].values() if report["scale"] else ():
            if "operations" in cost and "derived" not in cost:
                found[report["precision"]].append(cost["operations"] / cost["step_ms"] * 1000)
    return {precision: statistics.median(values) for precision, values in found.items()}


def signed(report: Mapping) -> dict[str, object]:
    """Add its checksum to a rehearsal report, as ``reports`` expects it."""
    content = {name: value for name, value in report.items() if name != "checksum"}
    return content | {"checksum": hashlib.sha256(json.dumps(content).encode()).hexdigest()}


def reports(folder: Path) -> list[Mapping]:
    """Read all rehearsal reports that are as they were written, the latest of a configuration last."""
    found = []
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            report = json.loads(path.read_text(encoding="utf-8"))
            if report["checksum"] == signed(report)["checksum"]:
                found.append(report)
                continue
        said = "is not used: it is damaged or of another version; rehearse again, or delete it."
        print(f"Rehearsal report {path.name} {said}", file=sys.stderr)
    return found
