"""Map one feature vector per modality to class logits, with the mask of Eq. 12: the base of every fusion head."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn


class Fusion(nn.Module):
    """Base of all heads. A head writes ``join``; masking is done here, once.

    A head whose gradient dies at zero may override ``unimodal`` (METHODS 1.5); then every unimodal score uses it.
    """

    def forward(self, features: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Tensor:
        """Compute logits [B, K] from ``features`` {m: [B, D_m]}; modalities not in ``keep`` count as zero."""
        if keep is None:
            return self.join(features)
        check_keep(keep, features)
        if len(keep) == 1:
            return self.unimodal(features, *keep)
        return self.join(zero_mask(features, keep))

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define join(features) -> logits")

    def unimodal(self, features: Mapping[str, Tensor], modality: str) -> Tensor:
        return self.join(zero_mask(features, (modality,)))


def check_keep(keep: Collection[str], modalities: Collection[str]) -> None:
    """Raise a ``ValueError`` if ``keep`` names something that is not among the modalities."""
    unknown = [m for m in keep if m not in modalities]
    if unknown:
        raise ValueError(f"keep names {unknown[0]!r}, which is not a modality of this model: {list(modalities)}.")


def zero_mask(features: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
    """Replace every modality outside ``keep`` by zeros: the modality dropout of Eq. 12 and 14."""
    return {m: z if m in keep else torch.zeros_like(z) for m, z in features.items()}


class PlainFusion(Fusion):
    """Gives masking to any module that maps a dict of features to logits."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        return self.module(features)
