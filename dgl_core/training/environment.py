"""Describe where a number was made: device, versions, threads, commit, and whether its digits are portable."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from dgl_core import __version__
from dgl_core.utils import ROOT, project_root

# With one thread and these set before torch and numpy are imported, a training is bit-identical on all x86-64
# processors. Each names one library's kernels: torch's own, MKL's, oneDNN's, and those of the OpenBLAS that numpy and
# scipy bring, which would otherwise choose by the processor's maker and model.
PORTABLE_NUMERICS = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
}


def is_portable() -> bool:
    """Tell whether this process computes with portable numerics (on a CPU with one thread)."""
    return all(os.environ.get(name) == value for name, value in PORTABLE_NUMERICS.items())


def making(portable: bool, processes: int = 1) -> str:
    """Name what moves the numbers of a run and is no part of its key; "" for native numerics on one process.

    Records of one key and different makings are different runs: each has its own file and never stands in for another.
    """
    return ".".join(["portable"] * portable + [f"{processes}processes"] * (processes > 1))


@functools.lru_cache(maxsize=1)
def commit() -> str:
    """Name the commit of this checkout, with ``+changes`` if tracked files differ; the version where it is installed.

    An installed package may lie below somebody else's checkout, whose commit says nothing of this code.
    """
    here = Path(__file__).parent
    if project_root() != ROOT:
        return f"version {__version__}"

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def describe(device) -> dict[str, object]:
    """Describe device, versions and commit as plain values. ``device`` is a ``torch.device``."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type} ({name})",
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "portable": device.type == "cpu" and is_portable(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": metadata.version("numpy"),
        "platform": sys.platform,
        "commit": commit(),
    }


def peak_memory_mb(device) -> float:
    """Measure the peak memory of this process (CPU) or of the allocator (GPU), in MiB."""
    if device.type == "cuda":
        import torch

        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
