"""Compute what fusion does to the residual ``p - e_y`` at the logits: s_k, s-bar and the ratio R (T2, T3, T4).

Notation of the paper's section 3.1, for one encoder: ``u`` are its own partial logits (all other features zero), ``v``
is the sum of what the other modalities add, so the fused logits are ``u + v``. A bias split changes only u and v.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_core.suppression import suppression_ratio


def partial_scores(other_logits: Tensor, target: Tensor) -> Tensor:
    """Compute ``s_k = exp(v_k - v_y)``, the factor beside ``exp(u_k)`` in Eq. 4; ``s_y = 1`` (Eq. 6).

    ``other_logits`` [..., K] are ``v``; the result is float64, positive. Eq. 5 says ``s_k < 1`` for every wrong class:
    the other modalities alone rank the target strictly first, which a sample may or may not satisfy.
    """
    v = other_logits.double()
    return (v - v.gather(-1, target.unsqueeze(-1))).exp()


def mean_partial_score(logits: Tensor, other_logits: Tensor, target: Tensor) -> Tensor:
    """Compute ``s_bar = sum_{k != y} q_k s_k`` with ``q_k = p_k^uni / (1 - p_y^uni)``, from its definition (T2).

    T2: ``p_y^multi > p_y^uni`` exactly when ``s_bar < 1``, for any K >= 2 and finite logits. T2': Eq. 5 (every
    ``s_k < 1``) is sufficient and not necessary. ``suppression_ratio`` computes the same number from the two odds.
    ``logits`` and ``other_logits`` [..., K] are ``u`` and ``v``.
    """
    index = target.unsqueeze(-1)
    q = logits.double().scatter(-1, index, -torch.inf).softmax(-1)  # belief among the wrong classes, 0 at the target
    return (q * partial_scores(other_logits, target)).sum(-1)


def closed_form_ratio(confidence: Tensor, s_bar: Tensor) -> Tensor:
    """Compute ``R = s_bar / (p + (1 - p) s_bar)`` (T3), p the unimodal probability of the target.

    R increases with ``s_bar``. For ``s_bar < 1`` it falls strictly with ``p``, from 1 (p = 0) to ``s_bar`` (p = 1);
    for ``s_bar > 1`` it rises instead: there fusion amplifies. It always lies between 1 and ``s_bar``.
    """
    return s_bar / (confidence + (1 - confidence) * s_bar)


def residual(logits: Tensor, target: Tensor) -> Tensor:
    """Compute ``softmax(logits) - one_hot(target)``: the gradient of cross-entropy at the logits of one sample.

    T4: its 1-norm is ``2 (1 - p_y)`` and its max-norm ``1 - p_y`` exactly; its 2-norm is ``1 - p_y`` times a factor
    within ``residual_norm_bounds``. So with the 1- or max-norm at the logits, Eq. 8 holds exactly when ``s_bar < 1``.
    Returns [..., K] float64; the target's entry is minus the sum of the others, so it keeps its digits as p_y -> 1.
    """
    index = target.unsqueeze(-1)
    wrong = logits.double().softmax(-1).scatter(-1, index, 0.0)
    return wrong.scatter(-1, index, -wrong.sum(-1, keepdim=True))


def residual_norm_bounds(classes: int) -> tuple[float, float]:
    """Bound ``||p - e_y||_2 / (1 - p_y)`` for K classes (T4): ``[sqrt(K / (K - 1)), sqrt(2)]``, ends included."""
    return (classes / (classes - 1)) ** 0.5, 2.0**0.5


def suppressed_share(fused_logits: Tensor, unimodal_logits: Tensor, target: Tensor) -> float:
    """Measure the share of samples whose residual fusion shrinks (``s_bar < 1``, T2); Eq. 8 asserts it of all."""
    return (suppression_ratio(fused_logits, unimodal_logits, target)[1] < 1).double().mean().item()
