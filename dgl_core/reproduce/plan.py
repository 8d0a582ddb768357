"""Plan what a profile trains: its runs by data set, which are recorded, which are missing, how long they take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dgl_core import data
from dgl_core.paper import experiments
from dgl_core.paper.experiments import profiles
from dgl_core.runs import keys, run
from dgl_core.runs.estimates import GUESS, Estimates, operations
from dgl_core.training.records import RunSpec
from dgl_core.utils import duration


@dataclass(frozen=True)
class Plan:
    """Hold the runs of some notebooks."""

    needed: dict[str, list[RunSpec]]  # notebook -> its runs
    every: list[RunSpec]  # each run once
    todo: list[RunSpec]  # those without a record here
    known: Estimates  # of times
    absent: dict[str, list[RunSpec]] = field(default_factory=dict)  # data set that is not here -> runs in no other list

    def seconds(self, spec: RunSpec) -> float:
        """Estimate the time of a run for the progress line; a guess where nothing is known."""
        found = self.known.seconds(spec)
        return spec.epochs * GUESS if found is None else found


def plan_of(profile: str, names: Sequence[str]) -> Plan:
    """Collect the runs that these notebooks need in a profile, and what is known about them."""
    needed = {name: [keys.canonical(spec) for spec in experiments.plan(profile, [name])] for name in names}
    every = once(spec for specs in needed.values() for spec in specs)
    absent = {name: once(specs) for name, specs in experiments.absent(profile, names).items()}
    mentioned = [*every, *(spec for specs in absent.values() for spec in specs)]
    return Plan(needed, every, run.pending(every), run.estimates(mentioned), absent)


def once(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """Keep each specification once, in order."""
    return list({spec.identity(): spec for spec in specs}.values())


def summary(plan: Plan, workers: int) -> str:
    """Say the plan in a line."""
    done = len(plan.every) - len(plan.todo)
    start = f"Plan: {len(plan.needed)} notebooks, {len(plan.every)} training runs; {done} recorded, "
    if not plan.todo:
        return start + "none to train"
    return start + f"{len(plan.todo)} to train: {time_of(plan.todo, plan.known, workers)}"


def time_of(specs: Sequence[RunSpec], known: Estimates, workers: int = 1) -> str:
    """Say how long runs take ("about 3 h"), how much of that is arithmetic, and the operations of what nobody timed."""
    measured = [seconds for spec in specs if (seconds := known.measured(spec)) is not None]
    left = [spec for spec in specs if known.measured(spec) is None]
    computed = [seconds for spec in left if (seconds := known.computed(spec)) is not None]
    left = [spec for spec in left if known.computed(spec) is None]
    counted = [found for spec in left if (found := operations(spec)) is not None]
    parts = []
    if measured or computed:
        share = f", {duration(sum(computed) / workers)} of it by arithmetic" if computed else ""
        parts.append(f"about {duration(sum(measured + computed) / workers)}{share}")
    if counted:
        parts.append(f"{len(counted)} runs of {sum(counted):.1e} operations together, not timed here")
    if len(counted) < len(left):
        parts.append(f"{len(left) - len(counted)} runs whose time is not measured")
    return " and ".join(parts) if measured or computed or counted else "time not measured"


def table(plan: Plan) -> list[str]:
    """Say the plan in a line per data set: runs, recorded, to train, time on one worker, where the data are."""
    todo = {spec.identity() for spec in plan.todo}
    by_set: dict[str, list[RunSpec]] = {}
    for spec in plan.every:
        by_set.setdefault(spec.dataset, []).append(spec)
    rows = [("data set", "runs", "recorded", "to train", "on one worker", "data")]
    for name, specs in by_set.items():
        left = [spec for spec in specs if spec.identity() in todo]
        time = time_of(left, plan.known) if left else "-"
        where = "made here" if data.DATASETS[name].generated else "here"
        counts = map(str, (len(specs), len(specs) - len(left), len(left)))
        rows.append((profiles.TITLES[name], *counts, time, where))
    for name, specs in plan.absent.items():
        where = f"not here: 'python -m dgl_core data status {name}' says how to get it"
        where = where if name in data.DATASETS else "not here: this version does not read it"
        rows.append((profiles.TITLES.get(name, name), str(len(specs)), "-", "-", time_of(specs, plan.known), where))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    form = "  " + "  ".join(f"{{:{side}{width}}}" for side, width in zip("<>>><<", widths, strict=True))
    return [form.format(*row).rstrip() for row in rows]
