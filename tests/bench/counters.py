"""Count the operations and the memory of a DGL step inside ESANet, beside the least it can be.

Three plain passes (all, RGB alone, depth alone) would cost 1 + 1 + 0.6 vanilla steps. The floor is lower, because no
gradient has to be computed that is thrown away. With r, d, f the forward operations of the two encoders and of the
fusion, vanilla is 3 r + 3 d + 3 f. The multimodal pass needs all of it forward, the fusion backward in full, and RGB
backward to its maps only (2 r + d + 3 f). A masked pass needs the fusion backward to its maps only, its encoder in full
(3 r + 2 f, 3 d + 2 f). Together 5 r + 4 d + 7 f, in all cases less what the stems need not pass on to the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from dgl_core.models.esanet.network import ESANet


def _convolution_backward(
    grad: torch.Size, x: torch.Size, weight: torch.Size, *rest: object, out_shape: object = None, **unused: object
) -> int:
    """Count the operations of a convolution's backward pass; torch's own count forgets the groups."""
    wanted = rest[7]  # gradients of the input, the weight, the bias
    return sum(wanted[:2]) * 2 * math.prod(grad) * math.prod(weight[1:])


def operations(work: Callable[[], object]) -> int:
    """Count the floating-point operations of the convolutions and matrix products in a piece of work."""
    own = {torch.ops.aten.convolution_backward: _convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=own) as counter:
        work()
    return counter.get_total_flops()


class _Saved:
    """A tensor that autograd keeps for the backward pass, counted as long as it lives."""

    def __init__(self, tensor: Tensor, ledger: dict):
        self.tensor, self.ledger, self.place = tensor, ledger, tensor.untyped_storage().data_ptr()
        users = ledger["users"]
        users[self.place] = users.get(self.place, 0) + 1
        if users[self.place] == 1:
            ledger["bytes"] += tensor.untyped_storage().nbytes()
            ledger["peak"] = max(ledger["peak"], ledger["bytes"])

    def __del__(self):
        self.ledger["users"][self.place] -= 1
        if not self.ledger["users"][self.place]:
            self.ledger["bytes"] -= self.tensor.untyped_storage().nbytes()


def graph_bytes(work: Callable[[], object]) -> int:
    """Find the most bytes that autograd holds at one time inside ``work``; each storage counts once."""
    ledger = {"users": {}, "bytes": 0, "peak": 0}
    with saved_tensors_hooks(lambda tensor: _Saved(tensor, ledger), lambda saved: saved.tensor):
        work()
    return ledger["peak"]


def floor(model: ESANet, inputs: dict[str, Tensor]) -> dict[str, float]:
    """Divide the operations of a DGL step by those of a vanilla step: ``"floor"``, and ``"three plain passes"``."""
    with torch.no_grad():
        both, rgb, depth = (operations(lambda keep=keep: model(inputs, keep)) for keep in (None, ("rgb",), ("depth",)))
        stem_r, stem_d = (operations(lambda m=m: model.encoders[m].stage(0, inputs[m])) for m in ("rgb", "depth"))
    r, d = both - depth, both - rgb
    f = both - r - d
    vanilla = 3 * (r + d + f) - stem_r - stem_d
    return {
        "floor": (5 * r + 4 * d + 7 * f - 2 * stem_r - stem_d) / vanilla,
        "three plain passes": (6 * r + 6 * d + 9 * f - 2 * stem_r - 2 * stem_d) / vanilla,
    }
