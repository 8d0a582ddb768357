"""Score a model after an epoch: the fused model and every branch, suppression, predictions on the test part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dgl_core.data.tasks.classes import Tally, Task
from dgl_core.gradients import FUSED
from dgl_core.methods.base import Method, State
from dgl_core.models.multimodal import untouched
from dgl_core.training.records import pack, pack_array, pack_bits

PROBE = 256  # at most about this many training samples are scored
PACKED = {"predicted": pack, "right": pack_bits}  # other arrays by ``pack_array``
STATISTICS = 32  # training batches that batch-norm statistics under a mask are measured on


@torch.no_grad()
def evaluate(method: Method, state: State, task: Task) -> tuple[dict[str, float], dict[str, dict[str, str]]]:
    """Score the present model, in evaluation mode, on train (an evenly spaced probe), val and test.

    ``state.batches`` also takes ``probe=n``: about ``n`` samples of a part, evenly spaced.

    Returns:
        Columns of ``RunRecord.curves`` with their values, and what the task keeps of every branch on test, packed.
    """
    columns: dict[str, float] = {}
    modalities, packed = list(state.model.encoders), {}
    for part in ("train", "val", "test"):
        batches = state.batches(part, probe=PROBE if part == "train" else None)
        tallies = score(((branches_of(method, state, b.inputs, part), b.target) for b in batches), task)
        if part == "train" and len(modalities) > 1:
            compared = task.compare(tallies[FUSED], {m: tallies[m] for m in tallies if m in modalities})
            columns |= {f"suppression/{name}": value for name, value in compared.items()}
        if part == "test":
            if task.reestimate and len(modalities) > 1:
                tallies |= {f"{m}_reestimated": score_reestimated(state, m, task) for m in modalities}
            for branch, tally in tallies.items():
                packed[branch] = {k: PACKED.get(k, pack_array)(v) for k, v in tally.arrays().items()}
        for branch, tally in tallies.items():
            columns |= {f"{part}/{branch}/{name}": value for name, value in tally.result().items()}
    return columns, packed


def branches_of(method: Method, state: State, inputs: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Compute the outputs of every branch for a batch of a part, as the method scores them.

    Branches are ``"fused"``, each modality (zero mask) and ``"official_<modality>"`` where a method has its own score.
    With three or more modalities the test part also gets ``"without_<modality>"``, which lacks that one alone.
    """
    modalities = list(state.model.encoders)
    official = method.official_unimodal(state, inputs)
    branches = method.all_logits(state, inputs) | {f"official_{m}": v for m, v in official.items()}
    for m in modalities if part == "test" and len(modalities) > 2 else ():
        branches[f"without_{m}"] = method.logits(state, inputs, [j for j in modalities if j != m])
    return branches


def score(scored: Iterable[tuple[Mapping[str, Tensor], Tensor]], task: Task) -> dict[str, Tally]:
    """Collect outputs, given for each batch as ``{branch: outputs}`` and the target, in one tally a branch."""
    tallies: dict[str, Tally] = defaultdict(task.tally)
    for branches, target in scored:
        for branch, outputs in branches.items():
            tallies[branch].update(outputs.float() if outputs.dtype == torch.bfloat16 else outputs, target)
    return dict(tallies)


def score_reestimated(state: State, modality: str, task: Task) -> Tally:
    """Score one modality on the test part, with batch-norm statistics measured on passes with this modality alone."""
    measured = (batch.inputs for batch in state.batches("train", training=True, limit=STATISTICS))
    with reestimated(state.model, measured, (modality,)) as alone:
        scored = (({modality: alone(b.inputs, keep=(modality,))}, b.target) for b in state.batches("test"))
        return score(scored, task)[modality]


@contextmanager
def reestimated(
    model: nn.Module, batches: Iterable[Mapping[str, Tensor]], keep: Collection[str] | None
) -> Iterator[nn.Module]:
    """Measure batch-norm statistics anew on passes with ``keep``, yield the model in evaluation mode, put all back.

    A network that was trained on fused maps is scored under a mask with statistics of something else, which alone
    changes the result several-fold; this separates the two. The statistics are plain means over ``batches``, inputs of
    training batches; a ``ValueError`` is raised if there is none. ``keep`` is that of ``model(inputs, keep)``.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    momenta, seen = [norm.momentum for norm in norms], 0
    try:
        with untouched(model):
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
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
