"""Construct single samples that settle a question: the paper's inequality at work, and the counterexamples C1-C3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dgl_core.paper.theory.feature import feature_gradient
from dgl_core.paper.theory.residual import mean_partial_score, partial_scores, residual
from dgl_core.suppression import suppression_ratio


@dataclass(frozen=True)
class Case:
    """One sample: the unimodal belief, what the other modalities add, and the classifier block of this modality."""

    weight: Tensor  # [K, D] rows of W^m
    logits: Tensor  # [K] u, the modality's own logits
    other_logits: Tensor  # [K] v, what the others add
    target: int = 0  # the class y

    @classmethod
    def of(cls, p_uni: Sequence[float], s: Sequence[float], weight: Sequence[Sequence[float]] | Tensor, target=0):
        """Make a case from probabilities and partial scores, as a person would write them down."""
        u, v = (torch.tensor(values, dtype=torch.float64).log() for values in (p_uni, s))
        return cls(torch.as_tensor(weight, dtype=torch.float64), u, v, target)

    @property
    def y(self) -> Tensor:
        return torch.tensor(self.target)

    @property
    def p_uni(self) -> Tensor:
        return self.logits.softmax(0)

    @property
    def p_multi(self) -> Tensor:
        return (self.logits + self.other_logits).softmax(0)

    @property
    def s(self) -> Tensor:
        return partial_scores(self.other_logits, self.y)

    @property
    def s_bar(self) -> float:
        return mean_partial_score(self.logits, self.other_logits, self.y).item()

    @property
    def ratio(self) -> float:
        return suppression_ratio(self.logits + self.other_logits, self.logits, self.y)[0].item()

    @property
    def g_uni(self) -> Tensor:
        return feature_gradient(self.logits, self.weight, self.y)

    @property
    def g_multi(self) -> Tensor:
        return feature_gradient(self.logits + self.other_logits, self.weight, self.y)


TRIANGLE = [[0.0, 1.0], [-(0.75**0.5), -0.5], [0.75**0.5, -0.5]]  # at 120 degrees: a simplex ETF
OPPOSITE_ROWS = [[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]  # W_y = 0 between two opposite rows
HEADS = {"three rows at 120 degrees": TRIANGLE, "two opposite rows, W_y = 0": OPPOSITE_ROWS}  # that explorers offer


def explored(confidence: float, confusion: float, second: float, third: float, head: str) -> Case:
    """Make the sample of an explorer, K = 3: how sure the modality is, what it confuses, what its partners add.

    Args:
        confidence: p_y alone. confusion: share of the rest that class 2 has. head: a name in ``HEADS``.
        second, third: margins ``v_y - v_k`` over the two wrong classes, in logits.
    """
    rest = 1 - confidence
    alone = torch.tensor([confidence, rest * confusion, rest * (1 - confusion)], dtype=torch.float64)
    others = torch.tensor([0.0, -second, -third], dtype=torch.float64)
    return Case(torch.tensor(HEADS[head], dtype=torch.float64), alone.log(), others)


def suppressed() -> Case:
    """Construct the textbook case: p^uni = (.5, .3, .2), s = (1, .5, .25); s_bar = .4 and R = 4/7."""
    return Case.of([0.5, 0.3, 0.2], [1.0, 0.5, 0.25], TRIANGLE)


def amplified() -> Case:
    """Let Eq. 5 fail: the other modality prefers class 2, v = (0, 2, 0); s_bar > 1 and the residual grows (T2)."""
    return Case.of([0.5, 0.3, 0.2], [1.0, torch.tensor(2.0).exp().item(), 1.0], TRIANGLE)


def growing_norm() -> Case:
    """Construct C1: every s_k < 1 (Eq. 5), yet the gradient grows from exactly zero: Eq. 8 is false for norms."""
    return Case.of([0.4, 0.3, 0.3], [1.0, 0.5, 0.0625], OPPOSITE_ROWS)


def vanishing_gradient() -> Case:
    """Take C1's rows with v constant: both gradients are zero though p_y < 1, so "> 0" in Eq. 8 fails for vectors."""
    return Case.of([0.4, 0.3, 0.3], [1.0, 1.0, 1.0], OPPOSITE_ROWS)


def growing_batch() -> tuple[Tensor, Tensor]:
    """Construct C3: gradients of two samples before and after fusion; each shrinks, their sum grows from 0 to 0.8."""
    before = torch.tensor([1.0, -1.0], dtype=torch.float64)
    return before, before * torch.tensor([0.9, 0.1], dtype=torch.float64)


def random_heads(draws: int, classes: int, width: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw Gaussian heads, to count how often the norm grows although the residual shrinks (C2).

    Returns [draws] each: ``ratio`` R, ``norm_ratio`` ||g^multi|| / ||g^uni||, ``margins`` (every s_k < 1, Eq. 5).
    """
    kind = {"generator": generator, "dtype": torch.float64}
    weight = torch.randn(draws, classes, width, **kind) / width**0.5
    u, v = torch.randn(draws, classes, **kind), torch.randn(draws, classes, **kind)
    target = torch.randint(classes, (draws,), generator=generator)
    norms = [torch.einsum("nk,nkd->nd", residual(x, target), weight).norm(dim=1) for x in (u + v, u)]
    others = partial_scores(v, target).scatter(1, target[:, None], 0.0)
    ratio, _ = suppression_ratio(u + v, u, target)
    return {"ratio": ratio, "norm_ratio": norms[0] / norms[1], "margins": others.max(1).values < 1}


def silent_feature(weight: Tensor, target: int, generator: torch.Generator | None = None) -> Tensor:
    """Find a unit feature with every s_k = 1: it lies in the null space of the rows ``W_k - W_y``.

    The paper concludes z = 0 from s = 1; the null space has dimension at least D - (K - 1). What stands: such a
    modality adds the same number to every logit, so it says nothing about the class. ``weight`` is the block [K, D] of
    the *other* modality, D > K - 1.
    """
    differences = weight.double() - weight.double()[target]
    z = torch.randn(weight.shape[1], dtype=torch.float64, generator=generator)
    for _ in range(2):  # project twice: the second pass removes the rounding left by the first
        z = z - torch.linalg.pinv(differences) @ (differences @ z)
        z = z / z.norm()
    return z
