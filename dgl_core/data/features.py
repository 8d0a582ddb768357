"""What sets of ready-made features share: standardisation by the training part, and folds that keep groups together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn

LIMIT = 5.0  # deviations; extracted features have rare values hundreds of deviations away


class StandardiseFeatures(nn.Module):
    """``(x - mean) / std`` entry by entry, cut to plus or minus five deviations.

    Args:
        train: feature vectors ``[N, D]`` or sequences ``[N, L, D]`` of the training part alone.
        padding: steps of zeros are padding: they do not count, and they stay zero.
    """

    def __init__(self, train: Tensor, padding: bool = False):
        super().__init__()
        rows = train.double().flatten(0, -2)  # [N or N * L, D]
        if padding:
            rows = rows[rows.ne(0).any(dim=1)]
        mean, std = rows.mean(dim=0), rows.std(dim=0, correction=0)
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", torch.where(std > 0, std, 1.0).float())  # a constant entry becomes zero
        self.padding = padding

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        x = x.to(torch.float32)
        scaled = ((x - self.mean) / self.std).clamp(-LIMIT, LIMIT)
        return scaled * x.ne(0).any(dim=-1, keepdim=True) if self.padding else scaled


def group_folds(groups: Sequence[str], folds: int) -> list[int]:
    """The fold of each sample; samples of one group (a video, a speaker) are in one fold, folds of nearly equal size.

    Groups go, largest first, to the fold that is smallest so far; nothing is random.

    Raises:
        ValueError: fewer groups than folds.
    """
    sizes = Counter(groups)
    if len(sizes) < folds:
        raise ValueError(f"{len(sizes)} groups cannot be spread over {folds} folds; use fewer folds")
    filled = [0] * folds
    place = {}
    for group, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        place[group] = filled.index(min(filled))
        filled[place[group]] += size
    return [place[group] for group in groups]
