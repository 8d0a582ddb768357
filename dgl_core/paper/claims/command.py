"""Print verdicts: ``python -m dgl_core claims [ID] [--rerun] [--mine FOLDER]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dgl_core import data
from dgl_core.paper.answers.evidence import evidence
from dgl_core.paper.answers.regimes import TITLES, best_form, confirming, confirming_root, needed, rate_of, regime
from dgl_core.paper.answers.verdicts import Answer, answers, delta
from dgl_core.paper.claims import digest, judging
from dgl_core.paper.claims.ledger import CLAIMS, Claim, claim_named
from dgl_core.paper.claims.mine import judged_in
from dgl_core.runs import run
from dgl_core.runs.store import Store
from dgl_core.runs.workers import local_workers
from dgl_core.training.records import RunSpec
from dgl_core.utils import duration
from dgl_core.verdicts.families import Member, judge
from dgl_core.verdicts.registration import registration
from dgl_core.verdicts.statistics import DECIDING

FRESH = 1000  # number of the first replicate of a rerun: neither a pilot nor a confirming one


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dgl claims", description="Verdicts on the paper's claims.")
    parser.add_argument("id", nargs="?", help="one claim, with the records that it rests on")
    parser.add_argument("--rerun", action="store_true", help="train fresh replicates of it here, and judge by those")
    parser.add_argument("--count", type=int, help="of --rerun: how many replicates (default: as its first look)")
    parser.add_argument("--set", dest="dataset", help="of --rerun: one data set (default: all that are here)")
    parser.add_argument("--mine", metavar="FOLDER", help="judge the run records in this folder")
    options = parser.parse_args(arguments)
    try:
        _check(options)
        claims = list(CLAIMS) if options.id is None else [claim_named(options.id)]
        if options.mine is not None:
            return _mine(claims, Path(options.mine))
        carried = not digest.records_are_here() and not options.rerun
        known = rerun(claims[0], options.count or 0, options.dataset) if options.rerun else {} if carried else answers()
        lines = digest.lines(claims) if carried else judging.lines(known, claims)
        wanted = [line for line in lines if options.id in (None, line.id, claims[0].id)]
        for line in wanted:
            print(f"{line.id}  {line.text}  ({line.place})\n  {line.dataset}: {line}\n  {line.follows}")
        if carried:
            print(digest.about())
        elif options.id:
            _details(claims[0], wanted, rerun=options.rerun)
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
    if options.rerun and options.id is None:
        raise ValueError("--rerun trains what one claim rests on: name it, as in 'claims dgl-vanilla --rerun'.")
    for name in ("count", "dataset"):
        if getattr(options, name) is not None and not options.rerun:
            raise ValueError(f"--{name.replace('dataset', 'set')} belongs to --rerun: give that too, or leave it out.")
    if options.count is not None and options.count < DECIDING:
        raise ValueError(f"--count is {options.count}; fewer than {DECIDING} replicates decide nothing.")
    if options.dataset is not None:
        regime(options.dataset)


def _details(claim: Claim, wanted: Sequence[judging.Line], rerun: bool) -> None:
    """Show what the lines rest on: rows, rates, the test, and the records."""
    if claim.check is not None:
        print("  rests on: a computation in float64")
    for line in wanted:
        for answer in line.answers:
            question, of = answer.question, regime(answer.dataset)
            rows = needed(replace(question, than=(best_form(of.name, question.than),)), of.modalities)
            rates = ", ".join(f"{row!r} at {rate_of(of.name, row):g}" for row in rows if rate_of(of.name, row))
            study = answer.study
            family = study.family if study else registration().families[question.family, of.name]
            print(f"  {question.id} on {TITLES[of.name]}: rows {rates or 'without pilots'}")
            print(f"    delta {delta(question, of.name):g}; family {family.name} of {family.size}, {family.correction}")
            if answer.look and not rerun:
                runs = confirming(of.name, rows, answer.look, first=study.first if study else 0)
                specs = [spec for each in runs.values() for spec in each]
                first = run.find(specs[0], folder := confirming_root() / of.name)
                name = Store(folder).path(first.spec, first.key).name
                print(f"    records: {len(specs)} in results/confirming/{of.name}, the first {name}")
    print(f"  again: python -m dgl_core claims {claim.id} --rerun")


def rerun(claim: Claim, count: int, dataset: str | None) -> dict[tuple[str, str], Answer]:
    """Train fresh replicates of all that a claim rests on, and judge each question as strictly as its family was.

    A question is judged as a member of its family whose other questions are not asked again. Data that are absent are
    left out by name.
    """
    if claim.check is not None:
        return {}
    bases = {part.partition("@")[0] for part in claim.parts} or {claim.id}
    wanted, specs = [], {}
    for question in [question for question in registration().questions if question.base in bases]:
        for name in question.sets:
            of = regime(name)
            if dataset not in (None, name):
                continue
            if not data.DATASETS[of.dataset].available(None):
                print(f"{TITLES[name]}: data not present, left out")
                continue
            asked = replace(question, than=(best_form(name, question.than),))
            family = registration().families[question.family, name]
            replicates = count or family.looks[0].replicates
            wanted.append((asked, name, family, replicates))
            for runs in confirming(name, needed(asked, of.modalities), replicates, first=FRESH).values():
                specs |= dict.fromkeys(runs)
    _train(list(specs))
    found = {}
    for asked, name, family, replicates in wanted:
        known = evidence(asked, name, replicates, run.find, first=FRESH)
        member = {asked.id: Member(known, delta(asked, name))}
        found[asked.id, name] = Answer(asked, name, judge(member, family.size, family.correction)[asked.id], replicates)
    return found


def _train(specs: Sequence[RunSpec]) -> None:
    """Train what is not in this machine's store."""
    todo = run.pending(specs)
    seconds = sum(map(run.estimate_seconds, todo))
    print(f"{len(specs)} runs, {len(todo)} to train" + (f", about {duration(seconds)} of one core" if todo else ""))
    if todo:
        with local_workers(2) as pool:
            run.run_all(todo, client=pool, progress=lambda n, of, *_: print(f"  {n}/{of}", flush=True))


def _mine(claims: Sequence[Claim], folder: Path) -> int:
    """Judge the reader's own records by the registered rule; what they cannot decide is counted, not listed."""
    asked = [claim for claim in claims if claim.check is None and not claim.parts]
    if not asked:
        why = "needs no records" if claims[0].check else f"has several parts: ask for {', '.join(claims[0].parts)}"
        raise ValueError(f"Claim {claims[0].id!r} {why}.")
    found, folder_read = judged_in(folder, asked)
    for name, reason in folder_read.unused.items():
        print(printable(f"not used: {name}: {reason}"), file=sys.stderr)
    if not folder_read.groups:
        raise ValueError(f"No run records in {str(folder)!r}: write RunRecord.to_json() of your runs there, as *.json.")
    for (title, name), (text, judged) in found.items():
        print(printable(f"{name}  {text}\n  {title}: {judged}").replace("\\n", "\n"))
    if left := len(asked) - len({name for _, name in found}):
        print(f"{max(left, 0)} other claims need rows that are not in {printable(folder.name)!r}.")
    for title, group in folder_read.groups.items():
        alone = {} if any(title == of for of, _ in found) else {"no claim has all its rows among these records": None}
        for problem in group.problems or alone:
            print(printable(f"not judged: {title}: {problem}"), file=sys.stderr)
    return 0


def printable(text: str, most: int = 500) -> str:
    """Write text of unknown origin so that a terminal only shows it: control characters escaped, of moderate length."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return shown if len(shown) <= most else f"{shown[:most]}..."
