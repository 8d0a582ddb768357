"""Specify which runs make which table and figure, for every profile: the only place that knows.

Each experiment maps row labels to the specifications of that row, one per seed. Notebooks and the runner get the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dgl_core.paper.experiments import beyond, late_fusion, table2, table5
from dgl_core.paper.experiments.profiles import profile_named
from dgl_core.training.records import RunSpec
from dgl_core.utils import unknown_name


@dataclass(frozen=True)
class OnEverySet:
    """Specify those experiments on audio-visual sets; by default on those that ``sets`` finds for the profile."""

    experiments: tuple[Callable[[str, str], Any], ...]
    sets: Callable[[str], list[str]] = late_fusion.datasets

    def __call__(self, profile: str, names: Iterable[str] | None = None) -> list[Any]:
        chosen = self.sets(profile) if names is None else names
        return [experiment(profile, name) for name in chosen for experiment in self.experiments]


def _scenes(profile: str, names: Iterable[str] | None = None) -> list[Any]:
    return [table5.table5(profile, dataset) for dataset in table5.scenes(profile)] if names is None else []


# notebook -> the experiments that it asks for, as a function of the profile and, if given, of audio-visual sets
NOTEBOOKS: dict[str, Callable[..., Any]] = {
    "00_start_here": OnEverySet((late_fusion.branches,)),
    "01_data": OnEverySet(()),
    "02_gradient_theory": OnEverySet(()),
    "03_vanilla_vs_dgl": OnEverySet((late_fusion.branches,)),
    "04_benchmark": OnEverySet(
        (late_fusion.table1_grid, late_fusion.table1, late_fusion.variants), late_fusion.table1_datasets
    ),
    "05_ablations": OnEverySet((late_fusion.table3, late_fusion.table4, late_fusion.fusion_heads)),
    "06_dense_and_three_modalities": table2.table2,
    "07_segmentation": _scenes,
    "08_beyond_the_paper": beyond.notebook_08,
    "09_when_does_it_help": OnEverySet(()),
}


# Table of the paper, or what goes beyond it -> its experiments, the most decisive first; called as NOTEBOOKS are
TABLES: dict[str, Callable[..., Any]] = {
    "1": OnEverySet((late_fusion.table1,), late_fusion.table1_datasets),
    "figures": OnEverySet((late_fusion.branches,)),
    "3": OnEverySet((late_fusion.table3,)),
    "2": table2.table2,
    "5": _scenes,
    "4": OnEverySet((late_fusion.table4,)),
    "rates": OnEverySet((late_fusion.table1_grid,), late_fusion.table1_datasets),
    "heads": OnEverySet((late_fusion.fusion_heads,)),
    "variants": OnEverySet((late_fusion.variants,), late_fusion.table1_datasets),
    "beyond": beyond.notebook_08,
}


def specs_of(experiments: Any) -> Iterator[RunSpec]:
    """Walk over every specification in an experiment, or in any nesting of lists and dictionaries of them."""
    if isinstance(experiments, RunSpec):
        yield experiments
    else:
        for part in experiments.values() if isinstance(experiments, Mapping) else experiments:
            yield from specs_of(part)


def plan(profile: str, notebooks: Iterable[str] | None = None) -> list[RunSpec]:
    """List every run that the notebooks of a profile ask for (with repetitions, which ``runs.pending`` removes)."""
    profile_named(profile)
    specs: list[RunSpec] = []
    for notebook in NOTEBOOKS if notebooks is None else notebooks:
        if notebook not in NOTEBOOKS:
            raise unknown_name("notebook", notebook, NOTEBOOKS)
        specs += specs_of(NOTEBOOKS[notebook](profile))
    return specs


def absent(profile: str, notebooks: Iterable[str] | None = None) -> dict[str, list[RunSpec]]:
    """List, for every audio-visual set that is not here, the runs that the notebooks would ask for if it were."""
    found: dict[str, list[RunSpec]] = {name: [] for name in late_fusion.absent_datasets(profile)}
    for notebook in NOTEBOOKS if notebooks is None else notebooks:
        asks = NOTEBOOKS[notebook]
        for name, specs in found.items():
            own_sets = getattr(asks, "sets", late_fusion.datasets) is not late_fusion.datasets
            if own_sets or name in late_fusion.REAL_SETS[profile]:
                specs += specs_of(asks(profile, [name]))
    return found
