"""What training at the paper's size costs on this GPU, against the official step on the same tensors.

    PYTHONPATH=. python tests/bench/bench_gpu.py [--steps 50] [--out FOLDER] [--small]

Random data in the size of CREMA-D (6,698 clips: sound 257 x 188, frames cropped to 224 x 224), ResNet-18 per modality,
batch 64. Measured: DGL and vanilla training in the loop of the house, in every precision; the official step (two
backward passes, gradients logged parameter by parameter, fp32, default layout, data from host memory) and each single
change to it; operations per second against a matrix product in the same precision; a table of what the GPU does.

``--small`` proves the command on a CPU in seconds, with tiny clips and a tiny network, and measures nothing. Without a
GPU and without it, nothing happens. Aims on an H100: a run of 100 epochs under 3 minutes, DGL / vanilla at most 1.03,
ten times the official step in all.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from official import Way, gains, log_gradients, plain_forward
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dgl_core import methods, models
from dgl_core.data.files.atomic import write_atomic
from dgl_core.gradients import DisentangledObjective
from dgl_core.paper.experiments import late_fusion
from dgl_core.reproduce import rehearse
from dgl_core.runs import run as runs
from dgl_core.training import train
from dgl_core.training.environment import describe, peak_memory_mb, utc_now
from dgl_core.training.loop import Trainer
from dgl_core.training.machine import Machine
from dgl_core.training.memory import streaming
from dgl_core.training.records import RunSpec
from dgl_core.utils import duration

ALPHA, CLIP, CLIPS, EPOCHS = 4.0, 40.0, 6698, 100
RATIO, SECONDS, GAIN = 1.03, 180.0, 10.0  # aims
WARM_UP = 5


class Bench:
    """Data, network and clock, of true or of tiny size."""

    def __init__(self, small: bool, steps: int, device: torch.device, folder: Path):
        self.small, self.steps, self.device, self.folder = small, steps, device, folder
        self.data = rehearse.random_dataset("cremad", "small" if small else "1")
        self.spec = late_fusion.base_specs("paper", "cremad", [0])[0].but(method_options={})
        if small:
            self.spec = self.spec.but(model="small", model_options={"width": 2}, batch_size=8)
        self.backend = "eager" if small else "inductor"
        cuda = device.type == "cuda"
        tf32 = cuda and torch.cuda.get_device_capability(device)[0] >= 8
        self.precisions = ["fp32", *(["tf32"] if tf32 else []), "bf16"]

    def model(self) -> nn.Module:
        shapes = {m: self.data.shapes[m] for m in self.data.modalities}
        return models.build(self.spec.model, shapes, 6, 0, **self.spec.model_options)

    def clock(self, step: Callable[[], object]) -> float:
        """Seconds of a step; the first ones left out."""
        for _ in range(WARM_UP if not self.small else 1):
            step()
        self.wait()
        started = time.perf_counter()
        for _ in range(self.steps):
            step()
        self.wait()
        return (time.perf_counter() - started) / self.steps

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def batches(self, resident: bool) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Augmented training batches without end."""
        data = self.data.to(self.device) if resident else streaming.Streamed(self.data, self.device)
        index, generator = data.indices("train"), torch.Generator().manual_seed(0)
        while True:
            order = index[torch.randperm(len(index), generator=generator)].split(self.spec.batch_size)[:-1]
            yield from streaming.batches(data, order, generator)

    def step(self, way: Way, file) -> Callable[[], None]:
        """One training step: batch, forward, backward, clipping, update, logging."""
        model, batches, writer = self.model().to(self.device), self.batches(way.resident), csv.writer(file)
        if way.channels_last:
            model.to(memory_format=torch.channels_last)
        else:
            for encoder in model.encoders.values():
                encoder.forward = plain_forward(encoder)
        objective = DisentangledObjective(model, ALPHA)
        encode = model.encode
        if way.compile:
            torch._dynamo.reset()
            objective, encode = (torch.compile(part, backend=self.backend) for part in (objective, encode))
        optimizer = torch.optim.SGD(model.parameters(), 2e-3, 0.9, weight_decay=1e-4, fused=way.passes == 1)

        def step() -> None:
            inputs, target = next(batches)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=way.precision == "bf16"):
                if way.passes == 1:
                    loss = objective(inputs, target).total
                else:
                    features = encode(inputs)
                    unimodal = sum(F.cross_entropy(model.fuse(features, (m,)), target) for m in features)
                    loss = F.cross_entropy(model.fuse({m: z.detach() for m, z in features.items()}), target)
            if way.passes == 2:
                (ALPHA * unimodal).backward(retain_graph=True)
                for parameter in model.fusion.parameters():
                    parameter.grad = None
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            if way.logging:
                log_gradients(model, writer)
            optimizer.step()

        return step

    def numerics(self, precision: str):
        return Machine().numerics(RunSpec("cremad", precision=precision), self.device)

    def steps_of_all_ways(self) -> dict[str, float]:
        seconds = {}
        for title, way in gains(self.precisions).items():
            with open(self.folder / "gradients.csv", "w", newline="") as file, self.numerics(way.precision):
                seconds[title] = self.clock(self.step(way, file))
            print(f"  {title:40s} {1000 * seconds[title]:9.2f} ms   {seconds['official step'] / seconds[title]:6.2f} x")
        return seconds

    def trainer(self, method: str, precision: str) -> Trainer:
        options = {"alpha": ALPHA} if method == "dgl" else {}
        spec = self.spec.but(method=method, method_options=options, precision=precision)
        how = Machine(compile="" if self.small else self.backend)
        return Trainer(spec, methods.build(method, options), self.model(), self.data, self.device, how)

    def loop(self, precision: str) -> dict[str, float]:
        """Seconds of a step of DGL and vanilla in the real loop (they take turns), of an evaluation, of a whole run."""
        found: dict[str, list[float]] = {"vanilla": [], "dgl": []}
        with train.prepared(self.spec.but(precision=precision), self.device, Machine()):
            trainers = {method: self.trainer(method, precision) for method in found}
            for turn in range(4):  # the first is the warm-up
                for method, run in trainers.items():
                    run.epoch, run.steps_per_epoch = turn, min(run.steps_per_epoch, self.steps)
                    self.wait()
                    started = time.perf_counter()
                    run._train_epoch()
                    self.wait()
                    found[method].append((time.perf_counter() - started) / run.steps_per_epoch)
            started = time.perf_counter()
            trainers["dgl"]._evaluate_epoch()
            evaluation = time.perf_counter() - started
        vanilla, dgl = (sorted(found[method][1:])[1] for method in ("vanilla", "dgl"))
        run = EPOCHS * (dgl * (CLIPS // self.spec.batch_size) + evaluation)
        return {"vanilla": vanilla, "dgl": dgl, "ratio": dgl / vanilla, "evaluation": evaluation, "run": run}

    def operations(self) -> int:
        """Floating-point operations of a DGL step, forward and backward."""
        model = self.model().to(self.device)
        inputs, target = next(self.batches(False))
        with FlopCounterMode(display=False) as counter:
            DisentangledObjective(model, ALPHA)(inputs, target).total.backward()
        return counter.get_total_flops()

    def ceiling(self, precision: str) -> float:
        """Operations per second of a large matrix product: what this chip can do, as a program sees it."""
        size = 128 if self.small else 8192
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        a, b = (torch.randn(size, size, device=self.device, dtype=kind) for _ in range(2))
        with self.numerics(precision):
            return 2 * size**3 / self.clock(lambda: a @ b)

    def profile(self) -> str:
        """What the device does in five steps of the fastest way."""
        cuda = self.device.type == "cuda"
        kinds = [torch.profiler.ProfilerActivity.CPU] + ([torch.profiler.ProfilerActivity.CUDA] if cuda else [])
        with open(self.folder / "gradients.csv", "w", newline="") as file, self.numerics("bf16"):
            step = self.step(Way(1, False, "bf16", True, not self.small, True), file)
            self.clock(step)
            with torch.profiler.profile(activities=kinds) as seen:
                for _ in range(5):
                    step()
                self.wait()
        order = "self_device_time_total" if cuda else "self_cpu_time_total"
        return seen.key_averages().table(sort_by=order, row_limit=15, max_name_column_width=60)


def report(bench: Bench) -> dict[str, object]:
    about = "tiny clips and network: NOT a measurement" if bench.small else "random data in the size of CREMA-D"
    print(f"{rehearse.LABEL}, {about}; {describe(bench.device)['device']}, torch {torch.__version__}")
    print("One change to the official step at a time, milliseconds a step and times faster:")
    ways = bench.steps_of_all_ways()
    operations, loops, ceilings = bench.operations(), {}, {}
    print(f"The loop of the house, compiled; {operations / 1e9:.1f} GFLOP a step:")
    for precision in bench.precisions:
        loops[precision], ceilings[precision] = bench.loop(precision), bench.ceiling(precision)
        cost = loops[precision]
        done, most = operations / cost["dgl"] / 1e12, ceilings[precision] / 1e12
        print(
            f"  {precision}: DGL {1000 * cost['dgl']:.2f} ms, DGL / vanilla {cost['ratio']:.3f} (aim {RATIO}), "
            f"{EPOCHS} epochs of {CLIPS} clips {duration(cost['run'])} (aim {duration(SECONDS)}), "
            f"{done:.2f} of {most:.2f} TFLOP/s ({100 * done / most:.0f} %)"
        )
    best = min(cost["dgl"] for cost in loops.values())
    print(f"Official step / DGL in the loop: {ways['official step'] / best:.1f} (aim {GAIN:g})")
    table = bench.profile()
    print(table)
    return {
        "label": rehearse.LABEL, "small": bench.small, "steps": bench.steps, "batch_size": bench.spec.batch_size,
        "ways": {title: {"seconds": ways[title]} | asdict(way) for title, way in gains(bench.precisions).items()},
        "loop": loops, "operations": operations, "ceiling": ceilings, "profile": table.splitlines(),
        "peak_memory_mb": peak_memory_mb(bench.device), "environment": describe(bench.device), "created": utc_now(),
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="prove the command on a CPU")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--out", type=Path, default=runs.rehearsal_root())
    options = parser.parse_args(arguments)
    if not options.small and not torch.cuda.is_available():
        print("No GPU here, nothing is measured; --small proves the command on a CPU.")
        return 0
    device = torch.device("cpu") if options.small else train.default_device()
    options.out.mkdir(parents=True, exist_ok=True)
    found = report(Bench(options.small, min(options.steps, 2) if options.small else options.steps, device, options.out))
    path = options.out / ("gpu_evidence_small.json" if options.small else "gpu_evidence.json")
    write_atomic(path, json.dumps(found, indent=1))
    print(f"Kept in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
