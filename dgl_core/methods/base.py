"""Say what a training method is; the loop in ``dgl_core.training.loop`` owns everything else, once for all methods."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from dgl_core.gradients import DisentangledObjective, Losses
from dgl_core.utils import Range

if TYPE_CHECKING:
    from dgl_core.models import MultimodalModel


EVERY = ("classification", "multi_label", "regression", "sequence", "dense")  # kinds of targets


class Batch(NamedTuple):
    """One batch as a method sees it: ``inputs`` {m: [B, ...]}, ``target`` [B]."""

    inputs: dict[str, Tensor]
    target: Tensor


class State(Protocol):
    """What the loop offers to a method. Methods keep their own numbers on themselves, not here.

    Losses come from ``objective``, which may be wrapped for DDP or compilation, not from ``model``. ``epoch`` and
    ``step``, the batch within it, are 0-based; ``classes`` is K. ``criterion(outputs, target)`` is the loss of the data
    set's task, ``pool({name: outputs})`` how it joins several opinions into one.
    """

    model: MultimodalModel
    heads: nn.ModuleDict
    objective: nn.Module
    epoch: int
    step: int
    steps_per_epoch: int
    epochs: int
    classes: int
    criterion: Callable[[Tensor, Tensor], Tensor]
    pool: Callable[[Mapping[str, Tensor]], Tensor]

    def backward(self, loss: Tensor, *, retain_graph: bool = False) -> None:
        """Back-propagate (scaled for accumulation)."""

    def update(self, groups: Sequence[str] | None = None) -> None:
        """Clip, step the optimiser and clear the gradients; with ``groups`` (modality names, "fusion", "heads") only
        those parameters move."""

    def parameters(self, group: str) -> list[nn.Parameter]:
        """Parameters of one group: a modality name, "fusion" or "heads"."""

    def batches(self, part: str, *, training: bool = False, limit: int | None = None) -> Iterator[Batch]:
        """Batches of "train" or "val": in order and without augmentation, or (``training``) shuffled and augmented;
        at most ``limit`` of them."""

    def generator(self, purpose: str) -> torch.Generator:
        """Random numbers that depend on seed, epoch, step and ``purpose`` only: a resumed run draws the same."""


def option(default: Any, **allowed: Any) -> Any:
    """Declare an option of a method: its default, and the values it may take, in the words of ``utils.Range``."""
    return dataclasses.field(default=default, metadata={"range": Range(**allowed)})


@dataclasses.dataclass
class Method:
    """Base of all methods. A subclass is a dataclass whose fields are the method's options; all else has a default."""

    REVISION: ClassVar[int] = 1  # raised when the numbers that the method produces change; part of the key of a run
    TITLE: ClassVar[str] = ""  # name in tables
    SEVERAL: ClassVar[bool] = False  # whether it needs more than one modality
    UPDATES: ClassVar[int] = 1  # how often it updates the weights on one batch; accumulation needs one update
    # The kinds of targets that it can be trained on; more than these two where its losses are those of the task alone.
    TARGETS: ClassVar[tuple[str, ...]] = ("classification", "dense")
    WEIGHTS: ClassVar[bool] = False  # whether its losses are those of the task, with the weights of its classes
    MEMORY: ClassVar[dict[str, object]] = {}  # what it remembers between batches -> the value before the run
    # How a modality is scored by masking, and by the method's own code (``official_unimodal``); kept in the record.
    ZERO_MASK: ClassVar[str] = "features of the others zero, whole bias b"
    OFFICIAL: ClassVar[str] = ""

    def __post_init__(self):
        """Refuse values outside their declared range; a subclass that defines this calls it."""
        for field in dataclasses.fields(self):
            if "range" in field.metadata:
                field.metadata["range"].check(field.name, getattr(self, field.name))
        for name, start in self.MEMORY.items():
            setattr(self, name, copy.deepcopy(start))

    def modalities(self, available: Sequence[str]) -> tuple[str, ...]:
        """Choose the modalities to train on, in order: all of them, or a ``ValueError`` if these will not do."""
        if self.SEVERAL and len(available) < 2:
            raise ValueError(f"{self.TITLE} needs at least two modalities; this data set has {list(available)}.")
        return tuple(available)

    def heads(self, model: MultimodalModel, classes: int) -> nn.ModuleDict:
        """Make auxiliary modules, before the optimiser, so that they are trained and saved."""
        return nn.ModuleDict()

    def objective(self, model: MultimodalModel, criterion: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
        """Make the module that gives the losses, which DDP and ``torch.compile`` wrap. Vanilla by default."""
        return DisentangledObjective(model, alpha=0.0, encoder_gate=1.0, criterion=criterion)

    @torch.no_grad()
    def on_start(self, state: State) -> None:
        """Prepare, before the first epoch of a fresh run (not after a resume): by default, draw the heads.

        Xavier-normal linear layers and zero biases, as the models have them. They depend on the seed of the run alone
        and are drawn on the CPU, so they are the same on every device.
        """
        generator = state.generator("heads")
        for layer in state.heads.modules():
            if isinstance(layer, nn.Linear):
                deviation = math.sqrt(2 / (layer.in_features + layer.out_features))
                layer.weight.copy_(deviation * torch.randn(layer.weight.shape, generator=generator))
                layer.bias.zero_()

    def on_epoch_end(self, state: State) -> None:
        """Act after the last batch of an epoch, before it is evaluated."""

    def step(self, state: State, batch: Batch) -> dict[str, Tensor]:
        """Train on one batch. Returns 0-d tensors to log as ``loss/<name>``, left on the device (no waiting)."""
        losses: Losses = state.objective(batch.inputs, batch.target)
        state.backward(losses.total)
        state.update()
        return {"multimodal": losses.multimodal} | losses.unimodal

    def logits(self, state: State, inputs: Mapping[str, Tensor], keep: Sequence[str] | None = None) -> Tensor:
        """Compute test-time logits [B, K] with the modalities in ``keep`` (all by default)."""
        return state.model(inputs, keep=keep)

    def all_logits(self, state: State, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute fused and zero-masked logits of every modality; override together with ``logits``."""
        return state.model.all_logits(inputs)

    def official_unimodal(self, state: State, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Score modalities as the method's own code does, where that is not the zero mask (METHODS 1.6)."""
        return {}

    def state_dict(self) -> dict[str, object]:
        """Return the method's own memory between batches (tensors and plain values)."""
        return {name.lstrip("_"): getattr(self, name) for name in self.MEMORY}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take back what ``state_dict`` returned."""
        for name in self.MEMORY:
            setattr(self, name, state[name.lstrip("_")])

    @classmethod
    def options(cls) -> dict[str, object]:
        """List the options with their defaults (which declare their types)."""
        return {f.name: f.default for f in dataclasses.fields(cls)}
