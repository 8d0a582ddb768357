"""Say what each table costs before anything is trained, and let the reader choose: some tables, or so many hours.

The order is that of what decides most: tables as in ``experiments.TABLES``, CREMA-D before the paper's other sets and
these before the rest, headline rows before the others, and one replicate of all such rows before the next, so that
whatever a budget leaves out, the rows that were trained are paired.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from dgl_core.paper import experiments
from dgl_core.paper.experiments import late_fusion
from dgl_core.paper.experiments.profiles import Experiment
from dgl_core.reproduce.plan import Plan, time_of
from dgl_core.runs.keys import canonical
from dgl_core.training.records import RunSpec
from dgl_core.utils import duration, unknown_name

SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
SETS = late_fusion.PAPER_SETS  # these first, in this order


def read_budget(text: str) -> float:
    """Read a time ("8h", "90 min", "1.5d") as seconds; raise a ``ValueError`` for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text.lower())
    if not found or found[2] not in SECONDS or not float(found[1]):
        raise ValueError(f"the budget is {text!r}; give a time such as 8h, 90m or 2d")
    return float(found[1]) * SECONDS[found[2]]


def read_tables(words: Sequence[str]) -> list[str]:
    """Read names of tables, with commas or spaces between them; raise a ``ValueError`` for one that does not exist."""
    names = [name for word in words for name in word.replace(",", " ").split()]
    for name in names:
        if name not in experiments.TABLES:
            raise unknown_name("table", name, experiments.TABLES)
    return names


def by_table(profile: str, plan: Plan) -> dict[str, list[RunSpec]]:
    """Sort the runs of a plan into tables, each with all that it asks for, the most decisive run first."""
    wanted = {spec.identity(): spec for spec in plan.every}
    planned = {(spec.dataset, spec.method) for spec in plan.every}
    found: dict[str, list[RunSpec]] = {}
    for name, make in experiments.TABLES.items():
        ranks: dict[str, tuple] = {}
        for rows in _rows_of(make(profile)):
            for label, specs in rows.items():
                for spec in (spec for spec in specs if (spec.dataset, spec.method) in planned):
                    of_set = SETS.index(spec.dataset) if spec.dataset in SETS else len(SETS)
                    rank = (of_set, label not in late_fusion.HEADLINE, spec.seed, len(ranks))
                    ranks.setdefault(canonical(spec).identity(), rank)
        found[name] = [wanted[i] for i in sorted(ranks, key=ranks.__getitem__) if i in wanted]
    return found


def _rows_of(made: Any) -> Iterator[Experiment]:
    """Walk over the experiments, row label -> specifications, in any nesting of lists and dictionaries."""
    if isinstance(made, dict) and all(isinstance(key, str) for key in made):
        yield made
    else:
        for part in made.values() if isinstance(made, dict) else made:
            yield from _rows_of(part)


def prices(tables: dict[str, list[RunSpec]], plan: Plan) -> list[str]:
    """Say the price of every table in a line: its runs, those to train, and what is new beside the tables above it."""
    todo, seen = {spec.identity() for spec in plan.todo}, set()
    lines = ["  table      runs  to train   new   of them, on one worker"]
    for name, specs in tables.items():
        left = [spec for spec in specs if spec.identity() in todo]
        new = [spec for spec in left if spec.identity() not in seen]
        seen |= {spec.identity() for spec in new}
        time = time_of(new, plan.known) if new else "-"
        lines.append(f"  {name:9s} {len(specs):5d} {len(left):9d} {len(new):5d}   {time}")
    return lines


def chosen(
    tables: dict[str, list[RunSpec]], plan: Plan, names: Sequence[str] = (), budget: float = 0.0, workers: int = 1
) -> Plan:
    """Keep what the named tables (all without a name) train, as far as ``budget`` seconds go.

    Raises:
        ValueError: nothing is known of the time of a run that a budget has to count.
    """
    todo = {spec.identity() for spec in plan.todo}
    order = {spec.identity(): spec for name in names or tables for spec in tables[name]}
    wanted = [spec for identity, spec in order.items() if identity in todo]
    if not names:
        wanted += [spec for spec in plan.todo if spec.identity() not in order]
    if not budget:
        return replace(plan, todo=wanted)
    unknown = [spec for spec in wanted if plan.known.seconds(spec) is None]
    if unknown:
        raise ValueError(
            f"a budget needs the time of every run, and of {len(unknown)} of {len(wanted)} it is not known (the first: "
            f"{unknown[0].method} on {unknown[0].dataset}); measure with REHEARSE=0.05, or choose tables instead"
        )
    kept, left = [], budget * workers
    for spec in wanted:
        seconds = plan.known.seconds(spec)
        if seconds <= left:
            kept.append(spec)
            left -= seconds
    return replace(plan, todo=kept)


def said(whole: Plan, part: Plan, budget: float, workers: int) -> str:
    """Say in a line what was chosen."""
    left = len(whole.todo) - len(part.todo)
    most = f" within {duration(budget)}" if budget else ""
    time = f": {time_of(part.todo, part.known, workers)}" if part.todo else ""
    return f"Chosen{most}: {len(part.todo)} of {len(whole.todo)} runs{time}; {left} are left out"
