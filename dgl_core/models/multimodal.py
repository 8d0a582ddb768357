"""Keep the contract of every model here: encoders, a fusion module, and masking at the fusion input."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from dgl_core.gradients import FUSED, check_partition
from dgl_core.models.fusion import Fusion, PlainFusion
from dgl_core.utils import brief, check_mapping, check_modality_names


class MultimodalModel(nn.Module):
    """Any number of modality encoders and one fusion module (which contains the classifier).

    Subclasses write ``forward(inputs, keep=None) -> logits``. ``keep`` names the modalities that survive; all others
    are zero *at the fusion input* (modality dropout, Eq. 12 and 14); where modalities mix early, at the input of every
    fusion operation.

    Raises:
        ValueError: a parameter that belongs to two parts, a name that no modality may have, or no modules.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], fusion: nn.Module):
        super().__init__()
        check_mapping("encoders", encoders, "modality -> nn.Module")
        check_modality_names(encoders)
        for m, encoder in encoders.items():
            if not isinstance(encoder, nn.Module):
                raise ValueError(f"The encoder of {m!r} is {brief(encoder)}; give an nn.Module.")
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        check_partition(self)

    def check_inputs(self, inputs: Mapping[str, Tensor], needed: Iterable[str]) -> None:
        """Raise a ``ValueError`` that names the first needed modality without an input, or of another length."""
        check_mapping("inputs", inputs, "modality -> [B, ...]", empty=True)
        lengths = {}
        for m in needed:
            if m not in inputs:
                raise ValueError(f"The batch has no {m!r}; this model needs {list(self.encoders)}.")
            if isinstance(inputs[m], Tensor) and inputs[m].dim():
                lengths[m] = inputs[m].shape[0]
                if lengths[m] != lengths[first := next(iter(lengths))]:
                    raise ValueError(f"The batch has {lengths[first]} samples of {first!r}, but {lengths[m]} of {m!r}: "
                                     "give as many of every modality.")  # fmt: skip

    def forward(self, inputs: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define forward(inputs, keep=None) -> logits")

    def all_logits(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute fused logits and zero-masked logits of every modality: ``{"fused": [B, K], m: [B, K], ...}``."""
        return {FUSED: self(inputs)} | {m: self(inputs, keep=(m,)) for m in self.encoders}


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
        """Compute the features of every modality, ``{m: [B, D_m]}``; refuse inputs that are missing or misshapen."""
        self.check_inputs(inputs, self.encoders)
        if torch.compiler.is_compiling():  # a graph has no room for ``try``
            return {m: encoder(inputs[m]) for m, encoder in self.encoders.items()}
        features = {}
        for m, encoder in self.encoders.items():
            try:
                features[m] = encoder(inputs[m])
            except RuntimeError as error:
                if type(error) is not RuntimeError or not ("shape" in str(error) or "size" in str(error)):
                    raise
                shape, reason = list(getattr(inputs[m], "shape", ())), str(error).splitlines()[0]
                raise ValueError(f"The encoder of {m!r} cannot take an input of shape {shape} ({reason}): give it the "
                                 "shape that it was made for.") from error  # fmt: skip
        return features

    def fuse(self, features: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Tensor:
        return self.fusion(features, keep=keep)

    def forward(self, inputs: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Tensor:
        return self.fuse(self.encode(inputs), keep)

    def all_logits(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        features = self.encode(inputs)
        return {FUSED: self.fuse(features)} | {m: self.fuse(features, (m,)) for m in features}


@contextlib.contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a while, then restore the mode of every part and all buffers."""
    modes = {module: module.training for module in model.modules()}
    buffers = {buffer: buffer.clone() for buffer in model.buffers()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        with torch.no_grad():
            for buffer, before in buffers.items():
                buffer.copy_(before)
