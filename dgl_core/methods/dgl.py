"""DGL and its neighbours in the square of gates: the two ablations of Table 3 and every point between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from dgl_core.gradients import DisentangledObjective
from dgl_core.methods.base import Method


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
