"""Start processes that train: local ones, or those of a Dask cluster. Both offer ``submit``, as ``run_all`` needs."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import wait

from dgl_core.utils import end_with_parent, needs, without_interrupts

GRACE = 3.0  # seconds that a worker gets to release its claim
FIRST_WORKER = 60.0  # seconds that the first worker of a Dask cluster gets to join; others may come later
MPS, MPS_PLACE = "nvidia-cuda-mps-control", "CUDA_MPS_PIPE_DIRECTORY"  # the service's program; where clients find it
MPS_SECONDS = 60.0  # that its start, a first computation under it, and its end may each take
PROBE = "import torch; torch.zeros(1, device='cuda').item()"  # a process that computes under it
TURNS = "Trainings that share a GPU take turns on it"


@contextmanager
def with_variables(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started inside the block."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ.update({name: before[name] for name in variables if name in before})


@contextmanager
def local_workers(
    count: int, gpus: Sequence[str] = (), each: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[ProcessPoolExecutor]:
    """Start a pool of ``count`` fresh processes; however the block is left, none of them outlives it.

    Args:
        gpus: dealt out in turn, one to each process, which sees no other; several processes may get the same.
        each: GPU -> environment variables of its processes.
    """
    context = multiprocessing.get_context("spawn")  # each reads this process's environment before it imports torch
    places = context.SimpleQueue() if gpus else None
    for worker in range(count if gpus else 0):
        gpu = gpus[worker % len(gpus)]
        places.put({"CUDA_VISIBLE_DEVICES": gpu, **(each or {}).get(gpu, {})})
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(places,))
    try:
        with without_interrupts():  # workers start here, and leave Ctrl-C to this process from their first moment
            for _ in range(count):
                pool.submit(os.getpid)
        yield pool
    except BaseException:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        wait([process.sentinel for process in processes], GRACE)
        for process in processes:
            process.kill()
        raise
    pool.shutdown()


def visible_gpus() -> list[str]:
    """List the GPUs that this process may use, by the names that ``CUDA_VISIBLE_DEVICES`` takes."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [word.strip() for word in named.split(",") if word.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def _begin(places=None) -> None:
    """Prepare a worker process: its GPU and what belongs to that, and its end.

    Ctrl-C is left to the parent, which then terminates its workers. A terminated worker raises ``SystemExit``, so that
    it releases its claim; a worker whose parent has died ends itself.
    """
    if places is not None:
        os.environ.update(places.get())  # before CUDA starts
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _unwind)
    end_with_parent()


def _unwind(number: int, frame) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


@contextmanager
def holders(gpus: Sequence[str], per_gpu: int) -> Iterator[dict[str, dict[str, str]]]:
    """Start a process on each GPU that trainings share, which holds one copy of their data where several do not fit.

    Yields:
        GPU -> environment variables by which its trainings find it; none where trainings share no GPU.
    """
    if per_gpu < 2 or not gpus:
        yield {}
        return
    from dgl_core.training.memory import shared, streaming  # here, because a plan is made without torch

    with ExitStack() as started:
        found = {}
        for gpu in dict.fromkeys(gpus):
            with with_variables({"CUDA_VISIBLE_DEVICES": gpu}):
                address = started.enter_context(shared.holder("cuda", streaming.DATA_SHARE))
            found[gpu] = {shared.PLACE: address}
        yield found


@contextmanager
def dask_workers(address: str) -> Iterator:
    """Connect to a running Dask scheduler; a ``ValueError`` says that nobody answers or that it has no workers.

    A worker process trains one run at a time, whatever its threads.
    """
    needs("Clusters", "dask", "distributed")
    from dask.distributed import Client

    try:
        client = Client(address, timeout="5s")
    except (OSError, ValueError, AssertionError) as error:  # the last one: Dask gives its own thread ten seconds
        reason = str(error) or "this machine is too busy to ask"
        raise ValueError(f"no Dask scheduler answers at {address!r}: {reason}") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=FIRST_WORKER)
        except TimeoutError:
            said = f"the Dask scheduler at {address!r} has no workers: start some, then run this again"
            raise ValueError(said) from None
        yield client


@contextmanager
def sharing(gpus: Sequence[str], per_gpu: int) -> Iterator[dict[str, str]]:
    """Start NVIDIA's Multi-Process Service where several processes share a GPU, so that they compute at the same time.

    Without it the processes of a GPU take turns. The service is private to this runner (folders of its own) and ends
    with the block; one that the reader has started is left alone. Where there is none, or a process cannot compute
    under it, that is said in a sentence and the processes take turns.

    Yields:
        Environment variables by which worker processes find the service; none where it does not run.
    """
    if per_gpu < 2 or not gpus or os.environ.get(MPS_PLACE):
        yield {}
        return
    program = shutil.which(MPS)
    if program is None:
        print(f"{TURNS}: {MPS} is not on the PATH; it comes with NVIDIA's driver.", file=sys.stderr)
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="dgl_mps_", ignore_cleanup_errors=True) as folder:
        found = {MPS_PLACE: folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        everything = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"} | found
        reason = _told([program, "-d"], everything) or _told([sys.executable, "-c", PROBE], dict(os.environ) | found)
        if reason:
            print(f"{TURNS}: the Multi-Process Service does not work here ({reason}).", file=sys.stderr)
        try:
            yield {} if reason else found
        finally:
            _told([program], everything, "quit\n")


def _told(words: Sequence[str], variables: dict[str, str], said: str = "") -> str:
    """Run a program; the last line of its complaint if it fails, "" if it does not.

    What it prints goes to a file: a service that it leaves behind would hold a pipe open.
    """
    with tempfile.TemporaryFile("w+") as printed:
        try:
            run = subprocess.run(
                words, env=variables, input=said, stdout=printed, stderr=printed, text=True, timeout=MPS_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return " ".join(str(error).split())
        printed.seek(0)
        lines = printed.read().strip().splitlines() or [f"status {run.returncode}"]
    return lines[-1] if run.returncode else ""
