"""Make the runs that the registration asks for, two at a time; interrupted, go on where they were.

python -m tools.confirm pilots  [REGIME ...]             every row, at rates that bracket its best
python -m tools.confirm choose  [REGIME ...]             what they chose -> results/pilots.toml
python -m tools.confirm double  [REGIME ...]             what twice the schedule gains -> results/pilots.toml
python -m tools.confirm run     [REGIME ...]             the confirming replicates, headline rows first
python -m tools.confirm follow  [REGIME ...]             the replicates of the follow-up study
python -m tools.confirm second  [REGIME ...]             headline rows at their second-best rates, first look
python -m tools.confirm longer  [REGIME ...]             headline rows with twice the epochs, where that gains
python -m tools.confirm publish [REGIME ...]             their records -> results/confirming
python -m tools.confirm procedure                        planted differences -> results/procedure.json
python -m tools.confirm status                           how many are made, and the core-hours they took
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dgl_core.data.files.atomic import write_atomic
from dgl_core.paper.answers import procedure, sensitivity
from dgl_core.paper.answers.followup import studies
from dgl_core.paper.answers.regimes import (
    LADDER,
    PILOTS,
    best_form,
    choose,
    chosen,
    confirming,
    confirming_root,
    longer,
    needed,
    pilots,
    rate_of,
    regime,
    searched,
    wider,
)
from dgl_core.paper.answers.sensitivity import LONG_ENOUGH
from dgl_core.paper.answers.verdicts import answer_family
from dgl_core.runs import run
from dgl_core.runs.store import Store
from dgl_core.runs.workers import local_workers
from dgl_core.training.loop import TrainingDiverged
from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.verdicts.families import UNDECIDED
from dgl_core.verdicts.registration import Family, Question, registration

WORKERS = 2


def make(specs: Sequence[RunSpec], what: str) -> None:
    """Make the runs that are not recorded yet; those that diverge stay without a record."""
    missing = run.pending(specs)
    print(f"{what}: {len(specs) - len(missing)} of {len(specs)} recorded", flush=True)
    try:
        with local_workers(WORKERS) as pool:
            run.run_all(missing, pool, progress=lambda done, total, spec, seconds: print(
                f"{what}: {done} of {total}, {seconds / 60:.0f} min: {spec} ({spec.lr:g})", flush=True))  # fmt: skip
    except run.RunsFailed as failed:
        other = [(spec, error) for spec, error in failed.failures if not isinstance(error, TrainingDiverged)]
        if other:
            raise run.RunsFailed(other) from failed


def recorded(name: str, row: str, rate: float) -> list[RunRecord]:
    """Find the pilots of a row at a rate: all of them, or none where one is missing or diverged."""
    found = [run.find(spec) for spec in pilots(name, row, rate)]
    return found if all(found) else []


def search(name: str, most: int | None) -> None:
    """Make pilots, and wider ones, until the best rate of each of the first rows lies between two that were tried."""
    tried = {row: set(regime(name).rates) for row in searched(name)[:most]}
    todo = {row: sorted(rates) for row, rates in tried.items()}
    while todo:
        make([spec for row, rates in todo.items() for rate in rates for spec in pilots(name, row, rate)], name)
        todo = {}
        for row, rates in tried.items():
            known = {rate: records for rate in sorted(rates) if (records := recorded(name, row, rate))}
            if known and (more := wider(sorted(rates), choose(known)["rate"])):
                tried[row] |= set(more)
                todo[row] = more


def double(name: str, most: int | None) -> None:
    """Measure what twice the schedule gains: the points on validation, of each of the first rows at its own rate."""
    rows = {row: pilots(name, row, rate_of(name, row)) for row in searched(name)[:most] if rate_of(name, row)}
    make([longer(spec) for specs in rows.values() for spec in specs], f"{name}, twice as long")
    for row, specs in rows.items():
        pairs = [(run.find(spec), run.find(longer(spec))) for spec in specs]
        gains = [b.score(part="val") - a.score(part="val") for a, b in pairs]
        chosen()[name][row]["doubled"] = round(100 * statistics.fmean(gains), 2)
    write(chosen())
    gained = [row for row in rows if chosen()[name][row]["doubled"] > LONG_ENOUGH]
    print(f"{name}: twice the schedule gains more than {LONG_ENOUGH} points for: {', '.join(gained) or 'no row'}")


def write_choices(name: str) -> None:
    """Choose rates and seconds of a regime from the pilots that are recorded here, and write them."""
    grids = {row: {r: found for r in LADDER if (found := recorded(name, row, r))} for row in searched(name)}
    if missing := [row for row, grid in grids.items() if len(grid) < 2]:
        print(f"{name}: rows without pilots: {', '.join(missing)}")
    before = chosen().get(name, {})
    rows = {
        row: before.get(row, {}) | choose(grid) | {"tried": list(grid)} for row, grid in grids.items() if len(grid) > 1
    }
    edge = [row for row, found in rows.items() if wider(found["tried"], found["rate"])]
    print(f"{name}: {len(rows)} rows; beside a rate that diverged: {', '.join(edge) or 'none'}")
    write(chosen() | {name: rows})


def write(choices: Mapping[str, Mapping[str, Mapping]]) -> None:
    lines = ["# Which learning rate the pilots of each row chose by validation, which came second, that score, and",
             "# the points that a schedule twice as long gains (doubled).", ""]  # fmt: skip
    for name, rows in choices.items():
        lines.append(f"[{name}]")
        for row, found in rows.items():
            lines.append(f'"{row}" = {{ ' + ", ".join(f"{k} = {v}" for k, v in found.items()) + " }")
        lines.append("")
    write_atomic(PILOTS, "\n".join(lines))
    chosen.cache_clear()


def replicates(name: str, rows: Sequence[str], count: int, which: str = "rate", first: int = 0) -> list[RunSpec]:
    """List the confirming runs of some rows, replicate by replicate, so that an interruption leaves whole ones."""
    each = confirming(name, rows, count, which, first)
    return [specs[number] for number in range(count) for specs in each.values()]


def looks(name: str) -> list[tuple[int, Family]]:
    """List the looks at a regime: first all families at their first look, as the registration orders them."""
    families = [family for family in registration().families.values() if family.dataset == name]
    most = max(len(family.looks) for family in families)
    return [(f.looks[i].replicates, f) for i in range(most) for f in families if i < len(f.looks)]


def confirm(name: str, most: int) -> None:
    """Make the replicates of every look of at most so many; later ones only for questions that are still undecided."""
    for count, family in [(count, family) for count, family in looks(name) if count <= most]:
        known = answer_family(family, run.find)
        open_ = [a.question for a in known.values() if a.judged.word == UNDECIDED or a.look == 0]
        make(replicates(name, rows_of(name, open_), count), f"{name}, {family.name}, {count}")


def rows_of(name: str, questions: Iterable[Question], which: str = "rate") -> list[str]:
    """List the rows that answer some questions, of each rival its best form, where pilots found them a rate."""
    asked = [replace(q, than=(best_form(name, q.than),)) for q in questions]
    rows = dict.fromkeys(row for q in asked for row in needed(q, regime(name).modalities))
    return [row for row in rows if rate_of(name, row, which)]


def otherwise(name: str, which: str) -> list[RunSpec]:
    """List the runs of a sensitivity line, "second" or "longer" (as of ``confirming``): the headline of a set."""
    family = registration().families.get(("headline", name))
    if family is None or which == "longer" and not sensitivity.too_short(name):
        return []
    return replicates(name, rows_of(name, sensitivity.answerable(family), which), family.looks[0].replicates, which)


def of_followup(name: str) -> list[RunSpec]:
    """List the runs of the follow-up study of a set: none where it has no study."""
    return [
        spec
        for study in studies()
        if study.family.dataset == name
        for spec in replicates(name, rows_of(name, study.questions), study.replicates, first=study.first)
    ]


def everything(name: str) -> list[RunSpec]:
    """List the confirming runs that any look may ask for."""
    rows = [row for row in regime(name).rows() if rate_of(name, row)]
    return replicates(name, rows, max(count for count, _ in looks(name)))


def publish(name: str) -> None:
    """Copy the confirming records, without predictions: what each test item adds is all that verdicts need."""
    store = Store(confirming_root() / name)
    specs = everything(name) + otherwise(name, "second") + otherwise(name, "longer") + of_followup(name)
    found = [record for record in map(run.find, specs) if record is not None]
    for record in found:
        right = {key: bits for key, bits in record.right.items() if key == "last"}
        last = record.arrays.get("last", {})
        shares = {branch: {"shares": kept["shares"]} for branch, kept in last.items() if "shares" in kept}
        arrays = {"last": shares} if shares else {}
        store.replace(dataclasses.replace(record, predictions={}, right=right, arrays=arrays))
    print(f"{name}: {len(found)} records in {confirming_root() / name}")


def status(name: str) -> None:
    """Say how many runs of a regime are made, and the core-hours they took."""
    pilot = [found for row in searched(name) for rate in LADDER for found in recorded(name, row, rate)]
    hours = sum(record.cost["seconds"] for record in pilot) / 3600
    wanted = everything(name)
    found = [record for record in map(run.find, wanted) if record is not None]
    spent = sum(record.cost["seconds"] for record in found) / 3600
    print(f"{name}: {len(pilot)} pilots, {hours:.1f} core-hours; confirming {len(found)} of at most {len(wanted)}, "
          f"{spent:.1f} core-hours")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.confirm", description=__doc__.splitlines()[0])
    steps = ("pilots", "choose", "double", "run", "follow", "second", "longer", "publish", "procedure", "status")
    parser.add_argument("what", choices=steps)
    parser.add_argument("regimes", nargs="*", help="by default all registered ones")
    parser.add_argument(
        "--rows", type=int, help="of pilots and double: so many of the rows, as questions name them first"
    )
    parser.add_argument("--most", type=int, default=1000, help="of run: only looks at so many replicates or fewer")
    options = parser.parse_args(arguments)
    names = options.regimes or list(registration().regimes)
    if options.what == "procedure":
        procedure.renew()
        return 0
    do = {"pilots": lambda name: search(name, options.rows), "run": lambda name: confirm(name, options.most),
          "double": lambda name: double(name, options.rows),
          "follow": lambda name: make(of_followup(name), f"{name}, follow-up"),
          "second": lambda name: make(otherwise(name, "second"), f"{name}, second-best rates"),
          "longer": lambda name: make(otherwise(name, "longer"), f"{name}, headline twice as long")}  # fmt: skip
    for name in names:
        (do | {"choose": write_choices, "publish": publish, "status": status})[options.what](name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
