"""Set how this machine computes a run: precision switches, compilation, determinism, memory.

A ``RunSpec`` names a run and says what is computed, precision included. A ``Machine`` holds what moves the last digits
and means nothing else; it never changes a run's key, and the record states it (``RunRecord.environment``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from dgl_core.training.records import RunSpec
from dgl_core.utils import unknown_name

PLACES = ("auto", "device", "host")
SWITCH = {"": False, "0": False, "1": True}
AUTO = "auto"  # of ``compile``: where a self-test passes
GRAPHS = "reduce-overhead"  # of ``compile``: inductor, whose passes are recorded as CUDA graphs and then replayed
COMPILED_FORMS = 256  # that one process keeps: methods, networks and shapes
AMPERE = 8  # first compute capability with TF32 and bfloat16


class OutOfMemory(RuntimeError):
    """Raised where the GPU is too small for a run as it was asked for; the message says what to lower."""


@dataclass(frozen=True)
class Machine:
    """Numerical settings of this machine; the command line and the environment set them.

    Attributes:
        compile: backend of ``torch.compile`` for the objective ("inductor"), "" for none (``DGL_COMPILE``; 1 is
            "inductor"; "reduce-overhead" is inductor with CUDA graphs, on a GPU and after ``selftest``; "auto" is the
            fastest of these that passes it, on a GPU: the paper profile). Methods that train without the objective
            (MLA, ReconBoost) are not compiled.
        deterministic: only algorithms that give the same bits again on the same GPU; an operation that has none is an
            error (``DGL_DETERMINISTIC=1``). On a CPU runs repeat anyway.
        data: "device" keeps the data in GPU memory, "host" streams them from memory-mapped files, "auto" looks whether
            they fit (``DGL_DATA_ON``).
        per_gpu: how many runs share a GPU, and so its memory (``DGL_PER_GPU``).
    """

    compile: str = ""
    deterministic: bool = False
    data: str = "auto"
    per_gpu: int = 1

    def __post_init__(self):
        if self.data not in PLACES:
            raise unknown_name("place for the data (DGL_DATA_ON)", self.data, PLACES)
        if self.per_gpu < 1:
            raise ValueError(f"DGL_PER_GPU is {self.per_gpu}; it must be at least 1.")
        if self.compile not in ("", AUTO, GRAPHS) and self.compile not in torch.compiler.list_backends(exclude_tags=()):
            raise unknown_name("compiler (DGL_COMPILE)", self.compile, torch.compiler.list_backends())

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] | None = None) -> Machine:
        """Read the settings from ``DGL_COMPILE``, ``DGL_DETERMINISTIC``, ``DGL_DATA_ON`` and ``DGL_PER_GPU``."""
        given = os.environ if variables is None else variables
        compiler, switch = given.get("DGL_COMPILE", ""), given.get("DGL_DETERMINISTIC", "")
        per_gpu = given.get("DGL_PER_GPU", "") or "1"
        if switch not in SWITCH:
            raise ValueError(f"DGL_DETERMINISTIC is {switch!r}; it must be 0 or 1.")
        if not per_gpu.isdecimal():
            raise ValueError(f"DGL_PER_GPU is {per_gpu!r}; it must be a whole number, 1 or more.")
        compiler = {"0": "", "1": "inductor"}.get(compiler, compiler)
        return cls(compiler, SWITCH[switch], given.get("DGL_DATA_ON", "") or "auto", int(per_gpu))

    def variables(self) -> dict[str, str]:
        """Write the settings as environment variables, for worker processes."""
        return {
            "DGL_COMPILE": self.compile,
            "DGL_DETERMINISTIC": str(int(self.deterministic)),
            "DGL_DATA_ON": self.data,
            "DGL_PER_GPU": str(self.per_gpu),
        }

    def compiled(self, objective: nn.Module) -> nn.Module:
        """Put the objective behind ``torch.compile``, if that is set; code of one method and shape is compiled once."""
        if self.compile in ("", AUTO):
            return objective
        config = torch._dynamo.config
        limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # before torch 2.7
        if getattr(config, limit) < COMPILED_FORMS:  # or a worker's ninth form would silently stay uncompiled
            setattr(config, limit, COMPILED_FORMS)
        if self.graphs:
            return torch.compile(objective, mode=GRAPHS, dynamic=False)
        return torch.compile(objective, backend=self.compile)

    @property
    def graphs(self) -> bool:
        """Tell whether passes are replayed from CUDA graphs, which write each result where the last one was."""
        return self.compile == GRAPHS

    def start_step(self) -> None:
        """Let CUDA graphs use the memory of the last step's results again."""
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()

    @contextmanager
    def numerics(self, spec: RunSpec, device: torch.device) -> Iterator[None]:
        """Set precision and determinism of this process while a run trains; everything is put back afterwards.

        "fp32" is fp32 in matrix products and in convolutions (torch alone would use TF32 in convolutions); "tf32" and
        "bf16" let what is left in fp32 use TF32 tensor cores, and "tf32" where there is none is a ``ValueError``.
        """
        check_precision(spec, device)
        tf32 = spec.precision in ("tf32", "bf16") and device.type == "cuda"
        cudnn = torch.backends.cudnn
        before = (torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic)
        strict = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high" if tf32 else "highest")
            cudnn.allow_tf32 = tf32
            cudnn.benchmark, cudnn.deterministic = not self.deterministic, self.deterministic
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is computed
            torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before[0])
            cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before[1:]
            torch.use_deterministic_algorithms(strict[0], warn_only=strict[1])

    @contextmanager
    def explained(self, spec: RunSpec, device: torch.device) -> Iterator[None]:
        """Turn "CUDA out of memory" into one error that says what to lower."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            total = f", {torch.cuda.mem_get_info(device)[1] / 2**30:.0f} GiB" if torch.cuda.is_available() else ""
            smaller = f"batch_size={max(1, spec.batch_size // 2)} and accumulate={2 * spec.accumulate}"
            advice = {
                f"Set {smaller} (the same mean gradient; batch-norm then sees smaller batches)": True,
                "precision='bf16'": spec.precision != "bf16",
                "leave the data in host memory (DGL_DATA_ON=host)": self.data != "host",
                f"run fewer trainings per GPU (now {self.per_gpu})": self.per_gpu > 1,
            }
            raise OutOfMemory(
                f"{spec}: out of memory on {device.type}{total} with batch_size {spec.batch_size} in {spec.precision}. "
                f"{', or '.join(filter(advice.get, advice))}. Checkpoints are kept."
            ) from error

    def describe(self, device: torch.device) -> dict[str, object]:
        """List the settings that a record states; on a CPU only those that were chosen."""
        chosen = {"compile": "" if self.compile == AUTO else self.compile, "deterministic": self.deterministic}
        return chosen if device.type == "cuda" else {name: value for name, value in chosen.items() if value}


def check_precision(spec: RunSpec, device: torch.device) -> None:
    """Raise a ``ValueError`` where a GPU has no units for the precision of a run, and say which one it has.

    A record must not call fp32 "tf32"; bf16 without its units is emulated, slower than fp32 and no nearer to it.
    """
    if spec.precision == "tf32" and device.type != "cuda":
        raise ValueError(f"precision 'tf32' exists on NVIDIA GPUs only; on {device.type} use 'fp32'.")
    if spec.precision in ("tf32", "bf16") and device.type == "cuda":
        if torch.cuda.get_device_capability(device)[0] < AMPERE:
            name = torch.cuda.get_device_name(device)
            raise ValueError(f"precision {spec.precision!r} needs an Ampere GPU or newer, not {name}: use 'fp32' "
                             "(make reproduce PRECISION=fp32).")  # fmt: skip
