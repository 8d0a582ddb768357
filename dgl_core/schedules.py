"""Learning rate and momentum as pure functions of the epoch, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math


def one_cycle(epoch: int, epochs: int, peak: float) -> tuple[float, float]:
    """Learning rate and momentum of an epoch: up by cosine in the first tenth, down by cosine in the rest.

    Args:
        epoch: 0-based; the values hold for the whole epoch. epochs: how many there are.
        peak: highest learning rate; 0.01 x batch size / 8 as published.

    Returns:
        Rate: peak/25 -> peak -> peak/250 000. Momentum: .95 -> .85 -> .95, which overrides the .9 that is configured.

    Source: ESANet ``train.py``: torch's OneCycleLR with pct_start .1, stepped once per epoch. Difference: ten epochs or
    fewer start at the peak (torch divides by zero at ten).
    """
    last, top = epochs - 1, 0.1 * epochs - 1
    if epoch <= top and top > 0:
        share, rates, momenta = epoch / top, (peak / 25, peak), (0.95, 0.85)
    else:
        top = max(top, 0.0)
        share = (epoch - top) / (last - top) if last > top else 0.0
        rates, momenta = (peak, peak / 25 / 1e4), (0.85, 0.95)
    blend = (1 + math.cos(math.pi * share)) / 2
    return tuple(end + (start - end) * blend for start, end in (rates, momenta))
