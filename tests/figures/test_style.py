"""Helpers that several figures share draw what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dgl_core.figures import style
from dgl_core.verdicts.statistics import DECIDING, mean_interval


@pytest.mark.parametrize("count", [DECIDING - 1, DECIDING])
def test_only_enough_seeds_make_a_filled_mark_with_an_interval(count):
    values = [50.0 + k for k in range(count)]
    _, axes = style.new()
    mean = style.dots(axes, 2.0, values, style.BLUE, judged=True)
    assert mean == pytest.approx(np.mean(values))
    seeds, *bars, mark = axes.lines
    assert list(seeds.get_xdata()) == values and set(seeds.get_ydata()) == {2.0}
    assert (mark.get_markerfacecolor() == style.BLUE) == (count >= DECIDING) and len(bars) == (count >= DECIDING)
    if bars:
        interval = mean_interval(values)
        assert list(bars[0].get_xdata()) == [interval.low, interval.high]


def test_an_unjudged_row_has_no_interval():
    _, axes = style.new()
    style.dots(axes, 0.0, [1.0] * DECIDING, style.BLUE)
    assert len(axes.lines) == 2


def test_a_map_writes_its_numbers_and_leaves_empty_cells_alone():
    _, axes = style.new()
    style.heat(axes, np.array([[1.0, math.nan], [3.0, 2.0]]), [0.1, 1], [0.01, 10], (1.0, 3.0))
    assert [text.get_text() for text in axes.texts] == ["1.0", "3.0", "2.0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0.01", "10"]


def test_colour_limits_are_never_the_same_number():
    assert style.limits([np.array([1.0, math.nan]), np.array([4.0])]) == (1.0, 4.0)
    assert style.limits([np.array([2.0])]) == (2.0, 3.0)


def test_a_heading_breaks_after_the_data_set():
    assert style.heading("GRID, reference", 3) == "GRID\nreference, n = 3"
    assert style.heading("GRID, this run (cpu)") == "GRID\nthis run (cpu)"
