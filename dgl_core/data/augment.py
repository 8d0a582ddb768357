"""From stored values to network input, a whole batch at a time; training adds random changes from a generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in 0..1, as in the official code


class Standardise(nn.Module):
    """``(x - mean) / std``; in training moved by a few steps and mirrored at random.

    Args:
        mean, std: in stored units; one number, or one per channel of ``[B, C, H, W]``.
        channel: insert a channel axis: ``[B, H, W]`` -> ``[B, 1, H, W]``, ``[B, T, H, W]`` -> ``[B, 1, T, H, W]``.
        shift: largest move (rows, columns) in steps; the border is repeated. All frames of a clip move together.
        flip: mirror left to right with probability 1/2.
    """

    def __init__(
        self,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        *,
        channel: bool = False,
        shift: tuple[int, int] = (0, 0),
        flip: bool = False,
    ):
        super().__init__()
        self.register_buffer("mean", _per_channel(mean))
        self.register_buffer("std", _per_channel(std))
        self.channel, self.shift, self.flip = channel, shift, flip

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if generator is not None and (any(self.shift) or self.flip):
            x = self._move(x, generator)
        if self.channel:
            x = x.unsqueeze(1)
        return (x.to(torch.float32) - self.mean) / self.std

    def _move(self, x: Tensor, generator: torch.Generator) -> Tensor:
        batch, (height, width) = len(x), x.shape[-2:]
        places = []
        for size, most in ((height, self.shift[0]), (width, self.shift[1])):
            step = torch.randint(-most, most + 1, (batch, 1), generator=generator, device=generator.device)
            places.append((torch.arange(size, device=generator.device) + step).clamp_(0, size - 1))  # [B, size]
        rows, columns = places
        if self.flip:
            mirror = torch.rand(batch, 1, generator=generator, device=generator.device) < 0.5
            columns = torch.where(mirror, columns.flip(1), columns)
        index = (rows[:, :, None] * width + columns[:, None, :]).flatten(1).to(x.device, non_blocking=True)  # [B, HW]
        flat = x.reshape(batch, -1, height * width)
        return flat.gather(2, index[:, None, :].expand(-1, flat.shape[1], -1)).reshape(x.shape)


def _per_channel(value: float | Sequence[float]) -> Tensor:
    tensor = torch.as_tensor(value, dtype=torch.float32)
    return tensor.view(-1, 1, 1) if tensor.dim() else tensor
