"""Heads that are multilayer perceptrons: one over the concatenated features, or one along each axis of a cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.models.fusion.base import Fusion


class MLPFusion(Fusion):
    """Concatenate the features, one hidden layer, linear classifier.

    Args:
        widths: modality -> feature width D_m, in fusion order.
        classes: number of classes K.
        hidden: width of the hidden layer. dropout: of the concatenated features, in training.

    Source: ReconBoost ``models/MOSEI/LF_DNN.py`` (hidden 128, dropout 0.2), the light alternative for MOSI.
    """

    def __init__(self, widths: Mapping[str, int], classes: int, hidden: int = 128, dropout: float = 0.2):
        super().__init__()
        self.modalities = tuple(widths)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(sum(widths.values()), hidden)
        self.head = nn.Linear(hidden, classes)

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        z = torch.cat([features[m] for m in self.modalities], dim=1)  # [B, sum D_m]
        return self.head(F.relu(self.hidden(self.dropout(z))))


class AxisMLP(nn.Module):
    """A perceptron along one axis: ``x -> P x + dropout(W_2 GELU(W_1 LayerNorm(x)))``, P without bias.

    Args:
        axis: which axis of the input. before, after: its length in and out (the hidden layer is as long as ``after``).
        dropout: of the new part, in training.

    Source: CubeMLP ``MLPProcess.py:MLPsBlock`` (LayerNorm first, eps 1e-6, projected residual).
    """

    def __init__(self, axis: int, before: int, after: int, dropout: float):
        super().__init__()
        self.axis = axis
        self.norm = nn.LayerNorm(before, eps=1e-6)
        self.first, self.second = nn.Linear(before, after), nn.Linear(after, after)
        self.shortcut = nn.Linear(before, after, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(self.axis, -1)
        x = self.shortcut(x) + self.dropout(self.second(F.gelu(self.first(self.norm(x)))))
        return x.movedim(-1, self.axis)


class CubeFusion(Fusion):
    """Mix along time, modality and channel in turn, as often as there are blocks; average time; classify.

    Args:
        modalities: names, in order.
        classes: number of classes K.
        steps: length L of the sequences; None for one feature vector per modality, which has no time axis.
        width: channels D of the features.
        time: length after each block. channels: channels after each block. The official network has 100 -> 50 -> 10
            steps and 128 -> 128 -> 32 channels: 73 298 parameters before the classifier.
        dropout: inside the blocks, in training.

    Raises:
        ValueError: ``time`` and ``channels`` of different lengths.

    Source: Sun et al., ACM MM 2022; CubeMLP ``Model.py``, ``MLPProcess.py``. Difference: any number of modalities; a
    linear classifier of any width (there a hidden layer comes in above 128).
    """

    def __init__(
        self,
        modalities: Sequence[str],
        classes: int,
        steps: int | None,
        width: int,
        time: Sequence[int] = (50, 10),
        channels: Sequence[int] = (128, 32),
        dropout: float = 0.1,
    ):
        super().__init__()
        if steps is not None and len(time) != len(channels):
            raise ValueError(f"time {tuple(time)} and channels {tuple(channels)} need one entry per block each.")
        self.modalities = tuple(modalities)
        kinds, layers = len(self.modalities), []
        for block, channel in enumerate(channels):
            if steps is not None:
                layers.append(AxisMLP(1, steps, time[block], dropout))
                steps = time[block]
            layers.append(AxisMLP(-2, kinds, kinds, dropout))
            layers.append(AxisMLP(-1, width, channel, dropout))
            width = channel
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(kinds * width, classes)

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        cube = torch.stack([features[m] for m in self.modalities], dim=-2)  # [B, L, M, D] or [B, M, D]
        mixed = self.blocks(cube)  # [B, L', M, D'] or [B, M, D']
        pooled = mixed.mean(dim=1) if mixed.dim() == 4 else mixed
        return self.head(pooled.flatten(1))  # [B, M D'] -> [B, K]


class MixerFusion(CubeFusion):
    """``CubeFusion`` for feature vectors: one block that mixes modalities, then channels, and keeps their number.

    Args:
        widths: modality -> feature width; all the same.
        classes: number of classes K.

    Raises:
        ValueError: features of different widths, which have no common channel axis.
    """

    def __init__(self, widths: Mapping[str, int], classes: int):
        if len(set(widths.values())) > 1:
            raise ValueError(
                f"Mixing along channels needs features of one width; these are {dict(widths)}. Give the encoders the "
                "same output width, or use fusion='mlp'."
            )
        width = next(iter(widths.values()))
        super().__init__(tuple(widths), classes, None, width, channels=(width,))
