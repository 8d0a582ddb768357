"""Estimate how long a run will take, from records of similar runs or from a rehearsal of its data set."""

from __future__ import annotations

import contextlib
import hashlib
import json
import operator
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

from dgl_core.runs.store import Store
from dgl_core.training.records import RunSpec

GUESS = 0.5  # seconds an epoch of a run of which nothing is known
LIKE = operator.attrgetter("dataset", "model", "precision")  # what runs that cost about the same have in common


class Estimates:
    """Collect the times per epoch of the records in ``stores`` and of the full-size reports in ``rehearsals``, once."""

    def __init__(self, stores: Iterable[Path], rehearsals: Path):
        self._recorded: dict[tuple, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._rehearsed: dict[tuple, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for record in chain.from_iterable(Store(store).records() for store in stores):
            self._recorded[LIKE(record.spec)][record.spec.method].append(record.cost["seconds"] / record.spec.epochs)
        for report in reports(rehearsals):
            if report["scale"] == 1:
                about = report["dataset"], report["model"], report["precision"]
                for method, cost in report["methods"].items():
                    self._rehearsed[about][method].append(cost["seconds_per_epoch"])

    def seconds(self, spec: RunSpec) -> float | None:
        """Estimate the seconds of a run by the same method on the same data, else by other methods; None: not known."""
        for known in (self._recorded.get(LIKE(spec)), self._rehearsed.get(LIKE(spec))):
            if known:
                each = known.get(spec.method) or [seconds for values in known.values() for seconds in values]
                return spec.epochs * sum(each) / len(each)
        return None


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
