"""Make many runs and keep them: keys, the store of records, workers, estimates, audit."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dgl_core.runs.run import load_or_run, reference, run_all

__all__ = ["load_or_run", "reference", "run_all"]


if not TYPE_CHECKING:  # it would take any name for a public one

    def __getattr__(name: str) -> Any:
        if name in __all__:
            return getattr(importlib.import_module("dgl_core.runs.run"), name)
        raise AttributeError(f"module 'dgl_core.runs' has no attribute {name!r}")
