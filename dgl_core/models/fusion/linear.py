"""Join features by a linear map (concatenation, sum), or by a perceptron over the concatenated features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.models.fusion.base import Fusion


class ConcatFusion(Fusion):
    """Concatenate the features, then one linear classifier: ``l = W [z_1; ...; z_M] + b`` (Eq. 1-2, Table 1).

    **Source.** Eq. 4; official ``models/fusion_modules.py:ConcatFusion_DGL``.
    **Difference.** (1) Any number of modalities; no ``fc_auxi`` (it is never used there).
    """

    def __init__(self, widths: Mapping[str, int], classes: int):
        super().__init__(widths, classes)
        self.modalities = tuple(widths)
        self.head = nn.Linear(sum(widths.values()), classes)

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        return self.head(torch.cat([features[m] for m in self.modalities], dim=1))  # [B, sum D_m] -> [B, K]


class SumFusion(Fusion):
    """One linear classifier per modality, logits added: ``l = sum_m (W_m z_m + b_m)``.

    With ``official`` unimodal logits are ``W_m z_m + b_m``, as the official DGL code has them. By default they keep the
    other modalities' biases, which is what zero features in Eq. 12 give.

    **Source.** OGM-GE ``models/fusion_modules.py:SumFusion``; official ``SumFusion_DGL``.
    """

    def __init__(self, widths: Mapping[str, int], classes: int, official: bool = False):
        super().__init__(widths, classes)
        self.official = official
        self.heads = nn.ModuleDict({m: nn.Linear(width, classes) for m, width in widths.items()})

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        return sum(head(features[m]) for m, head in self.heads.items())  # [B, K]

    def official_unimodal(self, features: Mapping[str, Tensor], modality: str) -> Tensor:
        return self.heads[modality](features[modality])


class MLPFusion(Fusion):
    """Concatenate the features, dropout, one hidden layer, linear classifier.

    **Source.** ReconBoost ``models/MOSEI/LF_DNN.py`` (hidden 128, dropout 0.2), the light alternative for MOSI.
    """

    def __init__(self, widths: Mapping[str, int], classes: int, hidden: int = 128, dropout: float = 0.2):
        super().__init__(widths, classes)
        self.modalities = tuple(widths)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(sum(widths.values()), hidden)
        self.head = nn.Linear(hidden, classes)

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        z = torch.cat([features[m] for m in self.modalities], dim=1)  # [B, sum D_m]
        return self.head(F.relu(self.hidden(self.dropout(z))))
