"""Make the runs that the registration asks for, two at a time; interrupted, go on where they were.

python -m tools.confirm pilots  [REGIME ...]             every row at every rate, on the pilot replicates
python -m tools.confirm choose  [REGIME ...]             what they chose -> results/pilots.toml
python -m tools.confirm run     [REGIME ...] [--count N] the confirming replicates, headline rows first
python -m tools.confirm publish [REGIME ...]             their records -> results/confirming
python -m tools.confirm status                           how many are made, and the core-hours they took
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from dgl_core.data.files.atomic import write_atomic
from dgl_core.paper.answers.regimes import PILOTS, choose, chosen, confirming, confirming_root, pilots, regime
from dgl_core.runs import run
from dgl_core.runs.store import Store
from dgl_core.runs.workers import local_workers
from dgl_core.training.records import RunSpec
from dgl_core.verdicts.registration import registration

WORKERS = 2


def make(specs: Sequence[RunSpec], what: str) -> None:
    """Make the runs that are not recorded yet."""
    missing = run.pending(specs)
    print(f"{what}: {len(specs) - len(missing)} of {len(specs)} recorded", flush=True)
    with local_workers(WORKERS) as pool:
        run.run_all(missing, pool, progress=lambda done, total, spec, seconds: print(
            f"{what}: {done} of {total}, {seconds / 60:.0f} min, last {spec} ({spec.lr:g})", flush=True))  # fmt: skip


def replicates(name: str, count: int) -> list[RunSpec]:
    """List the confirming runs of a regime, replicate by replicate, so that an interruption leaves whole ones."""
    rows = confirming(name, [row for row in regime(name).rows() if row in chosen().get(name, {})], count)
    return [specs[number] for number in range(count) for specs in rows.values()]


def write_choices(names: Sequence[str]) -> None:
    """Choose rates and seconds from the pilots that are recorded here, and write them."""
    choices = dict(chosen())
    for name in names:
        grid = {rate: {row: [r for r in map(run.find, specs) if r is not None] for row, specs in rows.items()}
                for rate, rows in pilots(name, regime(name).rows()).items()}  # fmt: skip
        known = [
            row
            for row in regime(name).rows()
            if all(len(at[row]) == len(registration().pilots) for at in grid.values())
        ]
        choices[name] = {row: choose(grid, row) for row in known}
        edge = [row for row, found in choices[name].items() if found["rate"] in (min(grid), max(grid))]
        print(f"{name}: {len(known)} rows; at an edge of the grid: {', '.join(edge) or 'none'}")
    lines = ["# Which learning rate the pilots of each row chose by validation, which came second, and that score.", ""]
    for name, rows in choices.items():
        lines.append(f"[{name}]")
        lines += [
            f'"{row}" = {{ ' + ", ".join(f"{k} = {v:g}" for k, v in found.items()) + " }" for row, found in rows.items()
        ]
        lines.append("")
    write_atomic(PILOTS, "\n".join(lines))
    chosen.cache_clear()


def publish(names: Sequence[str], count: int) -> None:
    """Copy the confirming records, without predictions: which items were right is all that verdicts need."""
    for name in names:
        store, copied = Store(confirming_root() / name), 0
        for spec in replicates(name, count):
            record = run.find(spec)
            if record is not None:
                store.replace(dataclasses.replace(record, predictions={}, right={"last": record.right["last"]}))
                copied += 1
        print(f"{name}: {copied} records in {confirming_root() / name}")


def status() -> None:
    for name in registration().regimes:
        pilot = [s for rows in pilots(name, regime(name).rows()).values() for specs in rows.values() for s in specs]
        found = [record for record in map(run.find, pilot) if record is not None]
        hours = sum(record.cost["seconds"] for record in found) / 3600
        line = f"{name}: pilots {len(found)} of {len(pilot)}, {hours:.1f} core-hours"
        if chosen().get(name):
            wanted = replicates(name, 40)
            found = [record for record in map(run.find, wanted) if record is not None]
            hours = sum(record.cost["seconds"] for record in found) / 3600
            line += f"; confirming {len(found)} of {len(wanted)}, {hours:.1f} core-hours"
        print(line)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.confirm", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("pilots", "choose", "run", "publish", "status"))
    parser.add_argument("regimes", nargs="*", help="by default all registered ones")
    parser.add_argument("--count", type=int, default=40, help="replicates (default: %(default)s)")
    options = parser.parse_args(arguments)
    names = options.regimes or list(registration().regimes)
    if options.what == "pilots":
        for name in names:
            grid = pilots(name, regime(name).rows())
            make([s for rows in grid.values() for specs in rows.values() for s in specs], f"pilots of {name}")
    elif options.what == "choose":
        write_choices(names)
    elif options.what == "run":
        for name in names:
            make(replicates(name, options.count), name)
    elif options.what == "publish":
        publish(names, options.count)
    else:
        status()
    return 0


if __name__ == "__main__":
    sys.exit(main())
