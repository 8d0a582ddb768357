"""What a picture of curves shows, and what it leaves to a line of text."""

from __future__ import annotations

import numpy as np

from dgl_core.figures import curves, maps
from dgl_core.training.records import RunRecord, RunSpec

BRANCHES = ("fused", "audio", "visual")


def record(seed: int, **more) -> RunRecord:
    found = {f"test/{branch}/accuracy": [0.2, 0.4 + 0.1 * seed] for branch in BRANCHES} | more
    found |= {f"gradient/{m}": [1.0, 0.5] for m in BRANCHES[1:]} | {"lr": [0.1, 0.1]}
    data = {"modalities": list(BRANCHES[1:])}
    return RunRecord(RunSpec("emotions", seed=seed), "k", {}, data, found, {}, {}, {}, "now")


def rows(*seeds: int) -> dict[str, list[RunRecord]]:
    return {row: [record(seed) for seed in seeds] for row in ("audio alone", "visual alone", "vanilla", "DGL")}


def test_a_smoke_run_gets_a_panel_only_where_there_is_no_reference():
    run = {"emotions": rows(0), "grid_letters": rows(0)}
    reference = {"emotions": rows(0, 1), "grid_letters": {"vanilla": []}}
    assert list(curves.side_by_side(reference, run, "smoke")) == [
        "generated emotions, reference",
        "GRID letters, this run (smoke)",
    ]
    assert len(curves.side_by_side(reference, run, "cpu")) == 3
    yours = {"generated emotions, your run (seed 5)": rows(5)}
    assert list(curves.side_by_side(reference, run, "smoke", yours))[1:] == [
        "generated emotions, this run (smoke)", "GRID letters, this run (smoke)", *yours,
    ]  # fmt: skip


def test_a_run_in_a_line_says_how_it_went_and_on_how_many_seeds():
    said = curves.in_a_line({"emotions": rows(0, 1)}, "smoke")
    assert said == "this run (smoke), fused test accuracy in %: generated emotions, vanilla 45.0, DGL 45.0 (2 seeds)"
    assert "no runs" in curves.in_a_line({"emotions": {"vanilla": []}}, "smoke")


def test_every_curve_is_named_beside_its_end_in_each_panel():
    picture = curves.encoder_curves({"one": rows(0), "two": rows(0, 1)}, "visual", ("vanilla", "DGL"))
    for axes in picture.figure.axes:
        assert [text.get_text() for text in axes.texts] == ["alone", "in vanilla", "in DGL"]
        assert axes.get_legend() is None


def test_gates_that_a_run_chose_are_drawn_under_words():
    follows = record(0, **{"loss/encoder_gate": [1.0, 0.2]})
    own = record(0, **{"loss/encoder_gate_audio": [0.5, 0.6], "loss/encoder_gate_visual": [1.0, 0.0]})
    found = {"gate follows R": [follows], "gates follow own R": [own], "DGL": [record(0)]}
    assert maps.gates_of(found) == {"for all": [1.0, 0.2], "for audio": [0.5, 0.6], "for visual": [1.0, 0.0]}
    picture = maps.chosen_gates({"here": found, "nothing": rows(0)})
    (axes,) = picture.figure.axes
    assert [text.get_text() for text in axes.texts] == ["for all", "for audio", "for visual"]
    assert np.array_equal(axes.lines[1].get_ydata(), [0.5, 0.6]) and "for visual: from 1.00 to 0.00" in picture.alt


def test_colours_of_names_are_those_of_the_curves_darkened():
    picture = curves.branch_curves({"one": rows(0)})
    texts, lines = picture.figure.axes[0].texts, picture.figure.axes[0].lines
    assert [text.get_text() for text in texts] == list(BRANCHES)
    assert [text.get_color() for text in texts] == [curves.style.ink(line.get_color()) for line in lines]
