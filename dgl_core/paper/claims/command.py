"""Print verdicts: ``python -m dgl_core claims [ID] [--rerun] [--mine FOLDER]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dgl_core import data
from dgl_core.paper.claims import digest, judging
from dgl_core.paper.claims.ledger import CLAIMS, Claim, claim_named
from dgl_core.paper.claims.mine import records_in
from dgl_core.paper.claims.records import EXPERIMENTS, GENERATED, Records, records_here, reference_records
from dgl_core.paper.experiments.profiles import TITLES
from dgl_core.runs import run
from dgl_core.runs.store import Store
from dgl_core.runs.workers import local_workers
from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.utils import duration, results_root
from dgl_core.verdicts.statistics import DECIDING


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dgl claims", description="Verdicts on the paper's claims.")
    parser.add_argument("id", nargs="?", help="one claim, with the records that it rests on")
    parser.add_argument("--rerun", action="store_true", help="train what it rests on here, and judge by that")
    parser.add_argument("--seeds", type=int, help="of --rerun: at most so many a row")
    parser.add_argument("--mine", metavar="FOLDER", help="judge the run records in this folder")
    options = parser.parse_args(arguments)
    try:
        _check(options)
        claims = list(CLAIMS) if options.id is None else [claim_named(options.id)]
        if options.mine is not None:
            return _mine(claims, Path(options.mine))
        columns, here = reference_records(), digest.records_are_here()
        # a rerun is judged as strictly as the reference
        together = judging.judged_together(judging.LEDGER, columns.values()) if here else digest.together()
        if options.rerun:
            _train(claims, options.seeds or 0)
            columns = records_here()
        carried = not here and not options.rerun
        found = digest.judged(claims) if carried else judging.judge_ledger(columns, claims, together)
        for claim, judged in found:
            _show(claim, columns, judged)
            if options.id:
                _details(claim, judged, together, rerun=options.rerun)
        if carried:
            print(digest.about())
    except (ValueError, OSError, run.RunsFailed) as error:
        print(f"error: {printable(str(error), 2000)}", file=sys.stderr)
        return 2
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuse options that contradict each other or mean nothing."""
    if options.mine is not None and options.rerun:
        raise ValueError("--mine judges records that exist and --rerun makes new ones: give one of them.")
    if options.mine == "":
        raise ValueError("--mine is empty: name the folder with your run records.")
    if options.seeds is not None and not options.rerun:
        raise ValueError("--seeds says how many runs a row --rerun makes: give --rerun too, or leave it out.")
    if options.seeds is not None and options.seeds < 1:
        raise ValueError(f"--seeds is {options.seeds}; it must be at least 1.")


def _show(claim: Claim, columns: dict[str, Records], judged: dict[str, judging.Judgement]) -> None:
    print(_headline(claim))
    if claim.added:
        print(f"  added later: {claim.added}")
    for title, found in judged.items():
        sets = ", ".join(dict.fromkeys(columns[title].title(name) for name in claim.experiments))
        print(f"  {sets or 'for every model'}: {found.text}")


def _headline(claim: Claim) -> str:
    family = f"{claim.family}: " if claim.family else ""
    return f"{claim.id}  {family}{claim.text}  ({claim.place})"


def _details(claim: Claim, judged: dict[str, judging.Judgement], together: int, rerun: bool) -> None:
    if claim.parts:
        print(f"  test: mean difference per seed or fold above {claim.threshold:g} {claim.unit}, from {DECIDING} on;")
        number, where = judging.comparisons_of(claim, together), claim.family or "the ledger"
        print(f"        95 % interval, corrected for {number} in {where} (Bonferroni); the weakest part decides")
    names = ", ".join(EXPERIMENTS[name].paper_name for name in claim.experiments)
    print(f"  rests on: {names or 'a computation in float64'}")
    for part in claim.parts:
        print(f"    {part.label + ': ' if part.label else ''}rows {', '.join(map(repr, part.rows))}")
    for title, found in judged.items():
        files = sorted({_file(record, rerun) for record in found.records})
        if files or found.outcome == "needs":
            print(f"  records, {title}: {len(files)}", *files, sep="\n    ")
    print(f"  again: python -m dgl_core claims {claim.id} --rerun")


def _file(record: RunRecord, rerun: bool) -> str:
    """Locate the record: in this machine's store, or among the committed ones."""
    root = results_root() if rerun else Path("results") / "reference" / record.spec.dataset
    return Store(root).path(record.spec, record.key).as_posix()


def _train(claims: Sequence[Claim], seeds: int) -> None:
    """Train what is not in this machine's store; data that are absent are left out by name."""
    wanted, absent = needed(claims, seeds)
    for name in absent:
        print(f"{name}: data not present, left out")
    todo = run.pending(wanted)
    seconds = sum(map(run.estimate_seconds, todo))
    print(f"{len(wanted)} runs, {len(todo)} to train" + (f", about {duration(seconds)} of one core" if todo else ""))
    if todo:
        with local_workers(2) as pool:
            run.run_all(todo, client=pool, progress=lambda n, of, *_: print(f"  {n}/{of}", flush=True))


def needed(claims: Sequence[Claim], seeds: int = 0) -> tuple[list[RunSpec], list[str]]:
    """List the specifications that the claims rest on, and the titles of data sets that are absent here."""
    wanted, absent = [], []
    for claim in claims:
        for part in claim.parts:
            for column, dataset in EXPERIMENTS[part.experiment].sets.items():
                if column != GENERATED and not data.DATASETS[dataset].available(None):
                    absent.append(TITLES[dataset])
                    continue
                rows = EXPERIMENTS[part.experiment].specs(column)
                wanted += [spec for row in part.rows for spec in rows[row][: seeds or None]]
    return wanted, list(dict.fromkeys(absent))


def _mine(claims: Sequence[Claim], folder: Path) -> int:
    """Judge the reader's own records; what they cannot decide is counted, not listed, unless it was asked for."""
    asked = [claim for claim in claims if claim.parts]
    if not asked:
        raise ValueError(f"Claim {claims[0].id!r} is settled by a computation, for every model: it needs no records.")
    found = records_in(folder)
    for name, reason in found.unused.items():
        print(printable(f"not used: {name}: {reason}"), file=sys.stderr)
    if not found.groups:
        raise ValueError(f"No run records in {str(folder)!r}: write RunRecord.to_json() of your runs there, as *.json.")
    left, told = 0, set()
    for claim, judged in judging.judge_ledger(found.groups, asked):
        decided = {title: one for title, one in judged.items() if one.outcome != "needs" or len(claims) == 1}
        left += not decided
        told |= decided.keys()
        if decided:
            print(_headline(claim))
        for title, one in decided.items():
            print(printable(f"  {title}: {one.text}"))
    if left:
        print(printable(f"{left} other claims need rows that are not in {folder.name!r}."))
    for title, records in found.groups.items():
        alone = {} if title in told else {"no claim has all its rows among these records": None}
        for problem in records.problems or alone:
            print(printable(f"not judged: {title}: {problem}"), file=sys.stderr)
    return 0


def printable(text: str, most: int = 500) -> str:
    """Write text of unknown origin so that a terminal only shows it: control characters escaped, of moderate length."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return shown if len(shown) <= most else f"{shown[:most]}..."
