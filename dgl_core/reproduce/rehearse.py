"""Rehearse the real training on random data of a data set's true size, to know times and memory before the data come.

The size is a share of the clips in their true shapes, or ``small``: few tiny clips and a tiny network, which measures
nothing. Where the disk is too small for a set, a share of it is rehearsed. What fails is one sentence, and the rest
goes on: a rehearsal always ends in a total. The report is kept in ``rehearsal/*.json`` beside the store of runs; no
run record is written.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dgl_core import methods, models
from dgl_core.data.dataset import Dataset
from dgl_core.data.files import cache
from dgl_core.data.files.atomic import write_atomic
from dgl_core.data.recipe import facts
from dgl_core.data.transforms import PerFrame, RandomResizedCrop, Standardise, TimeCrop
from dgl_core.paper.experiments import NOTEBOOKS, late_fusion, profiles
from dgl_core.reproduce import arithmetic
from dgl_core.reproduce.plan import plan_of
from dgl_core.runs import run as runs
from dgl_core.runs.estimates import DERIVED, Estimates, cost_name, signed, step_work
from dgl_core.runs.workers import with_variables
from dgl_core.training import train
from dgl_core.training.environment import describe, peak_memory_mb, utc_now
from dgl_core.training.loop import Trainer
from dgl_core.training.machine import AUTO, Machine, OutOfMemory
from dgl_core.training.records import RunSpec
from dgl_core.training.selftest import settled
from dgl_core.utils import duration

LABEL = "REHEARSAL on random data"
WARM_UP, STEPS = 5, 30
BLOCK = 256  # clips of random content; the files repeat them
SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)  # of what was asked for, tried where the disk is too small
ROOM = 0.9  # of the free disk that a rehearsal may take
# Of a method or a set: said in a sentence, and the rest goes on.
FAILURES = (ValueError, OSError, OutOfMemory, RuntimeError, ArithmeticError, ImportError)


@dataclass(frozen=True)
class Size:
    """Describe a data set as it is stored."""

    counts: tuple[int, int, int]  # clips for training, validation, test
    classes: int
    audio: tuple[int, int]  # stored spectrogram (F, T)
    columns: int = 0  # how many of T a batch has, 0 for all
    frames: int = 1  # pictures per clip
    side: int = 224  # of a picture in a batch; stored ones are 8/7 as large

    @property
    def visual(self) -> tuple[int, ...]:
        """Shape of a clip's stored pictures."""
        stored = round(self.side * 8 / 7)
        return (self.frames,) * (self.frames > 1) + (stored, stored, 3)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of a sample as a network gets it: spectrogram (1, F, T), pictures (3, side, side), frames before."""
        audio = (1, self.audio[0], self.columns or self.audio[1])
        return {"audio": audio, "visual": (3, *(self.frames,) * (self.frames > 1), self.side, self.side)}

    @property
    def bytes(self) -> int:
        """Bytes of all stored clips: float16 spectrograms, uint8 pictures."""
        return sum(self.counts) * (2 * math.prod(self.audio) + math.prod(self.visual))

    def scaled(self, size: str) -> Size:
        """Scale the set to "small" or to a share above 0 and up to 1; raise ValueError for any other size."""
        if size == "small":
            columns = min(self.columns, 12)
            return replace(self, counts=(48, 8, 8), classes=3, audio=(32, 24), columns=columns, side=28)
        if not re.fullmatch(r"\d*\.?\d+", size) or not 0 < float(size) <= 1:
            right = "give 1 (all clips), a share such as 0.05, or 'small'."
            raise ValueError(f"the size of a rehearsal is {size!r}; {right}")
        return replace(self, counts=tuple(max(round(float(size) * n), 64) for n in self.counts))


SIZES = {
    name: Size(**block.rehearsal | {key: tuple(block.rehearsal[key]) for key in ("counts", "audio")})
    for name, block in facts().items()
    if block.rehearsal
}


def fitting(name: str, size: str) -> str:
    """Choose the size that the disk has room for: the one that was asked for, or a share of it.

    Raises:
        ValueError: not even the smallest share fits; says what to do.
    """
    asked, place = SIZES[name].scaled(size), cache.cache_root() / "rehearsal"
    if (place / f"{name}-{size}" / "done").exists():
        return size
    place.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place).free
    for share in (1.0, *(SHARES if size != "small" else ())):
        chosen = size if share == 1.0 else f"{float(size) * share:.6g}"
        if SIZES[name].scaled(chosen).bytes <= ROOM * free:
            break
    else:
        raise ValueError(
            f"rehearsing {name} takes {asked.bytes / 1e9:.2g} GB in {place}, {free / 1e9:.2g} GB are free, too few "
            "even for a hundredth of it: name another disk in DGL_DATA_CACHE"
        )
    if chosen != size:
        print(f"  {asked.bytes / 1e9:.0f} GB do not fit in {place} ({free / 1e9:.2g} GB are free): a share of {chosen} "
              "is rehearsed, and steps are as many as in the whole")  # fmt: skip
    return chosen


def random_dataset(name: str, size: str = "1") -> Dataset:
    """Make random data in the size of a set, memory-mapped as prepared media are; written on first use."""
    shape = SIZES[name].scaled(size)
    count, folder = sum(shape.counts), cache.cache_root() / "rehearsal" / f"{name}-{size}"
    if not (folder / "done").exists():
        _write(folder, shape)
    arrays = {m: np.load(folder / f"{m}.npy", mmap_mode="c", allow_pickle=False) for m in ("audio", "visual")}
    picture = RandomResizedCrop(shape.side)
    return Dataset(
        {m: torch.from_numpy(array) for m, array in arrays.items()},
        torch.arange(count) % shape.classes,
        np.repeat(["train", "val", "test"], shape.counts).tolist(),
        name=f"rehearsal_{name}",
        classes=[str(k) for k in range(shape.classes)],
        source=f"{LABEL} in the size of {profiles.TITLES[name]}: scores mean nothing",
        generated=True,
        version=f"rehearsal {name} {size}",
        transforms={
            "audio": TimeCrop(shape.columns) if shape.columns else Standardise(0.0, 1.0),
            "visual": PerFrame(picture) if shape.frames > 1 else picture,
        },
    )


def _write(folder: Path, shape: Size) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    count, generator = sum(shape.counts), np.random.default_rng(0)
    sound = generator.normal(-5, 2, (min(BLOCK, count), *shape.audio)).astype(np.float16)
    pictures = generator.integers(0, 256, (min(BLOCK, count), *shape.visual), dtype=np.uint8)
    for modality, block in (("audio", sound), ("visual", pictures)):
        array = np.lib.format.open_memmap(folder / f"{modality}.npy", "w+", block.dtype, (count, *block.shape[1:]))
        for start in range(0, count, len(block)):
            array[start : start + len(block)] = block[: count - start]
        array.flush()
    (folder / "done").touch()


def measure(specs: Sequence[RunSpec], size: str, steps: int) -> dict[str, object]:
    """Time some steps of every method among the runs (one data set, one network), and one evaluation; report it.

    A method whose cost does not arise in its steps is stepped once on small data, to see that it runs. A method that
    fails is named under "failed" with its reason, and has no cost.
    """
    first, machine, device = specs[0], Machine.from_environment(), train.default_device()
    data, full = random_dataset(first.dataset, size), SIZES[first.dataset]
    if size == "small":
        first = first.but(model="small", model_options={"width": 2}, batch_size=8)

    def cost(step: float) -> dict[str, float]:
        of_an_epoch = step * (full.counts[0] // first.batch_size)
        return {"step_ms": 1000 * step, "clips_per_second": first.batch_size / step, "seconds_per_epoch": of_an_epoch}

    by_name = {cost_name(spec): spec for spec in specs}
    costs, failed, evaluation, data_on = {}, {}, 0.0, ""
    with train.prepared(first, device, machine):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        top = arithmetic.roofline(device, first.precision)
        for name, spec in ({"vanilla": first.but(method="vanilla", method_options={})} | by_name).items():
            try:
                if spec.method in DERIVED:
                    _stepped_once(spec, device)
                    continue
                timed = first.but(method=spec.method, method_options=spec.method_options)
                run = _trainer(timed, data, device, settled(machine, timed, data, device))
                seconds = _step_seconds(run, steps)
                costs[name] = cost(seconds) | _counted(spec, first.batch_size, size)
                if name == "vanilla":
                    share = sum(data.counts[part] for part in ("val", "test")) / sum(full.counts[1:])
                    evaluation, data_on = _seconds(run, run._evaluate_epoch) / share, run.data_on
            except FAILURES as error:
                failed[name] = " ".join(f"{type(error).__name__}: {error}".split())
            said = f"{costs[name]['step_ms']:9.1f} ms a step {costs[name]['clips_per_second']:9.0f} clips/s" if (
                name in costs) else f"  failed: {failed[name]}"  # fmt: skip
            print(f"  {name:16s} {said}", flush=True)
    if "vanilla" in costs:
        step = costs["vanilla"]["step_ms"] / 1000
        alike = {name: DERIVED[s.method] for name, s in by_name.items() if s.method in DERIVED and name not in failed}
        costs |= {name: {"derived": factor} | cost(step * factor) for name, factor in alike.items()}
    for method in costs.values():
        method["seconds_per_epoch"] += evaluation
    return {
        "label": LABEL, "dataset": specs[0].dataset, "scale": 0 if size == "small" else float(size),
        "model": specs[0].model, "precision": first.precision, "batch_size": first.batch_size,
        "clips": len(data), "gigabytes": round(full.scaled(size).bytes / 1e9, 3), "data_on": data_on,
        "evaluation_seconds": evaluation, "peak_memory_mb": peak_memory_mb(device), "methods": costs,
        "failed": failed, "roofline": top._asdict(),
        "machine": machine.variables(), "environment": describe(device), "created": utc_now(),
    }  # fmt: skip


def _trainer(spec: RunSpec, data: Dataset, device: torch.device, machine: Machine) -> Trainer:
    method = methods.build(spec.method, spec.method_options)
    shapes = {m: data.shapes[m] for m in method.modalities(data.modalities)}
    model = models.build(spec.model, shapes, len(data.classes), spec.seed, **spec.model_options)
    return Trainer(spec, method, model, data, device, machine)


def _stepped_once(spec: RunSpec, device: torch.device) -> None:
    """Train an epoch of one step on small data, with all that the method does before and after it."""
    spec = spec.but(model="small", model_options={"width": 2}, batch_size=8, epochs=1, milestones=(), precision="fp32")
    run = _trainer(spec, random_dataset(spec.dataset, "small"), device, Machine())
    run.steps_per_epoch = 1
    run.method.on_start(run)
    run._train_epoch()
    print(f"  {cost_name(spec):16s} stepped once on small data; its time is {DERIVED[spec.method]:g} times vanilla's")


def _counted(spec: RunSpec, batch: int, size: str) -> dict[str, float]:
    """Look up operations and bytes of a step, where they were counted and the step had its true size."""
    found = None if size == "small" else step_work(spec.but(batch_size=batch))
    return {} if found is None else dict(zip(("operations", "bytes"), found, strict=True))


def _step_seconds(run: Trainer, steps: int) -> float:
    """Time a training step with all that belongs to it, without the first ones (compilation, caches)."""
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


def write(report: Mapping, folder: Path) -> Path:
    """Keep a report under the name of its configuration."""
    words = [report["dataset"], report["model"], report["precision"], report["scale"], report["environment"]["device"]]
    path = folder / (re.sub(r"[^\w.]+", "_", "-".join(map(str, words))).strip("_") + ".json")
    write_atomic(path, json.dumps(signed(report), indent=1))
    return path


def rehearse(specs: Iterable[RunSpec], size: str, steps: int = STEPS) -> list[dict]:
    """Measure and report every data set and network among the runs; one that fails is a sentence and has no report."""
    groups: dict[tuple[str, str], list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault((spec.dataset, spec.model), []).append(spec)
    found = []
    for (name, model), alike in groups.items():
        try:
            print(f"{LABEL}: {profiles.TITLES[name]}, {model}, {alike[0].precision}")
            chosen = fitting(name, size)
            stored = SIZES[name].scaled(chosen)
            print(f"  {sum(stored.counts)} clips, {stored.bytes / 1e9:.1f} GB", flush=True)
            report = measure(alike, chosen, steps)
        except FAILURES as error:
            print(f"  not rehearsed: {' '.join(str(error).split())}")
            continue
        rows = {method: cost for method, cost in report["methods"].items() if "operations" in cost}
        if rows:
            top = arithmetic.Roofline(**report["roofline"])
            print("\n".join(arithmetic.table(rows, report["batch_size"], top)))
        cost = f"evaluation {report['evaluation_seconds']:.1f} s, peak memory {report['peak_memory_mb']:.0f} MiB"
        print(f"  {cost}, data on {report['data_on']}; report {write(report, runs.rehearsal_root())}", flush=True)
        found.append(report)
    return found


def profile(names: Sequence[str], size: str, per_gpu: int = 1, gpus: int = 1) -> int:
    """Rehearse what the paper profile trains on the paper's sets, present or not, and project the time of it all.

    ``gpus`` cards train at the same time, each with ``per_gpu`` trainings, whose data share its memory.
    """
    for full in SIZES.values():
        full.scaled(size)  # refused before the planning, which takes seconds
    plan = plan_of("paper", names)
    wanted = [*plan.todo, *(spec for specs in plan.absent.values() for spec in specs)]
    compiled = os.environ.get("DGL_COMPILE") or AUTO  # as the profile trains
    with with_variables({"DGL_PER_GPU": str(per_gpu), "DGL_COMPILE": compiled}):
        found = rehearse([spec for spec in wanted if spec.dataset in SIZES], size)
    print("\n".join(total(runs.estimates(wanted), wanted, found, size, per_gpu, gpus)))
    return 0


def total(
    known: Estimates, wanted: Sequence[RunSpec], found: Sequence[Mapping], size: str, per_gpu: int, gpus: int
) -> list[str]:
    """Say how long all runs take by these reports, and the largest memory; a small rehearsal projects nothing."""
    peak = max((report["peak_memory_mb"] for report in found), default=0.0)
    failures = sum(len(report["failed"]) for report in found)
    stepped = sum(len(report["methods"]) for report in found)
    seen = f"{stepped} methods took their steps, {failures} failed; peak memory {peak:.0f} MiB a training"
    if size == "small":
        return [f"{LABEL}: {seen}. Small data measure nothing, so no time is projected."]
    times = {(r["dataset"], r["model"]): {m: c["seconds_per_epoch"] for m, c in r["methods"].items()} for r in found}
    device = found[0]["environment"]["device"] if found else "device"

    def seconds(spec: RunSpec) -> float | None:
        each = times.get((spec.dataset, spec.model), {}).get(cost_name(spec))
        return known.seconds(spec) if each is None else spec.epochs * each

    lines = [f"{LABEL}: projected time of the paper profile on one {device}"]
    groups: dict[str, list[RunSpec]] = {}
    for spec in wanted:
        own = spec.dataset in SIZES
        groups.setdefault(f"{profiles.TITLES[spec.dataset]}, {spec.model}" if own else "other sets", []).append(spec)
    for title, alike in {**groups, "all together": wanted}.items():
        each = [seconds(spec) for spec in alike]
        unknown = f", {each.count(None)} of them not measured" if None in each else ""
        lines.append(f"  {title:28s} {len(alike):5d} runs  {duration(sum(filter(None, each)))}{unknown}")
    shares = sorted({report["scale"] for report in found} - {1.0})
    if shares:
        lines.append(f"  measured on a share of the clips: {', '.join(f'{share:g}' for share in shares)}")
    whole = sum(filter(None, map(seconds, wanted)))
    if gpus * per_gpu > 1:
        range_ = f"{duration(whole / gpus / per_gpu)} if trainings share a card perfectly, " if per_gpu > 1 else ""
        lines.append(f"  {gpus} GPU(s), {per_gpu} training(s) on each: {range_}{duration(whole / gpus)} at most")
    lines.append(f"  {seen}" + (f"; {per_gpu} on a card: {per_gpu * peak:.0f} MiB" if per_gpu > 1 else ""))
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dgl rehearse", description=__doc__.splitlines()[0])
    about = "whose size and shape the random data have; none: all of the paper profile, and the time that it takes"
    parser.add_argument("dataset", nargs="?", choices=SIZES, help=about)
    parser.add_argument("--size", default="1", help="1, a share of the clips, or small")
    parser.add_argument("--methods", nargs="+", default=["vanilla", "dgl"], metavar="NAME", help="vanilla dgl")
    parser.add_argument("--precision", default=late_fusion.PAPER_PRECISION, help="fp32, tf32 or bf16, the default")
    parser.add_argument("--per-gpu", type=int, default=1, metavar="N", help="trainings that share a GPU (1)")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps that are timed")
    options = parser.parse_args(arguments)
    try:
        if options.steps < 1:
            raise ValueError(f"--steps is {options.steps}; it must be at least 1")
        if options.per_gpu < 1:
            raise ValueError(f"--per-gpu is {options.per_gpu}; it must be at least 1")
        if options.dataset is None:
            with with_variables({"DGL_PRECISION": options.precision}):
                return profile(list(NOTEBOOKS), options.size, options.per_gpu)
        base = late_fusion.base_specs("paper", options.dataset, [0])[0].but(precision=options.precision)
        with with_variables({"DGL_PER_GPU": str(options.per_gpu)}):
            found = rehearse([base.but(method=m) for m in options.methods], options.size, options.steps)
        return 0 if found and not found[0]["failed"] else 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
