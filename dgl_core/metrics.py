"""Numbers about predictions and gradients: accuracy, macro-F1, suppression."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from dgl_core.gradients import FUSED
from dgl_core.theory import suppression_ratio


def classification(logits: Tensor, target: Tensor) -> dict[str, float]:
    """Accuracy, macro-F1 and mean cross-entropy of one branch.

    Args:
        logits: [N, K]; target: [N].

    Returns:
        ``accuracy``, ``macro_f1`` (over the classes that occur in ``target``) as fractions; ``loss`` in nats.
    """
    predicted = logits.argmax(dim=1)
    classes = logits.shape[1]
    confusion = torch.bincount(target * classes + predicted, minlength=classes**2).view(classes, classes).double()
    hits, truth, claimed = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    present = truth > 0
    f1 = 2 * hits / (truth + claimed).clamp(min=1)
    return {
        "accuracy": (hits.sum() / confusion.sum()).item(),
        "macro_f1": f1[present].mean().item(),
        "loss": torch.nn.functional.cross_entropy(logits.double(), target).item(),
    }


def suppression(logits: Mapping[str, Tensor], target: Tensor) -> dict[str, float]:
    """How much fusion shrinks each modality's residual, over a set of samples (METHODS T2, T3; Fig. 3a).

    Args:
        logits: ``"fused"`` and one zero-masked entry per modality, [N, K] each; target: [N].

    Returns:
        ``<modality>/R_mean`` and quartiles ``R_q25``, ``R_q50``, ``R_q75`` of R = (1 - p_fused) / (1 - p_unimodal),
        ``s_bar_q50``, ``suppressed`` (share of samples with s-bar < 1, where the joint residual is smaller) and
        ``all_margins`` (share where every s_k < 1, k != y: the paper's condition, Eq. 5).
    """
    out = {}
    fused = logits[FUSED].double()
    quartiles = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64, device=fused.device)
    for m in logits:
        if m == FUSED:
            continue
        ratio, s_bar = suppression_ratio(fused, logits[m].double(), target)
        partner = fused - logits[m].double()  # v: what the other modalities add to the logits
        others = torch.nn.functional.one_hot(target, fused.shape[1]) == 0
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


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor:
    """L2 norm over all gradients present, a 0-d tensor on their device (no waiting); 0 where there is none."""
    grads = [p.grad for p in parameters if p.grad is not None]
    return torch.nn.utils.get_total_norm(grads) if grads else torch.zeros(())
