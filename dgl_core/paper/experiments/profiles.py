"""Say how much to run: the profiles, their seeds, and what all experiments have in common."""

from __future__ import annotations

from dataclasses import dataclass

from dgl_core.data.recipe import facts
from dgl_core.training.records import RunSpec
from dgl_core.utils import unknown_name

Experiment = dict[str, list[RunSpec]]  # row label -> one specification per seed
ALPHA = 4.0  # the paper's value on CREMA-D (Table 4)


@dataclass(frozen=True)
class Profile:
    """How much to run; never what."""

    name: str  # smoke | cpu | paper
    purpose: str  # one line for people
    seeds: tuple[int, ...]  # of the pictures' rows
    table_seeds: tuple[int, ...]  # of the many rows of the benchmark and the ablations
    portable: bool = False  # one thread and portable numerics (bit-identical on all x86-64 processors)


PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        Profile("smoke", "tiny generated data, for tests and the committed notebooks", (0, 1), (0,), portable=True),
        Profile("cpu", "small networks on generated and real data, on two cores", (0, 1), (0,)),
        Profile("paper", "the paper's network and schedule, on one GPU or a cluster", (0, 1, 2), (0, 1, 2)),
    )
}
REFERENCE_SEEDS = tuple(range(10))  # seeds of the committed reference records, otherwise made like the cpu profile
DESCRIPTIVE_SEEDS = REFERENCE_SEEDS[:3]  # of reference rows that describe and decide nothing
REFERENCE_DATASETS = ("emotions", "grid_letters")
TITLES = {name: block.title for name, block in facts().items()}


def profile_named(name: str) -> Profile:
    """Look up a profile; raise a ``ValueError`` that has the nearest name if there is none of that one."""
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES)
    return PROFILES[name]
