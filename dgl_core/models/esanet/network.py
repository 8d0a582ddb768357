"""ESANet: RGB-D semantic segmentation with fusion after every encoder stage (Seichter et al., ICRA 2021; Table 5)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.models.building import Shapes, checked
from dgl_core.models.esanet.blocks import BLOCKS
from dgl_core.models.esanet.decoder import DenseFusion
from dgl_core.models.esanet.weights import load_encoder
from dgl_core.models.fusion import survivors
from dgl_core.models.initial import seeded
from dgl_core.models.multimodal import MultimodalModel
from dgl_core.utils import Range

STAGES = 5  # fusions: after the stem and after each of the four layers


class Encoder(nn.Module):
    """A ResNet cut into the five pieces between which ESANet fuses: stem, then layer1 (after max-pooling) ... layer4.

    Args:
        widths: inner channels of the four layers; the stem has ``widths[0]``.
        blocks: residual blocks of each layer; (3, 4, 6, 3) is ResNet-34's (and ResNet-50's) layout.
        block: a key of ``BLOCKS``.
        stem_stride: 2 as published, or 1 for small images.

    **Source.** ESANet ``src/models/resnet.py:ResNet``.
    """

    STEM = ("conv1", "bn1")  # layers of the first piece

    def __init__(
        self, in_channels: int, widths: Sequence[int], blocks: Sequence[int], block: str, stem_stride: int = 2
    ):
        super().__init__()
        if len(blocks) != len(widths):
            raise ValueError(f"blocks is {tuple(blocks)}; give {len(widths)} numbers, one for each layer.")
        kind = BLOCKS[block]
        self.conv1 = nn.Conv2d(in_channels, widths[0], 7, stem_stride, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.stem_stride = stem_stride
        self.widths = [widths[0]]  # channels after each of the five pieces
        for layer, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            pieces = []
            for number in range(count):
                channels_in = width * kind.EXPANSION if number else self.widths[-1]
                pieces.append(kind(channels_in, width, stride=2 if layer and not number else 1))
            self.add_module(f"layer{layer + 1}", nn.Sequential(*pieces))
            self.widths.append(width * kind.EXPANSION)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Apply piece ``number`` (0 the stem ... 4) to the result of the piece before it."""
        if number == 0:
            return F.relu(self.bn1(self.conv1(x)))
        if number == 1:
            x = F.max_pool2d(x, 3, 2, 1)
        return getattr(self, f"layer{number}")(x)


class ESANet(MultimodalModel):
    """Two encoders that mix after every stage; the main (RGB) stream continues from the fused map.

    With r and d the RGB and the depth stream, stage s = 0..4:
    ``f_s = SE_rgb(r_s) + SE_depth(d_s)``, ``r_{s+1} = layer_{s+1}(f_s)``, ``d_{s+1} = layer_{s+1}(d_s)``.
    So depth enters the RGB encoder at every stage, and RGB never enters the depth encoder.

    The first modality is the main stream; one modality alone works too. Each of the three decoder modules has
    ``decoder_blocks`` residual blocks and 8, 4 and 2 times the stem's channels (512, 256, 128 as published).

    Raises:
        ValueError: encoders of different widths or stem strides, which cannot be added.

    **Source.** ESANet ``src/models/model.py``, defaults of ``src/args.py`` (R34-NBt1D, SE-add, PPM,
    learned-3x3-zeropad, decoder 512-256-128 with 3 blocks).
    **Difference.** (1) Encoders whose output is masked are not run at all.
    """

    def __init__(self, encoders: Mapping[str, Encoder], classes: int, decoder_blocks: int = 3):
        first = next(iter(encoders))
        main = encoders[first]
        for m, encoder in encoders.items():
            if (encoder.widths, encoder.stem_stride) != (main.widths, main.stem_stride):
                raise ValueError(
                    f"Encoder {m!r} has widths {encoder.widths} and stem stride {encoder.stem_stride}, {first!r} has "
                    f"{main.widths} and {main.stem_stride}; maps that are added must have one shape."
                )
        super().__init__(encoders, DenseFusion(tuple(encoders), main.widths, classes, decoder_blocks, main.stem_stride))
        self.main, self.stride = first, 16 * main.stem_stride

    def forward(
        self, inputs: Mapping[str, Tensor], keep: Collection[str] | None = None, detach: bool = False
    ) -> Tensor | tuple[Tensor, ...]:
        """Compute class logits of every pixel from ``inputs``, {m: [B, C, H, W]}, H and W divisible by ``stride``.

        Modalities outside ``keep`` are zero at the input of each of the five fusions; ``detach`` truncates the gradient
        there (the strict form of DGL). In evaluation [B, K, H, W]; in training four scales, that and 1/8, 1/16, 1/32 of
        it (with ``stem_stride`` 1: 1/4, 1/8, 1/16). Wrong names and sizes raise a ``ValueError``.
        """
        maps, fused = self._inputs(inputs, keep), []
        for stage in range(STAGES):
            maps = {m: self.encoders[m].stage(stage, x) for m, x in maps.items()}
            if detach:
                maps = {m: x.detach() for m, x in maps.items()}
            fused.append(self.fusion.merge(stage, maps))
            if self.main in maps:
                maps[self.main] = fused[-1].detach() if detach else fused[-1]
        return self.fusion(fused)

    def _inputs(self, inputs: Mapping[str, Tensor], keep: Collection[str] | None) -> dict[str, Tensor]:
        """Check the pictures of the modalities that survive; the others need not be there."""
        kept = survivors(dict(self.encoders.items()), keep)
        self.check_inputs(inputs, kept)
        for m in kept:
            check_size(tuple(inputs[m].shape[-2:]), self.stride)
        return {m: inputs[m].contiguous(memory_format=torch.channels_last) for m in kept}


def check_size(size: tuple[int, int], stride: int) -> None:
    """Refuse sizes that ESANet cannot halve log2(stride) times and double back, naming the next one that fits."""
    if any(n % stride for n in size):
        fit = [-(-n // stride) * stride for n in size]
        raise ValueError(
            f"The images are {size[0]} x {size[1]}; this ESANet needs height and width divisible by {stride}. Pad them "
            f"to {fit[0]} x {fit[1]} (data set option multiple={stride}) or choose another height and width."
        )


@checked(
    3, width=Range(low=1), blocks=Range(low=1), block=Range(choices=tuple(BLOCKS)), decoder_blocks=Range(low=0),
    stem_stride=Range(low=1, high=2),
)  # fmt: skip
def esanet(
    shapes: Shapes,
    classes: int,
    seed: int,
    *,
    width: int = 64,
    blocks: tuple[int, ...] = (3, 4, 6, 3),
    block: str = "nonbottleneck1d",
    decoder_blocks: int = 3,
    stem_stride: int = 2,
    weights: str = "",
) -> ESANet:
    """Build the network of Table 5, or a narrower and shallower one that a CPU can train.

    Args:
        shapes: modality -> (channels, height, width) of one sample; the first modality is the main stream.
        width: channels of the stem (64 as published); everything else scales with it.
        blocks, block, decoder_blocks, stem_stride: as ``Encoder`` and ``ESANet`` take them.
        weights: ImageNet weights for the encoders: name of a file in ``<data>/weights``, or its path. Empty: from
            scratch. Nothing is downloaded.
    """
    encoders: dict[str, Encoder] = {}
    for m, (channels, *size) in shapes.items():
        with seeded(seed, f"encoder/{m}"):
            encoders[m] = Encoder(channels, [width << layer for layer in range(4)], blocks, block, stem_stride)
        check_size((size[0], size[1]), 16 * stem_stride)
        if weights:
            load_encoder(encoders[m], weights)
    with seeded(seed, "fusion"):
        return ESANet(encoders, classes, decoder_blocks)
