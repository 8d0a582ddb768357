"""Train one run on several processes (``torchrun``): each takes its part of every batch, all make the same update.

The update follows the mean of the parts' gradients: without batch statistics, that of the whole batch. Batch-norm is
made to see the whole batch on GPUs (``SyncBatchNorm``); on CPUs running statistics are averaged once an epoch.

OGM, PMR, AGM, MMPareto and MLA steer their gradients by scores that each process takes from its own part. The update is
then the mean of steered gradients, which is not the method on the whole batch; ``processes`` in the record shows it.
Every process draws its own random augmentation.
"""

from __future__ import annotations

import inspect
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from dgl_core.data.tasks.classes import Task
from dgl_core.gradients import DisentangledObjective
from dgl_core.methods.base import Method
from dgl_core.training.records import RunSpec

# Newer versions of torch have another name for it. Running statistics are averaged once an epoch instead.
_NEW_NAME = "forward_sync_buffers" in inspect.signature(DistributedDataParallel.__init__).parameters
SYNC_BUFFERS = "forward_sync_buffers" if _NEW_NAME else "broadcast_buffers"


@dataclass(frozen=True)
class Team:
    """The processes of a run; with one process, the default, every method here leaves its argument as it is."""

    rank: int = 0
    size: int = 1

    def check(self, spec: RunSpec) -> None:
        """Raise a ``ValueError`` unless a batch can be cut into equal parts."""
        if spec.batch_size % self.size:
            fits = spec.batch_size - spec.batch_size % self.size or self.size
            raise ValueError(f"batch_size {spec.batch_size} cannot be cut into {self.size} equal parts, one a process: "
                             f"use another number of processes, or for example batch_size={fits}.")  # fmt: skip

    def part(self, rows: Tensor) -> Tensor:
        """Take this process's rows of a batch: [B] -> [B / size]."""
        each = len(rows) // self.size
        return rows[self.rank * each : (self.rank + 1) * each]

    def prepare(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Make batch-norm see the whole batch, where torch offers that (GPUs)."""
        if self.size > 1 and device.type == "cuda":
            return nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return model

    def wrap(self, objective: nn.Module, method: Method, heads: nn.Module) -> tuple[nn.Module, bool]:
        """Wrap the objective in DistributedDataParallel where possible; also says whether that averages the gradients.

        DDP averages one backward pass and wants every parameter in it, as the plain step of a ``DisentangledObjective``
        has it (vanilla, DGL and all of Table 3); other methods have their gradients averaged in ``update``.
        """
        plain = type(method).step is Method.step and not any(True for _ in heads.parameters())
        if self.size > 1 and plain and isinstance(getattr(objective, "_orig_mod", objective), DisentangledObjective):
            return DistributedDataParallel(objective, **{SYNC_BUFFERS: False}), True
        return objective, self.size == 1

    def sees_whole_batch(self, model: nn.Module, task: Task, averaged: bool) -> bool:
        """Tell whether the update is that of the whole batch: losses averaged, batch-norm over all parts."""
        parts = (m for m in model.modules() if isinstance(m, _BatchNorm) and not isinstance(m, nn.SyncBatchNorm))
        return self.size == 1 or (averaged and task.by_sample and next(parts, None) is None)

    def average(self, tensors: Iterable[Tensor | None]) -> None:
        """Replace each tensor by its mean over the processes, in place, in few messages."""
        if self.size == 1:
            return
        by_kind: dict[torch.dtype, list[Tensor]] = defaultdict(list)
        for tensor in tensors:
            if tensor is not None and tensor.is_floating_point():
                by_kind[tensor.dtype].append(tensor)
        for group in by_kind.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            dist.all_reduce(flat)
            flat /= self.size
            for tensor, mean in zip(group, flat.split([t.numel() for t in group]), strict=True):
                tensor.copy_(mean.view_as(tensor))

    def agree(self, value: object) -> object:
        """Send the first process's value to all of them, which also makes them wait for each other."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


@contextmanager
def team(device: torch.device) -> Iterator[Team]:
    """Join the processes that ``torchrun`` started, by NCCL between GPUs, gloo between CPUs; otherwise stay alone."""
    met = dist.is_initialized()
    if not met and os.environ.get("WORLD_SIZE", "1") == "1":
        yield Team()
        return
    if not met:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(dist.get_rank(), dist.get_world_size())
    finally:
        if not met:
            dist.destroy_process_group()


def own_device(device: torch.device) -> torch.device:
    """Name the GPU of this process: number ``LOCAL_RANK`` of those that it sees."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device
