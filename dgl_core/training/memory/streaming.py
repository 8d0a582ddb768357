"""Keep the data of a run in GPU memory if they fit, else stream them from memory-mapped files.

Trainings that share a GPU without room for a copy each read one copy together, if that fits (``shared``). To stream,
a side thread then gathers the stored rows of the next batches into page-locked memory; a second CUDA stream copies
them while the GPU computes; augmentation happens on the GPU, as for resident data, with the same random numbers. These
are drawn on the host for a whole epoch, so that they are the same on every device, and moved to the GPU at once.
"""

from __future__ import annotations

import copy
import os
import sys
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, repeat

import torch
from torch import Tensor, nn

from dgl_core.data.dataset import Dataset, Drawn, moved
from dgl_core.training.machine import Machine
from dgl_core.training.memory import shared
from dgl_core.training.memory.shared import TARGET

DATA_SHARE = 0.4  # of the free GPU memory that data may take; weights, activations and workspaces need the rest
AHEAD = 2  # batches gathered in advance
_said: set[str] = set()  # data sets that this process has told about, once for however many runs


def stored_bytes(dataset: Dataset) -> int:
    """Count the bytes of the stored arrays and the targets, which is what they take on any device."""
    return sum(x.numel() * x.element_size() for x in (*dataset.inputs.values(), dataset.target))


def room_for(free: int, total: int, per_gpu: int) -> float:
    """Count the bytes that the data of one run may take of a GPU memory of ``total`` bytes, ``free`` of them free now.

    Runs that share a GPU start at different times, so each counts on its share of the whole, not on what is free.
    """
    return DATA_SHARE * min(free, total / per_gpu)


def resident(needed: int, free: int, total: int, machine: Machine) -> bool:
    """Tell whether data of ``needed`` bytes are kept in a GPU memory of ``total`` bytes, ``free`` of them free now."""
    return machine.data == "device" if machine.data != "auto" else needed <= room_for(free, total, machine.per_gpu)


def streamed_because(needed: int, free: int, total: int, machine: Machine) -> str:
    """Say why data are streamed where nobody asked for that, and what would keep them on the GPU if anything would."""
    if machine.data != "auto":
        return ""
    room, copies = room_for(free, total, machine.per_gpu), machine.per_gpu
    each = f", one copy for each of {copies} trainings" if copies > 1 else ""
    fewer = next((n for n in range(copies - 1, 0, -1) if needed <= room_for(free, total, n)), 0)
    remedy = f"; PER_GPU={fewer} would keep them there" if fewer else ""
    here = f"{needed / 1e9:.2f} GB do not fit in GPU memory ({room / 1e9:.2f} GB are for data{each})"
    return f"{here}: they are streamed from memory-mapped files, of which all trainings read the same copy{remedy}."


def place(dataset: Dataset, device: torch.device, machine: Machine) -> tuple[Dataset, str]:
    """Place a data set for training on ``device``, and say where its arrays are: "device", "host" or "cpu" (no GPU)."""
    if device.type != "cuda":
        return dataset.to(device), "cpu"
    needed, (free, total) = stored_bytes(dataset), torch.cuda.mem_get_info(device)
    if resident(needed, free, total, machine):
        return dataset.to(device), "device"
    reason, address = streamed_because(needed, free, total, machine), os.environ.get(shared.PLACE)
    if reason and address:
        found = shared.lent(dataset, device, address)
        if isinstance(found, Dataset):
            return found, "device"
        reason = f"{reason} They cannot share one copy on the GPU: {found}."
    if reason and dataset.name not in _said:
        print(f"{dataset.name}: {reason}", file=sys.stderr)
        _said.add(dataset.name)
    return Streamed(dataset, device), "host"


def batches(dataset: Dataset, index: Sequence[Tensor], generator: torch.Generator | None):
    """Yield ``dataset.batch`` for each of ``index``, in order; a streamed set prepares the next ones meanwhile.

    The random numbers of all of them are moved to the data's device before the first one, so that no step copies any.
    """
    drawn = None if generator is None else drawn_at_once(dataset, [len(rows) for rows in index], generator)
    if isinstance(dataset, Streamed):
        yield from dataset.stream(index, generator, drawn)
        return
    for step, rows in enumerate(index):
        yield dataset.batch(rows, generator) if drawn is None else dataset.batch(rows, drawn=drawn[step])


def drawn_at_once(dataset: Dataset, sizes: Sequence[int], generator: torch.Generator) -> list[dict[str, Drawn]] | None:
    """Draw the random numbers of batches of these sizes as one batch after the other would; None where none can be.

    They lie on the data's device, each kind of number in one tensor that was copied there once.
    """
    if len(set(sizes)) != 1:
        return None
    drawn = []
    for size in sizes:
        drawn.append(dataset.draw(size, generator))
        if drawn[0] is None:  # nothing was drawn: each batch draws when it is made
            return None
    device = getattr(dataset, "device", dataset.target.device)
    kinds = {m: _together([each[m] for each in drawn], device) for m in drawn[0]}
    return [{m: tuple(kind[step] for kind in found) for m, found in kinds.items()} for step in range(len(sizes))]


def _together(drawn: Sequence[Drawn], device: torch.device) -> Drawn:
    """Stack each kind of number over the batches, [S, ...], and move it, from page-locked memory to a GPU."""
    kinds = tuple(torch.stack(kind) for kind in zip(*drawn, strict=True))
    return moved(tuple(kind.pin_memory() for kind in kinds) if device.type == "cuda" else kinds, device)


class Streamed(Dataset):
    """Leave the arrays of a data set on the CPU, memory-mapped as a rule, and bring its batches to ``device``."""

    def __init__(self, dataset: Dataset, device: torch.device | str):
        self.__dict__.update(vars(dataset))
        self.host, self.device = dataset, torch.device(device)
        self.cuda = self.device.type == "cuda"
        self.plain = type(dataset).batch is Dataset.batch  # then the GPU can do what comes after gathering
        self.transforms = {m: copy.deepcopy(t).to(self.device) for m, t in dataset.transforms.items()}
        self.copies = torch.cuda.Stream(self.device) if self.cuda else None

    @property
    def fingerprint(self) -> str:
        return self.host.fingerprint

    def preparation(self, modalities: Collection[str]) -> nn.Module:
        return self.host.preparation(modalities)

    def batch(
        self, index: Tensor, generator: torch.Generator | None = None, drawn: Mapping[str, Drawn] | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        return next(self.stream([index], generator, None if drawn is None else [drawn]))

    def draw(self, count: int, generator: torch.Generator) -> dict[str, Drawn] | None:
        return self.host.draw(count, generator) if self.plain else None

    def stream(
        self,
        index: Iterable[Tensor],
        generator: torch.Generator | None = None,
        drawn: Iterable[Mapping[str, Drawn]] | None = None,
    ) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Yield batches in the order of ``index``; the next ones are gathered while one is used."""
        index, drawn = iter(index), repeat(None) if drawn is None else iter(drawn)
        with ThreadPoolExecutor(1) as side:  # one thread, so a set that augments there draws in order
            waiting = deque(side.submit(self._gather, rows, generator) for rows in islice(index, AHEAD))
            while waiting:
                found = self._send(waiting.popleft().result())
                waiting.extend(side.submit(self._gather, rows, generator) for rows in islice(index, 1))
                target = found.pop(TARGET)
                if self.plain:
                    found = self.transformed(found.__getitem__, len(target), generator, next(drawn))
                yield found, target

    def _gather(self, index: Tensor, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Gather stored rows in page-locked memory; for a set that makes its batches in its own way, whole batches."""
        index = index.cpu()
        if self.plain:
            stored = {m: self.host.inputs[m] for m in self._needed()} | {TARGET: self.host.target}
            return {name: self._rows(x, index) for name, x in stored.items()}
        inputs, target = self.host.batch(index, generator)
        found = inputs | {TARGET: target}
        return {name: x.pin_memory() for name, x in found.items()} if self.cuda else found

    def _needed(self) -> list[str]:
        """List the modalities to gather: those kept, and those whose transform only draws by working."""
        return [m for m, t in self.transforms.items() if m in self.kept or not hasattr(t, "draw")]

    def _rows(self, x: Tensor, index: Tensor) -> Tensor:
        rows = torch.empty(len(index), *x.shape[1:], dtype=x.dtype, pin_memory=self.cuda)
        return torch.index_select(x, 0, index, out=rows)

    def _send(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """Copy to the device while it computes; the next computation waits for the copy, the host does not."""
        if not self.cuda:
            return {name: x.to(self.device) for name, x in found.items()}
        with torch.cuda.stream(self.copies):
            sent = {name: x.to(self.device, non_blocking=True) for name, x in found.items()}
        now = torch.cuda.current_stream(self.device)
        now.wait_stream(self.copies)
        for x in sent.values():
            x.record_stream(now)  # its memory is not given away while it is still in use
        return sent
