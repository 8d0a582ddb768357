"""What is measured after every epoch: scores of the fused model and of every branch, suppression, test predictions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dgl_core.data.tasks.classes import Tally
from dgl_core.gradients import FUSED
from dgl_core.training.records import pack, pack_array

if TYPE_CHECKING:
    from dgl_core.training.loop import Trainer


PROBE = 256  # at most about this many training samples are scored
STATISTICS = 32  # training batches that batch-norm statistics under a mask are measured on


@torch.no_grad()
def evaluate(trainer: Trainer) -> tuple[dict[str, float], dict[str, str]]:
    """Scores of the present model on train (a probe), val and test.

    Returns:
        Columns of ``RunRecord.curves`` with their values, and what the task keeps of every branch on test, packed.
    """
    columns: dict[str, float] = {}
    packed: dict[str, dict[str, str]] = {}
    for part in ("train", "val", "test"):
        tallies = score(trainer, part)
        for branch, tally in tallies.items():
            columns |= {f"{part}/{branch}/{name}": value for name, value in tally.result().items()}
        if part == "train" and len(trainer.model.encoders) > 1:
            own = {b: tally for b, tally in tallies.items() if b == FUSED or b in trainer.model.encoders}
            columns |= {f"suppression/{name}": value for name, value in trainer.task.compare(own).items()}
        if part == "test":
            for branch, tally in tallies.items():
                packed[branch] = {k: pack(v) if k == "predicted" else pack_array(v) for k, v in tally.arrays().items()}
    return columns, packed


def score(trainer: Trainer, part: str) -> dict[str, Tally]:
    """The predictions of every branch on a part (of train: an evenly spaced probe), collected by the task's tally.

    Branches are ``"fused"``, each modality (zero mask), ``"official_<modality>"`` where a method has its own score;
    on test also ``"without_<modality>"`` with that one missing of three or more (of two it is the other one's branch).
    """
    modalities = list(trainer.model.encoders)
    missing = {m: [j for j in modalities if j != m] for m in modalities if part == "test" and len(modalities) > 2}
    index = trainer.dataset.indices(part)
    if part == "train":
        index = index[:: math.ceil(len(index) / PROBE)]
    tallies: dict[str, Tally] = defaultdict(trainer.task.tally)
    for rows in index.split(trainer.task.evaluation_batch):
        batch = trainer.batch(rows)
        official = trainer.method.official_unimodal(trainer, batch.inputs)
        branches = trainer.method.all_logits(trainer, batch.inputs) | {f"official_{m}": v for m, v in official.items()}
        branches |= {f"without_{m}": trainer.method.logits(trainer, batch.inputs, keep) for m, keep in missing.items()}
        for branch, outputs in branches.items():
            tallies[branch].update(outputs, batch.target)
    if part == "test" and trainer.task.reestimate and len(trainer.model.encoders) > 1:
        tallies |= {f"{m}_reestimated": score_reestimated(trainer, m) for m in trainer.model.encoders}
    return dict(tallies)


def score_reestimated(trainer: Trainer, modality: str) -> Tally:
    """One modality on the test part, with batch-norm statistics measured on passes with this modality alone."""
    tally = trainer.task.tally()
    batches = (batch.inputs for batch in trainer.batches("train", training=True, limit=STATISTICS))
    with reestimated(trainer.model, batches, (modality,)) as model:
        for rows in trainer.dataset.indices("test").split(trainer.task.evaluation_batch):
            batch = trainer.batch(rows)
            tally.update(model(batch.inputs, keep=(modality,)), batch.target)
    return tally


@contextmanager
def reestimated(
    model: nn.Module, batches: Iterable[Mapping[str, Tensor]], keep: Collection[str] | None
) -> Iterator[nn.Module]:
    """The model in evaluation mode with batch-norm statistics measured anew on passes with ``keep``; then as it was.

    A network that was trained on fused maps is scored under a mask with statistics of something else, which alone
    changes the result several-fold; this separates the two.

    Args:
        model: any ``MultimodalModel``.
        batches: inputs of training batches; the statistics are plain means over them.
        keep: modalities that survive, as in ``model(inputs, keep)``.

    Raises:
        ValueError: if ``batches`` is empty.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    before = [(n, n.momentum, {k: b.clone() for k, b in n.named_buffers()}) for n in norms]
    training, seen = model.training, 0
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative mean
        model.train()
        with torch.no_grad():
            for inputs in batches:
                model(inputs, keep=keep)
                seen += 1
        if not seen:
            raise ValueError("No batch to measure batch-norm statistics on; give at least one.")
        model.eval()
        yield model
    finally:
        for norm, momentum, buffers in before:
            norm.momentum = momentum
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])
        model.train(training)
