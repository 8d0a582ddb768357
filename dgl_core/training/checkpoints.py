"""What an interrupted run goes on from: everything of a ``Trainer`` that the specification does not decide."""

from __future__ import annotations

import io
import pickle
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dgl_core.utils import write_atomic

if TYPE_CHECKING:
    from dgl_core.training.loop import Trainer

PARTS = {"epoch", "model", "heads", "optimizer", "method", "curves", "best", "seconds"}


def save(trainer: Trainer, path: Path) -> None:
    """Write the state after the present epoch, atomically."""
    state = {
        "epoch": trainer.epoch + 1,
        "model": trainer.model.state_dict(),
        "heads": trainer.heads.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "method": trainer.method.state_dict(),
        "curves": dict(trainer.curves),
        "best": trainer.best,
        "seconds": trainer.seconds,
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def restore(trainer: Trainer, path: Path) -> bool:
    """Go on from a checkpoint; False if there is none that can be read."""
    try:
        state = torch.load(path, map_location=trainer.device, weights_only=True)
    except FileNotFoundError:
        return False
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        state = None
    if not isinstance(state, dict) or set(state) != PARTS:
        print(f"Checkpoint {path.name} is damaged; this run starts again.", file=sys.stderr)
        return False
    trainer.model.load_state_dict(state["model"])
    trainer.heads.load_state_dict(state["heads"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.method.load_state_dict(state["method"])
    trainer.curves = defaultdict(list, state["curves"])
    trainer.epoch, trainer.best, trainer.seconds = state["epoch"], state["best"], state["seconds"]
    return True
