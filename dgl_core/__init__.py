"""The DGL paper companion: disentangled gradient learning, its baselines and its theory, small enough to read.

Read four files first: ``gradients`` (the method), ``suppression`` (what it cures), ``diagnosis`` (both, measured on any
model) and ``utils``. Nine folders hold the rest; each imports only those to its left: models, methods, data, training,
runs, verdicts, paper, figures, reproduce. The public names below are imported on first use, so ``import dgl_core`` is
cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dgl_core.data import ArrayDataset, random_split
    from dgl_core.diagnosis import diagnose
    from dgl_core.gradients import DisentangledObjective, disentangled_logits, disentangled_loss
    from dgl_core.methods import METHODS
    from dgl_core.models import ConcatFusion, LateFusion, MultimodalModel
    from dgl_core.reproduce.notebook import answer, check, difference, provenance, publish, start
    from dgl_core.runs import load_or_run, reference
    from dgl_core.training import RunSpec, fit, load_model
    from dgl_core.verdicts.comparison import compare

__version__ = "0.2.0"

_HOMES = {
    "gradients": ("DisentangledObjective", "disentangled_logits", "disentangled_loss"),
    "diagnosis": ("diagnose",),
    "models": ("ConcatFusion", "LateFusion", "MultimodalModel"),
    "methods": ("METHODS",),
    "data": ("ArrayDataset", "random_split"),
    "training": ("RunSpec", "fit", "load_model"),
    "runs": ("load_or_run", "reference"),
    "verdicts.comparison": ("compare",),
    "reproduce.notebook": ("answer", "check", "difference", "provenance", "publish", "start"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "METHODS", "ArrayDataset", "ConcatFusion", "DisentangledObjective", "LateFusion", "MultimodalModel", "RunSpec",
    "answer", "check", "compare", "diagnose", "difference", "disentangled_logits", "disentangled_loss", "fit",
    "load_model", "load_or_run", "provenance", "publish", "random_split", "reference", "start",
]  # fmt: skip


if not TYPE_CHECKING:  # it would take any name for a public one

    def __getattr__(name: str) -> Any:
        if name in _HOME_OF:
            return getattr(importlib.import_module(f"dgl_core.{_HOME_OF[name]}"), name)
        raise AttributeError(f"module 'dgl_core' has no attribute {name!r}")
