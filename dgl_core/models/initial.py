"""Initialise weights, from random numbers that depend on what they are for."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch import nn

from dgl_core.utils import derive_seed


@contextmanager
def seeded(seed: int, part: str):
    """Make the initial weights of ``part`` depend on ``seed`` and its name alone, so runs of one seed are a pair."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, part))
        yield


def initialise(module: nn.Module) -> None:
    """Draw Kaiming-normal convolutions (fan out, ReLU) and Xavier-normal linear layers; batch-norm is one and zero.

    **Source.** Official ``utils/utils.py:weight_init``, applied to the whole model.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
