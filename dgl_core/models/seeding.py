"""Initial weights that depend on what they are for."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, part: str):
    """Initial weights of ``part`` depend on ``seed`` and its name alone.

    So the audio encoder of a unimodal run starts where the audio encoder of the joint run with the same seed starts,
    which makes runs of one seed a pair.
    """
    with torch.random.fork_rng(devices=[]):
        digest = hashlib.sha256(f"{seed}/{part}".encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:7], "big"))
        yield
