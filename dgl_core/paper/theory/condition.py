"""Decide when the norm of the feature gradient shrinks for K > 2 classes: exactly (T9), and under Eq. 5 alone (T10).

One sample, one modality with classifier rows ``W_k``. ``p`` is its belief in the target ``y``, ``q_k = p_k / (1 - p)``
how it spreads the rest over the wrong classes, ``s_k`` the partial scores, ``s_bar = sum q_k s_k``. With

* ``c = sum_{k != y} q_k W_k - W_y``, the lever: the mean wrong row, seen from the row of the target;
* ``kappa = sum_{k != y} q_k (s_k - s_bar) W_k``, the covariance of scores and rows under ``q``;

**T9.** ``g^uni = (1 - p) c`` and ``g^multi = (1 - p) (s_bar c + kappa) / (p + (1 - p) s_bar)``. Hence the norm shrinks

    if and only if   ``|| s_bar c + kappa ||  <  (p + (1 - p) s_bar) || c ||``.

*Proof.* T1 writes a gradient as ``sum_{k != y} p_k (W_k - W_y)``. Alone this is ``(1 - p) c``. Fusion multiplies
``p_k`` by ``s_k / Z`` with ``Z = sum_k p_k s_k = p + (1 - p) s_bar``. So ``g^multi = (1 - p) / Z`` times ``sum q_k s_k
(W_k - W_y)``, which is ``s_bar c + kappa`` because ``q`` sums to one. Take norms and cancel ``(1 - p)``. QED.

For K = 2, and wherever the scores are equal (T6), ``kappa = 0`` and the condition is ``s_bar < 1``. Otherwise ``kappa``
is what an uneven partner adds: it moves the belief *among* the wrong classes, so it turns the lever and may lengthen
it. **A simple sufficient condition** follows from the triangle inequality and Cauchy-Schwarz:

    ``std_q(s) * spread_q(W)  <  p (1 - s_bar) || c ||``,   ``spread_q(W)^2 = sum q_k || W_k - mean_q W ||^2``.

**T10.** Fix the belief and the rows. Eq. 5 (every ``s_k < 1``) makes the norm shrink, whatever the scores, if and only
if ``c != 0`` and ``|| sum_{k in A} p_k (W_k - W_y) || <= (p + sum_{k in A} p_k) || g^uni ||`` for every set ``A`` of
wrong classes.

*Proof.* Under Eq. 5 the fused belief ``r`` fills the polytope ``0 <= r_k / p_k <= r_y / p_y`` on the simplex (its
relative interior, where the scores are positive and below one). ``|| sum r_k (W_k - W_y) ||^2`` is convex in ``r``, so
its largest value is at a corner, and the corners are the scores in {0, 1}: the sets ``A``. If no corner exceeds ``||
g^uni ||^2``, an inner point could only equal it if the function were constant, but it is 0 at the empty set, and
``g^uni`` is not zero. If a corner exceeds it, so do scores near that corner, which satisfy Eq. 5. QED.

**Corollary.** For K > 2, Eq. 5 makes the norm shrink for *every* belief only if all wrong rows are equal, which is the
case of two classes again. *Proof.* Let ``W_i != W_j`` with ``a = W_i - W_y`` not longer than ``b = W_j - W_y``. Believe
half in i and half in j, up to a trifle, and let the partner exclude i but not j. Then ``g^uni`` comes near ``(a + b) /
2``, ``g^multi`` near ``b``, and ``||(a + b) / 2||^2 = (||a||^2 + ||b||^2) / 2 - ||a - b||^2 / 4 < ||b||^2``. QED.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dgl_core.gradients import FUSED
from dgl_core.models import LateFusion
from dgl_core.paper.theory.cases import Case
from dgl_core.paper.theory.feature import class_differences, feature_gradient
from dgl_core.paper.theory.residual import partial_scores

MOST_CLASSES = 16  # T10 looks at 2^(K - 1) sets


class Terms(NamedTuple):
    """What T9 is made of, per sample, float64."""

    confidence: Tensor  # [B] p, the modality's own belief in the target
    s_bar: Tensor  # [B]
    lever: Tensor  # [B, D] c
    covariance: Tensor  # [B, D] kappa
    unevenness: Tensor  # [B] std_q(s)
    spread: Tensor  # [B] spread_q(W)

    @property
    def norm_ratio(self) -> Tensor:
        """``||g^multi|| / ||g^uni||``, [B]: T9 compares it with one. Infinite where only ``g^uni`` is zero."""
        z = self.confidence + (1 - self.confidence) * self.s_bar
        return (self.s_bar[:, None] * self.lever + self.covariance).norm(dim=1) / (z * self.lever.norm(dim=1))

    @property
    def simply_shrinks(self) -> Tensor:
        """Whether the simple sufficient condition holds, [B] bool."""
        margin = self.confidence * (1 - self.s_bar) * self.lever.norm(dim=1)
        return self.unevenness * self.spread < margin


def condition_terms(logits: Tensor, other_logits: Tensor, weight: Tensor, target: Tensor) -> Terms:
    """Compute the terms of T9 from ``u`` and ``v`` [B, K], the rows ``weight`` [K, D] and the classes [B]."""
    index, rows = target[:, None], weight.double()
    q = logits.double().scatter(1, index, -torch.inf).softmax(1)  # [B, K], 0 at the target
    s = partial_scores(other_logits, target)
    s_bar = (q * s).sum(1)
    mean = q @ rows  # [B, D] mean wrong row
    covariance = (q * (s - s_bar[:, None])) @ rows
    unevenness = (q * (s - s_bar[:, None]) ** 2).sum(1).sqrt()
    spread = (q * torch.cdist(mean, rows, compute_mode="donot_use_mm_for_euclid_dist") ** 2).sum(1).sqrt()
    confidence = logits.double().softmax(1).gather(1, index)[:, 0]
    return Terms(confidence, s_bar, mean - rows[target], covariance, unevenness, spread)


def largest_growth(logits: Tensor, weight: Tensor, target: int) -> tuple[float, tuple[int, ...]]:
    """Find the supremum of ``||g^multi|| / ||g^uni||`` under Eq. 5, and the classes that the partner keeps there (T10).

    At most 1 exactly if Eq. 5 is enough at this belief (``g^uni`` not zero). ``logits`` [K] are ``u``; ``weight`` [K,
    D] the rows. Costs 2^(K - 1) sets.
    """
    kept, share, pull = _kept_sets(logits, weight, target)
    p = logits.double().softmax(0)[target]
    growth = (pull / (p + (1 - p) * share)).nan_to_num(nan=0.0)
    best = int(growth.argmax())
    return growth[best].item(), tuple(kept[best].nonzero()[:, 0].tolist())


def critical_confidence(logits: Tensor, weight: Tensor, target: int) -> float:
    """Find the confidence ``p`` from which Eq. 5 is enough for the norm to shrink, ``q`` held fixed (T10).

    Zero: always enough; above 1: never. Acute rows (``acute_differences``) keep it at 1 or below. Arguments as for
    ``largest_growth``; only what the logits say among the wrong classes counts.
    """
    _, share, pull = _kept_sets(logits, weight, target)
    partial = share < 1 - 1e-12  # not the set of all wrong classes, whose condition is an equality
    return max(0.0, ((pull - share) / (1 - share))[partial].max().item())


def _kept_sets(logits: Tensor, weight: Tensor, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """List the sets A of wrong classes: members [2^(K-1), K], ``q_A``, and ``||sum_A q_k (W_k - W_y)|| / ||c||``."""
    classes = len(logits)
    if classes > MOST_CLASSES:
        raise ValueError(
            f"T10 looks at every set of wrong classes, and {classes} classes have 2^{classes - 1} of them; give at "
            f"most {MOST_CLASSES} classes, or check samples one by one with condition_terms."
        )
    wrong = [k for k in range(classes) if k != target]
    q = logits.double()[wrong].softmax(0)
    sets = torch.tensor(list(itertools.product([0.0, 1.0], repeat=len(wrong))), dtype=torch.float64)
    pushes = (sets * q) @ class_differences(weight, target)  # [2^(K-1), D]; the last set is all of them
    kept = torch.zeros(len(sets), classes, dtype=torch.float64)
    kept[:, wrong] = sets
    return kept, sets @ q, pushes.norm(dim=1) / pushes[-1].norm()


def growing_scores(logits: Tensor, weight: Tensor, target: int) -> Tensor | None:
    """Generate a counterexample at a given belief: scores [K], every wrong one below 1, that make the norm grow.

    The partner nearly keeps the classes of ``largest_growth`` and nearly excludes the others. None where T10 says that
    there are no such scores (up to rounding).
    """
    growth, kept = largest_growth(logits, weight, target)
    if not growth > 1 + 1e-12:
        return None
    y = torch.tensor(target)
    alone = feature_gradient(logits, weight, y).norm()
    for exponent in range(1, 60):
        rest = 2.0**-exponent
        s = torch.full((len(logits),), rest, dtype=torch.float64)
        s[list(kept)] = 1 - rest
        s[target] = 1.0
        if feature_gradient(logits.double() + s.log(), weight, y).norm() > alone:
            return s
    return None


def breaking_case(weight: Tensor, target: int) -> Case:
    """Generate a counterexample for *any* rows ``weight`` [K, D], K > 2: a sample with Eq. 5 whose norm grows.

    The construction is that of the corollary.

    Raises:
        ValueError: where all wrong rows are equal, so that there is none.
    """
    rows = class_differences(weight, target)
    wrong = [k for k in range(weight.shape[0]) if k != target]
    apart = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    first, second = divmod(int(apart.argmax()), len(wrong))
    if apart[first, second] <= 1e-9 * rows.norm(dim=1).max():
        raise ValueError("All wrong classes have the same row, so this is a problem of two classes: Eq. 8 holds.")
    longer, shorter = sorted((wrong[first], wrong[second]), key=lambda k: -rows[wrong.index(k)].norm().item())
    for exponent in range(1, 45):
        trifle = 2.0**-exponent
        belief = torch.full((len(weight),), trifle**2, dtype=torch.float64)
        belief[[longer, shorter]] = 0.5
        s = torch.full_like(belief, trifle)
        s[longer], s[target] = 1 - trifle, 1.0
        case = Case(weight.double(), belief.log(), s.log(), target)
        if case.g_multi.norm() > case.g_uni.norm():
            break
    return case


def condition_shares(logits: Tensor, other_logits: Tensor, weight: Tensor, target: Tensor) -> dict[str, float]:
    """Count how often Eq. 8 fails for the norm, and why, over samples; arguments as for ``condition_terms``.

    Returns ``eq5`` (share of samples with every s_k < 1), ``shrinks`` (the norm shrinks, T9), ``simple`` (the simple
    sufficient condition holds), ``grows_under_eq5`` and ``grows_suppressed``: share of the samples with Eq. 5, and of
    those with ``s_bar < 1``, whose norm grows all the same (nan where there is no such sample).
    """
    terms = condition_terms(logits, other_logits, weight, target)
    eq5 = partial_scores(other_logits, target).scatter(1, target[:, None], 0.0).max(1).values < 1
    grows = terms.norm_ratio > 1
    return {
        "eq5": eq5.double().mean().item(),
        "shrinks": (terms.norm_ratio < 1).double().mean().item(),
        "simple": terms.simply_shrinks.double().mean().item(),
        "grows_under_eq5": grows[eq5].double().mean().item(),
        "grows_suppressed": grows[terms.s_bar < 1].double().mean().item(),
    }


def condition_of(model: LateFusion, inputs: Mapping[str, Tensor], target: Tensor) -> dict[str, dict[str, float]]:
    """Measure ``condition_shares`` of every modality of a model with a concatenation head, on a batch.

    ``inputs`` modality -> [B, ...], ``target`` [B]; the model is used as it is (put it in evaluation mode first).
    """
    widths = model.fusion.widths
    parts = dict(zip(widths, model.fusion.head.weight.detach().split(list(widths.values()), dim=1), strict=True))
    with torch.no_grad():
        logits = model.all_logits(inputs)
    return {m: condition_shares(logits[m], logits[FUSED] - logits[m], parts[m], target) for m in parts}
