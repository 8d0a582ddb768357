"""Give every modality a linear head of its own beside the fusion, so that a branch needs no masked input."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from dgl_core.models.fusion.base import Fusion


class OwnHeads(Fusion):
    """Join modalities by any head; score a lone modality by a linear head of its own, never by a masked input.

    The masked input of Eq. 12 is one that a nonlinear head has not seen unless it is trained on it. With own heads the
    unimodal losses leave the joining head alone, and what answers for a lone modality was trained for that.

    Args:
        inner: the head that joins. widths, classes: as for every head.

    **Source.** G-Blending as released (facebookresearch/VMZ, 4cc542d, ``audio_visual_model.py``): one head a modality.
    """

    def __init__(self, inner: Fusion, widths: Mapping[str, int], classes: int):
        super().__init__(widths, classes)
        self.inner = inner
        self.own = nn.ModuleDict({m: nn.Linear(width, classes) for m, width in widths.items()})

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        return self.inner(features)

    def unimodal(self, features: Mapping[str, Tensor], modality: str) -> Tensor:
        return self.own[modality](features[modality])
