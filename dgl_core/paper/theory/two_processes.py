"""Compare the gradient that two processes agree on with that of the whole batch.

DistributedDataParallel averages each gradient once, in the first backward pass. The official step has two: it clears
the fusion gradients after the first and lets the second write new ones, which nobody averages.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dgl_core.gradients import DisentangledObjective
from dgl_core.models import ConcatFusion, LateFusion

WORLD, ALPHA, SAMPLES = 2, 4.0, 16
BACKWARD_PASSES = ("one backward pass", "two backward passes")


def example() -> tuple[LateFusion, dict[str, Tensor], Tensor]:
    """Make a small model in float64 and one batch, the same in every process."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoders = {m: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)) for m in ("audio", "visual")}
        model = LateFusion(encoders, ConcatFusion({m: 4 for m in encoders}, 3)).double()
        inputs = {m: torch.randn(SAMPLES, 5, dtype=torch.float64) for m in encoders}
    return model, inputs, torch.arange(SAMPLES) % 3


class _Logits(nn.Module):
    """The model as the official code wraps it: one forward pass returns fused and masked logits."""

    def __init__(self, model: LateFusion):
        super().__init__()
        self.model = model

    def forward(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        features = self.model.encode(inputs)
        fused = self.model.fuse({m: z.detach() for m, z in features.items()})
        return [fused, *(self.model.fuse(features, (m,)) for m in features)]


def step(form: str, rows: Tensor, wrap=lambda module: module) -> dict[str, Tensor]:
    """Compute the gradients that one step in a ``form`` of ``BACKWARD_PASSES`` leaves on the rows of the batch."""
    model, inputs, target = example()
    inputs, target = {m: x[rows] for m, x in inputs.items()}, target[rows]
    if form == BACKWARD_PASSES[0]:
        network = wrap(DisentangledObjective(model, ALPHA))  # alive until backward
        network(inputs, target).total.backward()
    else:
        network = wrap(_Logits(model))
        fused, *unimodal = network(inputs)
        (ALPHA * sum(F.cross_entropy(logits, target) for logits in unimodal)).backward(retain_graph=True)
        for parameter in model.fusion.parameters():
            parameter.grad = None
        F.cross_entropy(fused, target).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    try:
        rows = torch.arange(SAMPLES).chunk(WORLD)[rank]
        torch.save({form: step(form, rows, DistributedDataParallel) for form in BACKWARD_PASSES}, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def errors() -> dict[str, dict[str, float]]:
    """Measure the largest error of two processes, for each form and part of the model; empty without gloo."""
    if not (dist.is_available() and dist.is_gloo_available()):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_worker, (folder,), nprocs=WORLD)
        found = [torch.load(f"{folder}/{rank}.pt", weights_only=True) for rank in range(WORLD)]
    whole = {form: step(form, torch.arange(SAMPLES)) for form in BACKWARD_PASSES}
    return {form: compare([ranks[form] for ranks in found], wanted) for form, wanted in whole.items()}


def compare(found: list[dict[str, Tensor]], wanted: dict[str, Tensor]) -> dict[str, float]:
    """Find the largest relative error of any process in the encoders, and in the fusion module."""
    worst = {}
    for part in ("encoders", "fusion"):
        names = [name for name in wanted if name.startswith(part)]
        size = max(wanted[name].abs().max().item() for name in names)
        worst[part] = max((ranks[n] - wanted[n]).abs().max().item() for ranks in found for n in names) / size
    return worst
