"""Convolve without a crash below torch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

NARROW, SMALL = 16, 40 * 40  # the crash needs fewer input channels than this on larger maps than this (pixels)


class StridedPointwise(nn.Conv2d):
    """Convolve 1x1 with a stride; narrow layers on large maps get their pixels picked first, which is the same sum.

    The backward pass of oneDNN for such a layer in channels_last layout reads outside its memory on processors with
    AVX512, and the process dies. Smaller maps and wider layers keep their kernel, and their numbers to the last bit.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``x`` [B, C, H, W] -> [B, D, ceil(H / stride), ceil(W / stride)]."""
        if x.shape[1] >= NARROW or x.shape[-2] * x.shape[-1] <= SMALL:
            return super().forward(x)
        down, right = self.stride
        return F.conv2d(x[..., ::down, ::right], self.weight, self.bias)


def make_safe(module: nn.Module) -> None:
    """Turn a strided 1x1 convolution, also one of a reader's own model, into a ``StridedPointwise``; in place."""
    plain = type(module) is nn.Conv2d and module.kernel_size == (1, 1) and module.stride != (1, 1)
    if plain and module.groups == 1 and module.padding == (0, 0):
        module.__class__ = StridedPointwise
