"""DGL for models whose modalities mix inside the network, with the choices that late fusion does not have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from dgl_core.dense import DenseObjective
from dgl_core.methods.base import Batch, State
from dgl_core.methods.joint import DGL


@dataclass
class DenseDGL(DGL):
    """DGL on ESANet and its like; with the defaults the same gradients as ``dgl``, which uses the form "parameters".

    **Step.** Encoder m follows alpha * grad L_m (four-scale loss of the pass with only m), the fusion follows
    grad L_multi; what counts as an encoder is the form (``dgl_core.dense`` explains the three).
    **Source.** Eq. 9-15 applied to ESANet; the official segmentation code is not published.

    Args:
        alpha: weight of the unimodal losses; not stated for Table 5. Under plain SGD an encoder learning-rate
            multiplier; under Adam it does nothing.
        form: "parameters", "activations" or "stems".
        sequential: one backward per pass, with one graph in memory, instead of one for the sum; same gradients.
        masked_statistics: let masked passes move batch-norm statistics too.
    """

    form: str = "parameters"
    sequential: bool = True
    masked_statistics: bool = False
    TITLE: ClassVar[str] = "DGL"

    def objective(self, model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
        return DenseObjective(
            model, self.alpha, criterion=criterion, form=self.form, masked_statistics=self.masked_statistics
        )

    def step(self, state: State, batch: Batch) -> dict[str, Tensor]:
        if not self.sequential:
            return super().step(state, batch)
        losses = state.objective.sequential(batch.inputs, batch.target, state.backward)
        state.update()
        return {"multimodal": losses.multimodal} | losses.unimodal
