"""Make the record of a finished run, from plain arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

from dgl_core.data import PARTS, Dataset
from dgl_core.data.tasks.classes import Task
from dgl_core.gradients import FUSED
from dgl_core.methods.base import Method
from dgl_core.training.environment import describe, peak_memory_mb, utc_now
from dgl_core.training.machine import Machine
from dgl_core.training.records import RunRecord, RunSpec

Best = Mapping[str, tuple[float, Mapping[str, Mapping[str, str]]]]  # protocol -> (score, branch -> name -> packed)


def record_of(
    spec: RunSpec,
    key: str,
    revisions: Mapping[str, int],
    data: dict[str, object],
    curves: Mapping[str, Sequence[float]],
    best: Best,
    cost: dict[str, float],
    environment: dict[str, object],
) -> RunRecord:
    """Put a record together: six digits of every curve, class predictions apart from other arrays."""
    kept = {protocol: arrays for protocol, (_, arrays) in best.items()}
    return RunRecord(
        spec=spec,
        key=key,
        revisions=dict(revisions),
        data=data,
        curves={column: [float(f"{v:.6g}") for v in values] for column, values in sorted(curves.items())},
        predictions={p: {b: a["predicted"] for b, a in by.items() if "predicted" in a} for p, by in kept.items()},
        arrays={p: by for p, by in kept.items() if not any("predicted" in a for a in by.values())},
        cost=cost,
        environment=environment,
        created=utc_now(),
    )


def data_of(dataset: Dataset, method: Method, modalities: Sequence[str]) -> dict[str, object]:
    """Describe the data of a run, and how its branches are scored (``RunRecord.data``)."""
    return {
        "fingerprint": dataset.fingerprint,
        "source": dataset.source,
        "generated": dataset.generated,
        "counts": {part: dataset.split.count(part) for part in PARTS},
        "classes": list(dataset.classes),
        "modalities": list(modalities),
        "score": dataset.task.score,
        "unimodal": {"zero mask": method.ZERO_MASK, "official": method.OFFICIAL},
    }


def cost_of(
    curves: Mapping[str, Sequence[float]], seconds: float, modules: Iterable[nn.Module], device: torch.device
) -> dict[str, float]:
    """State what a run took (``RunRecord.cost``): seconds, MiB, number of parameters."""
    training = curves["seconds/training"]
    return {
        "seconds": round(seconds, 3),
        "seconds_per_epoch": round(sum(training) / len(training), 4),
        "peak_memory_mb": peak_memory_mb(device),
        "parameters": sum(p.numel() for module in modules for p in module.parameters()),
    }


def environment_of(device: torch.device, machine: Machine, data_on: str, processes: int) -> dict[str, object]:
    """State where a run was made (``RunRecord.environment``): device, versions, unusual settings."""
    setting = describe(device) | machine.describe(device)
    setting |= {"data_on": data_on} if device.type == "cuda" else {}
    return setting | ({"processes": processes} if processes > 1 else {})


def epoch_line(
    curves: Mapping[str, Sequence[float]], epoch: int, epochs: int, task: Task, modalities: Iterable[str]
) -> str:
    """Say in a line how the epoch went: training loss, validation score of every branch."""
    branches = [b for b in (FUSED, *modalities) if f"val/{b}/{task.score}" in curves]
    scores = ", ".join(f"{b} {100 * curves[f'val/{b}/{task.score}'][-1]:.1f}" for b in branches)
    loss = curves[f"train/{FUSED}/loss"][-1]
    return f"epoch {epoch + 1:3d}/{epochs}: loss {loss:.3f}, validation {task.score} % {scores}"
