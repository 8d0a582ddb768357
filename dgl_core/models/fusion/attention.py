"""Let modalities attend to each other: one token each, one transformer block."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from dgl_core.models.fusion.base import Fusion, survivors


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention over a token a modality, ``[B, T, D] -> [B, T, D]``.

    Written out: same numbers in training and evaluation, any dtype, any order of derivatives.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        split = self.queries_keys_values(tokens).unflatten(2, (3, self.heads, -1))  # [B, T, 3, h, D / h]
        q, k, v = split.permute(2, 0, 3, 1, 4)  # [B, h, T, D / h] each
        weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(dim=3)  # [B, h, T, T]
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class AttentionFusion(Fusion):
    """One token per modality, one pre-norm transformer block, mean over tokens, linear classifier.

    A token is ``W_m z_m + e_m``; W_m has no bias, so a masked modality (z_m = 0, Eq. 12) leaves its type embedding e_m
    alone. The others attend to that; with ``hide`` its token is left out of attention and mean instead. Tokens have
    ``width`` entries, by default those of the widest feature, rounded up to a multiple of ``heads``; the MLP four times
    as many (2048 for 512).

    Raises:
        ValueError: ``width`` is not a multiple of ``heads``, or every modality is masked with ``hide``.

    **Source.** Pre-norm block of Vaswani et al., 2017 / Dosovitskiy et al., 2021. Neither DGL nor OGM-GE has an
    attention head for these tables.
    """

    def __init__(
        self, widths: Mapping[str, int], classes: int, width: int | None = None, heads: int = 8, hide: bool = False
    ):
        super().__init__(widths, classes)
        width = heads * math.ceil(max(widths.values()) / heads) if width is None else width
        if width % heads:
            raise ValueError(f"The token width {width} is not a multiple of the {heads} attention heads.")
        self.hide = hide
        self.projections = nn.ModuleDict({m: nn.Linear(w, width, bias=False) for m, w in widths.items()})
        self.kinds = nn.ParameterDict({m: nn.Parameter(0.02 * torch.randn(width)) for m in widths})
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attention = SelfAttention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.head = nn.Linear(width, classes)

    def forward(self, features: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Tensor:
        if keep is None or not self.hide:
            return super().forward(features, keep)
        return self.join(survivors(features, keep))

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        tokens = [project(features[m]) + self.kinds[m] for m, project in self.projections.items() if m in features]
        x = torch.stack(tokens, dim=1)  # [B, T, D]
        x = x + self.attention(self.norms[0](x))
        x = x + self.mlp(self.norms[1](x))
        return self.head(x.mean(dim=1))  # [B, K]
