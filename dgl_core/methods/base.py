"""Say what a training method is; the loop in ``dgl_core.training.loop`` owns everything else, once for all methods."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from dgl_core.gradients import DisentangledObjective, Losses
from dgl_core.utils import Range

if TYPE_CHECKING:
    from dgl_core.models import MultimodalModel


class Batch(NamedTuple):
    """One batch as a method sees it: ``inputs`` {m: [B, ...]}, ``target`` [B]."""

    inputs: dict[str, Tensor]
    target: Tensor


class State(Protocol):
    """What the loop offers to a method. Methods keep their own numbers on themselves, not here.

    Attributes:
        model: the model. heads: the method's auxiliary modules, ``Method.heads``.
        objective: what ``Method.objective`` returned, possibly wrapped for DDP or compilation; losses come from
            calling this, not the model.
        epoch, step: 0-based epoch, 0-based batch within it. steps_per_epoch, epochs: how many there are.
        classes: number of classes K.
    """

    model: MultimodalModel
    heads: nn.ModuleDict
    objective: nn.Module
    epoch: int
    step: int
    steps_per_epoch: int
    epochs: int
    classes: int

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
    """Base of all methods. A subclass is a dataclass whose fields are the method's options.

    A method needs ``step``; everything else has a default. Class variables:

    Attributes:
        REVISION: raised when the numbers that the method produces change; part of the key of a run.
        TITLE: name in tables.
        SEVERAL: whether the method needs more than one modality.
        UPDATES: how often it updates the weights on one batch; accumulation needs one update.
        ZERO_MASK, OFFICIAL: how a modality is scored by masking, and by the method's own code (``official_unimodal``),
            with what share of the bias; both become part of the record.
    """

    REVISION: ClassVar[int] = 1
    TITLE: ClassVar[str] = ""
    SEVERAL: ClassVar[bool] = False
    UPDATES: ClassVar[int] = 1
    ZERO_MASK: ClassVar[str] = "features of the others zero, whole bias b"
    OFFICIAL: ClassVar[str] = ""

    def __post_init__(self):
        """Refuse values outside their declared range; a subclass that defines this calls it."""
        for field in dataclasses.fields(self):
            if "range" in field.metadata:
                field.metadata["range"].check(field.name, getattr(self, field.name))

    def modalities(self, available: Sequence[str]) -> tuple[str, ...]:
        """Choose the modalities to train on, in order; all of them unless the method says otherwise.

        Raises:
            ValueError: if the method cannot work with these modalities.
        """
        if self.SEVERAL and len(available) < 2:
            raise ValueError(f"{self.TITLE} needs at least two modalities; this data set has {list(available)}.")
        return tuple(available)

    def heads(self, model: MultimodalModel, classes: int) -> nn.ModuleDict:
        """Make auxiliary modules, before the optimiser, so that they are trained and saved."""
        return nn.ModuleDict()

    def objective(self, model: MultimodalModel, criterion: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
        """Make the module that gives the losses, which DDP and ``torch.compile`` wrap. Vanilla by default."""
        return DisentangledObjective(model, alpha=0.0, encoder_gate=1.0, criterion=criterion)

    def on_start(self, state: State) -> None:
        """Prepare, before the first epoch of a fresh run (not after a resume)."""

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
        """Return the method's own memory between batches (tensors and plain values); by default there is none."""
        return {}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Take back what ``state_dict`` returned."""

    @classmethod
    def options(cls) -> dict[str, object]:
        """List the options with their defaults (which declare their types)."""
        return {f.name: f.default for f in dataclasses.fields(cls)}
