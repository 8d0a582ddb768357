"""Treat the DGL update as a vector field over all parameters, to show that it is no function's gradient (D5).

D1, D2, D3, D4 and D6 are equalities between gradients, logits and trajectories; they need no code beyond the objective
itself and are settled in ``tests/paper/test_theory_guarantees.py``:

* D1: encoder m receives ``alpha * grad CE(W^m z^m + b, y)``, at its feature ``alpha W^mT (p^uni - e_y) / B``.
* D2: that does not depend on input, feature or encoder of any other modality (before clipping).
* D3: the fusion receives ``grad CE(F(sg z), y)``, whatever alpha and the unimodal losses are.
* D4: under SGD with momentum, without decay and clipping, alpha is a multiplier of the encoder learning rate; under
  Adam (alpha > 0, eps -> 0, no coupled decay, no clipping) it is inert.
* D6: for a concatenation head the masked logits satisfy ``l = sum_m l^m - (M - 1) b``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from dgl_core.gradients import DisentangledObjective


def update_field(objective: nn.Module, inputs: Mapping[str, Tensor], target: Tensor) -> Tensor:
    """Collect what one backward pass leaves on every parameter, one vector [P] (zeros where nothing arrives)."""
    parameters = list(objective.parameters())
    received = torch.autograd.grad(objective(inputs, target).total, parameters, materialize_grads=True)
    return torch.cat([g.flatten() for g in received])


def field_jacobian(objective: nn.Module, inputs: Mapping[str, Tensor], target: Tensor, step: float = 1e-5) -> Tensor:
    """Differentiate ``update_field`` with respect to the parameters, [P, P], by central differences.

    D5: a field is the gradient of a (twice differentiable) function only if this matrix is symmetric. Autograd cannot
    see through a truncation, so the real update is differenced, with an error of about ``step ** 2``. The objective is
    in float64; its parameters are restored.
    """
    parameters = list(objective.parameters())
    start = parameters_to_vector(parameters).detach().clone()

    def field(at: Tensor) -> Tensor:
        vector_to_parameters(at, parameters)
        return update_field(objective, inputs, target)

    moves = step * torch.eye(start.numel(), dtype=start.dtype)
    columns = [(field(start + move) - field(start - move)) / (2 * step) for move in moves]
    vector_to_parameters(start, parameters)
    return torch.stack(columns, dim=1)


def asymmetry(jacobian: Tensor) -> float:
    """Find the largest difference between a matrix and its transpose: 0 for the gradient of any function."""
    return (jacobian - jacobian.T).abs().max().item()


def multimodal_slope(objective: nn.Module, inputs: Mapping[str, Tensor], target: Tensor) -> float:
    """Compute the rate of change of L_multi along the update (D5), ``-<grad L_multi, field>``; DGL's can be > 0."""
    vanilla = DisentangledObjective(objective.model, alpha=0.0, encoder_gate=1.0)
    return -(update_field(vanilla, inputs, target) @ update_field(objective, inputs, target)).item()
