"""Hold one copy of the data in the memory of a GPU for all trainings that share it.

A process of its own owns the memory (``hold``) and does nothing else. A training asks it for the tensors of its data
set: the first one gets them empty and fills them, others wait until they are full and read the same memory. What no
training uses any more makes room for the next data set.

On a GPU the tensors travel as CUDA's handles, on a CPU as shared memory; both are torch's own ways of sending a tensor
to another process.
"""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener

import torch
import torch.multiprocessing  # teaches connections to send tensors  # noqa: F401
from torch import Tensor

from dgl_core.data.dataset import Dataset
from dgl_core.utils import end_with_parent

PLACE = "DGL_DATA_HOLDER"  # where trainings find the holder of their GPU
TARGET = "\0target"  # key of the target beside the inputs; no modality can have this name
START_SECONDS = 120.0  # that a holder gets to import torch
Wanted = Mapping[str, tuple[tuple[int, ...], torch.dtype]]  # name -> shape, type
FAILURES = (OSError, EOFError, RuntimeError, multiprocessing.ProcessError)  # of asking; data can be streamed then


@dataclass
class Held:
    """The tensors of one data set, whether they are full yet, and how many trainings use them."""

    tensors: dict[str, Tensor]
    full: bool = False
    users: int = 0


class Holder:
    """Own the memory: at most ``room`` bytes on ``device``."""

    def __init__(self, device: str, room: float):
        self.device, self.room = device, room
        self.held: dict[str, Held] = {}
        self.changed = threading.Condition()

    def serve(self, listener: Listener) -> None:
        """Answer everybody who connects, each in a thread of its own, for ever."""
        while True:
            with contextlib.suppress(EOFError, ConnectionError, multiprocessing.AuthenticationError):  # of one caller
                threading.Thread(target=self.answer, args=(listener.accept(),), daemon=True).start()

    def answer(self, asks: Connection) -> None:
        """Lend tensors to one training until it hangs up; what it did not fill to the end is given up."""
        with asks:
            try:
                key, wanted = asks.recv()
                found = self.take(key, wanted)
                if isinstance(found, str):
                    asks.send(found)
                    return
                try:
                    asks.send((not found.full, found.tensors))
                    if not found.full:
                        asks.recv()
                        self.filled(found)
                    asks.recv()
                finally:
                    self.release(key, found)
            except FAILURES:
                pass  # it has hung up, or tensors cannot be sent here: it then streams its data

    def take(self, key: str, wanted: Wanted) -> Held | str:
        """Find the tensors of a data set once they are full, or make empty ones; says why there is no room."""
        with self.changed:
            while key in self.held and not self.held[key].full:
                self.changed.wait()
            if key not in self.held:
                needed = sum(torch.Size(shape).numel() * dtype.itemsize for shape, dtype in wanted.values())
                for name in [name for name, held in self.held.items() if not held.users]:
                    if self.used() + needed > self.room:
                        del self.held[name]
                if self.used() + needed > self.room:
                    return f"{(self.room - self.used()) / 1e9:.2f} GB are left for shared data"
                make = {name: torch.empty(shape, dtype=d, device=self.device) for name, (shape, d) in wanted.items()}
                self.held[key] = Held(make)
            self.held[key].users += 1
            return self.held[key]

    def used(self) -> int:
        """Count the bytes that are held."""
        return sum(x.numel() * x.element_size() for held in self.held.values() for x in held.tensors.values())

    def filled(self, held: Held) -> None:
        """Let the others read what the first one has filled."""
        with self.changed:
            held.full = True
            self.changed.notify_all()

    def release(self, key: str, held: Held) -> None:
        """Count a training that has ended; of those that wait for what it did not fill, one begins anew."""
        with self.changed:
            held.users -= 1
            if not held.full:
                del self.held[key]
            self.changed.notify_all()


def hold(told: Connection, device: str, share: float) -> None:
    """Be the holder of a GPU until the process that started this one ends.

    Args:
        told: answers with the address at which trainings ask. share: of the whole memory that data may take.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    end_with_parent()
    with Listener(authkey=multiprocessing.current_process().authkey) as listener:
        told.send(listener.address)
        total = torch.cuda.get_device_properties(device).total_memory if device.startswith("cuda") else float("inf")
        Holder(device, share * total).serve(listener)


@contextmanager
def holder(device: str = "cuda", share: float = 1.0) -> Iterator[str]:
    """Start a holder, which sees what ``CUDA_VISIBLE_DEVICES`` names now; it ends with the block.

    Yields:
        its address, for ``PLACE``; "" where none starts, and trainings then stream what does not fit.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=hold, args=(there, device, share), daemon=True)
    process.start()
    there.close()
    address = ""
    try:
        with contextlib.suppress(EOFError):  # it has failed, and said why
            address = here.recv() if here.poll(START_SECONDS) else ""
        yield address
    finally:
        process.terminate()
        process.join()


def lent(dataset: Dataset, device: torch.device, address: str) -> Dataset | str:
    """Place a data set in the memory of the holder at ``address``; returns the reason where that does not work.

    The copy is given back when nothing refers to the returned data set any more.
    """
    own = dataset.inputs | {TARGET: dataset.target}
    try:
        asks = Client(address, authkey=multiprocessing.current_process().authkey)
        asks.send((dataset.fingerprint, {name: (tuple(x.shape), x.dtype) for name, x in own.items()}))
        answer = asks.recv()
        if isinstance(answer, str):
            return answer
        empty, tensors = answer
        if empty:
            for name, x in own.items():
                tensors[name].copy_(x)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            asks.send("full")
    except FAILURES as error:
        return str(error) or "the process that holds it has hung up"
    found = copy.copy(dataset)
    found.inputs, found.target = {m: tensors[m] for m in dataset.inputs}, tensors[TARGET]
    found = found.to(device)
    found.lease = asks  # closed with the data set
    return found
