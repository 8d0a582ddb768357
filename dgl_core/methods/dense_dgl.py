"""DGL where modalities mix inside the network: three ways to say what is an encoder, and passes one at a time.

In a late-fusion model "encoder" and "fusion" meet in one place, the features. ESANet fuses five times, and each fused
map runs on through the RGB encoder, so the paper's two truncations leave a choice (its segmentation code is not
published). All three forms equal each other, and the official code, on a late-fusion model:

``"parameters"`` (default)
    Encoders are all parameters of ``model.encoders``. The multimodal gradient flows *through* the encoders as functions
    but is not *applied* to them; unimodal gradients are applied to their encoder only. This is the sentence under
    Eq. 15 to the letter: the multimodal loss "only optimises the fusion module", and every fusion parameter learns.
``"activations"``
    The multimodal gradient stops at the input of every fusion operation, as Eq. 9 detaches the features. It has a
    defect here: the first fusion reaches the loss through the RGB encoder alone, so it gets no gradient at all and
    never learns; the fusions in between keep only the route through the skip connections.
``"stems"``
    Encoders are what lies before the first fusion: one convolution and batch-norm each. Everything behind is fusion and
    follows the multimodal loss. Nearly vanilla training here; it shows how much the choice matters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from dgl_core.gradients import FUSED, DisentangledObjective, Losses, gate
from dgl_core.methods.base import Batch, State
from dgl_core.methods.dgl import DGL
from dgl_core.utils import unknown_name

FORMS = ("parameters", "activations", "stems")


class DenseObjective(DisentangledObjective):
    """``DisentangledObjective`` for models that fuse inside: the form of the truncation is a choice.

    Args:
        model, alpha, encoder_gate, fusion_gate, criterion: as ``DisentangledObjective``.
        form: one of ``FORMS``, see above. ``"activations"`` needs ``model(..., detach=True)``, ``"stems"`` encoders
            that list their first layers in ``STEM``; ``ESANet`` has both.
        masked_statistics: let the masked passes move batch-norm statistics too, as plain train-mode passes would. By
            default only the multimodal pass does: the RGB encoder sees other inputs under the mask.

    Raises:
        ValueError: a form that does not exist or does not fit the model or the gate.

    Source: Eq. 9-15 applied to ESANet; the official segmentation code is not published.
    """

    def __init__(
        self,
        model: nn.Module,
        alpha: float,
        encoder_gate: float | Mapping[str, float] = 0.0,
        fusion_gate: float = 0.0,
        criterion: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
        form: str = "parameters",
        masked_statistics: bool = False,
    ):
        super().__init__(model, alpha, encoder_gate, fusion_gate, criterion)
        self.form, self.masked_statistics = form, masked_statistics
        self._check_form()
        self._owners = {name: self._owner(name) for name, _ in model.named_parameters()}

    def _check_form(self) -> None:
        kind = type(self.model).__name__
        if self.form not in FORMS:
            raise unknown_name("form of dense DGL", self.form, FORMS)
        if hasattr(self.model, "encode"):
            raise ValueError(f"{kind} fuses its encoders at the end, where all forms agree: use the method 'dgl'.")
        if self.form == "activations" and any(map(self.share, self.model.encoders)):
            raise ValueError(
                f"encoder_gate is {self.encoder_gate}, but detached activations pass nothing back: use encoder_gate 0, "
                "or form 'parameters'."
            )
        if self.form == "activations" and "detach" not in inspect.signature(self.model.forward).parameters:
            raise ValueError(f"form 'activations' needs {kind}.forward(inputs, keep, detach); use form 'parameters'.")
        if self.form == "stems" and not all(hasattr(e, "STEM") for e in self.model.encoders.values()):
            raise ValueError(f"form 'stems' needs encoders that list their first layers in STEM; {kind} has none.")

    def _owner(self, parameter: str) -> str:
        """The modality whose loss trains a parameter, or ``"fused"``."""
        room, _, rest = parameter.partition(".")
        if room != "encoders":
            return FUSED
        modality, _, rest = rest.partition(".")
        if self.form == "stems" and rest.partition(".")[0] not in self.model.encoders[modality].STEM:
            return FUSED
        return modality

    @property
    def branches(self) -> tuple[str, ...]:
        """The passes of one step: the multimodal one, and a masked one per modality unless alpha is 0."""
        return (FUSED, *self.model.encoders) if self.alpha else (FUSED,)

    def _openness(self, branch: str, owner: str) -> float:
        """Share of the gradient of one pass that reaches the parameters of one owner."""
        if owner == branch:
            return 1.0
        if branch == FUSED:
            return self.share(owner)
        return self.fusion_gate if owner == FUSED else 0.0

    def run(self, branch: str, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits of one pass, whose gradient reaches just the parameters it shall train."""
        held = {n: gate(p, self._openness(branch, self._owners[n])) for n, p in self.model.named_parameters()}
        if branch == FUSED:
            options = {"detach": True} if self.form == "activations" else {}
            return functional_call(self.model, held, (inputs,), options)
        if not self.masked_statistics:
            held |= {name: buffer.detach().clone() for name, buffer in self.model.named_buffers()}
        return functional_call(self.model, held, (inputs,), {"keep": (branch,)})

    def _dense_fusion(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {branch: self.run(branch, inputs) for branch in self.branches}

    def sequential(self, inputs: Mapping[str, Tensor], target: Tensor, backward: Callable[[Tensor], None]) -> Losses:
        """The same gradients pass by pass, so that only one graph is in memory at a time.

        Args:
            inputs, target: as ``forward``.
            backward: called with each weighted loss, e.g. ``torch.Tensor.backward``. For one process only:
                DistributedDataParallel wraps ``forward`` and does not know this method.

        Returns:
            Losses as values only: ``total`` must not be differentiated again; no logits are kept.
        """
        values = {}
        for branch in self.branches:
            loss = self.criterion(self.run(branch, inputs), target)
            backward(loss if branch == FUSED else self.alpha * loss)  # frees this graph
            values[branch] = loss.detach()
        multimodal = values.pop(FUSED)
        return Losses(multimodal + self.alpha * sum(values.values()), multimodal, values, {})


@dataclass
class DenseDGL(DGL):
    """DGL on ESANet and its like; with the defaults the same gradients as ``dgl``, which uses the form "parameters".

    **Step.** Encoder m follows alpha * grad L_m (four-scale loss of the pass with only m), the fusion follows
    grad L_multi; what counts as an encoder is the form (``dgl_core.methods.dense_dgl`` explains the three).
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
