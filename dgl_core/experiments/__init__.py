"""Which runs make which table and figure, for every profile: the only place that knows.

Each experiment maps row labels to the specifications of that row, one per seed. Notebooks ask for an experiment, the
runner asks for all of them, and both get the same specifications, so nothing is trained twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from dgl_core.experiments import interaction
from dgl_core.experiments.late_fusion import (
    CONTROL,
    LEARNING_RATES,
    TABLE_1,
    VARIANTS,
    base_specs,
    branches,
    datasets,
    fusion_heads,
    learning_rates,
    table1,
    table1_grid,
    table3,
    table4,
    variants,
)
from dgl_core.experiments.profiles import (
    ALPHA,
    DESCRIPTIVE_SEEDS,
    PROFILES,
    REFERENCE_DATASETS,
    REFERENCE_SEEDS,
    TITLES,
    Experiment,
    Profile,
    profile_named,
)
from dgl_core.records import RunSpec, unknown_name

__all__ = [
    "ALPHA",
    "CONTROL",
    "DESCRIPTIVE_SEEDS",
    "LEARNING_RATES",
    "NOTEBOOKS",
    "PROFILES",
    "REFERENCE_DATASETS",
    "REFERENCE_SEEDS",
    "TABLE_1",
    "TITLES",
    "VARIANTS",
    "Experiment",
    "Profile",
    "base_specs",
    "branches",
    "datasets",
    "fusion_heads",
    "interaction",
    "learning_rates",
    "plan",
    "profile_named",
    "specs_of",
    "table1",
    "table1_grid",
    "table3",
    "table4",
    "variants",
]


def _sound_and_picture(*experiments: Callable[[str, str], Any]) -> Callable[[str], Any]:
    """Those experiments on every audio-visual set of the profile."""
    return lambda profile: [experiment(profile, name) for name in datasets(profile) for experiment in experiments]


# notebook -> the experiments that it asks for, as a function of the profile
NOTEBOOKS: dict[str, Callable[[str], Any]] = {
    "00_start_here": _sound_and_picture(branches),
    "01_data": lambda profile: [],
    "02_gradient_theory": lambda profile: [],
    "03_vanilla_vs_dgl": _sound_and_picture(branches),
    "04_benchmark": _sound_and_picture(table1_grid, table1, variants),
    "05_ablations": _sound_and_picture(table3, table4, fusion_heads),
    "06_dense_and_three_modalities": interaction.table2,
}


def specs_of(experiments: Any) -> Iterator[RunSpec]:
    """Every specification in an experiment, or in any nesting of lists and dictionaries of experiments."""
    if isinstance(experiments, RunSpec):
        yield experiments
    else:
        for part in experiments.values() if isinstance(experiments, Mapping) else experiments:
            yield from specs_of(part)


def plan(profile: str, notebooks: Iterable[str] | None = None) -> list[RunSpec]:
    """Every run that the notebooks of a profile will ask for (with repetitions; ``runs.pending`` removes them)."""
    profile_named(profile)
    specs: list[RunSpec] = []
    for notebook in NOTEBOOKS if notebooks is None else notebooks:
        if notebook not in NOTEBOOKS:
            raise unknown_name("notebook", notebook, NOTEBOOKS)
        specs += specs_of(NOTEBOOKS[notebook](profile))
    return specs
