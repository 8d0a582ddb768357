"""Encode pictures by residual networks: ResNet-18 as the paper's comparison uses it, and narrow ones for a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.models.building import Shapes, checked, late_fusion
from dgl_core.models.convolution import StridedPointwise
from dgl_core.models.initial import initialise
from dgl_core.models.multimodal import LateFusion
from dgl_core.utils import Range

KERNELS = {"imagenet": 7, "small": 3}  # stem -> size of its convolution


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch-norm and a shortcut (He et al., CVPR 2016)."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                StridedPointwise(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """Encode images or clips: ``[B, C, H, W]`` or ``[B, C, T, H, W]`` -> features ``[B, widths[-1]]``.

    Frames go through the network as separate images and are averaged together with space, so batch-norm sees B * T
    images.

    Args:
        widths, blocks: channels and basic blocks of each stage.
        stem: ``"imagenet"`` (7x7 stride 2, the paper's) or ``"small"`` (3x3 stride 2, for inputs of about 64 pixels);
            a 3x3 max-pool with stride 2 follows.

    Raises:
        ValueError: an unknown stem; in ``forward`` inputs of another number of channels or axes.

    **Source.** Official ``models/backbone.py:resnet18`` and ``utils/utils.py:weight_init``.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
        stem: str = "imagenet",
    ):
        super().__init__()
        if stem not in KERNELS:
            raise ValueError(f"stem is {stem!r}; choose 'imagenet' or 'small'.")
        first = nn.Conv2d(in_channels, widths[0], KERNELS[stem], 2, KERNELS[stem] // 2, bias=False)
        self.stem = nn.Sequential(first, nn.BatchNorm2d(widths[0]), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        layers, channels = [], widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                layers.append(BasicBlock(channels, width, stride=2 if stage and not block else 1))
                channels = width
        self.layers = nn.Sequential(*layers)
        self.channels, self.width = in_channels, channels
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() not in (4, 5) or x.shape[1] != self.channels:
            raise ValueError(
                f"This ResNet takes pictures [B, {self.channels}, H, W] or clips [B, {self.channels}, T, H, W], but "
                f"got {list(x.shape)}: give it those, or give such inputs another encoder."
            )
        frames = 1
        if x.dim() == 5:  # [B, C, T, H, W] -> [B * T, C, H, W]
            frames = x.shape[2]
            x = x.transpose(1, 2).flatten(0, 1)
        x = x.contiguous(memory_format=torch.channels_last)  # the layout that convolutions run fastest in
        maps = self.layers(self.stem(x))  # [B * T, D, h, w]
        pooled = maps.mean(dim=(2, 3))  # [B * T, D]
        return pooled.unflatten(0, (-1, frames)).mean(dim=1)  # [B, D]


class ResNet18(ResNet):
    """The paper's encoder: 11 170 240 parameters for one input channel, 11 176 512 for three; features [B, 512]."""

    def __init__(self, in_channels: int):
        super().__init__(in_channels)


@checked(3, 4, width=Range(low=1))
def small(
    shapes: Shapes, classes: int, seed: int, *, fusion: str = "concat", official: bool = False, width: int = 8
) -> LateFusion:
    """Build narrow ResNet encoders (widths w, 2w, 4w, 8w, one block a stage) and a fusion head: a CPU-sized model.

    ``official`` masks as the official code does where that is not Eq. 12 (see ``dgl_core.models.fusion``).
    """
    widths = (width, 2 * width, 4 * width, 8 * width)
    encoder = lambda channels: ResNet(channels, widths, (1, 1, 1, 1), stem="small")  # noqa: E731
    return late_fusion(shapes, classes, seed, fusion, official, encoder)


@checked(3, 4)
def resnet18(shapes: Shapes, classes: int, seed: int, *, fusion: str = "concat", official: bool = False) -> LateFusion:
    """Build the network of Tables 1, 3 and 4: one ResNet-18 per modality, concatenation, one linear classifier."""
    return late_fusion(shapes, classes, seed, fusion, official, ResNet18)
