"""Late-fusion heads: from one feature vector per modality to class logits."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn


class Fusion(nn.Module):
    """Base of all heads. A head writes ``join``; masking is done here, once.

    A head whose gradient dies at zero may override ``unimodal`` (METHODS 1.5); then every unimodal score uses it.
    """

    def forward(self, features: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Tensor:
        """Logits [B, K] from ``features`` {m: [B, D_m]}; modalities not in ``keep`` count as zero."""
        if keep is None:
            return self.join(features)
        unknown = [m for m in keep if m not in features]
        if unknown:
            raise ValueError(f"keep names {unknown[0]!r}, which is not a modality of this model: {list(features)}.")
        if len(keep) == 1:
            return self.unimodal(features, *keep)
        return self.join(zero_mask(features, keep))

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define join(features) -> logits")

    def unimodal(self, features: Mapping[str, Tensor], modality: str) -> Tensor:
        return self.join(zero_mask(features, (modality,)))


def zero_mask(features: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
    """Modality dropout of Eq. 12 and 14: the same dict with every modality outside ``keep`` replaced by zeros."""
    return {m: z if m in keep else torch.zeros_like(z) for m, z in features.items()}


class PlainFusion(Fusion):
    """Gives masking to any module that maps a dict of features to logits."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        return self.module(features)


class ConcatFusion(Fusion):
    """Concatenate the features, then one linear classifier: ``l = W [z_1; ...; z_M] + b`` (Eq. 1-2, Table 1).

    Args:
        widths: modality -> feature width D_m, in fusion order.
        classes: number of classes K.

    Source: Eq. 4; official ``models/fusion_modules.py:ConcatFusion_DGL``. Difference: any number of modalities; no
    ``fc_auxi`` (it is never used there).
    """

    def __init__(self, widths: Mapping[str, int], classes: int):
        super().__init__()
        self.modalities = tuple(widths)
        self.head = nn.Linear(sum(widths.values()), classes)

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        return self.head(torch.cat([features[m] for m in self.modalities], dim=1))  # [B, sum D_m] -> [B, K]


class SumFusion(Fusion):
    """One linear classifier per modality, logits added: ``l = sum_m (W_m z_m + b_m)``.

    Args:
        widths: modality -> feature width D_m.
        classes: number of classes K.

    Source: OGM-GE ``models/fusion_modules.py:SumFusion``. Difference: the unimodal logits here keep the other
    modalities' biases, as Eq. 12 says (zero features, same head); the official DGL code drops them.
    """

    def __init__(self, widths: Mapping[str, int], classes: int):
        super().__init__()
        self.heads = nn.ModuleDict({m: nn.Linear(width, classes) for m, width in widths.items()})

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        return sum(head(features[m]) for m, head in self.heads.items())  # [B, K]


FUSIONS: dict[str, type[Fusion]] = {"concat": ConcatFusion, "sum": SumFusion}
