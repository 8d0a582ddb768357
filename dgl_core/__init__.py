"""The DGL paper companion: disentangled gradient learning, its baselines and its theory, small enough to read.

Read four files first: ``gradients`` (the method), ``suppression`` (what it cures), ``diagnosis`` (both, measured on any
model) and ``utils``. Nine folders hold the rest; each imports only those to its left: models, methods, data, training,
runs, verdicts, paper, figures, reproduce. The public names below are imported on first use, so ``import dgl_core`` is
cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "gradients": ("DisentangledObjective", "disentangled_logits", "disentangled_loss"),
    "diagnosis": ("diagnose",),
    "models": ("ConcatFusion", "LateFusion"),
    "methods": ("METHODS",),
    "data": ("ArrayDataset", "random_split"),
    "training": ("RunSpec", "fit", "load_model"),
    "runs": ("load_or_run", "reference"),
    "verdicts.comparison": ("compare",),
    "reproduce.notebook": ("check", "provenance", "publish", "start", "verdict"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"dgl_core.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'dgl_core' has no attribute {name!r}")
