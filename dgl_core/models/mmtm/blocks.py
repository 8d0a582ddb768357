"""The parts of MMTM: the exchange between modalities, a ResNet branch cut where they meet, and the classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dgl_core.models.resnet import ResNet

Maps = dict[str, Tensor]  # modality -> [B, C, h, w], or [B, C, T, h, w] for clips; masked modalities are absent


class Exchange(nn.Module):
    """The multimodal transfer module: squeeze all modalities into one vector, excite each one's channels by it.

    ``S = [mean z_1; ...; mean z_M]``, ``Z = ReLU(W S + b)``, ``z_m <- z_m * sigmoid(W_m Z + b_m)`` channel by channel.
    A modality that is absent counts as zero. Z has ``floor(2 sum C_m / ratio)`` entries; the ratio is 2 in the official
    code, 4 in the MMTM authors', and refused where it leaves Z empty.

    **Source.** ``mmtm.py:MMTM`` of a paper author, official ``models/mmtm_net.py``.
    **Difference.** (1) Any number of modalities; maps of any size.
    """

    def __init__(self, channels: Mapping[str, int], ratio: int):
        super().__init__()
        total = sum(channels.values())
        if not 0 < ratio <= 2 * total:
            raise ValueError(f"ratio is {ratio}; for {total} channels it must be between 1 and {2 * total}.")
        self.channels = dict(channels)
        self.squeeze = nn.Linear(total, 2 * total // ratio)
        self.excite = nn.ModuleDict({m: nn.Linear(2 * total // ratio, c) for m, c in channels.items()})

    def gates(self, maps: Mapping[str, Tensor]) -> Maps:
        """Compute the gate of every channel of every modality in ``maps``, {m: [B, C_m]}, between 0 and 1."""
        joint = torch.relu(self.squeeze(torch.cat(list(pool(maps, self.channels).values()), dim=1)))  # [B, d]
        return {m: torch.sigmoid(self.excite[m](joint)) for m in maps}

    def forward(self, maps: Mapping[str, Tensor]) -> Maps:
        gates = self.gates(maps)
        return {m: x * gates[m].reshape(gates[m].shape + (1,) * (x.dim() - 2)) for m, x in maps.items()}


def pool(maps: Mapping[str, Tensor], channels: Mapping[str, int]) -> Maps:
    """Average over space (and frames), {m: [B, C_m]} for every modality of ``channels``; zero where a map is absent."""
    some = next(iter(maps.values()))
    means = {m: x.flatten(2).mean(dim=2) for m, x in maps.items()}
    return {m: means[m] if m in means else some.new_zeros(len(some), c) for m, c in channels.items()}


def per_frame(module: nn.Module, x: Tensor) -> Tensor:
    """Apply an image module to images [B, C, H, W] or to every frame of clips [B, C, T, H, W]."""
    if x.dim() == 4:
        return module(x)
    y = module(x.transpose(1, 2).flatten(0, 1))  # [B * T, C, H, W]
    return y.unflatten(0, (len(x), -1)).transpose(1, 2)


class Stem(nn.Module):
    """A ResNet up to layer 2: [B, C, H, W] or [B, C, T, H, W] -> map."""

    def __init__(self, layers: nn.Sequential):
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)  # the layout that convolutions run fastest in
        return per_frame(self.layers, x)


class Branch(nn.Module):
    """One ResNet, cut where modalities meet: ``stem`` (through layer 2) and ``tail`` (layer 3, layer 4).

    ``width`` is the channels of layer 1; layers 2, 3, 4 have 2, 4, 8 times as many. Each has ``blocks`` basic blocks.
    """

    def __init__(self, in_channels: int, width: int, blocks: int):
        super().__init__()
        whole = ResNet(in_channels, [width * 2**i for i in range(4)], (blocks,) * 4, stem="small")
        self.stem = Stem(nn.Sequential(whole.stem, whole.layers[: 2 * blocks]))
        self.tail = nn.ModuleList([whole.layers[2 * blocks : 3 * blocks], whole.layers[3 * blocks :]])


class Interaction(nn.Module):
    """What all modalities share: an exchange after each of layers 2, 3, 4, and the classifier on the pooled maps.

    A single modality has nobody to exchange with: there it is the classifier alone.
    """

    def __init__(self, modalities: Sequence[str], width: int, classes: int, ratio: int):
        super().__init__()
        self.channels = dict.fromkeys(modalities, 8 * width)  # of the last maps
        stages = [dict.fromkeys(modalities, scale * width) for scale in (2, 4, 8)]
        self.exchanges = nn.ModuleList([Exchange(c, ratio) for c in stages] if len(modalities) > 1 else [])
        self.head = nn.Linear(8 * width * len(modalities), classes)

    def features(self, maps: Mapping[str, Tensor], tails: Mapping[str, Sequence[nn.Module]]) -> Maps:
        """Compute pooled features of every branch right before the classifier, {m: [B, D]}; zeros where masked.

        ``maps`` are those after layer 2 of the modalities that survive, ``tails`` modality -> (layer 3, layer 4).
        """
        maps = self._exchange(0, maps)
        for number in (0, 1):
            maps = {m: per_frame(tails[m][number], x) for m, x in maps.items()}
            maps = self._exchange(number + 1, maps)
        return pool(maps, self.channels)

    def _exchange(self, number: int, maps: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return self.exchanges[number](maps) if len(self.exchanges) else maps

    def classify(self, features: Mapping[str, Tensor]) -> Tensor:
        """Compute logits [B, K] from the pooled features of every modality."""
        return self.head(torch.cat([features[m] for m in self.channels], dim=1))

    def forward(self, maps: Mapping[str, Tensor], tails: Mapping[str, Sequence[nn.Module]]) -> Tensor:
        return self.classify(self.features(maps, tails))
