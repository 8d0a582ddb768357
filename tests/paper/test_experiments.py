"""The plan: what it asks for, that rows are fair to each other, and what it refuses."""

from __future__ import annotations

import pytest

from dgl_core.data import DATASETS
from dgl_core.paper import experiments
from dgl_core.paper.experiments import late_fusion
from dgl_core.runs import keys
from dgl_core.training.records import RunSpec


def test_every_spec_is_valid_and_keyed():
    specs = experiments.plan("smoke")
    assert specs and all(len(keys.key(spec)) == 64 for spec in specs)


def test_smoke_needs_generated_data_only():
    assert all(DATASETS[spec.dataset].generated for spec in experiments.plan("smoke"))


def test_the_plan_holds_what_notebooks_ask_for():
    asked = {keys.key(s) for row in late_fusion.branches("smoke", "emotions").values() for s in row}
    assert asked <= {keys.key(spec) for spec in experiments.plan("smoke", ["03_vanilla_vs_dgl"])}


@pytest.mark.parametrize("profile", ["smoke", "cpu"])
def test_rows_differ_in_method_and_encoder_rate_only(profile):
    rows = late_fusion.branches(profile, "emotions")
    common = {"method": "vanilla", "method_options": {}, "encoder_lr_scale": 1.0}
    assert len({spec.but(**common, seed=0) for row in rows.values() for spec in row}) == 1
    assert len({tuple(spec.seed for spec in row) for row in rows.values()}) == 1


def test_the_control_has_the_rate_that_alpha_gives_dgl():
    rows = late_fusion.branches("cpu", "emotions")
    alpha = rows["DGL"][0].method_options["alpha"]
    assert all(s.encoder_lr_scale == alpha for label, row in rows.items() if "rate x" in label for s in row)


def test_seeds_walk_through_the_folds():
    rows = late_fusion.branches("cpu", "grid_letters", range(10))
    assert [spec.dataset_options["fold"] for spec in rows["vanilla"]] == [0, 1, 2, 3, 4] * 2


def test_paper_profile_is_the_papers_schedule():
    spec = late_fusion.base_specs("paper", "cremad")[0]
    wanted = RunSpec("cremad", lr=2e-3, momentum=0.9, weight_decay=1e-4, epochs=100, milestones=(70,), batch_size=64)
    assert spec.but(precision="fp32") == wanted and spec.model == "resnet18" and spec.clip == 40


@pytest.mark.parametrize("dataset, alpha, ogm", [("cremad", 4, {}), ("ks", 2, {}), ("vggsound", 2, {"alpha": 0.1})])
def test_paper_profile_has_the_papers_options_on_each_set(dataset, alpha, ogm):
    rows = late_fusion.table1("paper", dataset)
    assert rows["DGL"][0].method_options == rows["G-Blending"][0].method_options == {"alpha": alpha}
    assert rows["OGM-GE"][0].method_options == ogm and rows["vanilla, rate x alpha"][0].encoder_lr_scale == alpha
    assert rows["DGL"][0].batch_size == 64 and rows["DGL"][0].model == "resnet18"


def test_headline_rows_on_crema_d_have_ten_replicates_and_the_rest_five():
    for rows in (late_fusion.table1("paper", "cremad"), late_fusion.table1("paper", "cremad", rate=0.006)):
        assert set(late_fusion.HEADLINE) <= rows.keys()
        for label, specs in rows.items():
            wanted = 10 if label in late_fusion.HEADLINE else 5
            assert [spec.seed for spec in specs] == list(range(wanted)), label
    figures = late_fusion.branches("paper", "cremad")
    assert {len(specs) for specs in figures.values()} == {10} and figures["DGL"] == rows_at_the_common_rate()["DGL"]
    assert {len(specs) for specs in late_fusion.table4("paper", "cremad").values()} == {5}
    assert {len(specs) for specs in late_fusion.table1("paper", "ks").values()} == {3}
    assert {len(specs) for specs in late_fusion.table1("cpu", "emotions").values()} == {1}
    assert {len(specs) for specs in late_fusion.table1("paper", "cremad", [7]).values()} == {1}


def rows_at_the_common_rate():
    return late_fusion.table1("paper", "cremad")


def test_every_run_of_a_notebook_belongs_to_a_table():
    """So the prices of the tables are the price of everything."""
    asked = {spec.identity() for spec in experiments.plan("cpu")}
    named = {spec.identity() for make in experiments.TABLES.values() for spec in experiments.specs_of(make("cpu"))}
    assert asked == named


def test_precision_of_the_paper_profile_is_a_choice(monkeypatch):
    monkeypatch.delenv("DGL_PRECISION", raising=False)
    assert late_fusion.base_specs("paper", "cremad")[0].precision == "bf16"
    monkeypatch.setenv("DGL_PRECISION", "fp32")
    assert late_fusion.base_specs("paper", "cremad")[0].precision == "fp32"
    assert late_fusion.base_specs("cpu", "emotions")[0].precision == "fp32"
    monkeypatch.setenv("DGL_PRECISION", "bf17")
    with pytest.raises(ValueError, match="'bf17': did you mean 'bf16'"):
        late_fusion.base_specs("paper", "cremad")


def test_sets_that_are_absent_are_planned_apart(monkeypatch, tmp_path):
    monkeypatch.setenv("DGL_DATA", str(tmp_path))
    missing = experiments.absent("paper", ["04_benchmark", "05_ablations"])
    assert {"cremad", "ks", "vggsound"} <= missing.keys() and not experiments.absent("smoke")
    assert {spec.dataset for spec in missing["cremad"]} == {"cremad"}
    asked = {spec.method for spec in missing["vggsound"]}
    assert asked > {"dgl", "reconboost"} and "partial" not in asked, "Tables 3 and 4 are of CREMA-D"
    assert not {spec.dataset for spec in experiments.plan("paper")} & missing.keys()
    later = experiments.absent("paper", ["06_dense_and_three_modalities", "07_segmentation", "08_beyond_the_paper"])
    assert {spec.model for spec in later["cremad"]} == {"mmtm", "resnet18"} and not later["ks"]
    assert {"schedule", "adaptive", "partial", "agm"} <= {spec.method for spec in later["cremad"]}


@pytest.mark.parametrize(("profile", "near"), [("smok", "smoke"), ("papers", "paper")])
def test_unknown_profile_names_the_nearest(profile, near):
    with pytest.raises(ValueError, match=near):
        experiments.plan(profile)


def test_unknown_notebook_names_the_nearest():
    with pytest.raises(ValueError, match="03_vanilla_vs_dgl"):
        experiments.plan("smoke", ["03_vanila_vs_dgl"])
