"""Train one run: its specification and record, the loop, the optimiser, the machine it runs on.

``fit(model, method, dataset)`` trains your own model, ``train.train(spec)`` a registered one; ``load_model(path)``
predicts with what either has kept. Names are imported on
first use, so that ``dgl_core.training.environment`` costs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dgl_core.training.records import RunRecord, RunSpec
    from dgl_core.training.saving.weights import load_model
    from dgl_core.training.train import fit

_HOMES = {"RunRecord": "records", "RunSpec": "records", "fit": "train", "load_model": "saving.weights"}

__all__ = ["RunRecord", "RunSpec", "fit", "load_model"]


if not TYPE_CHECKING:  # it would take any name for a public one

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            return getattr(importlib.import_module(f"dgl_core.training.{_HOMES[name]}"), name)
        raise AttributeError(f"module 'dgl_core.training' has no attribute {name!r}")
