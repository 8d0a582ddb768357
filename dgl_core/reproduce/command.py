"""Make every notebook, table and figure with one command.

It plans which runs the notebooks need, trains those that are not recorded, executes the notebooks (one is kept when
nothing that it depends on has changed) and writes a report. Interrupted, the same command goes on from there.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

from dgl_core.data.files.atomic import CannotWrite
from dgl_core.paper import experiments
from dgl_core.paper.experiments import profiles
from dgl_core.reproduce import choice, outputs
from dgl_core.reproduce.execute import NOTEBOOKS, Stopped, kernel_environment, notebook_names
from dgl_core.reproduce.plan import Plan, plan_of, summary, table
from dgl_core.reproduce.report import site as report
from dgl_core.runs import run
from dgl_core.runs.workers import dask_workers, holders, local_workers, sharing, visible_gpus, with_variables
from dgl_core.training.environment import PORTABLE_NUMERICS
from dgl_core.training.records import RunSpec
from dgl_core.utils import Clock, Progress, duration, project_root, results_root

TOGETHER = 2  # notebooks that execute at the same time


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options and check them: profile and notebooks exist, the folder can be written to."""
    parser = argparse.ArgumentParser(prog="dgl reproduce", description=__doc__.splitlines()[0])
    about = "; ".join(f"{p.name}: {p.purpose}" for p in profiles.PROFILES.values())
    parser.add_argument("--profile", default="cpu", metavar="NAME", help=about)
    only = "only these notebooks (03, or the whole name)"
    parser.add_argument("--only", nargs="+", default=[], metavar="NN", help=only)
    parser.add_argument("--out", metavar="DIR", help="report folder, reports/<profile> by default")
    parser.add_argument("--workers", type=int, metavar="N", help="training processes (2; paper profile: one per GPU)")
    parser.add_argument("--per-gpu", type=int, default=1, metavar="N", help="trainings that share a GPU (1)")
    parser.add_argument("--dask", metavar="ADDRESS", help="train on this Dask cluster; its workers share DGL_RESULTS")
    about = "time the paper profile on random data: 1 (of true size), a share of the clips, or small"
    parser.add_argument("--rehearse", nargs="?", const="1", metavar="SIZE", help=about)
    about = "train what these tables need: " + " ".join(experiments.TABLES)
    parser.add_argument("--tables", nargs="+", default=[], metavar="NAME", help=about)
    parser.add_argument("--budget", metavar="TIME", help="train no longer than this (8h, 90m): what decides most first")
    options = parser.parse_args(arguments)
    for name in ("out", "dask", "rehearse", "budget"):
        if getattr(options, name) == "":
            raise ValueError(f"--{name} is empty; give a value or leave it out")
    options.portable = profiles.profile_named(options.profile).portable
    only = [word for entry in options.only for word in entry.replace(",", " ").split()]
    if options.only and not only:
        raise ValueError("--only names no notebook; give some, as in --only 03 04, or leave it out for all")
    options.names = notebook_names(only)
    options.tables = choice.read_tables(options.tables)
    options.budget = choice.read_budget(options.budget) if options.budget else 0.0
    for name, count in (("per-gpu", options.per_gpu), ("workers", options.workers)):
        if count is not None and count < 1:
            raise ValueError(f"--{name} is {count}; it must be at least 1")
    if options.rehearse and options.profile != "paper":
        raise ValueError(f"--rehearse is of the paper profile; the {options.profile} profile is short enough to run")
    options.gpus = visible_gpus() if options.profile == "paper" and not options.dask else []
    if options.workers is None:
        paper = options.per_gpu * max(1, len(options.gpus))
        options.workers = paper if options.profile == "paper" else min(2, os.cpu_count() or 1)
    options.out = Path(options.out or project_root() / "reports" / options.profile).resolve()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=options.out).close()
    except OSError as error:
        raise ValueError(f"cannot write to {options.out}: {error.strerror}; choose another folder with --out") from None
    return options


def reproduce(options: argparse.Namespace) -> int:
    """Plan, train, execute, report. Returns the exit status: 0, or 1 if anything failed."""
    started = time.monotonic()
    outputs.sweep(options.out)
    run.here().clean()
    plan = plan_of(options.profile, options.names)
    print(f"Profile {options.profile}: {profiles.profile_named(options.profile).purpose}")
    print(summary(plan, options.workers), flush=True)
    whole = plan
    if options.profile == "paper" or options.tables or options.budget:
        tables = choice.by_table(options.profile, plan)
        print("\n".join([*table(plan), *choice.prices(tables, plan)]), flush=True)
        plan = choice.chosen(tables, plan, options.tables, options.budget, options.workers)
    if options.tables or options.budget:
        print(choice.said(whole, plan, options.budget, options.workers), flush=True)

    failures = train(plan, options) if plan.todo else []
    missing = {spec.identity() for spec in run.pending(whole.todo)}
    failed = missing & {spec.identity() for spec in plan.todo}
    waiting = {name: missing & {spec.identity() for spec in needed} for name, needed in plan.needed.items()}
    blocked = [name for name, lacks in waiting.items() if lacks & failed]
    left_out = {name: len(lacks) for name, lacks in waiting.items() if lacks and not lacks & failed}
    for name, count in left_out.items():
        print(f"  {name}  left out: {count} of its runs were not chosen; 'dgl claims --mine' judges the others")
    ready = [name for name in options.names if name not in blocked and name not in left_out]
    results = execute_all(ready, plan.needed, options)
    reason = "some of its training runs failed"
    results += [outputs.record_failure(options.out, name, "not executed", reason) for name in blocked]
    failures += [f"{result.name}, {result.where}\n  {result.error}" for result in results if result.error]
    for failure in failures:
        print(f"FAILED  {failure}", file=sys.stderr)
    trained, recorded = len(whole.todo) - len(missing), len(plan.every) - len(whole.todo)
    page = report.write(options.out, options.profile, trained, recorded)
    bad, total = sum(result.error != "" for result in results), len(options.names)
    good = f"{len(ready)} of {total} notebooks are good" if left_out else f"all {total} notebooks are good"
    state = f"{bad} of {total} notebooks failed" if bad else good
    where = os.path.relpath(page) if page.is_relative_to(Path.cwd()) else page
    print(f"Done in {duration(time.monotonic() - started)}: {state}. Report: {where}")
    return 1 if failures else 0


def train(plan: Plan, options: argparse.Namespace) -> list[str]:
    """Make the missing runs; returns one message (two lines) per run that failed."""
    todo, finished = plan.todo, 0
    check_precisions(todo, options)
    estimates = {spec.identity(): plan.seconds(spec) for spec in todo}
    clock = Clock(sum(estimates.values()), options.workers)

    def status() -> str:
        return f"training: {finished} of {len(todo)} runs, {clock.says()}"

    def tick(done: int, total: int, spec: RunSpec, seconds: float) -> None:
        nonlocal finished
        finished = done
        clock.finished(estimates[spec.identity()])
        progress.say(f"  {done}/{total}  {_described(spec)}  (after {duration(seconds)})")

    threads = max(1, (os.cpu_count() or 1) // options.workers) if options.profile == "paper" else 1
    variables = kernel_environment(options.portable, threads) | {"DGL_PER_GPU": str(options.per_gpu)}
    if options.profile == "paper":  # compiled where that trains alike, unless the reader says otherwise
        variables |= {"DGL_COMPILE": os.environ.get("DGL_COMPILE") or "auto"}
    count = min(options.workers, len(todo))
    try:
        with (
            sharing(options.gpus, options.per_gpu) as service,
            with_variables(variables | service),
            holders(options.gpus, options.per_gpu) as each,
            dask_workers(options.dask) if options.dask else local_workers(count, options.gpus, each) as client,
            Progress(status) as progress,
        ):
            clock.workers = len(client.nthreads()) if options.dask else options.workers
            run.run_all(todo, client=client, progress=tick)
    except run.RunsFailed as error:
        return [f"{_described(spec)}\n  {type(cause).__name__}: {cause}" for spec, cause in error.failures]
    if options.dask and run.pending(todo):
        raise ValueError(f"the Dask workers recorded elsewhere: {results_root()} must be a folder that they share")
    return []


def check_precisions(todo: Sequence[RunSpec], options: argparse.Namespace) -> None:
    """Raise a ``ValueError`` before hours of training where this machine lacks the precision of a run.

    The workers of a Dask cluster look for themselves.
    """
    special = {spec.precision: spec for spec in todo if spec.precision != "fp32"}  # which every machine has
    if options.dask or not special:
        return
    from dgl_core.training.machine import check_precision  # here, because a plan alone is made without torch
    from dgl_core.training.train import default_device, device_named

    for spec in special.values():
        check_precision(spec, device_named("cpu") if options.portable else default_device())


def _described(spec: RunSpec) -> str:
    choices = " ".join(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
                       for name, value in spec.method_options.items())  # fmt: skip
    scale = f"encoder rate x {spec.encoder_lr_scale:g}" if spec.encoder_lr_scale != 1 else ""
    return " ".join(filter(None, [spec.method, choices, scale, "on", spec.dataset, f"seed {spec.seed}"]))


def notebooks_in_words(done: int, total: int, left: str, new: int, running: Sequence[str]) -> str:
    """Write the progress of the notebooks; the time left is a guess while some were ``new``: never executed here."""
    guess = f", a guess: {new} never ran here" if new else ""
    now = f" ({', '.join(running)})" if running else ""
    return f"notebooks: {done} of {total}, {left}{guess}{now}"


def longest_first(measured: Mapping[str, float | None]) -> list[str]:
    """Order notebooks so that none is left to run alone at the end: by time, or by length where none has run here."""
    sources = {name: NOTEBOOKS / f"{name}.py" for name in measured}
    length = {name: path.stat().st_size if path.is_file() else 0 for name, path in sources.items()}
    return sorted(measured, key=lambda name: (measured[name] or 0.0, length[name]), reverse=True)


def execute_all(names: Sequence[str], specs: dict, options: argparse.Namespace) -> list[outputs.Result]:
    """Execute the notebooks whose dependencies changed, two at a time, the longest first; says how each one went."""
    measured = {name: outputs.measured_seconds(options.out, name) for name in names}
    expected = {name: outputs.USUAL_SECONDS if known is None else known for name, known in measured.items()}
    clock, running, results = Clock(sum(expected.values()), TOGETHER), set(), []
    stop = threading.Event()

    def one(name: str) -> outputs.Result:
        running.add(name)
        try:
            return outputs.refresh(name, options.profile, options.out, specs[name], options.portable, stop)
        finally:
            running.discard(name)

    def status() -> str:
        ended = {result.name for result in results}
        new = sum(known is None for name, known in measured.items() if name not in ended)
        return notebooks_in_words(len(results), len(names), clock.says(), new, sorted(running))

    with ThreadPoolExecutor(TOGETHER) as pool, Progress(status) as progress:
        waiting = {pool.submit(one, name) for name in longest_first(measured)}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
                for result in (future.result() for future in done):
                    results.append(result)
                    clock.finished(expected[result.name])
                    line = "kept, nothing changed" if result.kept else f"executed in {duration(result.seconds)}"
                    progress.say(f"  {result.name}  {'FAILED' if result.error else line}")
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 everything is good, 1 something failed, 2 it was asked for something that does not exist."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        options = parse(arguments)
        if options.rehearse:
            from dgl_core.reproduce import rehearse

            return rehearse.profile(options.names, options.rehearse, options.per_gpu, max(1, len(options.gpus)))
        with with_variables(PORTABLE_NUMERICS if options.portable else {}):  # records of that kind are looked for
            return reproduce(options)
    except (KeyboardInterrupt, Stopped):
        print("\nInterrupted. Finished runs are recorded; the same command goes on from there.", file=sys.stderr)
        return 130
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except CannotWrite as error:
        print(f"error: {error.strerror} Then run this again: nothing finished is lost.", file=sys.stderr)
        return 1
    except OSError as error:
        remedy = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "see to it"
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror or error}{where}: {remedy} and run this again; nothing finished is lost",
              file=sys.stderr)  # fmt: skip
        return 1
