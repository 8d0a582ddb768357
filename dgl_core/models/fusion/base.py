"""Map one feature vector per modality to class logits, with the mask of Eq. 12: the base of every fusion head."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dgl_core.utils import brief, check_count, check_mapping, check_modality_names


class Fusion(nn.Module):
    """Base of all heads. A head writes ``join``; masking is done here, once.

    A head whose gradient dies at zero may override ``unimodal`` (METHODS 1.5); then every unimodal score uses it. A
    head that depends on neither widths nor classes leaves out both.

    Args:
        widths: modality -> feature width D_m, in fusion order; features of other widths are refused.
        classes: number of classes K.
    """

    official = False  # whether a lone modality is scored by ``official_unimodal``, as in the official code

    def __init__(self, widths: Mapping[str, int] | None = None, classes: int | None = None):
        super().__init__()
        if widths is not None or classes is not None:
            check_mapping("widths", widths, "modality -> feature width")
            check_modality_names(widths)
            for m, width in widths.items():
                check_count(f"The feature width of {m!r}", width)
            check_count("The number of classes", classes)
        self.widths, self.classes = None if widths is None else dict(widths), classes

    def forward(self, features: Mapping[str, Tensor], keep: Collection[str] | None = None) -> Tensor:
        """Compute logits [B, K] from ``features`` {m: [B, D_m]}; modalities not in ``keep`` count as zero."""
        self._check(features)
        if keep is None:
            return self.join(features)
        check_keep(keep, features)
        if len(keep) == 1:
            return (self.official_unimodal if self.official else self.unimodal)(features, *keep)
        return self.join(zero_mask(features, keep))

    def _check(self, features: Mapping[str, Tensor]) -> None:
        for m, width in (self.widths or {}).items():
            shape = list(features[m].shape) if m in features else None
            if shape is None or len(shape) != 2 or shape[1] != width:
                given = "is missing" if shape is None else f"has features of shape {shape}"
                raise ValueError(
                    f"Modality {m!r} {given}, but this {type(self).__name__} was made for [B, {width}]: make it with "
                    "the widths that the encoders give."
                )

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define join(features) -> logits")

    def unimodal(self, features: Mapping[str, Tensor], modality: str) -> Tensor:
        return self.join(zero_mask(features, (modality,)))


def check_keep(keep: Collection[str], modalities: Collection[str]) -> None:
    """Raise a ``ValueError`` if ``keep`` names something that is not among the modalities."""
    unknown = [m for m in keep if m not in modalities]
    if unknown:
        raise ValueError(f"keep names {unknown[0]!r}, which is not a modality of this model: {list(modalities)}.")


def survivors(values: Mapping[str, Any], keep: Collection[str] | None) -> dict[str, Any]:
    """Keep the entries of ``values`` whose modality is in ``keep`` (all for None); refuse unknown ones, or none."""
    if keep is None:
        return dict(values)
    check_keep(keep, values)
    if not keep:
        raise ValueError(f"keep is empty; name at least one of {list(values)}.")
    return {m: x for m, x in values.items() if m in keep}


def zero_mask(features: Mapping[str, Tensor], keep: Collection[str]) -> dict[str, Tensor]:
    """Replace every modality outside ``keep`` by zeros: the modality dropout of Eq. 12 and 14."""
    return {m: z if m in keep else torch.zeros_like(z) for m, z in features.items()}


class PlainFusion(Fusion):
    """Gives masking to any module that maps a dict of features to logits; refuses what is no module."""

    def __init__(self, module: nn.Module):
        super().__init__()
        if not isinstance(module, nn.Module):
            raise ValueError(f"The fusion is {brief(module)}; give a head such as ConcatFusion(widths, classes), or "
                             "any nn.Module that maps a dictionary of features to logits.")  # fmt: skip
        self.module = module

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        return self.module(features)
