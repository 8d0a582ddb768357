"""Save and restore the state of an interrupted run (``Trainer.state_dict``)."""

from __future__ import annotations

import copy
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from dgl_core.data.files.atomic import STORE_REMEDY, sealed, set_aside, unsealed, write_atomic

PARTS = {"epoch", "model", "heads", "optimizer", "method", "curves", "best", "seconds"}
MORE = {"run", "kept"}  # of ``fit``: which run it is, and its best weights so far


def save(state: Mapping[str, object], path: Path) -> None:
    """Write a state atomically and sealed: a flipped bit must not become another number in a record."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_atomic(path, sealed(buffer.getvalue()), STORE_REMEDY)


def restore(path: Path, device: torch.device) -> dict[str, object] | None:
    """Read a state, with its tensors on ``device``; None if there is none, or none that is as it was written."""
    try:
        content = unsealed(path.read_bytes())
    except FileNotFoundError:
        return None
    if content is None:
        return reject(path, "it is damaged, or of another version")
    try:
        state = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:  # whatever another version of torch finds wrong with it
        return reject(path, f"this version cannot read it ({type(error).__name__})")
    fits = isinstance(state, dict) and PARTS <= set(state) <= PARTS | MORE
    return state if fits else reject(path, "another version wrote it")


def resume(path: Path, device: torch.device, load: Callable, parts: Sequence, method: object) -> bool:
    """Go on from a checkpoint by ``load``; if it does not fit, set it aside and ``parts`` and ``method`` back."""
    state = restore(path, device)
    if state is None:
        return False
    before, memory = copy.deepcopy(([part.state_dict() for part in parts], vars(method)))
    try:
        load(state)
        return True
    except Exception as error:  # shapes, names or types of another version
        for part, old in zip(parts, before, strict=True):
            part.load_state_dict(old)
        vars(method).clear()
        vars(method).update(memory)
        reject(path, f"it does not fit this run ({type(error).__name__})")
        return False


def check_run(path: Path, run: str) -> None:
    """Raise a ``ValueError`` if there is a checkpoint of another run than the one that ``run`` describes."""
    state = restore(path, torch.device("cpu"))
    if state is not None and state.get("run") != run:
        raise ValueError(f"checkpoint {str(path)!r} is of another run (other settings, data or model): name another "
                         "file, or delete this one.")  # fmt: skip


def reject(path: Path, reason: str) -> None:
    """Set a checkpoint aside and say so in one sentence; the run starts again."""
    print(f"Checkpoint {path.name} is not used, {reason}; this run starts again. {set_aside(path)}", file=sys.stderr)
