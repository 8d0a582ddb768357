"""From a ``Trainer`` that has finished to the record of its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dgl_core.training.environment import describe, peak_memory_mb, utc_now
from dgl_core.training.records import RunRecord

if TYPE_CHECKING:
    from dgl_core.training.loop import Trainer


def circumstances(trainer: Trainer) -> dict[str, object]:
    """What a record says beside device and versions; on one CPU process nothing."""
    out = trainer.machine.describe(trainer.device)
    out |= {"data_on": trainer.data_on} if trainer.device.type == "cuda" else {}
    return out | ({"processes": trainer.team.size} if trainer.team.size > 1 else {})


def record(trainer: Trainer, key: str, revisions: Mapping[str, int]) -> RunRecord:
    """Everything that ``RunRecord`` holds, from curves, best epochs and the data set."""
    split = [trainer.dataset.split.count(part) for part in ("train", "val", "test")]
    best = trainer.best.items()
    return RunRecord(
        spec=trainer.spec,
        key=key,
        revisions=dict(revisions),
        data={
            "fingerprint": trainer.dataset.fingerprint,
            "source": trainer.dataset.source,
            "generated": trainer.dataset.generated,
            "counts": dict(zip(("train", "val", "test"), split, strict=True)),
            "classes": list(trainer.dataset.classes),
            "modalities": list(trainer.model.encoders),
            "score": trainer.task.score,
            "unimodal": {"zero mask": trainer.method.ZERO_MASK, "official": trainer.method.OFFICIAL},
        },
        curves={c: [float(f"{v:.6g}") for v in values] for c, values in sorted(trainer.curves.items())},
        predictions={p: {b: a["predicted"] for b, a in kept.items() if "predicted" in a} for p, (_, kept) in best},
        arrays={p: kept for p, (_, kept) in best if not any("predicted" in a for a in kept.values())},
        cost={
            "seconds": round(trainer.seconds, 3),
            "seconds_per_epoch": round(sum(trainer.curves["seconds/training"]) / trainer.epochs, 4),
            "peak_memory_mb": peak_memory_mb(trainer.device),
            "parameters": sum(p.numel() for p in [*trainer.model.parameters(), *trainer.heads.parameters()]),
        },
        environment=describe(trainer.device) | circumstances(trainer),
        created=utc_now(),
    )
