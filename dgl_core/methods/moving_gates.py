"""Move the encoder gate of DGL during training, beyond the paper: by a schedule or by what fusion is seen to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dgl_core.gradients import FUSED
from dgl_core.methods.base import Batch, State, option
from dgl_core.methods.dgl import DGL
from dgl_core.methods.scores import evaluating
from dgl_core.suppression import suppression_ratio

PICKS = {"most": min, "least": max, "own": None}  # which modality's R sets the gate


@dataclass
class _Moving(DGL):
    """DGL with an encoder gate that is set anew in every epoch and recorded as ``loss/encoder_gate[_<modality>]``."""

    def objective(self, model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
        self._objective = super().objective(model, criterion)
        return self._objective  # kept as it is: what the loop calls may be wrapped

    def gate(self, state: State) -> float | dict[str, float]:
        """Give the encoder gate of this epoch, in [0, 1]: one for all encoders, or modality -> gate."""
        raise NotImplementedError(f"{type(self).__name__} must define gate(state)")

    def step(self, state: State, batch: Batch) -> dict[str, Tensor]:
        self._objective.encoder_gate = found = self.gate(state)
        each = {f"_{m}": value for m, value in found.items()} if isinstance(found, dict) else {"": found}
        return super().step(state, batch) | {f"encoder_gate{m}": torch.tensor(value) for m, value in each.items()}


@dataclass
class Schedule(_Moving):
    """DGL whose encoder gate moves from one value to another, in equal steps from epoch to epoch.

    **Idea.** Early features may need the multimodal loss and late ones not ("opening" 1 to 0), or the reverse.
    **Step.** theta_m follows alpha * grad L_m + gate(epoch) * grad L_multi; tau follows grad L_multi.
    **Source.** Ours; notebook 08.

    Args:
        start, end: encoder gate of the first epoch and from ``until`` on, in [0, 1].
        until: share of the run after which the gate rests, in (0, 1].
    """

    start: float = option(1.0, low=0, high=1)
    end: float = option(0.0, low=0, high=1)
    until: float = option(1.0, above=0, high=1)
    TITLE: ClassVar[str] = "Scheduled decoupling"

    def gate(self, state: State) -> float:
        last = max(1.0, self.until * state.epochs - 1)  # epoch at which the end is reached
        passed = min(1.0, state.epoch / last)
        return (1 - passed) * self.start + passed * self.end


@dataclass
class Adaptive(_Moving):
    """DGL whose encoder gate is what fusion leaves of the residuals, measured once an epoch.

    **Idea.** Where fusion suppresses, its gradient is replaced (gate near 0, as in DGL); where it does not, there is
    nothing to protect from (gate near 1).
    **Step.** theta_m follows alpha * grad L_m + gate * grad L_multi, gate = the median over training samples of
    R = (1 - p_fused) / (1 - p_m) (T3), at most 1, taken at the modality that ``pick`` names; tau follows grad L_multi.
    **Source.** Ours; notebook 08.

    Args:
        pick: "most" takes the most suppressed modality for all encoders, "least" the least suppressed one; "own" gives
            each encoder the gate of its own modality.
        batches: how many training batches, without augmentation, R is measured on.
    """

    pick: str = option("most", choices=tuple(PICKS))
    batches: int = option(1, low=1)
    TITLE: ClassVar[str] = "Adaptive decoupling"
    TARGETS: ClassVar[tuple[str, ...]] = ("classification",)  # R is about the class of a sample
    MEMORY: ClassVar[dict[str, object]] = {"_gate": 1.0}

    def on_start(self, state: State) -> None:
        self.on_epoch_end(state)

    @torch.no_grad()
    def on_epoch_end(self, state: State) -> None:
        with evaluating(state.model):
            found = [(state.model.all_logits(b.inputs), b.target) for b in state.batches("train", limit=self.batches)]
        target = torch.cat([y for _, y in found])
        logits = {branch: torch.cat([x[branch] for x, _ in found]) for branch in found[0][0]}
        gates = {m: min(1.0, suppression_ratio(logits[FUSED], logits[m], target)[0].median().item())
                 for m in state.model.encoders}  # fmt: skip
        self._gate = gates if self.pick == "own" else PICKS[self.pick](gates.values())

    def gate(self, state: State) -> float | dict[str, float]:
        return self._gate
