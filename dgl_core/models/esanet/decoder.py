"""What ESANet trains with the multimodal loss: SE-add fusions, skip connections, context module, decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.models.esanet.blocks import NonBottleneck1D


def conv_bn_relu(channels_in: int, channels: int, kernel: int) -> nn.Sequential:
    """Chain a convolution without bias, batch-norm and ReLU; the size stays."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )


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
    """Context module: pooled views of the whole map, bin x bin each, beside the map itself, then a 1x1 convolution.

    **Source.** ESANet ``src/models/context_modules.py:PyramidPoolingModule`` with bins (1, 5), nearest up-sampling.
    """

    def __init__(self, channels_in: int, channels: int, bins: tuple[int, ...] = (1, 5)):
        super().__init__()
        self.bins = bins
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

    Its kernel is [1 2 1; 2 4 2; 1 2 1] / 16; zero padding leaves 3/4 at an edge and 9/16 in a corner.

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


class DecoderModule(nn.Module):
    """3x3 convolution, residual blocks, side output (training only), twice the size, plus a skip connection."""

    def __init__(self, channels_in: int, channels: int, blocks: int, classes: int):
        super().__init__()
        self.conv = conv_bn_relu(channels_in, channels, 3)
        self.blocks = nn.Sequential(*(NonBottleneck1D(channels, channels) for _ in range(blocks)))
        self.side = nn.Conv2d(channels, classes, 1)
        self.upsample = LearnedUpsampling(channels)

    def forward(self, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor | None]:
        x = self.blocks(self.conv(x))
        return self.upsample(x) + skip, self.side(x) if self.training else None


class DenseFusion(nn.Module):
    """Everything that is not an encoder: five SE-add fusions, skips, context module, decoder.

    ``widths`` are the channels of the encoders after each of the five pieces; ``upsamplings`` by 2 each follow the
    classifier, two as published.
    """

    def __init__(
        self, modalities: Sequence[str], widths: Sequence[int], classes: int, decoder_blocks: int, upsamplings: int
    ):
        super().__init__()
        decoder = [8 * widths[0], 4 * widths[0], 2 * widths[0]]  # coarse to fine
        self.se_layers = nn.ModuleList(nn.ModuleDict({m: SqueezeExcite(width) for m in modalities}) for width in widths)
        self.skips = nn.ModuleList(conv_bn_relu(widths[s], decoder[3 - s], 1) for s in (1, 2, 3))
        self.context = PyramidPooling(widths[4], decoder[0])
        inner = [decoder[0], *decoder]
        self.decoder = nn.ModuleList(DecoderModule(inner[i], inner[i + 1], decoder_blocks, classes) for i in range(3))
        self.classifier = nn.Conv2d(decoder[2], classes, 3, padding=1)
        self.upsample = nn.Sequential(*(LearnedUpsampling(classes) for _ in range(upsamplings)))

    def merge(self, stage: int, maps: Mapping[str, Tensor]) -> Tensor:
        """Add up ``SE_m(x_m)`` over the modalities in ``maps``. Leaving one out is masking it, since SE(0) = 0."""
        return sum(self.se_layers[stage][m](x) for m, x in maps.items())

    def forward(self, fused: Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
        """Decode ``fused``, the five merged maps, into logits as ``ESANet.forward`` returns them."""
        x, sides = self.context(fused[4]), []
        for module, stage in zip(self.decoder, (3, 2, 1), strict=True):
            x, side = module(x, self.skips[stage - 1](fused[stage]))
            sides.append(side)
        full = self.upsample(self.classifier(x))
        return (full, *reversed(sides)) if self.training else full
