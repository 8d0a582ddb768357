"""Helpers that several figures share draw what they say."""

from __future__ import annotations

import math
import re

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


def test_names_beside_lines_keep_their_order_and_never_overlap():
    places = style.apart([0.5, 0.1, 0.52, 0.5], 0.1)
    assert np.argsort(places).tolist() == np.argsort([0.5, 0.1, 0.52, 0.51]).tolist()
    assert np.diff(sorted(places)).min() >= 0.1 - 1e-12
    assert places[1] == 0.1, "what is far from the others stays where it is"
    high = style.apart([0.99, 1.0, 0.98], 0.1, 0.0, 1.0)
    assert max(high) == 1.0 and np.allclose(np.diff(sorted(high)), 0.1) and np.argsort(high).tolist() == [2, 0, 1]
    low = style.apart([0.01, 0.0], 0.1, 0.0, 1.0)
    assert low == pytest.approx([0.1, 0.0])


def test_lines_are_named_where_they_end_in_a_colour_that_can_be_read():
    _, axes = style.new()
    axes.plot([0, 1], [0.0, 4.0], color=style.ORANGE, label="up")
    axes.plot([0, 1], [4.0, 0.0], color=style.BLUE, label="down")
    axes.plot([0, 1], [2.0, 2.0])
    style.beside(axes)
    up, down = axes.texts
    assert (up.get_text(), down.get_text()) == ("up", "down") and up.xy[1] > 0.9 and down.xy[1] < 0.1
    assert up.get_color() != style.ORANGE and style.ink(style.BLUE) == style.BLUE.lower()


@pytest.mark.parametrize("low, high", [(0.9, 2.1), (1.0, 1.4), (0.2, 7.0), (0.05, 20.0), (1e-17, 1e3), (3.0, 80.0)])
def test_a_logarithmic_axis_has_enough_labels_and_not_too_many(low, high):
    ticks = style.Decades().tick_values(low, high)
    assert 3 <= len(ticks) <= 8 and all(low <= tick <= high for tick in ticks)


def test_a_legend_has_the_look_of_the_plot():
    figure, _ = style.new()
    style.legend(figure, {"hollow": (style.BLUE, "s", {"fillstyle": "none"}), "filled": (style.RED, "o")})
    hollow, filled = figure.legends[0].legend_handles
    assert (hollow.get_fillstyle(), hollow.get_marker()) == ("none", "s")
    assert (filled.get_fillstyle(), filled.get_marker()) == ("full", "o")


def test_a_picture_has_twice_the_pixels_at_which_it_is_shown():
    import io

    from PIL import Image

    figure, _ = style.new(width=2.0, height=1.0)
    picture = style.Picture(figure, "nothing")
    data, metadata = picture._repr_mimebundle_()
    assert metadata["image/png"] == {"alt": "nothing", "width": 200} and data["text/plain"] == "nothing"
    assert Image.open(io.BytesIO(picture.png())).size == (400, 200)


def test_few_colours_are_the_commonest_ones_exactly():
    from PIL import Image

    values = np.full((60, 60, 3), 255, dtype=np.uint8)
    values[:8, :8] = (213, 94, 0)  # a small mark
    values[20:] = np.random.default_rng(0).integers(0, 256, (40, 60, 3))  # more than the palette has room for
    figure, _ = style.new()
    small = style.Picture(figure, "")._fewer_colours(Image.fromarray(values)).convert("RGB")
    found = np.asarray(small)
    assert (found[:8, :8] == (213, 94, 0)).all() and (found[10, 30:] == 255).all()
    assert len(np.unique(found.reshape(-1, 3), axis=0)) <= style.COLOURS


def test_the_rare_colours_of_a_scale_stay_near_what_was_drawn():
    from PIL import Image

    values = np.full((200, 256, 3), 255, dtype=np.uint8)
    for number in range(style.COMMONEST):  # commoner than any colour of the scale
        values[number] = (number, 0, 0)
    values[-1, :, 1] = values[-1, :, 2] = np.arange(256)  # a scale, one pixel a colour
    figure, _ = style.new()
    found = np.asarray(style.Picture(figure, "")._fewer_colours(Image.fromarray(values)).convert("RGB")).astype(int)
    assert np.linalg.norm(found - values, axis=-1).max() <= style.APART


def panels(draw=lambda axes: None, **options):
    """Views of the drawing of two axes side by side, as ``(left, width)``, and its whole width."""
    figure, axes = style.row(["one", "two"], "epoch", "accuracy", **options)
    for one in axes:
        one.plot([1.0, 2.0], label="a name beside its line")
        style.beside(one)
    draw(figure)
    found = re.findall(r'<view id="panel-\d" viewBox="(\S+) 0 (\S+) \S+"/>', style.Picture(figure, "").svg())
    return [(float(left), float(width)) for left, width in found], 72 * figure.get_size_inches()[0]


def test_panels_that_can_stand_alone_are_views_of_the_drawing():
    (first, second), whole = panels()
    assert first[0] >= -style.MARGIN and first[0] + first[1] <= second[0] + 2 * style.MARGIN, "nothing of the other"
    assert 0.9 * whole < sum(second) - first[0] <= whole + style.MARGIN, "and nothing is lost"


@pytest.mark.parametrize(
    "needs",
    [
        {"sharey": True},
        {"draw": lambda figure: figure.legend()},
        {"draw": lambda figure: figure.suptitle("both")},
        {"draw": lambda figure: figure.colorbar(figure.axes[1].imshow([[1.0]]), ax=figure.axes)},
    ],
    ids=["scale", "legend", "title", "colours"],
)
def test_panels_that_need_each_other_stay_together(needs):
    assert panels(**needs)[0] == []
