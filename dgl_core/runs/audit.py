"""Train some of the committed reference records again and compare: ``python -m dgl_core audit [COUNT]``."""

from __future__ import annotations

import argparse
import datetime
import random
import statistics
import sys
from collections.abc import Callable, Sequence

import numpy as np

from dgl_core.data import DATASETS
from dgl_core.runs.keys import resolve
from dgl_core.runs.store import Store
from dgl_core.training.records import RunSpec
from dgl_core.training.train import train
from dgl_core.utils import reference_root


def audit(count: int = 3, seed: int = 0, say: Callable[[str], None] = print) -> list[str]:
    """Train a sample of the committed reference records again and say what differs; an empty list means nothing.

    On a machine that computes as the one of the record did, every digit must come back. On another one native numerics
    take another path; then the fused test accuracy must lie among those of the record's sister seeds (within four of
    their standard deviations, at least three points). ``seed`` chooses the sample.
    """
    if count < 1:
        raise ValueError(f"count is {count}; it must be at least 1.")
    records = Store(reference_root()).records()
    if not records:
        raise ValueError("results/reference holds no records: check out the repository whole, then audit again.")
    differences = []
    for record in random.Random(seed).sample(records, min(count, len(records))):
        run = resolve(record.spec)
        if run.key != record.key:
            differences.append(f"{run}: made by revisions {record.revisions}, now {run.revisions}")
            continue
        if not DATASETS[record.spec.dataset].available(None):
            say(f"{run}: not trained again, its data are not here")
            continue
        again = train(record.spec, key=record.key, revisions=record.revisions)
        if again.data["fingerprint"] != record.data["fingerprint"]:
            differences.append(f"{run}: the data here are other data than those of the record")
            continue
        names = [name for name in record.curves if not name.startswith("seconds/")]
        if all(np.array_equal(record.curves[n], again.curves.get(n, []), equal_nan=True) for n in names):
            say(f"{run}: identical, {len(names)} curves")
            continue
        sisters = [100 * r.score() for r in records if _sisters(r.spec, record.spec)]
        room = max(3.0, 4 * statistics.stdev(sisters)) if len(sisters) > 1 else 3.0
        gap = 100 * (again.score() - record.score())
        same_machine = all(again.environment[name] == record.environment[name] for name in ("cpu", "torch", "portable"))
        if same_machine or record.environment["portable"] and again.environment["portable"] or abs(gap) > room:
            differences.append(f"{run}: fused test accuracy differs by {gap:+.1f} points (room {room:.1f})")
        else:
            say(f"{run}: other numerics than the record's, {gap:+.1f} points, within the spread of its seeds")
    return differences


def _sisters(one: RunSpec, other: RunSpec) -> bool:
    """Tell whether two specifications are one run up to seed and fold."""
    options = [{k: v for k, v in spec.dataset_options.items() if k != "fold"} for spec in (one, other)]
    return one.but(seed=0, dataset_options=options[0]) == other.but(seed=0, dataset_options=options[1])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dgl audit", description=__doc__.splitlines()[0])
    parser.add_argument("count", nargs="?", type=int, default=3, help="how many records to train again")
    parser.add_argument("--seed", type=int, help="which ones; by default other ones every day")
    options = parser.parse_args(arguments)
    count, seed = options.count, datetime.date.today().toordinal() if options.seed is None else options.seed
    again = f"dgl audit {count} --seed {seed}"
    print(f"Auditing {count} reference records, chosen by seed {seed} (again: {again})", flush=True)
    try:
        differences = audit(count, seed)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for line in differences:
        print(f"DIFFERS  {line}", file=sys.stderr)
    print(f"Reference records: {len(differences)} differences in a sample of {count}")
    return 1 if differences else 0
