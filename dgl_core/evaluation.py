"""What is measured after every epoch: scores of the fused model and of every branch, suppression, test predictions."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dgl_core import metrics
from dgl_core.gradients import FUSED
from dgl_core.records import pack

if TYPE_CHECKING:
    from dgl_core.training import Trainer

PROBE = 256  # at most about this many training samples are scored
EVALUATION_BATCH = 256


@torch.no_grad()
def evaluate(trainer: Trainer) -> tuple[dict[str, float], dict[str, str]]:
    """Scores of the present model on train (a probe), val and test.

    Returns:
        Columns of ``RunRecord.curves`` with their values, and the packed test predictions of every branch.
    """
    columns: dict[str, float] = {}
    predictions: dict[str, str] = {}
    for part in ("train", "val", "test"):
        logits, target = score(trainer, part)
        for branch, values in logits.items():
            columns |= {f"{part}/{branch}/{k}": v for k, v in metrics.classification(values, target).items()}
        if part == "train" and len(trainer.model.encoders) > 1:
            own = {b: v for b, v in logits.items() if b == FUSED or b in trainer.model.encoders}
            columns |= {f"suppression/{k}": v for k, v in metrics.suppression(own, target).items()}
        if part == "test":
            predictions = {branch: pack(values.argmax(1).cpu().numpy()) for branch, values in logits.items()}
    return columns, predictions


def score(trainer: Trainer, part: str) -> tuple[dict[str, Tensor], Tensor]:
    """Logits of every branch, [N, K] each, and targets [N]; of the train part an evenly spaced probe.

    Branches are ``"fused"``, each modality (zero mask) and ``"official_<modality>"`` where a method has its own score.
    """
    index = trainer.dataset.indices(part)
    if part == "train":
        index = index[:: math.ceil(len(index) / PROBE)]
    collected: dict[str, list[Tensor]] = defaultdict(list)
    targets = []
    for rows in index.split(EVALUATION_BATCH):
        batch = trainer.batch(rows)
        official = trainer.method.official_unimodal(trainer, batch.inputs)
        branches = trainer.method.all_logits(trainer, batch.inputs) | {f"official_{m}": v for m, v in official.items()}
        for branch, values in branches.items():
            collected[branch].append(values)
        targets.append(batch.target)
    return {branch: torch.cat(values) for branch, values in collected.items()}, torch.cat(targets)
