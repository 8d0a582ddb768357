"""Count what a training step computes and moves, and hold it against what the processor that is there can do.

Operations are the floating-point operations of convolutions and matrix products, two for a multiplication and an
addition. Bytes are what each tensor operation reads and writes, as if nothing stayed in a cache and nothing were fused:
an upper bound of the traffic. Both are counted on fake tensors, so the counting takes no arithmetic.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dgl_core import methods, models
from dgl_core.data import ArrayDataset
from dgl_core.methods.base import Batch
from dgl_core.training.loop import Trainer
from dgl_core.training.machine import Machine
from dgl_core.training.records import RunSpec

BATCHES = (2, 4)  # sizes at which a step is counted: what does not grow with the batch shows between them
EPOCHS = (0, 4, 8, 12)  # whose mean counts: ReconBoost trains the modalities in turn, four epochs alone, four together
FEW = 8  # samples of each part of the data that stand in


class Work(NamedTuple):
    """Say what a step takes: a share for each sample, and what every step takes once, whatever its batch.

    Once are the bytes of weights and optimiser, and the operations of AGM's zero input, which is encoded once a step.
    """

    operations: float  # a sample
    bytes: float  # a sample
    fixed_bytes: float = 0.0  # a step
    fixed_operations: float = 0.0  # a step

    def step(self, batch: int) -> tuple[float, float]:
        """Compute operations and bytes of a step on a batch of this size."""
        return self.fixed_operations + self.operations * batch, self.fixed_bytes + self.bytes * batch


class Traffic(TorchDispatchMode):
    """Add up the bytes of the tensors that operations take and give; views and empty tensors move nothing."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = func(*args, **(kwargs or {}))
        if not func.is_view and not func.overloadpacket.__name__.startswith("empty"):
            touched = (x for x in tree_leaves((args, kwargs, given)) if isinstance(x, torch.Tensor))
            self.bytes += sum(x.numel() * x.element_size() for x in touched)
        return given


def work_of(spec: RunSpec, shapes: Mapping[str, Sequence[int]], classes: int) -> tuple[Work, Work]:
    """Count one training step of a run, and the scoring of its branches.

    ``shapes`` modality -> shape of a sample of the data set. What a method does beside its steps is not counted.
    """
    counts = [_counted(spec.but(batch_size=batch, accumulate=1), shapes, classes) for batch in BATCHES]
    small, large = BATCHES
    found = []
    for few, many in zip(*counts, strict=True):
        done, moved = ((many[i] - few[i]) / (large - small) for i in (0, 1))
        found.append(Work(done, moved, few[1] - moved * small, few[0] - done * small))
    return found[0], found[1]


def _counted(spec: RunSpec, shapes: Mapping[str, Sequence[int]], classes: int) -> list[tuple[float, float]]:
    """Count ``(operations, bytes)`` of a step, and of a scored batch, at this batch size."""
    method = methods.build(spec.method, spec.method_options)
    chosen = {m: tuple(shapes[m]) for m in method.modalities(list(shapes))}
    samples = {m: torch.zeros(()).expand(3 * FEW, *shape) for m, shape in shapes.items()}  # no room, however large
    parts = [part for part in ("train", "val", "test") for _ in range(FEW)]
    labels = torch.arange(3 * FEW) % classes
    data = ArrayDataset(samples, labels, parts, classes=[str(k) for k in range(classes)])
    model = models.build(spec.model, chosen, classes, spec.seed, **spec.model_options)
    run = Trainer(spec.but(precision="fp32"), method, model, data, torch.device("cpu"), Machine())
    run._norms = defaultdict(list)
    method.on_start(run)
    with FakeTensorMode(allow_non_fake_inputs=True):
        inputs = {m: torch.empty(spec.batch_size, *shape) for m, shape in chosen.items()}
        batch = Batch(inputs, torch.zeros(spec.batch_size, dtype=torch.long))
        steps = []
        for run.epoch in (epoch for epoch in EPOCHS if epoch < max(spec.epochs, 1)):
            steps.append(_operations_and_bytes(lambda: method.step(run, batch)))
        trained = tuple(sum(each) / len(steps) for each in zip(*steps, strict=True))
        model.eval()
        with torch.no_grad():
            scored = _operations_and_bytes(lambda: method.all_logits(run, inputs))
    return [trained, scored]


def _operations_and_bytes(work: Callable[[], object]) -> tuple[int, int]:
    with FlopCounterMode(display=False) as operations, Traffic() as traffic:
        work()
    return operations.get_total_flops(), traffic.bytes


class Roofline(NamedTuple):
    """Say what a processor can do at most, as measured: operations and bytes a second."""

    operations: float
    bytes: float

    def seconds(self, operations: float, moved: float) -> float:
        """Compute the least time that so much work takes."""
        return max(operations / self.operations, moved / self.bytes)


def roofline(device: torch.device, precision: str) -> Roofline:
    """Measure the roofline of a device: a large matrix product in the precision of a run, and a large copy.

    Precision switches (TF32) are those that are set, so call it where the run would train.
    """
    gpu = device.type == "cuda"
    kind = torch.bfloat16 if precision == "bf16" else torch.float64 if precision == "fp64" else torch.float32
    size, room = (8192, 2**28) if gpu else (1024, 2**24)
    a = torch.ones(size, size, dtype=kind, device=device)
    source = torch.ones(room, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return Roofline(2 * size**3 / _best(lambda: a @ a, device), 2 * room / _best(lambda: target.copy_(source), device))


def _best(work: Callable[[], object], device: torch.device, times: int = 5) -> float:
    """Time a piece of work; the fastest of a few, after one that does not count."""
    found = []
    for _ in range(times + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - started)
    return max(min(found[1:]), 1e-9)


def table(rows: Mapping[str, Mapping[str, float]], batch: int, top: Roofline) -> list[str]:
    """Say for every method what a step computes and moves, and its expected beside its measured time.

    ``rows``: method -> ``operations``, ``bytes`` of a step and, where measured, ``step_ms``.
    """
    lines = [
        f"  roofline, measured: {top.operations / 1e12:.3g} Tera-operations/s, {top.bytes / 1e9:.3g} GB/s; "
        f"a step has {batch} clips",
        "  method          operations    bytes     expected      measured   of the roofline",
    ]
    for name, row in rows.items():
        expected = 1000 * top.seconds(row["operations"], row["bytes"])
        measured = row.get("step_ms", math.nan)
        spent = "not measured" if math.isnan(measured) else f"{measured:9.1f} ms"
        share = "" if math.isnan(measured) else f"{100 * row['operations'] / top.operations / measured * 1000:13.0f} %"
        lines.append(
            f"  {name:15s} {row['operations']:9.2e} {row['bytes'] / 1e9:8.2f} GB {expected:9.1f} ms  {spent}{share}"
        )
    return lines
