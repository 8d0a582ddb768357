"""Give the page of the theory its numbers: the heads of one sample, and data and first weights of the toy training."""

from __future__ import annotations

import base64

from torch import Tensor

from dgl_core.paper.theory import toy
from dgl_core.paper.theory.cases import HEADS


def data() -> dict:
    """Collect the task of notebook 02, section 2.16, and its model before the first step."""
    task = toy.toy_data()
    model = toy.toy_model(task)
    return {
        "heads": HEADS,
        "toy": {
            "train": {m: _packed(x) for m, x in task.train.items()},
            "train_target": task.train_target.tolist(),
            "test": {m: _packed(x) for m, x in task.test.items()},
            "test_target": task.test_target.tolist(),
            "model": {
                "weight": _packed(model.fusion.head.weight),
                "bias": _packed(model.fusion.head.bias),
                "encoders": {m: _packed(encoder.weight) for m, encoder in model.encoders.items()},
            },
        },
    }


def _packed(values: Tensor) -> str:
    """Write float64 values as base64, little-endian, row by row."""
    return base64.b64encode(values.detach().numpy().astype("<f8").tobytes()).decode()
