"""Train many small models at once, each on data of its own: weights are stacked, and one step moves all of them.

The models are the house's own, called once for all runs by ``torch.func``; so is the objective, which decides what each
loss trains, and the optimiser, which works entry by entry. A slice of a stack is therefore the run that the ordinary
loop makes: same initial weights, same order of samples, same steps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from dgl_core.data.dataset import PARTS, Dataset
from dgl_core.gradients import FUSED, DisentangledObjective, Losses
from dgl_core.models import LateFusion
from dgl_core.training.optimizer import optimizer_of, start_epoch
from dgl_core.training.records import RunSpec
from dgl_core.utils import derive_seed

Weights = dict[str, Tensor]  # name of a parameter -> [R, ...]


@dataclass(frozen=True)
class Stack:
    """R data sets of one shape.

    Attributes:
        inputs: part -> modality -> [R, N, ...]. target: part -> [R, N].
    """

    inputs: Mapping[str, Mapping[str, Tensor]]
    target: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.target["train"])


def stack(datasets: Sequence[Dataset], dtype: torch.dtype = torch.float32) -> Stack:
    """Stack data sets that differ in their values alone.

    Raises:
        ValueError: their parts have unequal sizes, or other modalities.
    """
    sizes = {(d.modalities, *(d.split.count(part) for part in PARTS)) for d in datasets}
    if len(sizes) != 1:
        raise ValueError(f"these data sets cannot be stacked, their modalities and sizes differ: {sorted(sizes)}.")
    rows = {part: [d.indices(part) for d in datasets] for part in PARTS}
    take = lambda part, of: torch.stack([of(d)[r] for d, r in zip(datasets, rows[part], strict=True)])  # noqa: E731
    inputs = {p: {m: take(p, lambda d, m=m: d.inputs[m]).to(dtype) for m in datasets[0].modalities} for p in PARTS}
    return Stack(inputs, {part: take(part, lambda d: d.target) for part in PARTS})


def initial(models: Sequence[nn.Module]) -> Weights:
    """Stack the parameters of models of one architecture, as leaves that are trained.

    Raises:
        ValueError: a model with buffers (batch-norm statistics), which stacking would mix.
    """
    if any(True for _ in models[0].buffers()):
        raise ValueError("a model with buffers, such as batch-norm statistics, cannot be stacked; use one without.")
    weights, _ = stack_module_state(list(models))
    return {name: values.detach().clone().requires_grad_() for name, values in weights.items()}


def criterion(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the mean cross-entropy, [B, K] and [B]; the checks of labels cannot run inside vmap.

    Written out: for few classes torch's own takes more than twice as long.
    """
    return (logits.logsumexp(dim=-1) - logits.gather(-1, target[:, None])[:, 0]).mean()


def objective_of(model: LateFusion, alpha: float, encoder_gate: float, fusion_gate: float) -> nn.Module:
    """Make the house's objective in a form that can be stacked."""
    return DisentangledObjective(model, alpha, encoder_gate, fusion_gate, criterion)


def train_many(
    objective: nn.Module,
    weights: Weights,
    data: Stack,
    spec: RunSpec,
    seeds: Sequence[int],
    total: Callable[[Losses], Tensor] = lambda losses: losses.total,
    moving: Collection[str] | None = None,
) -> None:
    """Train all runs of a stack in place; those whose loss is not finite end with weights that are not.

    Args:
        objective: module with the model as ``model``; its own parameters are not used.
        weights: of the model, by name, [R, ...] each. data: one data set a run.
        spec: rate, schedule, optimiser, epochs and batch size; ``seed`` is not used. seeds: one a run, for the order
            of the samples.
        total: what is descended, of the losses of one run.
        moving: groups that are trained (modalities, "fusion"); all by default.

    Raises:
        ValueError: gradient clipping, whose norm would be that of all runs together.
    """
    if spec.clip:
        raise ValueError(f"clip is {spec.clip}; runs of one stack share no norm: set clip=0.")
    groups = {name: values for name, values in _groups(weights).items() if moving is None or name in moving}
    optimizer = optimizer_of(spec, groups)
    size, count = spec.batch_size, data.target["train"].shape[1]

    def loss(weights: Weights, inputs: dict[str, Tensor], target: Tensor) -> Tensor:
        named = {f"model.{name}": values for name, values in weights.items()}
        return total(functional_call(objective, named, (inputs, target)))

    losses, runs = torch.vmap(loss), len(data)
    flat = {m: x.flatten(0, 1) for m, x in data.inputs["train"].items()}  # whole rows are copied faster
    target, first = data.target["train"].flatten(), count * torch.arange(runs)[:, None]
    for epoch in range(spec.epochs):
        start_epoch(optimizer, spec, epoch)
        order = _orders(seeds, epoch, count)  # [R, N]
        for step in range(count // size):
            rows = (first + order[:, step * size : (step + 1) * size]).flatten()
            inputs = {m: x.index_select(0, rows).unflatten(0, (runs, size)) for m, x in flat.items()}
            optimizer.zero_grad(set_to_none=True)
            losses(weights, inputs, target[rows].unflatten(0, (runs, size))).sum().backward()
            optimizer.step()


def _groups(weights: Weights) -> dict[str, list[Tensor]]:
    """Sort stacked parameters by owner: a modality, or "fusion"."""
    found: dict[str, list[Tensor]] = {}
    for name, values in weights.items():
        room, rest = name.split(".", 1)
        found.setdefault(rest.split(".")[0] if room == "encoders" else room, []).append(values)
    return found


def _orders(seeds: Sequence[int], epoch: int, count: int) -> Tensor:
    """Draw the order of samples as the ordinary loop does, once for each different seed, ``[R, N]``."""
    drawn = {
        seed: torch.randperm(count, generator=torch.Generator().manual_seed(derive_seed(seed, epoch, 0, "train")))
        for seed in set(seeds)
    }
    return torch.stack([drawn[seed] for seed in seeds])


@torch.no_grad()
def logits_many(
    model: LateFusion, weights: Weights, inputs: Mapping[str, Tensor], keep: Collection[str] | None = None
) -> Tensor:
    """Compute logits of all runs [R, N, K] with the modalities in ``keep`` (all by default)."""
    call = lambda weights, inputs: functional_call(model, weights, (inputs,), {"keep": keep})  # noqa: E731
    return torch.vmap(call)(weights, dict(inputs))


def branches_many(model: LateFusion, weights: Weights, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Compute fused and zero-masked logits of all runs, ``{"fused": [R, N, K], m: ...}``."""
    masks = {FUSED: None} | {m: (m,) for m in model.encoders}
    return {branch: logits_many(model, weights, inputs, keep) for branch, keep in masks.items()}


def accuracies(logits: Mapping[str, Tensor], target: Tensor) -> dict[str, Tensor]:
    """Score every branch of all runs, ``{branch: [R]}``, as fractions."""
    return {branch: (values.argmax(dim=2) == target).float().mean(dim=1) for branch, values in logits.items()}


def slice_of(weights: Weights, run: int) -> dict[str, Tensor]:
    """Take the weights of one run, as a model's ``load_state_dict`` wants them."""
    return {name: values[run].detach() for name, values in weights.items()}
