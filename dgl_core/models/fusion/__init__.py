"""List the fusion heads by name: each maps one feature vector per modality to class logits, masked as Eq. 12 says.

"official" is the masking of the official DGL code where it differs from Eq. 12 (METHODS 1.5).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from dgl_core.models.fusion.attention import AttentionFusion
from dgl_core.models.fusion.base import Fusion, PlainFusion, check_keep, survivors, zero_mask
from dgl_core.models.fusion.linear import ConcatFusion, MLPFusion, SumFusion
from dgl_core.models.fusion.multiplicative import BilinearFusion, FiLMFusion, GatedFusion, LiteralGatedFusion
from dgl_core.utils import unknown_name

__all__ = [
    "FUSIONS", "AttentionFusion", "BilinearFusion", "ConcatFusion", "FiLMFusion", "Fusion", "GatedFusion",
    "LiteralGatedFusion", "MLPFusion",
    "PlainFusion", "SumFusion", "check_keep", "make_fusion", "survivors", "zero_mask",
]  # fmt: skip

FUSIONS: dict[str, type[Fusion]] = {
    "concat": ConcatFusion,
    "sum": SumFusion,
    "film": FiLMFusion,
    "gated": GatedFusion,
    "gated_literal": LiteralGatedFusion,
    "bilinear": BilinearFusion,
    "attention": AttentionFusion,
    "mlp": MLPFusion,
}


def make_fusion(name: str, widths: Mapping[str, int], classes: int, *, official: bool = False) -> Fusion:
    """Make a fresh head for features of these widths, in fusion order; ``official`` masks as the official code does.

    Raises:
        ValueError: unknown head, one without an official variant, or modalities that the head cannot join.
    """
    if name not in FUSIONS:
        raise unknown_name("fusion", name, FUSIONS)
    if not official:
        return FUSIONS[name](widths, classes)
    variants = [n for n, head in FUSIONS.items() if "official" in inspect.signature(head).parameters]
    if name not in variants:
        raise ValueError(
            f"fusion {name!r} has no official variant (its mask is Eq. 12 there too, or it is not in the official "
            f"code); leave official=False, or choose one of {', '.join(map(repr, variants))}."
        )
    return FUSIONS[name](widths, classes, official=True)
