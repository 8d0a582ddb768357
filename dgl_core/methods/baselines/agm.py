"""Adaptive gradient modulation: AGM."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor, nn

from dgl_core.methods.base import Batch, Method, State, option
from dgl_core.methods.scores import (
    JointObjective,
    active,
    batch_statistics,
    check_target,
    evaluating,
    target_probability,
)

Coalition = tuple[str, ...]  # modalities that are present, in the order of the model
FLOOR = 1e-8  # smallest probability in a score
CAP = 10.0  # largest difference of discrepancies
LIMIT = 1.0  # a larger element in a fusion weight gradient clips the whole gradient to this norm


def coalitions(modalities: Sequence[str], full: bool) -> list[Coalition]:
    """List every non-empty set of modalities, with or without the full one."""
    sizes = range(1, len(modalities) + full)
    return [coalition for size in sizes for coalition in combinations(modalities, size)]


def coalition_logits(model: nn.Module, inputs: Mapping[str, Tensor], full: bool = False) -> dict[Coalition, Tensor]:
    """Compute logits [B, K] of every coalition with the *inputs* of the absent modalities set to zero.

    A late-fusion model encodes each input once and the zero input once: in evaluation mode, where samples do not
    influence each other, as one more sample; in training mode as a batch of its own, whose statistics are its own.
    """
    modalities = tuple(model.encoders)
    wanted = coalitions(modalities, full)
    if not hasattr(model, "encode"):
        blank = {m: torch.zeros_like(inputs[m]) for m in modalities}
        return {s: model({m: (inputs if m in s else blank)[m] for m in modalities}) for s in wanted}
    if model.training:
        given, none = model.encode(inputs), model.encode({m: x.new_zeros(2, *x.shape[1:]) for m, x in inputs.items()})
    else:
        padded = {m: torch.cat([x, x.new_zeros(1, *x.shape[1:])]) for m, x in inputs.items()}
        features = model.encode(padded)  # [B + 1, D_m]
        given, none = {m: z[:-1] for m, z in features.items()}, {m: z[-1:] for m, z in features.items()}
    blank = {m: z[-1:].expand_as(given[m]) for m, z in none.items()}
    return {s: model.fuse({m: (given if m in s else blank)[m] for m in modalities}) for s in wanted}


def shapley(values: Mapping[Coalition, Tensor], modalities: Sequence[str]) -> dict[str, Tensor]:
    """Split the logits into Shapley shares, with the value of the empty coalition set to zero.

    phi_m = sum over S without m of |S|! (M - |S| - 1)! / M! * (v(S + m) - v(S)). For two modalities
    phi_a = (v(av) - v(v) + v(a)) / 2; for three (v(avt) - v(vt)) / 3 + (v(av) - v(v) + v(at) - v(t)) / 6 + v(a) / 3.
    ``values``: every non-empty coalition, its members in the order of ``modalities`` -> [B, K].
    """
    shares = {}
    for m in modalities:
        terms = []
        for coalition, value in values.items():
            others = len(coalition) - (m in coalition)  # |S|
            weight = 1 / (len(modalities) * math.comb(len(modalities) - 1, others))
            terms.append(value * (weight if m in coalition else -weight))
        shares[m] = sum(terms)
    return shares


def surprise(shares: Sequence[Tensor], target: Tensor) -> Tensor:
    """s_m = mean of -log softmax(share_m)[y], a probability counting as at least 1e-8; shares [B, K] each -> [M]."""
    right = [target_probability(share, target) for share in shares]
    return torch.stack([-p.clamp(min=FLOOR).log().mean() for p in right])


def discrepancies(scores: Tensor) -> Tensor:
    """r_m = exp((mean score - s_m) M / (M - 1)), above 1 for a modality that is ahead. [M] -> [M]."""
    return torch.exp((scores.mean() - scores) * len(scores) / (len(scores) - 1))


def coefficients(scores: Tensor, running: Tensor, alpha: float) -> Tensor:
    """kappa_m = exp(alpha min(tau_m - r_m, 10)); scores of this batch and their running mean before it, [M] -> [M]."""
    difference = discrepancies(running) - discrepancies(scores)
    return torch.exp(alpha * difference.clamp(max=CAP))


def surrogate(fused: Tensor, shares: Sequence[Tensor], kappa: Tensor) -> Tensor:
    """Return ``fused`` with the gradient of sum_m kappa_m shares_m, which backward hooks on the shares amount to."""
    scaled = sum(k * (share - share.detach()) for k, share in zip(kappa, shares, strict=True))
    return fused.detach() + scaled


def clip_by_fusion(everything: Sequence[Tensor], fusion: Sequence[Tensor]) -> None:
    """Clip the norm of all gradients to 1 if an element of a fusion weight (2-D or more) gradient exceeds 1 in size."""
    watched = [p.grad.abs().max() for p in fusion if p.grad is not None and p.dim() > 1]
    if not watched:
        return
    norm = torch.nn.utils.get_total_norm([p.grad for p in everything if p.grad is not None])
    exceeds = torch.stack(watched).max() > LIMIT
    torch.nn.utils.clip_grads_with_norm_(everything, LIMIT, torch.where(exceeds, norm, torch.zeros_like(norm)))


class ShapleyObjective(JointObjective):
    """Joint loss whose gradient through each modality's Shapley share is scaled."""

    def __init__(
        self, model: nn.Module, alpha: float, criterion: Callable[[Tensor, Tensor], Tensor], masked: str = "evaluation"
    ):
        super().__init__(model, criterion)
        self.alpha, self.statistics = alpha, batch_statistics if masked == "batch" else evaluating

    def forward(
        self, inputs: Mapping[str, Tensor], target: Tensor, running: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Compute the loss, and the scores [M] of this batch; ``running``: mean ones before it, or None for vanilla."""
        check_target(target)
        fused = self.model(inputs)  # training mode: this pass alone moves the batch statistics
        if running is None:
            return self.criterion(fused, target), None
        modalities = tuple(self.model.encoders)
        with self.statistics(self.model):
            values = coalition_logits(self.model, inputs)
        shares = shapley({**values, modalities: fused}, modalities)
        with torch.no_grad():
            scores = surprise(list(shares.values()), target)
            kappa = coefficients(scores, running.to(scores), self.alpha)
        return self.criterion(surrogate(fused, list(shares.values()), kappa), target), scores


@dataclass
class AGM(Method):
    """Adaptive gradient modulation: scale the gradient through each modality's share of the output.

    **Idea.** The Shapley value splits the logits of any network, however it fuses, into one share per modality. A
    modality whose share is ahead of its own average lead gets a smaller gradient, one that is behind a larger one.

    **Step.**

    1. o = logits of all modalities, training mode. With the network in evaluation mode but with gradients, o_S for
       every other non-empty set S of modalities, the inputs of the absent ones set to zero.
    2. Shapley shares m_a = (o - o_v + o_a) / 2, m_v = (o - o_a + o_v) / 2 (``shapley`` for more); they add up to o.
       L = CE(o, y).
    3. Scores s_m = batch mean of -log softmax(m_m)[y], probabilities at least 1e-8.
    4. r_m = exp((mean s - s_m) M / (M - 1)), for two modalities exp(s_other - s_m); tau_m the same of S, the mean of
       the scores of all batches before this one (zero at first, so tau_m = 1).
    5. kappa_m = exp(alpha min(tau_m - r_m, 10)); then S <- S (t - 1) / t + s / t.
    6. Backward with the gradient that enters share m multiplied by kappa_m.
    7. If an element of the fusion weight gradient exceeds 1 in size, clip the norm of all gradients to 1. Update.

    With g = dL/do the gradient is that of <g, sum_m kappa_m m_m>. This is kappa_m times the joint encoder gradient only
    where the features of a zero input do not depend on the weights.

    **Source.** Hong Li, Xingyu Li, Pengbo Hu, Yinuo Lei, Chunxiao Li, Yi Zhou, "Boosting multi-modal model performance
    with adaptive gradient modulation", ICCV 2023; official ``model/CREMAD_net.py``, ``run/CREMAD_main.py``
    (lihong2303/AGM_ICCV2023, 5a65542), ``run/MOSEI_main.py`` for the score ratio of more modalities. Test-time score of
    a modality: its share m_m, in evaluation mode.

    **Difference.** (1) The factors sit in the forward graph (``surrogate``) instead of in backward hooks, with the same
    gradient. (2) The pass with every input zeroed, which nothing uses, is left out; late fusion encodes each input once
    for all masked passes. (3) After the window training is vanilla, step 7 aside; the hooks of ``model/CREMAD_net.py``
    keep their last factor. (4) Under gradient accumulation every part of the batch counts as one batch, and step 7
    looks at the sum so far.

    Args:
        alpha: strength; 1 is the official default (no file gives one for a data set of the paper).
        until: share of the epochs with modulation, the last one included; 1 is all of them (official: epochs 0-20).
        masked: statistics of batch norm in the masked passes: "evaluation", the running ones, as released, or "batch",
            those of the pass itself, which leaves the running ones alone. With the running ones a network with batch
            norm is trained away from them and collapses at our rates (METHODS 10.1).
    """

    alpha: float = option(1.0, low=0)
    until: float = option(1.0, low=0, high=1)
    masked: str = option("evaluation", choices=("evaluation", "batch"))
    TITLE: ClassVar[str] = "AGM"
    SEVERAL: ClassVar[bool] = True
    OFFICIAL: ClassVar[str] = "Shapley share of the logits over input coalitions, the bias with them"
    MEMORY: ClassVar[dict[str, object]] = {"running": torch.zeros(0), "batches": 0}  # mean scores [M] of so many

    def objective(self, model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
        return ShapleyObjective(model, self.alpha, criterion, self.masked)

    def on_start(self, state: State) -> None:
        self.running, self.batches = torch.zeros(len(state.model.encoders)), 0

    def step(self, state: State, batch: Batch) -> dict[str, Tensor]:
        modulated = active(state.epoch, state.epochs, self.until)
        loss, scores = state.objective(batch.inputs, batch.target, self.running if modulated else None)
        if scores is not None:
            self.batches += 1
            self.running = self.running.to(scores) + (scores - self.running.to(scores)) / self.batches
        state.backward(loss)
        groups = [*state.model.encoders, "fusion"]
        clip_by_fusion([p for group in groups for p in state.parameters(group)], state.parameters("fusion"))
        state.update()
        return {"multimodal": loss}

    def official_unimodal(self, state: State, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        modalities = tuple(state.model.encoders)
        with evaluating(state.model):
            return shapley(coalition_logits(state.model, inputs, full=True), modalities)
