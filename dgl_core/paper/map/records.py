"""Keep the map's records: one compressed file a map, with the commit, the versions and the device that made it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dgl_core.data.files.atomic import write_atomic
from dgl_core.gradients import FUSED
from dgl_core.paper.map.design import RESULTS, maps, names, registered
from dgl_core.paper.map.runs import STATISTICS, WHOLE, absent, branches
from dgl_core.training.environment import describe, utc_now

DIVERGED = 65535  # in place of a count: training diverged
ABSENT = 65534  # in place of a count: this column was not run yet


@dataclass(frozen=True)
class Record:
    """All runs of one map, columns that were not run yet left open.

    Attributes:
        arrays: "test/ROW" and "val/ROW": counts of right samples [S, I, D, B], 65535 where training diverged;
            "rate/ROW": [S]; "statistics": what ``diagnose`` finds in vanilla training [S, I, D, F].
        about: environment, date, number of test and validation samples.
    """

    name: str
    arrays: Mapping[str, np.ndarray]
    about: Mapping[str, object]

    @property
    def modalities(self) -> tuple[str, ...]:
        return names(maps()[self.name].modalities)

    def accuracy(self, row: str, part: str = "test") -> dict[str, np.ndarray]:
        """Give percentages of every branch, and "absent", "weakest": ``{branch: [S, I, D]}``.

        Diverged runs have 0, columns that were not run yet NaN.
        """
        hits = self.arrays[f"{part}/{row}"].astype(float)
        hits = np.select([hits == DIVERGED, hits == ABSENT], [0.0, np.nan], hits) * 100 / self.about[part]
        found = {branch: hits[..., b] for b, branch in enumerate(branches(self.modalities))}
        found["absent"] = absent(found, self.modalities)
        return found | {"weakest": np.min([found[m] for m in self.modalities], axis=0)}

    @property
    def columns(self) -> np.ndarray:
        """List the places of the columns that were run."""
        hits = next(values for name, values in self.arrays.items() if name.startswith("test/"))
        return np.flatnonzero((hits != ABSENT).all(axis=(1, 2, 3)))

    def difference(self, row: str, than: str, branch: str = FUSED) -> np.ndarray:
        """Subtract two rows, draw by draw, in points ``[S, I, D]``."""
        return self.accuracy(row)[branch] - self.accuracy(than)[branch]

    def statistic(self, name: str) -> np.ndarray:
        """Look up what ``diagnose`` found: one of ``WHOLE`` [S, I, D], or of ``STATISTICS`` [S, I, D, M]."""
        whole = self.arrays["statistics"]
        if name in WHOLE:
            return whole[..., WHOLE.index(name)]
        return whole[..., len(WHOLE) :].reshape(*whole.shape[:3], -1, len(STATISTICS))[..., STATISTICS.index(name)]


def environment() -> dict[str, object]:
    """Describe where and when runs are made."""
    return describe(torch.device("cpu")) | {"created": utc_now()}


def save(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, object]) -> None:
    """Write arrays and what is said about them into one compressed file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, about=np.array(json.dumps(about)), **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Read what ``save`` wrote.

    Raises:
        FileNotFoundError: no such file; says how to make it.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is not in results/map: make it by 'python -m tools.map'.")
    with np.load(path) as file:
        return {name: file[name] for name in file.files if name != "about"}, json.loads(str(file["about"]))


def record(name: str) -> Record:
    """Read the record of a map."""
    return Record(name, *load(RESULTS / f"{name}.npz"))


def available() -> tuple[str, ...]:
    """List the maps that are recorded, in their registered order."""
    return tuple(name for name in maps() if (RESULTS / f"{name}.npz").exists())


def missing(name: str) -> str:
    """Say which command makes a record that is not there yet; nothing if it is."""
    command = {"forecast_cases": "cases"}.get(name, f"run {name}" if name in maps() else name)
    there = any((RESULTS / f"{name}.{kind}").exists() for kind in ("npz", "json"))
    return "" if there else f"No records of {name} yet: python -m tools.map {command}"


def synergies() -> np.ndarray:
    """List the columns of every map."""
    return np.array(registered()["synergies"])
