"""Comparing methods: equal budgets, choices that never see the test part, words that a difference has to earn."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from dgl_core.figures import ranking
from dgl_core.paper import costs
from dgl_core.paper.experiments import late_fusion, profiles
from dgl_core.paper.tables import differences
from dgl_core.training.records import RunRecord, RunSpec


def record(seed: int = 0, test: float = 0.5, val: float = 0.5, lr: float = 0.03, **other: float) -> RunRecord:
    """One epoch; ``other``: test accuracies of further branches."""
    branches = {"fused": test, "audio": 0.4, "visual": 0.3} | other
    curves = {f"test/{b}/accuracy": [v] for b, v in branches.items()} | {"val/fused/accuracy": [val], "lr": [lr]}
    data = {"modalities": ["audio", "visual"], "unimodal": {"official": "with half of the bias"}}
    return RunRecord(RunSpec("emotions", seed=seed, lr=lr), "k", {}, data, curves, {}, {}, {}, "now")


def rows(**accuracies: list[float]) -> dict[str, list[RunRecord]]:
    return {row: [record(seed, value) for seed, value in enumerate(values)] for row, values in accuracies.items()}


def test_all_rows_have_the_same_rates_to_choose_from():
    for dataset in profiles.REFERENCE_DATASETS:
        grid = late_fusion.table1_grid("cpu", dataset, profiles.REFERENCE_SEEDS)
        assert tuple(grid) == late_fusion.LEARNING_RATES
        for rate, experiment in grid.items():
            assert {spec.lr for row in experiment.values() for spec in row} == {rate}
            assert set(experiment) == {*late_fusion.TABLE_1, late_fusion.RATE_CONTROL}


@pytest.mark.parametrize(("pairs", "step"), [(10, 0.2), (10, -0.2), (3, 0.2), (1, 0.2)])
def test_differences_describe_and_carry_no_word(pairs, step):
    noise = [0.01 * (seed % 3) for seed in range(pairs)]
    found = rows(ours=[0.5 + step + n for n in noise], vanilla=[0.5] * pairs)
    cell = differences.differences_table(found, ["vanilla"]).loc["ours", "to vanilla"]
    assert not re.search("better|worse|equal|undecided", cell)
    assert cell.endswith("(one pair)") if pairs == 1 else cell.endswith(f", n = {pairs}")


def test_fused_rows_are_those_of_several_modalities():
    alone = record()
    alone.data["modalities"] = ["audio"]
    assert list(differences.fused_rows({"audio alone": [alone], "vanilla": [record()], "PMR": []})) == ["vanilla"]


def test_own_scores_stand_beside_the_zero_mask():
    scored = record(official_audio=0.45)
    scored = dataclasses.replace(scored, spec=scored.spec.but(method="ogm"))
    table = differences.official_scores({"OGM": [scored], "vanilla": [record()]})
    assert table.to_dict("records") == [
        {"branch": "audio", "own score": "45.0", "zero mask": "40.0", "how": "W^m z_m + b / M"}
    ]


def test_a_row_far_behind_does_not_flatten_the_picture():
    close = {f"row {i}": [0.80 + 0.01 * i] for i in range(5)}
    axes = ranking.all_methods({"set": rows(**close, far=[0.1])}, {}, {}).figure.axes[0]
    assert axes.get_xlim()[0] > 70 and [text.get_text() for text in axes.texts] == [" ◂ 10.0"]


def test_ranking_is_sorted_by_the_common_rate_and_says_both():
    panels = {"set": rows(low=[0.2, 0.3], high=[0.8, 0.9], middle=[0.5, 0.6])}
    tuned = {"set": {"low": (0.1, [record(0, 0.95), record(1, 0.95)])}}
    picture = ranking.all_methods(panels, tuned, {"high": 2.0})
    said = picture.alt
    assert said.index("low 25.0") < said.index("middle 55.0") < said.index("high 85.0")
    assert "own rate 0.1: 95.0" in said and "high 2.0" in said
    left = picture.figure.axes[0]
    assert [label.get_text() for label in left.get_yticklabels()] == ["low", "middle", "high"]


def test_alpha_sweep_shows_the_encoder_rate_that_alpha_is():
    sweep = {
        form.format(alpha): [record(seed, 0.1 * alpha) for seed in range(2)]
        for alpha in (1.0, 2.0, 3.0, 4.0, 5.0)
        for form in ("DGL, alpha {:g}", "G-Blending, alpha {:g}", "vanilla, rate x {:g}")
    }
    figure = ranking.alpha_sweep({"set": sweep}).figure
    figure.canvas.draw()  # the upper axis follows when it is drawn
    axes = figure.axes[0]
    upper = next(child for child in axes.child_axes if child.get_xlabel() == "encoder learning rate")
    assert upper.get_xlim() == pytest.approx(tuple(0.03 * edge for edge in axes.get_xlim()))


def test_committed_costs_are_within_what_is_expected():
    kept = costs.step_costs()
    fused = {row for row in late_fusion.TABLE_1 if " alone" not in row}
    assert set(kept) == fused | set(late_fusion.VARIANTS)
    assert all(cost["ratio"] <= 1.15 * cost["expected"] for cost in kept.values())
    assert costs.methods_table(kept).loc["vanilla", "measured"].startswith("1.00")


def test_missing_costs_say_how_to_measure_them(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"bench_methods\.py --write"):
        costs.step_costs(tmp_path / "none.json")
    assert json.loads(costs.TRAINING_COSTS.read_text())["environment"]["threads"] == 1
