"""Save and restore the state of an interrupted run (``Trainer.state_dict``)."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from dgl_core.utils import write_atomic

PARTS = {"epoch", "model", "heads", "optimizer", "method", "curves", "best", "seconds"}


def save(state: Mapping[str, object], path: Path) -> None:
    """Write a state atomically."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_atomic(path, buffer.getvalue())


def restore(path: Path, device: torch.device) -> dict[str, object] | None:
    """Read a state, with its tensors on ``device``; None if there is none that can be read."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        return None
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        state = None
    if not isinstance(state, dict) or set(state) != PARTS:
        print(f"Checkpoint {path.name} is damaged; this run starts again.", file=sys.stderr)
        return None
    return state
