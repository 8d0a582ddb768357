"""The heart of the paper: which loss trains which parameters.

Disentangled gradient learning (DGL) computes one multimodal loss and one unimodal loss per modality, and lets

* the multimodal loss train the fusion module only (*multimodal truncation*, MT, Eq. 9-10), and
* the unimodal loss of modality m train encoder m only (*unimodal truncation*, UT, Eq. 11-14 and Algorithm 1).

Both truncations are gates between 0 (truncate) and 1 (let through), so that vanilla training, constant-weight
G-Blending, the ablations of Table 3 and DGL are corners of one square::

    encoder m  receives  alpha * grad L_m          +  encoder_gate * grad L_multi
    fusion     receives  grad L_multi              +  fusion_gate * alpha * sum_m grad L_m

                            encoder_gate   fusion_gate   alpha
    vanilla joint training        1             any         0
    constant G-Blending           1              1        > 0
    + MT                          0              1        > 0
    + UT                          1              0        > 0
    DGL (MT + UT)                 0              0        > 0

The official code reaches the DGL corner by two backward passes with the fusion gradients cleared in between. Here one
backward pass leaves the right gradient everywhere, which is what makes it correct under DistributedDataParallel,
gradient accumulation and ``torch.compile``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

FUSED = "fused"  # key of the multimodal logits beside the modality names


class Losses(NamedTuple):
    """What one forward pass of a ``DisentangledObjective`` returns.

    Attributes:
        total: scalar to call ``backward()`` on; its *gradient* is the method, its value is only a sum.
        multimodal: scalar L_multi (Eq. 1, Eq. 10).
        unimodal: scalar L_m for each modality (Eq. 11, Eq. 13); empty when alpha is 0.
        logits: ``"fused"`` and each modality of ``unimodal`` -> [B, K] (or the dense shape of the model).
    """

    total: Tensor
    multimodal: Tensor
    unimodal: dict[str, Tensor]
    logits: dict[str, Tensor]


def gate(tensor: Tensor, openness: float) -> Tensor:
    """Identity in the forward pass; multiplies the gradient by ``openness`` in the backward pass.

    0 is ``detach`` (the paper's truncation), 1 changes nothing. Plain arithmetic on purpose: it works under
    compilation, autocast, functorch and double backward without a custom autograd function.
    """
    if openness == 1.0:
        return tensor
    if openness == 0.0:
        return tensor.detach()
    constant = tensor.detach()
    return constant + openness * (tensor - constant)


def frozen(module: nn.Module, prefix: str = "", openness: float = 0.0) -> dict[str, Tensor]:
    """Parameters behind a gate and copies of the buffers, to run ``module`` by ``functional_call`` without a trace.

    A pass with these leaves no gradient on the parameters (``openness`` 0) and does not move batch-norm statistics,
    yet the input still receives its full gradient. ``requires_grad`` is never touched: toggling it breaks full-graph
    compilation and hides parameters from DistributedDataParallel.

    Args:
        module: any module, for example the fusion module.
        prefix: put before every name, for example ``"fusion."``, when the call goes to a parent of ``module``.
        openness: gate for the gradient of the parameters.
    """
    held = {prefix + name: gate(parameter, openness) for name, parameter in module.named_parameters()}
    held |= {prefix + name: buffer.detach().clone() for name, buffer in module.named_buffers()}
    return held


class DisentangledObjective(nn.Module):
    """Model and losses as one module, so that DDP and ``torch.compile`` wrap what is really trained.

    Args:
        model: a ``MultimodalModel``: ``encoders`` (one module per modality), ``fusion`` (classifier included) and
            ``model(inputs, keep)``. With ``encode`` as well (late fusion), each encoder runs once per step.
        alpha: weight of the unimodal losses, >= 0; the paper uses 4 on CREMA-D and 2 elsewhere. 0 skips them.
        encoder_gate: share of the multimodal gradient that reaches the encoders, in [0, 1]; DGL: 0. One number for all
            of them, or modality -> share. May be set anew between steps.
        fusion_gate: share of the unimodal gradient that reaches the fusion module, in [0, 1]. DGL: 0.
        criterion: ``criterion(logits, target) -> scalar``; cross-entropy, mean over the batch, by default.

    Raises:
        ValueError: gates outside [0, 1] or for other modalities, negative alpha, or a parameter that is in no group or
            in two.

    Source: Eq. 9-15 and Algorithm 1; official ``main_dgl.py`` (two backward passes, then ``fusion.grad = None``).
    Difference: one backward pass, equal to the last bit on one process; parameters are told apart by the module that
    holds them, not by a substring of their name (which silently fails there without ``DataParallel``).
    """

    def __init__(
        self,
        model: nn.Module,
        alpha: float,
        encoder_gate: float | Mapping[str, float] = 0.0,
        fusion_gate: float = 0.0,
        criterion: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    ):
        super().__init__()
        if not alpha >= 0.0:
            raise ValueError(f"alpha is {alpha}; the weight of the unimodal losses must be 0 or more.")
        check_partition(model)
        each = encoder_gate if isinstance(encoder_gate, Mapping) else dict.fromkeys(model.encoders, encoder_gate)
        if set(each) != set(model.encoders):
            raise ValueError(f"encoder_gate names {sorted(each)}; the model has the modalities {list(model.encoders)}.")
        for name, values in (("encoder_gate", each.values()), ("fusion_gate", [fusion_gate])):
            for value in values:
                if not 0.0 <= value <= 1.0:
                    raise ValueError(f"{name} is {value}; a gate is between 0 (truncate) and 1 (let through).")
        self.model = model
        self.alpha, self.encoder_gate, self.fusion_gate = float(alpha), encoder_gate, float(fusion_gate)
        self.criterion = criterion

    def share(self, m: str) -> float:
        """The share of the multimodal gradient that reaches the encoder of modality ``m``."""
        return self.encoder_gate[m] if isinstance(self.encoder_gate, Mapping) else self.encoder_gate

    def forward(self, inputs: Mapping[str, Tensor], target: Tensor) -> Losses:
        """``inputs``: modality -> [B, ...]; ``target``: [B] class indices (or the dense target of the criterion)."""
        passes = self._late_fusion if hasattr(self.model, "encode") else self._dense_fusion
        logits = passes(inputs)
        multimodal = self.criterion(logits[FUSED], target)
        unimodal = {m: self.criterion(logits[m], target) for m in logits if m != FUSED}
        total = multimodal + self.alpha * sum(unimodal.values()) if unimodal else multimodal
        return Losses(total, multimodal, unimodal, logits)

    def _late_fusion(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Encoders run once; the truncation sits on the features (MT) and on the fusion parameters (UT)."""
        model = self.model
        features = model.encode(inputs)
        logits = {FUSED: model.fusion({m: gate(z, self.share(m)) for m, z in features.items()})}
        if self.alpha:
            for m in features:
                only = {j: z if j == m else z.detach() for j, z in features.items()}
                held = frozen(model.fusion, openness=self.fusion_gate)
                logits[m] = functional_call(model.fusion, held, (only,), {"keep": (m,)})
        return logits

    def _dense_fusion(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Modalities mix inside the network, so the truncation sits on the parameters (METHODS: option P).

        The multimodal pass alone moves batch-norm statistics; masked passes work on copies.
        """
        model = self.model
        gated = {}
        for m, encoder in model.encoders.items():
            gated |= {f"encoders.{m}.{n}": gate(p, self.share(m)) for n, p in encoder.named_parameters()}
        logits = {FUSED: functional_call(model, gated, (inputs,))}
        if self.alpha:
            for m in model.encoders:
                held = frozen(model.fusion, "fusion.", self.fusion_gate)
                for j, encoder in model.encoders.items():
                    held |= frozen(encoder, f"encoders.{j}.", 1.0 if j == m else 0.0)
                logits[m] = functional_call(model, held, (inputs,), {"keep": (m,)})
        return logits


def disentangled_loss(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    target: Tensor,
    *,
    alpha: float,
    encoder_gate: float | Mapping[str, float] = 0.0,
    fusion_gate: float = 0.0,
    criterion: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> Losses:
    """``DisentangledObjective`` in one line, for a plain (not DDP-wrapped, not compiled) model in anyone's own loop.

    Call ``.total.backward()`` on the result, once.
    """
    return DisentangledObjective(model, alpha, encoder_gate, fusion_gate, criterion)(inputs, target)


def check_partition(model: nn.Module) -> None:
    """Every parameter is in exactly one encoder or in the fusion module.

    Raises:
        ValueError: naming the parameters that are in no group or in several, or the missing part of the model.
    """
    encoders, fusion = getattr(model, "encoders", None), getattr(model, "fusion", None)
    if not isinstance(encoders, nn.ModuleDict) or not isinstance(fusion, nn.Module) or not len(encoders):
        raise ValueError(
            f"{type(model).__name__} needs `encoders` (an nn.ModuleDict, one entry per modality) and `fusion` (an "
            "nn.Module, the classifier included). Build it with dgl_core.models.LateFusion or subclass MultimodalModel."
        )
    if FUSED in encoders:
        raise ValueError(f"{FUSED!r} names the multimodal logits; give that modality another name.")
    owners: dict[int, list[str]] = {}
    for owner, part in [*encoders.items(), ("fusion", fusion)]:
        for parameter in part.parameters():
            owners.setdefault(id(parameter), []).append(owner)
    for name, parameter in model.named_parameters():
        groups = owners.get(id(parameter), [])
        if len(groups) != 1:
            where = f"in several groups {groups}" if groups else "in no encoder and not in the fusion module"
            raise ValueError(f"Parameter {name!r} is {where}; each parameter must be trained by exactly one group.")
