"""The paper's tables as re-typed, and the tables we make from records."""

from __future__ import annotations

import pytest

from dgl_core.paper.printed import PAPER_TABLES, paper_rows
from dgl_core.paper.tables.results import ABSENT, NOT_RUN, results_table, spread
from dgl_core.training.records import RunRecord, RunSpec


def test_shape_of_the_papers_tables():
    assert {number: {name: len(rows) for name, rows in sets.items()} for number, sets in PAPER_TABLES.items()} == {
        1: {"CREMA-D": 11, "Kinetics-Sounds": 11, "VGGSound": 11},
        2: {"CREMA-D": 10, "MOSI": 11},
        3: {"CREMA-D": 4},
        4: {"CREMA-D": 2},
        5: {"NYUv2, from scratch": 2, "NYUv2, ImageNet pre-train": 2},
    }
    values = [
        v for sets in PAPER_TABLES.values() for rows in sets.values() for row in rows.values() for v in row.values()
    ]
    assert len(values) == 3 * 33 + 30 + 44 + 4 + 10 + 4
    assert sum(value is None for value in values) == 3 * 4 + 4 + 9  # "X-only" rows have one entry
    assert all(20 < value < 80 for value in values if value is not None)


@pytest.mark.parametrize("dataset, margin", [("CREMA-D", 3.16), ("Kinetics-Sounds", 3.66), ("VGGSound", 1.34)])
def test_margin_of_dgl_over_the_second_best_in_table_1(dataset, margin):
    fused = sorted((row["fused"] or 0, name) for name, row in PAPER_TABLES[1][dataset].items())
    assert fused[-1][1] == "DGL" and fused[-1][0] - fused[-2][0] == pytest.approx(margin)


def test_dgl_is_the_papers_best_row_in_every_column_but_its_own_unimodal_ones():
    for number, dataset in [(1, "CREMA-D"), (1, "Kinetics-Sounds"), (1, "VGGSound"), (2, "CREMA-D"), (2, "MOSI")]:
        rows = PAPER_TABLES[number][dataset]
        for branch in rows["DGL"]:
            assert max((row[branch] or 0, name) for name, row in rows.items())[1] == "DGL", (number, dataset, branch)


def test_the_papers_tables_agree_with_each_other():
    main, ablation, alphas = PAPER_TABLES[1]["CREMA-D"], PAPER_TABLES[3]["CREMA-D"], PAPER_TABLES[4]["CREMA-D"]
    assert ablation["Baseline"]["fused"] == main["Concat"]["fused"]
    assert ablation["DGL (MT+UT)"]["fused"] == main["DGL"]["fused"] == max(alphas["DGL"].values()) == alphas["DGL"]["4"]
    assert main["G-Blending"]["fused"] == max(alphas["G-Blending"].values()) == alphas["G-Blending"]["4"]


def test_the_headline_number_is_no_multiple_of_one_test_clip():
    fused = PAPER_TABLES[1]["CREMA-D"]["DGL"]["fused"] / 100
    for clips in (744, 704):  # the test part, and what a dropped last batch leaves of it
        assert all(round(hits / clips, 4) != round(fused, 4) for hits in range(clips + 1))


def test_the_papers_rows_under_our_names():
    rows = paper_rows(1, "CREMA-D")
    assert rows["vanilla"]["fused"] == 65.1 and rows["audio alone"] == {"audio": 62.18, "visual": None, "fused": None}
    assert rows["MLA"]["fused"] == 73.12 and len(rows) == 11
    assert paper_rows(2, "MOSI")["vanilla"]["text"] == 76.33 and paper_rows(3, "CREMA-D")["vanilla"]["fused"] == 65.1
    assert paper_rows(5, "NYUv2, from scratch") == {"vanilla": {"fused": 38.59}, "DGL": {"fused": 41.67}}


def record(seed: int, **accuracy: list[float]) -> RunRecord:
    curves = {f"test/{branch}/accuracy": values for branch, values in accuracy.items()}
    curves |= {"lr": [0.1] * 2, "val/fused/accuracy": [0.9, 0.1]}
    return RunRecord(RunSpec("emotions", seed=seed), "k", {}, {}, curves, {}, {}, {}, "")


def test_paper_reference_and_this_run_side_by_side():
    paper = {"vanilla": {"fused": 65.1, "audio": None}, "MLA": {"fused": 73.12}}
    reference = {"vanilla": [record(0, fused=[0.1, 0.50]), record(1, fused=[0.1, 0.54]), record(2, fused=[0.1, 0.52])]}
    this_run = {"vanilla": [record(0, fused=[0.2, 0.5], audio=[0.3, 0.25])], "DGL": []}
    table = results_table(paper, reference, this_run, ("audio", "fused"))
    assert list(table.index) == ["vanilla", "DGL", "MLA"]
    assert table.loc["vanilla"].to_dict() == {
        ("audio", "paper"): ABSENT, ("audio", "reference"): ABSENT, ("audio", "this run"): "25.0 (1)",
        ("fused", "paper"): "65.1", ("fused", "reference"): "52.0 ± 2.0 (3)", ("fused", "this run"): "50.0 (1)",
    }  # fmt: skip
    assert set(table.loc["DGL"]) == {ABSENT, NOT_RUN} and table.loc["DGL", ("fused", "this run")] == NOT_RUN
    assert table.loc["MLA", ("fused", "paper")] == "73.1" and table.loc["MLA", ("fused", "this run")] == ABSENT
    by_validation = results_table(paper, reference, this_run, ("fused",), protocol="best_val")
    assert by_validation.loc["vanilla", ("fused", "this run")] == "20.0 (1)"


def test_spread_uses_the_sample_deviation():
    assert spread([1.0, 3.0]) == "2.0 ± 1.4 (2)" and spread([1.0]) == "1.0 (1)" and spread([]) == ABSENT
