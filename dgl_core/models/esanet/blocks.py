"""Residual blocks of ESANet, named inside as in torchvision's ResNet and in the ESANet authors' weight files."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class _Residual(nn.Module):
    """``relu(body(x) + identity)``; the identity is a 1x1 convolution where the shape changes."""

    EXPANSION = 1  # output channels / inner channels

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.downsample = nn.Identity()
        out = channels * self.EXPANSION
        if stride != 1 or channels_in != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels_in, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def body(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define body(x)")

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.downsample(x))


class NonBottleneck1D(_Residual):
    """Two 3x3 convolutions, each factorised into 3x1, ReLU, 1x3 (with bias), then batch-norm (eps 1e-3).

    **Source.** ESANet ``src/models/resnet.py:NonBottleneck1D`` (after ERFNet).
    **Difference.** (1) No dropout layer (rate 0).
    """

    def __init__(self, channels_in: int, channels: int, stride: int = 1):
        super().__init__(channels_in, channels, stride)
        self.conv3x1_1 = nn.Conv2d(channels_in, channels, (3, 1), (stride, 1), (1, 0))
        self.conv1x3_1 = nn.Conv2d(channels, channels, (1, 3), (1, stride), (0, 1))
        self.bn1 = nn.BatchNorm2d(channels, eps=1e-3)
        self.conv3x1_2 = nn.Conv2d(channels, channels, (3, 1), 1, (1, 0))
        self.conv1x3_2 = nn.Conv2d(channels, channels, (1, 3), 1, (0, 1))
        self.bn2 = nn.BatchNorm2d(channels, eps=1e-3)

    def body(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1x3_1(F.relu(self.conv3x1_1(x)))))
        return self.bn2(self.conv1x3_2(F.relu(self.conv3x1_2(x))))


class Basic(_Residual):
    """Two 3x3 convolutions: ResNet-18 and ResNet-34 (He et al., CVPR 2016)."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1):
        super().__init__(channels_in, channels, stride)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def body(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))


class Bottleneck(_Residual):
    """1x1, 3x3 (strided), 1x1 convolutions with four times the channels at the end: ResNet-50."""

    EXPANSION = 4

    def __init__(self, channels_in: int, channels: int, stride: int = 1):
        super().__init__(channels_in, channels, stride)
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)

    def body(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return self.bn3(self.conv3(x))


BLOCKS: dict[str, type[_Residual]] = {"nonbottleneck1d": NonBottleneck1D, "basic": Basic, "bottleneck": Bottleneck}
