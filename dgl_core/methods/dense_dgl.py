"""Train by DGL where modalities mix inside the network: three readings of "encoder", and passes one at a time.

ESANet fuses five times, and each fused map runs on through the RGB encoder, so the paper's two truncations leave a
choice (its segmentation code is not published). On a late-fusion model the three forms equal the official code.

* ``"parameters"`` (default): encoders are all parameters of ``model.encoders``. The multimodal gradient flows *through*
  them but is not *applied* to them. This is the sentence under Eq. 15 to the letter: the multimodal loss "only
  optimises the fusion module", and every fusion parameter learns.
* ``"activations"``: the multimodal gradient stops at the input of every fusion operation, as Eq. 9 detaches the
  features. The first fusion reaches the loss through the RGB encoder alone, so it never learns here; the fusions in
  between keep only the route through the skip connections.
* ``"stems"``: encoders are what lies before the first fusion, one convolution and batch-norm each; all behind follows
  the multimodal loss. Nearly vanilla training here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from dgl_core.gradients import FUSED, DisentangledObjective, Losses
from dgl_core.methods.base import Batch, State, option
from dgl_core.methods.dgl import DGL


class DenseObjective(DisentangledObjective):
    """``DisentangledObjective`` for models that fuse inside, form "parameters": its passes can run one at a time."""

    def __init__(self, model: nn.Module, *arguments, **named):
        super().__init__(model, *arguments, **named)
        self.kind = type(model).__name__
        if hasattr(model, "encode"):
            raise ValueError(f"{self.kind} fuses its encoders at the end, where all forms agree: use the method 'dgl'.")

    def sequential(self, inputs: Mapping[str, Tensor], target: Tensor, backward: Callable[[Tensor], None]) -> Losses:
        """Take the same gradients pass by pass, so that only one graph is in memory at a time.

        ``backward`` is called with each weighted loss. For one process only: DistributedDataParallel wraps ``forward``
        and does not know this method. The losses that it returns are values, without graphs and logits.
        """
        values = {}
        for branch in self.branches:
            loss = self.criterion(self.run(branch, inputs), target)
            backward(loss if branch == FUSED else self.alpha * loss)  # frees this graph
            values[branch] = loss.detach()
        multimodal = values.pop(FUSED)
        return Losses(multimodal + self.alpha * sum(values.values()), multimodal, values, {})


class Activations(DenseObjective):
    """The form "activations": the multimodal pass detaches what enters each fusion (``ESANet.forward`` can)."""

    MULTIMODAL: ClassVar[dict[str, object]] = {"detach": True}

    def __init__(self, model: nn.Module, *arguments, **named):
        super().__init__(model, *arguments, **named)
        if any(map(self.share, model.encoders)):
            raise ValueError(
                f"encoder_gate is {self.encoder_gate}, but detached activations pass nothing back: use encoder_gate 0, "
                "or form 'parameters'."
            )
        if "detach" not in inspect.signature(model.forward).parameters:
            raise ValueError(
                f"form 'activations' needs {self.kind}.forward(inputs, keep, detach); use form 'parameters'."
            )


class Stems(DenseObjective):
    """The form "stems": of an encoder, only the layers that it lists in ``STEM`` follow their own loss."""

    def __init__(self, model: nn.Module, *arguments, **named):
        super().__init__(model, *arguments, **named)
        if not all(hasattr(encoder, "STEM") for encoder in model.encoders.values()):
            raise ValueError(f"form 'stems' needs encoders that list their first layers in STEM; {self.kind} has none.")

    def owner(self, parameter: str) -> str:
        owner = super().owner(parameter)
        if owner == FUSED:
            return FUSED
        layer = parameter.split(".")[2]  # encoders.<modality>.<layer>...
        return owner if layer in self.model.encoders[owner].STEM else FUSED


FORMS: dict[str, type[DenseObjective]] = {"parameters": DenseObjective, "activations": Activations, "stems": Stems}


@dataclass
class DenseDGL(DGL):
    """DGL on ESANet and its like; with the defaults the same gradients as ``dgl``, which uses the form "parameters".

    **Step.** Encoder m follows alpha * grad L_m (four-scale loss of the pass with only m), the fusion follows
    grad L_multi; what counts as an encoder is the form (``dgl_core.methods.dense_dgl`` explains the three).
    **Source.** Eq. 9-15 applied to ESANet; the official segmentation code is not published.

    Args:
        alpha: not stated for Table 5. Under plain SGD an encoder learning-rate multiplier; under Adam without effect.
        sequential: one backward per pass, with one graph in memory, instead of one for the sum; same gradients.
    """

    form: str = option("parameters", choices=tuple(FORMS))
    sequential: bool = True
    TITLE: ClassVar[str] = "DGL"

    def objective(self, model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
        return FORMS[self.form](model, self.alpha, criterion=criterion)

    def step(self, state: State, batch: Batch) -> dict[str, Tensor]:
        if not self.sequential:
            return super().step(state, batch)
        losses = state.objective.sequential(batch.inputs, batch.target, state.backward)
        state.update()
        return {"multimodal": losses.multimodal} | losses.unimodal
