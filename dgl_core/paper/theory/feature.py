"""Carry the residual at the logits to the gradient at a feature: what Eq. 4 and 7 drop, and when norms follow R.

All statements are about one sample and one modality with classifier block ``W^m`` [K, D]; the feature gradient is
``W^mT (p - e_y)`` with ``p`` of the fused model (Eq. 4) or of the zero-masked one (Eq. 7).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from scipy.optimize import nnls
from torch import Tensor

from dgl_core.paper.theory.residual import residual


def partial_logits(
    features: Mapping[str, Tensor], weights: Mapping[str, Tensor], bias: Tensor, modality: str, bias_share: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Split the logits of a concatenation head into ``u`` (one modality) and ``v`` (all others), any bias split.

    ``u = W^m z^m + c b`` and ``v = sum_{j != m} W^j z^j + (1 - c) b``. The sum ``u + v`` never depends on c, but
    ``p^uni``, ``s_k`` and R do: T2-T8 hold for every c, each about its own unimodal model.

    Args:
        features: modality -> [B, D_m]. weights: modality -> [K, D_m], the blocks of W. bias: [K].
        bias_share: c. 1 is zero-masking (DGL, Eq. 12); 1/M is the split that OGM scores with.
    """
    own = features[modality] @ weights[modality].T + bias_share * bias
    others = [features[m] @ weights[m].T for m in features if m != modality]
    return own, sum(others) + (1 - bias_share) * bias


def feature_gradient(logits: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Compute the gradient of cross-entropy at a feature (T1): ``sum_k (p_k - [k = y]) W_k = W^T (p - e_y)``.

    Args:
        logits: [..., K] of the fused model (then this is Eq. 4 put right) or zero-masked (Eq. 7 put right).
        weight: [K, D] block of the classifier that reads this feature. target: [...].

    Returns [..., D] float64, per sample (autograd on a mean over B samples gives this divided by B).
    """
    return residual(logits, target) @ weight.double()


def printed_gradient(logits: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """Compute Eq. 4 and 7 as printed, ``(p_y - 1) W_y``: ``feature_gradient`` without ``sum_{k != y} p_k W_k``."""
    scalar = residual(logits, target).gather(-1, target.unsqueeze(-1))  # p_y - 1
    return scalar * weight.double()[target]


def class_differences(weight: Tensor, target: int) -> Tensor:
    """Subtract ``W_y`` from the row of every wrong class, [K - 1, D]. T1: ``g = sum_{k != y} p_k (W_k - W_y)``."""
    wrong = [k for k in range(weight.shape[0]) if k != target]
    return weight.double()[wrong] - weight.double()[target]


def nearest_in_hull(points: Tensor) -> Tensor:
    """Find the point of the convex hull of ``points`` [n, D] nearest to the origin, float64.

    With weights ``w = t v``, v on the simplex, ``||points^T w||^2 + (1 - sum w)^2`` is least over t at
    ``d^2 / (1 + d^2)``, d the length of ``points^T v``; so non-negative least squares finds the v of least d.
    """
    system = torch.cat([points.T, points.new_ones(1, len(points))]).numpy()
    weights = torch.from_numpy(nnls(system, [0.0] * points.shape[1] + [1.0])[0])
    return (weights / weights.sum()) @ points


def norm_range(weight: Tensor, target: int) -> tuple[float, float]:
    """Bound the norm (T7): ``(delta, D)`` with ``(1 - p_y) delta <= ||g|| <= (1 - p_y) D`` whatever the logits.

    ``D`` is the largest ``||W_k - W_y||``, ``delta`` the distance from ``W_y`` to the convex hull of the other rows.
    Hence ``||g^multi|| <= R (D / delta) ||g^uni||``: the norm shrinks for every sample with ``R < delta / D``.
    """
    differences = class_differences(weight, target)
    return nearest_in_hull(differences).norm().item(), differences.norm(dim=1).max().item()


def acute_differences(weight: Tensor, target: int, tolerance: float = 1e-12) -> bool:
    """Test the first condition of T8: ``<W_j - W_y, W_k - W_y> >= 0`` for all wrong classes j, k.

    With the second, ``evenly_suppressed``, it implies ``||g^multi|| <= ||g^uni||``.
    """
    differences = class_differences(weight, target)
    return bool((differences @ differences.T).min() >= -tolerance)


def evenly_suppressed(logits: Tensor, other_logits: Tensor, target: Tensor) -> Tensor:
    """Test the second condition of T8, [...] bool: fusion lowers the probability of *every* wrong class.

    Equivalently ``s_k <= p + (1 - p) s_bar`` for all k != y: the partial scores are not too uneven.
    """
    index = target.unsqueeze(-1)
    unimodal = residual(logits, target).scatter(-1, index, 0.0)
    fused = residual(logits.double() + other_logits.double(), target).scatter(-1, index, 0.0)
    return (fused <= unimodal).all(-1)


def simplex_etf(classes: int, width: int, generator: torch.Generator | None = None) -> Tensor:
    """Construct a simplex equiangular tight frame, rotated at random: K unit rows with inner products -1/(K - 1).

    Classifier rows approach it late in training (neural collapse). T8's first condition holds with equal angles.
    Returns [K, D] float64, for K ``classes`` >= 2 and D ``width`` >= K.
    """
    if width < classes:
        raise ValueError(f"simplex_etf needs width >= classes, got width {width} and {classes} classes")
    gaussian = torch.randn(width, classes, dtype=torch.float64, generator=generator)
    basis = torch.linalg.qr(gaussian).Q  # [D, K], orthonormal columns
    centred = torch.eye(classes, dtype=torch.float64) - 1 / classes
    return (classes / (classes - 1)) ** 0.5 * centred @ basis.T
