"""MMTM: ResNets whose channels gate each other after layers 2, 3 and 4 (Joze et al., CVPR 2020; Table 2, left).

What is an encoder here, and what is fusion? The paper does not say; METHODS 3.4 names two readings, and both are here:

* **stem split** (S, the boundary of the official code): encoders are stem, layer 1 and layer 2; everything behind the
  first exchange is fusion, the tails (layers 3, 4) included. Encoders run once per step (``encode`` / ``fuse``).
* **parameter split** (P, the sentence under Eq. 15): encoders are whole ResNets; fusion is the exchanges and the
  classifier. The multimodal loss runs through the encoders as functions and trains the fusion alone.

A masked modality is zero at the input of every exchange and of the classifier, so what its branch computes in between
cannot matter and is not computed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from dgl_core.gradients import FUSED
from dgl_core.models.building import Shapes, checked
from dgl_core.models.fusion import Fusion, survivors
from dgl_core.models.initial import initialise, seeded
from dgl_core.models.mmtm.blocks import Branch, Interaction, Maps
from dgl_core.models.multimodal import LateFusion, MultimodalModel
from dgl_core.utils import Range


class TailFusion(Fusion):
    """The fusion module of the stem split: exchanges, classifier and tails, of which ``share`` leaves the first."""

    def __init__(self, tails: Mapping[str, nn.ModuleList], interaction: Interaction, share: bool):
        super().__init__()
        self.interaction = interaction
        self.tails = nn.ModuleList(list(tails.values())[: 1 if share else None])
        self._number = {m: 0 if share else number for number, m in enumerate(tails)}

    def _tail(self) -> dict[str, nn.ModuleList]:
        return {m: self.tails[number] for m, number in self._number.items()}

    def features(self, maps: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Maps:
        return self.interaction.features(survivors(maps, keep), self._tail())

    def forward(self, maps: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Tensor:
        return self.interaction(survivors(maps, keep), self._tail())


class StemSplitMMTM(LateFusion):
    """MMTM, stem split: ``encode`` gives the maps after layer 2, ``fuse`` does all the rest.

    **Source.** Official ``models/mmtm_net.py:MMTM_Net`` and its ``fusion``.
    **Difference.** (1) Layers 3 and 4 are separate per modality unless ``share`` (there both branches use those of the
    first network, and the other's lie idle); (2) the multimodal loss is truncated (there the variables named
    ``_detach`` are not detached); (3) a masked modality is zero at every exchange (there at the first one only, after
    which batch-norm biases turn it into a constant); (4) masked passes leave batch-norm statistics alone; (5)
    spectrograms stay one channel at their own size.
    """

    def __init__(self, branches: Mapping[str, Branch], interaction: Interaction, share: bool = False):
        stems = {m: branch.stem for m, branch in branches.items()}
        tails = {m: branch.tail for m, branch in branches.items()}
        super().__init__(stems, TailFusion(tails, interaction, share))

    def pooled(self, inputs: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Maps:
        """Compute the features right before the classifier, {m: [B, D]}."""
        return self.fusion.features(self.encode(inputs), keep)

    def classify(self, features: Mapping[str, Tensor]) -> Tensor:
        """Compute logits [B, K] from what ``pooled`` gives."""
        return self.fusion.interaction.classify(features)


class ParameterSplitMMTM(MultimodalModel):
    """MMTM, parameter split: each encoder is a whole ResNet, the fusion module is exchanges and classifier."""

    def pooled(self, inputs: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Maps:
        return self.fusion.features(*self._stems(inputs, keep))

    def classify(self, features: Mapping[str, Tensor]) -> Tensor:
        return self.fusion.classify(features)

    def forward(self, inputs: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Tensor:
        return self.fusion(*self._stems(inputs, keep))

    def all_logits(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        maps, tails = self._stems(inputs, None)  # no mask changes what comes before the first exchange
        return {FUSED: self.fusion(maps, tails)} | {m: self.fusion({m: x}, tails) for m, x in maps.items()}

    def _stems(
        self, inputs: Mapping[str, Tensor], keep: Collection[str] | None
    ) -> tuple[Maps, dict[str, nn.ModuleList]]:
        """Compute the maps after layer 2 of the modalities that survive, and return them with all tails."""
        self.check_inputs(inputs, self.encoders)
        kept = survivors({m: inputs[m] for m in self.encoders}, keep)
        return {m: self.encoders[m].stem(x) for m, x in kept.items()}, {m: e.tail for m, e in self.encoders.items()}


@checked(3, 4, width=Range(low=1), blocks=Range(low=1), ratio=Range(low=1), split=Range(choices=("stem", "parameter")))
def mmtm(
    shapes: Shapes,
    classes: int,
    seed: int,
    *,
    width: int = 64,
    blocks: int = 2,
    ratio: int = 2,
    split: str = "stem",
    share_tail: bool = False,
) -> MultimodalModel:
    """Build the network of Table 2, left. The same seed gives the same network under both splits.

    Args:
        shapes: modality -> (C, H, W) or (C, T, H, W). One alone: its ResNet and a classifier ("Audio-only").
        width, blocks: channels of layer 1, basic blocks per layer. 64 and 2 are ResNet-18; 8 and 1 suit a CPU.
        split: "stem" or "parameter"; which parameters the multimodal loss trains under DGL.
        share_tail: layers 3 and 4 shared by all modalities, as in the official code (refused under "parameter").
    """
    if share_tail and split == "parameter":
        raise ValueError(
            "share_tail puts layers 3 and 4 into every modality's encoder at once, so the parameter split has no owner "
            "for them; use split='stem'."
        )
    branches = {}
    for m, shape in shapes.items():
        with seeded(seed, f"encoder/{m}"):
            branches[m] = Branch(shape[0], width, blocks)
    with seeded(seed, "fusion"):
        interaction = Interaction(tuple(shapes), width, classes, ratio).apply(initialise)
    if split == "stem":
        return StemSplitMMTM(branches, interaction, share_tail)
    return ParameterSplitMMTM(branches, interaction)
