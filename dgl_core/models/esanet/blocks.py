"""Building blocks of ESANet: residual blocks, squeeze-and-excitation, pyramid pooling, learned up-sampling.

The names inside the residual blocks are those of torchvision's ResNet and of the ESANet authors' weight files, so that
a state dict of theirs fits without a table (``dgl_core.models.esanet.weights``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn_relu(channels_in: int, channels: int, kernel: int) -> nn.Sequential:
    """Chain a convolution without bias, batch-norm and ReLU; the size stays."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )


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


class SqueezeExcite(nn.Module):
    """``x * sigmoid(C2 relu(C1 mean(x)))`` with 1x1 convolutions C1, C2; zero stays exactly zero.

    **Source.** ESANet ``src/models/model_utils.py:SqueezeAndExcitation``, reduction 16.
    **Difference.** (1) At least 4 inner channels, which changes only networks narrower than the published one.
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        inner = max(4, channels // reduction)
        self.squeeze = nn.Conv2d(channels, inner, 1)
        self.excite = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = x.mean(dim=(2, 3), keepdim=True)  # [B, C, 1, 1]
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(weight))))


class PyramidPooling(nn.Module):
    """Context module: average-pooled views of the whole map beside the map itself, then a 1x1 convolution.

    Args:
        channels_in: of the map; each view gets ``channels_in / len(bins)``.
        channels: of the result.
        bins: height and width of each view.

    **Source.** ESANet ``src/models/context_modules.py:PyramidPoolingModule`` with bins (1, 5), nearest up-sampling.
    """

    def __init__(self, channels_in: int, channels: int, bins: Sequence[int] = (1, 5)):
        super().__init__()
        self.bins = tuple(bins)
        view = channels_in // len(self.bins)
        self.views = nn.ModuleList(conv_bn_relu(channels_in, view, 1) for _ in self.bins)
        self.join = conv_bn_relu(channels_in + view * len(self.bins), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for size, view in zip(self.bins, self.views, strict=True):
            pooled = view(F.adaptive_avg_pool2d(x, size))  # [B, view, size, size]
            parts.append(F.interpolate(pooled, x.shape[-2:], mode="nearest"))
        return self.join(torch.cat(parts, dim=1))


class LearnedUpsampling(nn.Module):
    """Twice the size: nearest, then a depth-wise 3x3 convolution that starts as bilinear interpolation.

    The kernel [1 2 1; 2 4 2; 1 2 1] / 16 has sum 1, so a constant map keeps its value inside; zero padding leaves 3/4
    at an edge and 9/16 in a corner.

    **Source.** ESANet ``src/models/model.py:Upsample``, mode ``learned-3x3-zeropad``.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        row = torch.tensor([1.0, 2.0, 1.0])
        with torch.no_grad():
            self.conv.weight.copy_(torch.outer(row, row) / 16)
            self.conv.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
