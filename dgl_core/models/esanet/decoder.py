"""What ESANet trains with the multimodal loss: SE-add fusions, skip connections, context module, decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from dgl_core.models.esanet.blocks import (
    LearnedUpsampling,
    NonBottleneck1D,
    PyramidPooling,
    SqueezeExcite,
    conv_bn_relu,
)


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

    Args:
        modalities: in order.
        widths: channels of the encoders after each of the five pieces.
        classes: number of classes K.
        decoder_blocks: residual blocks in each of the three decoder modules.
        upsamplings: by 2 each, after the classifier: 2 as published.
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
