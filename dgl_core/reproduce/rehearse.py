"""Rehearsal: the real training on random data of a data set's true size and shape, to know times before the data come.

    python -m dgl_core rehearse cremad [--size 1] [--precision bf16] [--methods vanilla dgl] [--steps 30]
    make reproduce PROFILE=paper REHEARSE=1

The size is a share of the clips (1: all of them; shapes and network are always the true ones), or ``small``: few tiny
clips and a tiny network, which proves the path on a CPU and measures nothing. What comes out is a report of times and
memory, ``rehearsal/*.json`` beside the store of runs. No run record is written: scores on random data mean nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from dgl_core import methods, models
from dgl_core.data.dataset import Dataset
from dgl_core.paper.experiments import late_fusion, profiles
from dgl_core.reproduce import plan as planning
from dgl_core.reproduce.rehearsal_data import LABEL, SIZES, check_size, make
from dgl_core.runs import run as runs
from dgl_core.training import train
from dgl_core.training.environment import describe, peak_memory_mb, utc_now
from dgl_core.training.loop import Trainer
from dgl_core.training.machine import Machine
from dgl_core.training.records import RunSpec
from dgl_core.utils import duration, write_atomic

WARM_UP, STEPS = 5, 30
# Methods whose cost is not in each step -> what they cost in vanilla epochs: M + 1 trial trainings as long as the run,
# three extractions of all features.
DERIVED = {"gblend_ogr": 4.0, "relearn": 1.05}


def measure(specs: Sequence[RunSpec], size: str = "1", steps: int = STEPS, say=print) -> dict[str, object]:
    """Train some steps of every method among the runs (one data set, one network), evaluate once; returns the report.

    The loop, the network, the methods and the machine's switches are those of real runs.
    """
    first, machine, device = specs[0], Machine.from_environment(), train.default_device()
    data, full = make(first.dataset, size), SIZES[first.dataset]
    if size == "small":
        first = first.but(model="small", model_options={"width": 2}, batch_size=8)
    full_steps = full.counts[0] // first.batch_size
    by_method = {spec.method: spec for spec in specs}
    costs, evaluation, data_on = {}, 0.0, ""
    with train.prepared(first, device, machine):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        timed = {"vanilla": {}} | {m: s.method_options for m, s in by_method.items() if m not in DERIVED}
        for name, options in timed.items():
            run = _trainer(first.but(method=name), options, data, device)
            seconds = _step_seconds(run, steps)
            costs[name] = _cost(seconds, full_steps, first.batch_size)
            say(f"  {name:12s} {1000 * seconds:9.1f} ms a step {costs[name]['clips_per_second']:9.0f} clips/s")
            if name == "vanilla":
                share = sum(data.counts[part] for part in ("val", "test")) / sum(full.counts[1:])
                evaluation, data_on = _seconds(run, run._evaluate_epoch) / share, run.data_on
    vanilla = costs["vanilla"]
    costs |= {m: {"derived": factor} | _cost(vanilla["step_ms"] / 1000 * factor, full_steps, first.batch_size)
              for m, factor in DERIVED.items() if m in by_method}  # fmt: skip
    for cost in costs.values():
        cost["seconds_per_epoch"] += evaluation
    return {
        "label": LABEL, "dataset": specs[0].dataset, "scale": 0 if size == "small" else float(size),
        "model": specs[0].model, "precision": first.precision, "batch_size": first.batch_size,
        "clips": len(data), "gigabytes": round(SIZES[specs[0].dataset].scaled(size).bytes / 1e9, 3), "data_on": data_on,
        "evaluation_seconds": evaluation, "peak_memory_mb": peak_memory_mb(device), "methods": costs,
        "machine": machine.variables(), "environment": describe(device), "created": utc_now(),
    }  # fmt: skip


def _trainer(spec: RunSpec, options: Mapping[str, object], data: Dataset, device: torch.device) -> Trainer:
    method = methods.build(spec.method, options)
    shapes = {m: data.shapes[m] for m in method.modalities(data.modalities)}
    model = models.build(spec.model, shapes, len(data.classes), spec.seed, **spec.model_options)
    return Trainer(spec, method, model, data, device, Machine.from_environment())


def _step_seconds(run: Trainer, steps: int) -> float:
    """Seconds of a training step, all that belongs to it included; the first ones (compilation, caches) left out."""
    whole = run.steps_per_epoch
    run.steps_per_epoch = min(whole, WARM_UP)
    run.method.on_start(run)
    run._train_epoch()
    run.epoch, run.steps_per_epoch = 1, min(whole, steps)
    return _seconds(run, run._train_epoch) / run.steps_per_epoch


def _seconds(run: Trainer, work) -> float:
    def now() -> float:
        if run.device.type == "cuda":
            torch.cuda.synchronize(run.device)
        return time.perf_counter()

    started = now()
    work()
    return now() - started


def _cost(step: float, steps: int, batch: int) -> dict[str, float]:
    return {"step_ms": 1000 * step, "clips_per_second": batch / step, "seconds_per_epoch": step * steps}


def write(report: Mapping, folder: Path) -> Path:
    """Keep a report under the name of its configuration."""
    words = [report["dataset"], report["model"], report["precision"], report["scale"], report["environment"]["device"]]
    path = folder / (re.sub(r"[^\w.]+", "_", "-".join(map(str, words))).strip("_") + ".json")
    write_atomic(path, json.dumps(report, indent=1))
    return path


def rehearse(specs: Iterable[RunSpec], size: str, steps: int = STEPS, say=print) -> list[dict]:
    """A report for every data set and network among the runs."""
    groups: dict[tuple[str, str], list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault((spec.dataset, spec.model), []).append(spec)
    found = []
    for (name, model), alike in groups.items():
        full = SIZES[name].scaled(size)
        say(f"{LABEL}: {profiles.TITLES[name]}, {sum(full.counts)} clips, {full.bytes / 1e9:.1f} GB, {model}, "
            f"{alike[0].precision}")  # fmt: skip
        report = measure(alike, size, steps, say)
        path = write(report, runs.rehearsal_root())
        memory, evaluation = report["peak_memory_mb"], report["evaluation_seconds"]
        say(
            f"  evaluation {evaluation:.1f} s, peak memory {memory:.0f} MiB, data on {report['data_on']}; report {path}"
        )
        found.append(report)
    return found


def profile(names: Sequence[str], size: str) -> int:
    """Rehearse what the paper profile trains on the paper's sets, present or not, and project the time of all of it."""
    check_size(size)
    plan = planning.plan_of("paper", names)
    wanted = [*plan.todo, *(spec for specs in plan.absent.values() for spec in specs)]
    found = rehearse([spec for spec in wanted if spec.dataset in SIZES], size)
    times = {(r["dataset"], r["model"]): {m: c["seconds_per_epoch"] for m, c in r["methods"].items()} for r in found}
    device = found[0]["environment"]["device"] if found else "device"
    print(f"{LABEL}: projected time of the paper profile on one {device}")
    total = 0.0
    for (name, model), costs in times.items():
        alike = [spec for spec in wanted if (spec.dataset, spec.model) == (name, model)]
        seconds = sum(spec.epochs * costs[spec.method] for spec in alike)
        total += seconds
        print(f"  {profiles.TITLES[name]:18s} {model:10s} {len(alike):5d} runs  {duration(seconds)}")
    others = [spec for spec in wanted if spec.dataset not in SIZES]
    known = [seconds for spec in others if (seconds := plan.known.seconds(spec)) is not None]
    print(f"  other data sets, from records: {len(known)} of {len(others)} runs, {duration(sum(known))}")
    print(
        f"  all together {duration(total + sum(known))}" + ("" if size == "1" else f" (size {size}: not a measurement)")
    )
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dgl rehearse", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=SIZES)
    parser.add_argument("--size", default="1", help="1, a share of the clips, or small")
    parser.add_argument("--methods", nargs="+", default=["vanilla", "dgl"], metavar="NAME")
    parser.add_argument("--precision", default="fp32", help="fp32, tf32 or bf16")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps that are timed")
    options = parser.parse_args(arguments)
    try:
        check_size(options.size)
        base = late_fusion.base_specs("paper", options.dataset, [0])[0].but(precision=options.precision)
        rehearse([base.but(method=m) for m in options.methods], options.size, options.steps)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
