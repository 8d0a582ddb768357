"""Train jointly with one loss, or one encoder alone: what every other method is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from dgl_core.methods.base import EVERY, Method
from dgl_core.utils import unknown_name


@dataclass
class Vanilla(Method):
    """Ordinary joint training: one cross-entropy on the fused logits, gradient everywhere ("Concat" in Table 1).

    **Step.** theta_m and tau follow grad L_multi (Eq. 1-4).
    **Source.** Eq. 1; official ``main.py`` (which does not run). Unimodal scores by the zero mask, as for DGL.
    """

    TITLE: ClassVar[str] = "Vanilla (concat)"
    TARGETS: ClassVar[tuple[str, ...]] = EVERY
    WEIGHTS: ClassVar[bool] = True


@dataclass
class Unimodal(Method):
    """One encoder with its own classifier, trained alone ("Audio-only", "Visual-only").

    **Step.** theta_m and the head follow grad CE of that modality.
    **Source.** Table 1, rows 1-2. **Difference.** (1) Trained as a model of one modality; ``main_dgl.py --modality``
    runs the multimodal model, which multiplies the encoder gradient by 2 alpha + 1 and then crashes (METHODS 2.0).

    Args:
        modality: the one to keep; empty stands for the first of the data set.
    """

    modality: str = ""
    TITLE: ClassVar[str] = "Unimodal"
    TARGETS: ClassVar[tuple[str, ...]] = EVERY
    WEIGHTS: ClassVar[bool] = True

    def modalities(self, available: Sequence[str]) -> tuple[str, ...]:
        modality = self.modality or available[0]
        if modality not in available:
            raise unknown_name("modality", modality, available)
        return (modality,)
