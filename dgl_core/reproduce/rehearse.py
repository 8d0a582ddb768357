"""Rehearse the real training on random data of a data set's true size, to know times and memory before the data come.

The size is a share of the clips in their true shapes, or ``small``: few tiny clips and a tiny network, which measures
nothing. The report is kept in ``rehearsal/*.json`` beside the store of runs; no run record is written.
"""

from __future__ import annotations

import argparse
import json
import math
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
from dgl_core.paper.experiments import late_fusion, profiles
from dgl_core.reproduce.plan import plan_of
from dgl_core.runs import run as runs
from dgl_core.runs.estimates import signed
from dgl_core.training import train
from dgl_core.training.environment import describe, peak_memory_mb, utc_now
from dgl_core.training.loop import Trainer
from dgl_core.training.machine import Machine
from dgl_core.training.records import RunSpec
from dgl_core.utils import duration

LABEL = "REHEARSAL on random data"
WARM_UP, STEPS = 5, 30
# Methods whose cost does not arise in each step -> their cost in epochs of vanilla training: one trial training per
# modality and one of all together as long as the run; three extractions of all features.
DERIVED = {"gblend_ogr": 4.0, "relearn": 1.05}
BLOCK = 256  # clips of random content; the files repeat them


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


def random_dataset(name: str, size: str = "1") -> Dataset:
    """Make random data in the size of a set, memory-mapped as prepared media are; written on first use."""
    shape = SIZES[name].scaled(size)
    count, folder = sum(shape.counts), cache.cache_root() / "rehearsal" / f"{name}-{size}"
    if not (folder / "done").exists():
        _write(folder, name, shape)
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


def _write(folder: Path, name: str, shape: Size) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if shape.bytes > free:
        raise ValueError(
            f"rehearsing {name} takes {shape.bytes / 1e9:.0f} GB in {folder}, {free / 1e9:.0f} GB are free: name "
            "another disk in DGL_DATA_CACHE, or rehearse a share, for example REHEARSE=0.05"
        )
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
    """Time some steps of every method among the runs (one data set, one network), and one evaluation; report it."""
    first, machine, device = specs[0], Machine.from_environment(), train.default_device()
    data, full = random_dataset(first.dataset, size), SIZES[first.dataset]
    if size == "small":
        first = first.but(model="small", model_options={"width": 2}, batch_size=8)

    def cost(step: float) -> dict[str, float]:
        of_an_epoch = step * (full.counts[0] // first.batch_size)
        return {"step_ms": 1000 * step, "clips_per_second": first.batch_size / step, "seconds_per_epoch": of_an_epoch}

    by_method = {spec.method: spec for spec in specs}
    costs, evaluation, data_on = {}, 0.0, ""
    with train.prepared(first, device, machine):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        timed = {"vanilla": {}} | {m: s.method_options for m, s in by_method.items() if m not in DERIVED}
        for name, options in timed.items():
            method, spec = methods.build(name, options), first.but(method=name)
            shapes = {m: data.shapes[m] for m in method.modalities(data.modalities)}
            model = models.build(spec.model, shapes, len(data.classes), spec.seed, **spec.model_options)
            run = Trainer(spec, method, model, data, device, machine)
            seconds = _step_seconds(run, steps)
            costs[name] = cost(seconds)
            print(f"  {name:12s} {1000 * seconds:9.1f} ms a step {costs[name]['clips_per_second']:9.0f} clips/s")
            if name == "vanilla":
                share = sum(data.counts[part] for part in ("val", "test")) / sum(full.counts[1:])
                evaluation, data_on = _seconds(run, run._evaluate_epoch) / share, run.data_on
    step = costs["vanilla"]["step_ms"] / 1000
    costs |= {m: {"derived": f} | cost(step * f) for m, f in DERIVED.items() if m in by_method}
    for method in costs.values():
        method["seconds_per_epoch"] += evaluation
    return {
        "label": LABEL, "dataset": specs[0].dataset, "scale": 0 if size == "small" else float(size),
        "model": specs[0].model, "precision": first.precision, "batch_size": first.batch_size,
        "clips": len(data), "gigabytes": round(full.scaled(size).bytes / 1e9, 3), "data_on": data_on,
        "evaluation_seconds": evaluation, "peak_memory_mb": peak_memory_mb(device), "methods": costs,
        "machine": machine.variables(), "environment": describe(device), "created": utc_now(),
    }  # fmt: skip


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
    """Measure and report every data set and network among the runs."""
    groups: dict[tuple[str, str], list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault((spec.dataset, spec.model), []).append(spec)
    found = []
    for (name, model), alike in groups.items():
        full = SIZES[name].scaled(size)
        stored = f"{sum(full.counts)} clips, {full.bytes / 1e9:.1f} GB"
        print(f"{LABEL}: {profiles.TITLES[name]}, {stored}, {model}, {alike[0].precision}")
        report = measure(alike, size, steps)
        cost = f"evaluation {report['evaluation_seconds']:.1f} s, peak memory {report['peak_memory_mb']:.0f} MiB"
        print(f"  {cost}, data on {report['data_on']}; report {write(report, runs.rehearsal_root())}")
        found.append(report)
    return found


def profile(names: Sequence[str], size: str) -> int:
    """Rehearse what the paper profile trains on the paper's sets, present or not, and project the time of it all."""
    for full in SIZES.values():
        full.scaled(size)  # refused before the planning, which takes seconds
    plan = plan_of("paper", names)
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
    print(f"  all together {duration(total + sum(known))}{'' if size == '1' else f' (size {size}: not a measurement)'}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="dgl rehearse", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=SIZES, help="whose size and shape the random data have")
    parser.add_argument("--size", default="1", help="1, a share of the clips, or small")
    parser.add_argument("--methods", nargs="+", default=["vanilla", "dgl"], metavar="NAME", help="vanilla dgl")
    parser.add_argument("--precision", default="fp32", help="fp32, tf32 or bf16")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps that are timed")
    options = parser.parse_args(arguments)
    try:
        if options.steps < 1:
            raise ValueError(f"--steps is {options.steps}; it must be at least 1")
        base = late_fusion.base_specs("paper", options.dataset, [0])[0].but(precision=options.precision)
        rehearse([base.but(method=m) for m in options.methods], options.size, options.steps)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
