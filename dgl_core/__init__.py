"""The DGL paper companion: disentangled gradient learning, its baselines and its theory, small enough to read.

Start with ``dgl_core.gradients`` (the method), then ``dgl_core.models`` (what it trains) and ``dgl_core.training``
(the one loop). Notebooks use the five names below; they are imported on first use, so ``import dgl_core`` is cheap.
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["check", "provenance", "publish", "start", "verdict"]


def __getattr__(name: str):
    if name in __all__:
        from dgl_core import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'dgl_core' has no attribute {name!r}")
