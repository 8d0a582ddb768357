"""Notebook 08: its plan is fair, its numbers are right, its pictures say what they show."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dgl_core.figures import maps as figures
from dgl_core.paper import experiments
from dgl_core.paper.experiments import beyond, late_fusion, profiles, table2
from dgl_core.paper.printed import paper_rows
from dgl_core.paper.tables import equal_budget, protocols
from dgl_core.paper.theory import two_processes
from dgl_core.runs import keys as runs_keys
from dgl_core.training.records import RunRecord, RunSpec, pack
from dgl_core.verdicts import selection


def record(seed: int = 0, test=(0.5,), val=(0.5,), predicted=(), **options) -> RunRecord:
    curves = {"lr": [0.1] * len(test), "test/fused/accuracy": list(test), "val/fused/accuracy": list(val)}
    curves |= {f"test/{m}/accuracy": [0.25] * len(test) for m in ("audio", "visual")}
    data = {"fingerprint": "same", "modalities": ["audio", "visual"]}
    packed = {"last": {"fused": pack(np.array(predicted, int))}}
    spec = RunSpec("emotions", seed=seed, **options)
    return RunRecord(spec, "k", {}, data, curves, packed, {}, {}, "now")


# -- the plan ---------------------------------------------------------------------------------------------------------


def keys(specs) -> list[str]:
    return [runs_keys.key(spec) for spec in specs]


def test_corners_of_the_square_are_the_rows_of_table_3():
    table, square = late_fusion.table3("cpu", "emotions", (0, 1)), beyond.decoupling("cpu", "emotions", (0, 1))
    for row, gates in {"DGL": (0, 0), "no truncation": (1, 1), "+MT": (0, 1), "+UT": (1, 0)}.items():
        assert keys(table[row]) == keys(square[beyond.point(*gates)])


def test_the_diagonal_of_the_vanilla_map_is_the_grid_of_table_1():
    rows, grid = beyond.rate_maps("cpu", "emotions", (0,)), late_fusion.table1_grid("cpu", "emotions", (0,))
    for rate in beyond.rates("emotions")[0]:
        assert keys(rows[beyond.cell("vanilla", rate, rate)]) == keys(grid[rate]["vanilla"])


@pytest.mark.parametrize("optimizer", beyond.OPTIMIZERS)
@pytest.mark.parametrize("dataset", beyond.SETS)
def test_a_cell_has_the_rates_that_its_label_says(dataset, optimizer):
    for label, specs in beyond.rate_maps("cpu", dataset, (0,), optimizer).items():
        for spec in specs:
            assert label.endswith(f"encoder {spec.lr * spec.encoder_lr_scale:g}, fusion {spec.lr:g}")
            assert spec.optimizer == optimizer and spec.method_options.get("alpha", 1.0) == 1.0


def test_maps_and_squares_of_mosi_are_those_of_its_table():
    grid, square = table2.table2_grid("cpu", (0,)), beyond.decoupling_grid("cpu", "mosi", (0,))
    assert tuple(grid) == tuple(square)
    for rate, rows in square.items():
        assert keys(rows[beyond.point(0, 0)]) == keys(grid[rate]["DGL"])
        assert keys(rows[beyond.point(1, 1)]) == keys(grid[rate]["G-Blending"])
        assert len({spec.dataset_options["fold"] for spec in rows[beyond.point(0, 0)]}) == table2.FOLDS
    maps = beyond.rate_maps("cpu", "mosi", (0,))
    for rate in beyond.rates("mosi")[0]:
        assert keys(maps[beyond.cell("vanilla", rate, rate)]) == keys(grid[rate]["vanilla"])


def test_every_square_is_there_at_the_common_rate():
    for dataset in (*beyond.SETS, "cremad"):
        assert beyond.common_rate(dataset) in beyond.decoupling_grid("paper", dataset)
        assert dataset == "cremad" or beyond.common_rate(dataset) in beyond.rates(dataset)[0]


def test_every_set_has_the_same_grid_for_points_and_methods():
    for dataset in profiles.REFERENCE_DATASETS:
        assert tuple(beyond.decoupling_grid("cpu", dataset, (0,))) == tuple(
            late_fusion.table1_grid("cpu", dataset, (0,))
        )


def test_profiles_for_two_cores_train_some_points_and_the_paper_profile_everything():
    planned = set(keys(experiments.plan("smoke", ["08_beyond_the_paper"])))
    assert planned == {key for specs in beyond.decoupling("smoke", "emotions").values() for key in keys(specs)}
    assert beyond.trained_here("cpu") == [] and "emotions" in beyond.trained_here("paper")
    planned = set(keys(experiments.plan("paper", ["08_beyond_the_paper"])))
    asked = [beyond.rate_maps("paper", "emotions", optimizer=o) for o in beyond.OPTIMIZERS]
    asked += [beyond.adamw_alphas("paper", "emotions"), *beyond.decoupling_grid("paper", "emotions").values()]
    asked += late_fusion.table1_grid("paper", "emotions").values()
    assert {key for rows in asked for specs in rows.values() for key in keys(specs)} <= planned


def test_finals_are_the_chosen_points_with_the_seeds_of_table_1():
    chosen = {beyond.point(0.5, 0): 0.1, beyond.point(1, 1): 0.01}
    rows = beyond.finals("emotions", chosen)
    assert {row: {spec.lr for spec in specs} for row, specs in rows.items()} == {r: {v} for r, v in chosen.items()}
    seeds = profiles.REFERENCE_SEEDS
    assert keys(rows[beyond.point(1, 1)]) == keys(late_fusion.table1("cpu", "emotions", seeds, 0.01)["G-Blending"])


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_gaps_are_the_differences_of_the_papers_tables():
    gaps = protocols.paper_gaps()
    assert gaps["DGL over D&R, CREMA-D"] == 3.16 and gaps["DGL over MLA, Kinetics-Sounds"] == 3.66
    assert gaps["DGL over D&R, CREMA-D, MMTM"] == 2.72 and gaps["DGL over D&R, MOSI"] == 0.97
    assert gaps["DGL over MLA, VGGSound"] == 1.34 and gaps["ESANet + DGL, NYUv2, ImageNet pre-train"] == 1.62


def test_an_incomplete_last_batch_is_dropped():
    one = record(predicted=[0, 0, 0, 0, 1])
    target = np.array([0, 0, 0, 1, 0])
    assert protocols.without_last_batch(one, target, batch=2) == 75.0
    assert protocols.without_last_batch(one, target, batch=64) == 60.0  # less than one batch: all of it
    with pytest.raises(ValueError, match="5 predictions and 4 labels"):
        protocols.without_last_batch(one, target[:4])


def test_protocols_are_read_from_one_record():
    rows = {"DGL": [record(0, (0.9, 0.4, 0.6), (0.1, 0.8, 0.3)), record(1, (0.9, 0.4, 0.6), (0.1, 0.8, 0.3))]}
    table = protocols.inflation(rows)
    assert table.loc["DGL"].to_dict() == {
        "last epoch": "60.0 ± 0.0 (2)", "best on validation": "-20.0 ± 0.0 (2)", "best on test": "+30.0 ± 0.0 (2)"
    }  # fmt: skip
    assert protocols.gains(rows, "best_test") == pytest.approx([30.0, 30.0])


def test_inside_and_corner_are_chosen_on_validation():
    corner, inside, other = beyond.point(0, 0), beyond.point(0.5, 0.5), beyond.point(0.5, 1)
    grid = {
        0.1: {
            corner: [record(s, (0.5,), (0.5,)) for s in (0, 1)],
            inside: [record(s, (0.6 + 0.1 * s,), (0.9,)) for s in (0, 1)],
            other: [record(s, (1.0,), (0.1,)) for s in (0, 1)],
        }
    }
    own, rates = selection.own_rates(grid)
    assert selection.finalists(own, [corner]) == (inside, corner) and rates[inside] == "0.1"
    told = equal_budget.interior("set", own, (inside, corner))
    assert told.startswith(f"set: {inside} against {corner}, each at its own rate: +15.0 [") and told.endswith("n = 2")
    assert selection.finalists({corner: grid[0.1][corner]}, [corner]) is None
    assert list(selection.own_rates(grid | {0.3: {corner: grid[0.1][corner]}})[0]) == [corner]  # the others had less


def test_the_best_point_of_a_map_is_chosen_on_validation():
    rows = {
        beyond.cell("DGL", 0.1, 0.1): [record(0, (0.9,), (0.1,))],
        beyond.cell("DGL", 0.3, 0.1): [record(0, (0.4,), (0.8,))],
    }
    assert equal_budget.best_points(rows, ["DGL"]) == {beyond.cell("DGL", 0.3, 0.1): "40.0 (1)"}


def test_inflation_stands_beside_the_gaps():
    panels = {"set": {"DGL": [record(0, (0.9, 0.8))]}}
    assert protocols.exceeded(panels, {"one": 4.0}).loc["one"].to_dict() == {"gap": "4.00", "set": "+10.0 (250 %)"}


def test_a_missing_modality_of_two_leaves_the_other_branch():
    line = protocols.missing_table({"DGL": [record(0, (0.5,))]}).loc["DGL"]
    assert line.to_dict() == {"all there": "50.0 (1)", "no audio": "25.0 (1)", "no visual": "25.0 (1)"}


def test_places_stand_beside_the_papers():
    def row(score, method="vanilla"):
        return [record(s, (score + 0.01 * s,), (score,), method=method) for s in (0, 1)]

    rows = {"vanilla": row(0.5), "DGL": row(0.4, "dgl"), "MLA": row(0.7, "mla")}
    printed = {name: values["fused"] for name, values in paper_rows(1, "CREMA-D").items()}
    table = equal_budget.places_table(rows, dict.fromkeys(rows, "0.1"), printed, "CREMA-D")
    assert list(table.index) == ["MLA", "vanilla", "DGL"]
    assert table.loc["DGL", "paper, CREMA-D"] == "1. (77.5)" and table.loc["DGL", "here"].startswith("3. (40.5")
    assert table.loc["vanilla", "DGL's lead"].startswith("-10.0 [")


# -- two processes ----------------------------------------------------------------------------------------------------


def test_on_one_process_both_forms_agree():
    rows = torch.arange(two_processes.SAMPLES)
    one, two = (two_processes.step(form, rows) for form in two_processes.BACKWARD_PASSES)
    assert max(two_processes.compare([one], two).values()) < 1e-12


def test_a_local_fusion_gradient_is_an_error_of_the_fusion_alone():
    rows = torch.arange(two_processes.SAMPLES)
    whole = two_processes.step(two_processes.BACKWARD_PASSES[0], rows)
    half = two_processes.step(two_processes.BACKWARD_PASSES[0], rows.chunk(2)[0])
    mixed = {name: half[name] if name.startswith("fusion") else g for name, g in whole.items()}
    found = two_processes.compare([whole, mixed], whole)
    assert found["encoders"] == 0 and found["fusion"] > 1e-3


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without torch.distributed")
def test_on_two_processes_only_one_backward_pass_is_exact():
    found = two_processes.errors()
    if not found:
        pytest.skip("torch was built without gloo")
    one, two = (found[form] for form in two_processes.BACKWARD_PASSES)
    assert max(one.values()) < 1e-12 and two["encoders"] < 1e-12 and two["fusion"] > 1e-3


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_a_map_with_holes_is_drawn():
    rows = {label: [] for label in beyond.rate_maps("cpu", "emotions", (0,))}
    rows[beyond.cell("vanilla", 0.1, 0.03)] = [record(0, (0.5,))]
    rows |= {beyond.cell(m, 0.01, 0.01): [record(0, (0.25,))] for m in beyond.MAPPED}
    picture = figures.rate_maps(rows, "set", beyond.rates("emotions"), path=0.03)
    assert "vanilla best 50.0 at encoder 0.1, fusion 0.03" in picture.alt and picture.png()[:4] == b"\x89PNG"


def test_a_square_without_moving_gates_is_drawn():
    picture = figures.gate_square({beyond.point(0, 0.5): [record(0, (0.5,))]} | {beyond.point(0, 0): []}, "set")
    assert "fused gates 0 / 0.5: 50.0" in picture.alt


def test_pictures_name_what_they_plot():
    panels = {"set": {"DGL": [record(0, (0.5, 0.4))], "vanilla": [record(1, (0.5, 0.4))]}}
    gaps = {"one": 2.0}
    assert "best on test +10.0" in figures.protocol_gains(panels, gaps).alt
    assert "34" in figures.seeds({"mine": 4.0}, gaps).alt
    shares = zip(two_processes.BACKWARD_PASSES, (0.0, 0.25), strict=True)
    errors = {form: {"encoders": 0.0, "fusion": share} for form, share in shares}
    assert "two backward passes, fusion: 25 %" in figures.process_errors(errors).alt
    assert math.isfinite(figures.style.limits([np.array([[math.nan, 1.0]])])[1])
