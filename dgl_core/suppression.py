"""Measure what fusion does to the residual ``p - e_y``: s_k, s-bar and the suppression ratio R (Sec. 3.1; T2, T3, T4).

Notation of the paper's section 3.1, for one encoder ``m1``: ``u`` are its own partial logits (it alone, all other
features zero), ``v`` is everything the other modalities add, so the fused logits are ``u + v``. With M modalities
``v`` is the sum over the others; a bias split other than "all of b on m1" only changes what is called ``u`` and ``v``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def log_odds(logits: Tensor, target: Tensor) -> Tensor:
    """Compute the log odds of the target class, ``log p_y / (1 - p_y)``; ``1 - p_y`` is a sum over the others.

    Subtracting ``p_y`` from one would lose every digit once the model is confident; the sum of the others keeps them.
    From logits [..., K >= 2] and class indices [...] it makes [...] float64.

    Raises:
        ValueError: if there are fewer than two classes or ``target`` is not one index per row of ``logits``.
    """
    if logits.shape[-1] < 2 or logits.shape[:-1] != target.shape:
        shapes = f"logits {tuple(logits.shape)} and target {tuple(target.shape)}"
        raise ValueError(f"{shapes}: expected [..., K] with K >= 2 and [...]")
    logits, index = logits.double(), target.unsqueeze(-1)
    others = logits.scatter(-1, index, -torch.inf).logsumexp(-1)
    return logits.gather(-1, index).squeeze(-1) - others


def suppression_ratio(fused_logits: Tensor, unimodal_logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Compute how much of a modality's own residual survives fusion: ``R = (1 - p_y^multi) / (1 - p_y^uni)`` (T3).

    ``R`` is the exact factor that Eq. 8 compares with 1: it multiplies the scalar ``p_y - 1`` of Eq. 7 to give that of
    Eq. 4. ``s_bar`` is the mean of ``s_k = exp(v_k - v_y)`` over the wrong classes, weighted by what the unimodal
    model believes of them; it equals the ratio of the two odds of the target, which is how it is computed. Always
    ``R = s_bar / (p + (1 - p) s_bar)`` with ``p = p_y^uni``, and ``R < 1`` exactly when ``s_bar < 1``.

    Args:
        fused_logits, unimodal_logits: [B, K], finite, of all modalities (``u + v``) and with the others zero (``u``).
        target: [B] class indices.

    Returns:
        ``(R, s_bar)``, each [B] float64, differentiable.

    Raises:
        ValueError: logits of different shapes, or that ``target`` does not fit (``log_odds``).

    **Source:** Eq. 4, 7, 8. **Difference:** the paper bounds every ``s_k``; only their weighted mean decides.
    """
    if fused_logits.shape != unimodal_logits.shape:
        raise ValueError(
            f"fused logits {tuple(fused_logits.shape)} and unimodal logits {tuple(unimodal_logits.shape)} differ: "
            "both must score the same samples and classes"
        )
    fused, unimodal = log_odds(fused_logits, target), log_odds(unimodal_logits, target)
    ratio = (F.logsigmoid(-fused) - F.logsigmoid(-unimodal)).exp()  # log(1 - p_y) = logsigmoid(-log odds)
    return ratio, (unimodal - fused).exp()


def suppression_columns(fused: Tensor, unimodal: Mapping[str, Tensor], target: Tensor) -> dict[str, float]:
    """Measure how much fusion shrinks each modality's residual, over a set of samples (METHODS T2, T3; Fig. 3a).

    Args:
        fused, unimodal, target: as for ``suppression_ratio``, one entry of ``unimodal`` a modality.

    Returns:
        ``<modality>/R_mean``, quartiles ``R_q25``, ``R_q50``, ``R_q75`` of R, ``s_bar_q50``, ``suppressed`` (share of
        samples with s-bar < 1) and ``all_margins`` (share where every s_k < 1, k != y: the paper's condition, Eq. 5).
    """
    out: dict[str, float] = {}
    fused = fused.double()
    quartiles = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64, device=fused.device)
    for m, logits in unimodal.items():
        ratio, s_bar = suppression_ratio(fused, logits.double(), target)
        partner = fused - logits.double()  # v: what the other modalities add to the logits
        others = F.one_hot(target, fused.shape[1]) == 0
        margins = (partner < partner.gather(1, target[:, None])) | ~others
        low, middle, high = torch.quantile(ratio, quartiles).tolist()
        out |= {
            f"{m}/R_mean": ratio.mean().item(),
            f"{m}/R_q25": low,
            f"{m}/R_q50": middle,
            f"{m}/R_q75": high,
            f"{m}/s_bar_q50": s_bar.quantile(0.5).item(),
            f"{m}/suppressed": (s_bar < 1).double().mean().item(),
            f"{m}/all_margins": margins.all(dim=1).double().mean().item(),
        }
    return out
