"""The methods that are corners of one square: vanilla, G-Blending, the two ablations of Table 3, and DGL; and one
encoder alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from dgl_core.gradients import DisentangledObjective
from dgl_core.methods.base import Method
from dgl_core.records import unknown_name


@dataclass
class Vanilla(Method):
    """Ordinary joint training: one cross-entropy on the fused logits, gradient everywhere ("Concat" in Table 1).

    **Step.** theta_m and tau follow grad L_multi (Eq. 1-4).
    **Source.** Eq. 1; official ``main.py`` (which does not run). Unimodal scores by the zero mask, as for DGL.
    """

    TITLE: ClassVar[str] = "Vanilla (concat)"


@dataclass
class Unimodal(Method):
    """One encoder with its own classifier, trained alone ("Audio-only", "Visual-only").

    **Step.** theta_m and the head follow grad CE of that modality.
    **Source.** Table 1, rows 1-2. **Difference.** Trained as a model of one modality; the official script runs the
    multimodal model, which multiplies the encoder gradient by 2 alpha + 1 and then crashes (METHODS 2.0).

    Args:
        modality: the one to keep; empty stands for the first of the data set.
    """

    modality: str = ""
    TITLE: ClassVar[str] = "Unimodal"

    def modalities(self, available: Sequence[str]) -> tuple[str, ...]:
        modality = self.modality or available[0]
        if modality not in available:
            raise unknown_name("modality", modality, available)
        return (modality,)


@dataclass
class _Corner(Method):
    """A method that adds alpha times the zero-masked unimodal losses and differs only in its two gates."""

    alpha: float = 4.0
    ENCODER_GATE: ClassVar[float] = 0.0
    FUSION_GATE: ClassVar[float] = 0.0

    def __post_init__(self):
        if not self.alpha > 0:
            raise ValueError(f"alpha is {self.alpha}; it weighs the unimodal losses and must be positive.")

    def modalities(self, available: Sequence[str]) -> tuple[str, ...]:
        if len(available) < 2:
            raise ValueError(f"{self.TITLE} needs at least two modalities; this data set has {list(available)}.")
        return tuple(available)

    def objective(self, model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
        return DisentangledObjective(model, self.alpha, self.ENCODER_GATE, self.FUSION_GATE, criterion)


@dataclass
class DGL(_Corner):
    """Disentangled gradient learning: the paper's method (both truncations).

    **Idea.** The multimodal loss trains the fusion module only, each unimodal loss its own encoder only.
    **Step.** theta_m follows alpha * grad L_m, tau follows grad L_multi on truncated features (Eq. 9-15, Algorithm 1).
    **Source.** Official ``main_dgl.py``, ``models/fusion_modules.py``. **Difference.** One backward pass
    (``dgl_core.gradients``), any number of modalities.

    Args:
        alpha: weight of the unimodal losses; 4 on CREMA-D, 2 on Kinetics-Sounds and VGGSound. Under SGD it is exactly
            an encoder learning-rate multiplier (METHODS 2.10, D4).
    """

    TITLE: ClassVar[str] = "DGL"


@dataclass
class GBlend(_Corner):
    """G-Blending with constant weights: L_multi + alpha * sum_m L_m, no truncation (Table 4, and Table 1 by inference).

    **Step.** theta_m follows grad L_multi + alpha * grad L_m; tau follows grad L_multi + alpha * sum_m grad L_m.
    **Source.** Wang et al., CVPR 2020, in the form the DGL paper sweeps over alpha (its Table 4 entry at alpha 4 equals
    its Table 1 entry). **Difference.** Unimodal logits by the zero mask of the shared head, as that paper says.

    Args:
        alpha: weight of the unimodal losses.
    """

    ENCODER_GATE: ClassVar[float] = 1.0
    FUSION_GATE: ClassVar[float] = 1.0
    TITLE: ClassVar[str] = "G-Blending (constant weight)"


@dataclass
class Partial(_Corner):
    """Any point of the square: Table 3's "+MT" is (0, 1), "+UT" is (1, 0); values between decouple partially.

    **Step.** theta_m follows alpha * grad L_m + encoder_gate * grad L_multi; tau follows grad L_multi + fusion_gate *
    alpha * sum_m grad L_m.
    **Source.** Table 3 for the corners. **Difference.** The paper knows the corners only.

    Args:
        alpha: weight of the unimodal losses.
        encoder_gate: share of the multimodal gradient that reaches the encoders, in [0, 1].
        fusion_gate: share of the unimodal gradient that reaches the fusion module, in [0, 1].
    """

    encoder_gate: float = 0.0
    fusion_gate: float = 0.0
    TITLE: ClassVar[str] = "Partial truncation"

    def objective(self, model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
        return DisentangledObjective(model, self.alpha, self.encoder_gate, self.fusion_gate, criterion)
