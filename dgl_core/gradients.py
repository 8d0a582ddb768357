"""Decide which loss trains which parameters: the heart of the paper.

Disentangled gradient learning (DGL) computes one multimodal loss and one unimodal loss per modality, and lets

* the multimodal loss train the fusion module only (*multimodal truncation*, MT, Eq. 9-10), and
* the unimodal loss of modality m train encoder m only (*unimodal truncation*, UT, Eq. 11-14 and Algorithm 1).

Both truncations are gates between 0 (truncate) and 1 (let through), so vanilla training, constant-weight G-Blending,
the ablations of Table 3 and DGL are corners of one square::

    encoder m  receives  alpha * grad L_m          +  encoder_gate * grad L_multi
    fusion     receives  grad L_multi              +  fusion_gate * alpha * sum_m grad L_m

                            encoder_gate   fusion_gate   alpha
    vanilla joint training        1             any         0
    constant G-Blending           1              1        > 0
    + MT                          0              1        > 0
    + UT                          1              0        > 0
    DGL (MT + UT)                 0              0        > 0
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

IGNORED = -100  # target that cross-entropy leaves out
FUSED = "fused"  # key of the multimodal logits beside the modality names
RESERVED = {FUSED: "the multimodal logits", "fusion": "the fusion module", "heads": "the heads of a method"}


class Losses(NamedTuple):
    """Losses and logits that one forward pass of a ``DisentangledObjective`` returns.

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
    """Keep the values and multiply the gradient by ``openness``: 0 is ``detach`` (truncation), 1 changes nothing."""
    if openness in (0.0, 1.0):
        return tensor if openness else tensor.detach()
    constant = tensor.detach()  # plain arithmetic works under compilation, autocast, functorch and double backward
    return constant + openness * (tensor - constant)


def frozen(module: nn.Module, prefix: str = "", openness: float = 0.0) -> dict[str, Tensor]:
    """Gate the parameters and copy the buffers, to run ``module`` by ``functional_call`` without a trace.

    A pass with these leaves no gradient on the parameters (``openness`` 0) and does not move batch-norm statistics,
    yet the input receives its full gradient. ``requires_grad`` is not touched, for compilation and DDP. ``prefix`` is
    put before every name, for example ``"fusion."`` when the call goes to a parent of ``module``.
    """
    held = {prefix + name: gate(parameter, openness) for name, parameter in module.named_parameters()}
    held.update({prefix + name: buffer.detach().clone() for name, buffer in module.named_buffers()})
    return held  # torch 2.6 cannot compile ``dict | dict``


class DisentangledObjective(nn.Module):
    """Model and losses as one module, so that DDP and ``torch.compile`` wrap what is really trained.

    Args:
        model: a ``MultimodalModel``: ``encoders`` (one module per modality), ``fusion`` (classifier included) and
            ``model(inputs, keep)``. With ``encode`` as well (late fusion), each encoder runs once per step.
        alpha: weight of the unimodal losses, >= 0; the paper uses 4 on CREMA-D and 2 elsewhere. 0 skips them.
        encoder_gate: share of the multimodal gradient that reaches the encoders, in [0, 1]; DGL: 0. One number, or
            modality -> share. May be set anew between steps.
        fusion_gate: share of the unimodal gradient that reaches the fusion module, in [0, 1]; DGL: 0.
        criterion: ``criterion(logits, target) -> scalar``; cross-entropy, mean over the batch, by default.

    Raises:
        ValueError: a gate, alpha, criterion or model that does not fit; logits or targets that cross-entropy mistakes.

    **Source.** Eq. 9-15 and Algorithm 1; official ``main_dgl.py`` (two backward passes, then ``fusion.grad = None``).

    **Difference.** (1) One backward pass, equal to the last bit on one process, and right under several processes,
    accumulation and ``torch.compile`` too. (2) Parameters are told apart by the module that holds them, not by a
    substring of their name, which silently fails without ``DataParallel``.

    Activation checkpointing works inside encoders; inside the fusion torch refuses it with a ``CheckpointError``,
    because masked passes call the fusion with other parameters than its own.
    """

    MULTIMODAL: ClassVar[dict[str, object]] = {}  # what the multimodal pass is called with beside the inputs
    model: Any  # an nn.Module, known by its parts and not by its class
    criterion: Callable[[Tensor, Tensor], Tensor]
    alpha: float
    encoder_gate: float | Mapping[str, float]
    fusion_gate: float

    def __init__(
        self,
        model: nn.Module,
        alpha: float,
        encoder_gate: float | Mapping[str, float] = 0.0,
        fusion_gate: float = 0.0,
        criterion: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    ):
        super().__init__()
        if not isinstance(alpha, Real) or not 0.0 <= alpha < math.inf:
            raise ValueError(f"alpha is {alpha!r}; the weight of the unimodal losses must be 0 or more, and finite.")
        check_partition(model)
        each = encoder_gate if isinstance(encoder_gate, Mapping) else dict.fromkeys(model.encoders, encoder_gate)
        if set(each) != set(model.encoders):
            raise ValueError(f"encoder_gate names {sorted(each)}; the model has the modalities {list(model.encoders)}.")
        for name, value in [*(("encoder_gate", value) for value in each.values()), ("fusion_gate", fusion_gate)]:
            if not isinstance(value, Real) or not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is {value!r}; a gate is between 0 (truncate) and 1 (let through).")
        if not callable(criterion):
            raise ValueError(f"criterion is {criterion!r}; give a function of logits and target, or leave it out.")
        self.model, self.criterion = model, criterion
        self.alpha, self.encoder_gate, self.fusion_gate = float(alpha), encoder_gate, float(fusion_gate)

    def share(self, m: str) -> float:
        """Give the share of the multimodal gradient that reaches the encoder of modality ``m``."""
        return self.encoder_gate[m] if isinstance(self.encoder_gate, Mapping) else self.encoder_gate

    def forward(self, inputs: Mapping[str, Tensor], target: Tensor) -> Losses:
        """Compute the losses from ``inputs``, modality -> [B, ...], and ``target``, [B] class indices."""
        late = hasattr(self.model, "encode")
        logits = self._late_fusion(inputs) if late else {branch: self.run(branch, inputs) for branch in self.branches}
        if self.criterion is F.cross_entropy:
            _check_classes(logits[FUSED], target)
        unimodal = {branch: self.criterion(x, target) for branch, x in logits.items()}
        multimodal = unimodal.pop(FUSED)
        total = multimodal + self.alpha * sum(unimodal.values()) if unimodal else multimodal
        return Losses(total, multimodal, unimodal, logits)

    def _late_fusion(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run each encoder once; the truncation sits on the features (MT) and on the fusion parameters (UT)."""
        model = self.model
        features = model.encode(inputs)
        logits = {FUSED: model.fusion({m: gate(z, self.share(m)) for m, z in features.items()})}
        if self.alpha:
            for m in features:
                only = {j: z if j == m else z.detach() for j, z in features.items()}
                held = frozen(model.fusion, openness=self.fusion_gate)
                logits[m] = functional_call(model.fusion, held, (only,), {"keep": (m,)})
        return logits

    @property
    def branches(self) -> tuple[str, ...]:
        """List the passes of one step: the multimodal one, and a masked one per modality unless alpha is 0."""
        return (FUSED, *self.model.encoders.keys()) if self.alpha else (FUSED,)

    def run(self, branch: str, inputs: Mapping[str, Tensor]) -> Tensor:
        """Run one pass of a model whose modalities mix inside, truncated at the parameters (METHODS 3.4, option P)."""
        model = self.model
        held = {name: gate(p, self.openness(branch, self.owner(name))) for name, p in model.named_parameters()}
        if branch == FUSED:
            return functional_call(model, held, (inputs,), self.MULTIMODAL)
        held.update({name: buffer.detach().clone() for name, buffer in model.named_buffers()})  # statistics do not move
        return functional_call(model, held, (inputs,), {"keep": (branch,)})

    def owner(self, parameter: str) -> str:
        """Name the branch whose loss trains a parameter of this name: its modality, or ``"fused"``."""
        room, _, rest = parameter.partition(".")
        return rest.partition(".")[0] if room == "encoders" else FUSED

    def openness(self, branch: str, owner: str) -> float:
        """Give the share of the gradient of one pass that reaches the parameters of one owner, in [0, 1]."""
        if owner == branch:
            return 1.0
        if branch == FUSED:
            return self.share(owner)
        return self.fusion_gate if owner == FUSED else 0.0


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
    """Compute DGL's losses of a plain (not wrapped or compiled) model in anyone's loop; call ``.total.backward()``."""
    return DisentangledObjective(model, alpha, encoder_gate, fusion_gate, criterion)(inputs, target)


def disentangled_logits(features: Mapping[str, Tensor], head: nn.Linear) -> dict[str, Tensor]:
    """Compute logits whose gradients never mix: DGL on plain tensors, for concatenation and a linear head.

    One backward pass of ``L_multi + alpha * sum_m L_m``, each a loss of one of these logits, leaves DGL's gradients in
    ``head`` and in whatever made the features. One linear head per modality, summed, is the same function.

    Args:
        features: modality -> [B, D_m], in the order in which ``head`` takes them.
        head: the fusion, ``Linear(sum_m D_m, K)``.

    Returns:
        ``{"fused": [B, K], m: [B, K], ...}``. The fused entry has no gradient path to any feature, that of a modality
        none to ``head`` or to the other features, which are zero there.

    Raises:
        ValueError: features that are not [B, D_m], that do not fit ``head``, or that use a reserved name.

    **Source.** Eq. 9-15; official ``models/fusion_modules.py:ConcatFusion_DGL`` and ``main_dgl.py``. **Difference.**
    One backward pass; equal to the last bit.
    """
    shapes = {m: tuple(z.shape) for m, z in features.items()}
    if any(len(shape) != 2 for shape in shapes.values()) or sum(s[-1] for s in shapes.values()) != head.in_features:
        raise ValueError(f"The head takes {head.in_features} features, but these are {shapes}: give [B, D_m] of every "
                         "modality whose widths D_m add up to that.")  # fmt: skip
    _check_names(features)
    fixed = {m: z.detach() for m, z in features.items()}
    logits = {FUSED: head(torch.cat(list(fixed.values()), dim=1))}
    for m, z in features.items():
        alone = torch.cat([z if j == m else torch.zeros_like(other) for j, other in fixed.items()], dim=1)
        logits[m] = functional_call(head, frozen(head), (alone,))
    return logits


def check_partition(model: nn.Module) -> None:
    """Raise a ``ValueError`` unless each parameter is in one encoder or in the fusion, and no buffer in two of them."""
    encoders, fusion = getattr(model, "encoders", None), getattr(model, "fusion", None)
    if not isinstance(encoders, nn.ModuleDict) or not isinstance(fusion, nn.Module) or not len(encoders):
        raise ValueError(
            f"{type(model).__name__} needs `encoders` (an nn.ModuleDict, one entry per modality) and `fusion` (an "
            "nn.Module, the classifier included). Build it with dgl_core.models.LateFusion or subclass MultimodalModel."
        )
    _check_names(encoders)
    owners: dict[int, list[str]] = defaultdict(list)
    for owner, part in [*encoders.items(), ("fusion", fusion)]:
        for tensor in [*part.parameters(), *part.buffers()]:
            owners[id(tensor)].append(owner)
    for name, buffer in model.named_buffers():
        if len(groups := owners[id(buffer)]) > 1:
            raise ValueError(f"Buffer {name!r} is in several groups {groups}: a batch-norm layer they share would mix "
                             "their statistics; give each its own.")  # fmt: skip
    for name, parameter in model.named_parameters():
        if len(groups := owners[id(parameter)]) != 1:
            where = f"in several groups {groups}" if groups else "in no encoder and not in the fusion module"
            raise ValueError(f"Parameter {name!r} is {where}; each parameter must be trained by exactly one group.")


def _check_names(modalities: Iterable[str]) -> None:
    for m in (m for m in modalities if m in RESERVED):
        raise ValueError(f"{m!r} names {RESERVED[m]}; give that modality another name.")


def _check_classes(logits: Tensor, target: Tensor) -> None:
    """Refuse what cross-entropy would take for something else, or would refuse without saying why."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.dim() < 2:
        kind = f"{logits.dtype} {list(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"The logits are {kind}; cross-entropy needs floating-point numbers [B, K, ...]: let the "
                         "fusion return that, or give a criterion of your own.")  # fmt: skip
    kind = str(target.dtype) if isinstance(target, Tensor) else type(target).__name__
    if not isinstance(target, Tensor) or target.dtype not in (torch.int64, torch.uint8):
        raise ValueError(
            f"The target is {kind}; cross-entropy needs class indices, int64, and takes floats for probabilities: give "
            "target.long(), or, if several labels may be right at once, criterion=F.binary_cross_entropy_with_logits."
        )
    if target.shape != (fits := (logits.shape[0], *logits.shape[2:])):
        raise ValueError(f"The target has shape {list(target.shape)}, but logits {list(logits.shape)} need "
                         f"{list(fits)}: give one class index for each.")  # fmt: skip
    if target.device.type != "cpu" or torch.compiler.is_compiling():  # elsewhere it would have to wait
        return
    known = target[target != IGNORED]
    smallest, largest = (int(known.min()), int(known.max())) if known.numel() else (0, 0)
    if smallest < 0:
        raise ValueError(f"The target has class {smallest}; number the classes from 0, or mark what has none by "
                         f"{IGNORED}.")  # fmt: skip
    if largest >= logits.shape[1]:
        raise ValueError(f"The target has class {largest}, but the model tells {logits.shape[1]} classes apart: make "
                         f"its fusion with classes={largest + 1} or more.")  # fmt: skip
