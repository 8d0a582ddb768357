"""What several frames and long sounds need on top of ``augment``: a crop in time, and each frame on its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TimeCrop(nn.Module):
    """A piece of each spectrogram ``[B, F, T]``: in training from a random place, in evaluation from the middle.

    Args:
        width: columns of the piece ``[B, 1, F, width]``.

    **Source:** official ``dataset/KSDataset.py``: five of ten seconds from a random start. **Difference:** there the
    start is random in testing too, which makes the score of a clip a matter of luck; the piece starts at a column, and
    its first and last column are not blackened by the padding of the transform.
    """

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        spare = x.shape[2] - self.width
        if generator is None:
            return x[:, None, :, spare // 2 : spare // 2 + self.width].to(torch.float32)
        start = torch.randint(0, spare + 1, (len(x), 1, 1), generator=generator, device=generator.device)
        columns = start.to(x.device, non_blocking=True) + torch.arange(self.width, device=x.device)  # [B, 1, width]
        return x.gather(2, columns.expand(-1, x.shape[1], -1)).unsqueeze(1).to(torch.float32)


class PerFrame(nn.Module):
    """A transform of single pictures on clips of several: each frame draws its own crop, as in the official code.

    Args:
        transform: takes uint8 ``[N, H, W, 3]`` and a generator, gives ``[N, 3, S, S]``.
    """

    def __init__(self, transform: nn.Module):
        super().__init__()
        self.transform = transform

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        batch, frames = x.shape[:2]
        y = self.transform(x.flatten(0, 1), generator)
        return y.unflatten(0, (batch, frames)).transpose(1, 2)  # [B, 3, T, S, S]
