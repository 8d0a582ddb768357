"""DGL and its neighbours in the square of gates: the two ablations of Table 3 and every point between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from dgl_core.gradients import DisentangledObjective
from dgl_core.methods.base import EVERY, Method, option


@dataclass
class Corner(Method):
    """A method that adds alpha times the zero-masked unimodal losses and differs only in its two gates.

    They are the shares, in [0, 1], of the multimodal gradient that reaches the encoders and of the unimodal gradient
    that reaches the fusion module (``dgl_core.gradients``).
    """

    alpha: float = option(4.0, above=0)
    SEVERAL: ClassVar[bool] = True
    TARGETS: ClassVar[tuple[str, ...]] = EVERY
    WEIGHTS: ClassVar[bool] = True
    encoder_gate: ClassVar[float] = 0.0
    fusion_gate: ClassVar[float] = 0.0

    def objective(self, model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
        return DisentangledObjective(model, self.alpha, self.encoder_gate, self.fusion_gate, criterion)


@dataclass
class DGL(Corner):
    """Disentangled gradient learning: the paper's method (both truncations).

    **Idea.** The multimodal loss trains the fusion module only, each unimodal loss its own encoder only.
    **Step.** theta_m follows alpha * grad L_m, tau follows grad L_multi on truncated features (Eq. 9-15, Algorithm 1).
    **Source.** Official ``main_dgl.py``, ``models/fusion_modules.py`` (shicaiwei123/ICCV2025-GDL, b72a55f).
    **Difference.** (1) One backward pass (``dgl_core.gradients``). (2) Any number of modalities. (3) The fusion's
    parameters are told apart by their module; ``main_dgl.py`` searches names that only ``DataParallel`` makes.

    ``alpha`` is 4 on CREMA-D, 2 on Kinetics-Sounds and VGGSound. Under SGD it is exactly an encoder learning-rate
    multiplier (METHODS 2.10, D4).
    """

    TITLE: ClassVar[str] = "DGL"


@dataclass
class Partial(Corner):
    """Any point of the square: Table 3's "+MT" is (0, 1), "+UT" is (1, 0); values between decouple partially.

    **Step.** theta_m follows alpha * grad L_m + encoder_gate * grad L_multi; tau follows grad L_multi + fusion_gate *
    alpha * sum_m grad L_m.
    **Source.** Table 3 for the corners. **Difference.** (1) The paper knows the corners only.
    """

    encoder_gate: float = option(0.0, low=0, high=1)
    fusion_gate: float = option(0.0, low=0, high=1)
    TITLE: ClassVar[str] = "Partial truncation"
