"""Keep the contract of every model here: encoders, a fusion module, and masking at the fusion input."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from dgl_core.gradients import FUSED, check_partition
from dgl_core.models.fusion import Fusion, PlainFusion
from dgl_core.utils import check_modality_names


class MultimodalModel(nn.Module):
    """Any number of modality encoders and one fusion module (which contains the classifier).

    Subclasses write ``forward(inputs, keep=None) -> logits``. ``keep`` names the modalities that survive; all others
    are zero *at the fusion input* (modality dropout, Eq. 12 and 14); where modalities mix early, at the input of every
    fusion operation.

    Args:
        encoders: modality name -> encoder, in the order used everywhere.
        fusion: everything that is not an encoder.

    Raises:
        ValueError: a parameter that belongs to two parts, or a name that no modality may have.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], fusion: nn.Module):
        super().__init__()
        check_modality_names(encoders)
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        check_partition(self)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.encoders)

    def forward(self, inputs: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define forward(inputs, keep=None) -> logits")

    def all_logits(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute fused logits and zero-masked logits of every modality: ``{"fused": [B, K], m: [B, K], ...}``."""
        return {FUSED: self(inputs)} | {m: self(inputs, keep=(m,)) for m in self.modalities}


class LateFusion(MultimodalModel):
    """Encoders first, fusion last: ``fusion({m: encoder_m(x_m)})``. Encoders run once for all masks.

    Args:
        encoders: modality name -> encoder, ``[B, ...] -> features [B, D_m]``.
        fusion: a ``Fusion`` (for example ``ConcatFusion``), or any module that maps the dict of features to logits.

    Raises:
        ValueError: as ``MultimodalModel``, or a fusion that was made for other modalities.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], fusion: nn.Module):
        super().__init__(encoders, fusion if isinstance(fusion, Fusion) else PlainFusion(fusion))
        widths = self.fusion.widths
        if widths is not None and set(widths) != set(encoders):
            raise ValueError(
                f"The encoders are {list(encoders)}, but the fusion was made for {list(widths)}: give both the same "
                "modalities."
            )

    def encode(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute the features of every modality, ``{m: [B, D_m]}``.

        Raises:
            ValueError: if a modality of the model is missing from ``inputs``.
        """
        missing = [m for m in self.encoders if m not in inputs]
        if missing:
            raise ValueError(f"The batch has no {missing[0]!r}; this model needs {list(self.encoders)}.")
        return {m: encoder(inputs[m]) for m, encoder in self.encoders.items()}

    def fuse(self, features: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Tensor:
        return self.fusion(features, keep=keep)

    def forward(self, inputs: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Tensor:
        return self.fuse(self.encode(inputs), keep)

    def all_logits(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        features = self.encode(inputs)
        return {FUSED: self.fuse(features)} | {m: self.fuse(features, (m,)) for m in features}
