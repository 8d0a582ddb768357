"""What every notebook does first and last: check parameters, assert, judge, publish."""

from __future__ import annotations

import io
import math
import os
import random
import re
import subprocess
import sys
import types

import numpy
import pandas
import pytest
import torch

import dgl_core
from dgl_core.data.files.atomic import write_atomic
from dgl_core.figures import style
from dgl_core.paper.tables.results import markdown_table
from dgl_core.runs import load_or_run
from dgl_core.training import train as training
from dgl_core.training.environment import PORTABLE_NUMERICS
from dgl_core.training.records import RunSpec
from dgl_core.utils import ROOT


def test_start_seeds_every_generator_and_takes_one_thread():
    draws = []
    for seed in (3, 3, 4):
        settings = dgl_core.start("smoke", seed)
        draws.append((random.random(), numpy.random.random(), torch.rand(1).item()))
    assert draws[0] == draws[1] and all(a != b for a, b in zip(draws[1], draws[2], strict=True))
    assert torch.get_num_threads() == 1
    assert (settings.profile, settings.seed, settings.recompute, settings.data_root) == ("smoke", 4, False, None)
    assert settings.device == "cpu"


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"profile": "smoek"}, ValueError, "'smoek': did you mean 'smoke'"),
        ({"profile": 3}, TypeError, "profile = 3 must be str, not int"),
        ({"seed": "0"}, TypeError, "seed = '0' must be int, not str"),
        ({"seed": True}, TypeError, "seed = True must be int, not bool"),
        ({"seed": -1}, ValueError, "seed = -1 must be in"),
        ({"seed": "a"}, TypeError, "seed = 'a' must be int"),
        ({"alpha": "8"}, TypeError, "alpha = '8' must be a number, not str"),
        ({"alpha": True}, TypeError, "alpha = True must be a number, not bool"),
        ({"alpha": -1}, ValueError, "alpha is -1; it must be above 0 and finite"),
        ({"alpha": math.nan}, ValueError, "alpha is nan; it must be above 0"),
        ({"recompute": "yes"}, TypeError, "recompute = 'yes' must be bool"),
        ({"data_root": None}, TypeError, "data_root = None must be str"),
        ({"data_root": "/nowhere/at/all"}, ValueError, "'/nowhere/at/all' is not a folder"),
    ],
)
def test_start_refuses_what_papermill_lets_through(arguments, error, message):
    with pytest.raises(error, match=message):
        dgl_core.start(**arguments)


def test_a_data_folder_that_is_given_is_where_data_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("DGL_DATA", "/somewhere/else")
    settings = dgl_core.start(data_root=str(tmp_path))
    assert settings.data_root == tmp_path and os.environ["DGL_DATA"] == str(tmp_path)


def test_only_a_smoke_notebook_with_native_numerics_says_whose_numbers_it_shows(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path))
    dgl_core.start("smoke")
    assert capsys.readouterr() == ("", ""), "nbval and the runner compute portably: committed outputs have no such line"
    monkeypatch.delenv(sorted(PORTABLE_NUMERICS)[0])
    dgl_core.start("cpu")
    assert capsys.readouterr() == ("", ""), "a profile that promises nothing"
    dgl_core.start("smoke")
    printed, said = capsys.readouterr()
    assert printed == "" and said.count("\n") == 1
    assert "this machine's own" in said and str(tmp_path) in said and "make lab" in said


def test_check_prints_or_raises(capsys):
    dgl_core.check("2.1a equal", torch.tensor(True), "error < 1e-9")
    assert capsys.readouterr().out == "PASS  2.1a equal (error < 1e-9)\n"
    with pytest.raises(AssertionError, match=r"FAIL  2.1b equal \(error 0.3\)"):
        dgl_core.check("2.1b equal", numpy.bool_(False), "error 0.3")
    with pytest.raises(RuntimeError):  # several truth values are not one
        dgl_core.check("2.1c equal", torch.tensor([True, True]))


def test_a_difference_describes_and_carries_no_word(capsys):
    dgl_core.difference("DGL minus joint", [1.0, 2.0, 3.0])
    dgl_core.difference("no effect", [0.04, -0.04, -1e-9], unit="per cent")
    dgl_core.difference("one", [5.0])
    dgl_core.difference("none", [])
    assert capsys.readouterr().out.splitlines() == [
        "DGL minus joint: mean +2.0 points, 95 % interval [-0.5, +4.5], n = 3",
        "no effect: mean +0.0 per cent, 95 % interval [-0.1, +0.1], n = 3",
        "one: +5.0 points, one run has no interval",
        "none: no runs",
    ]


def test_an_answer_has_four_sentences_at_most(capsys):
    dgl_core.answer("dgl-vanilla")
    assert capsys.readouterr().out.startswith("“DGL is better than joint training” ")
    with pytest.raises(ValueError, match="four claims at most"):
        dgl_core.answer(*["dgl-vanilla"] * 5)
    with pytest.raises(ValueError, match="did you mean 'dgl-vanilla'"):
        dgl_core.answer("dgl-vanila")


def test_provenance_names_versions_and_no_path_of_this_machine(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("DGL_DATA", str(tmp_path))
    dgl_core.provenance()
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == ["commit", "python", "packages", "device", "numerics", "data"]
    assert (
        lines["data"] == "DGL_DATA"
        and lines["numerics"] == "portable"
        and f"torch {torch.__version__[:4]}" in lines["packages"]
    )
    assert not [value for value in lines.values() if str(tmp_path) in value or str(ROOT) in value]
    name = sorted(PORTABLE_NUMERICS)[0]
    monkeypatch.setenv(name, "something else")
    dgl_core.provenance()
    assert "numerics  native" in capsys.readouterr().out


def test_publish_returns_the_thing_and_writes_only_under_the_runner(tmp_path, monkeypatch):
    table = pandas.DataFrame({("fused", "paper"): ["65.1"], ("fused", "this run"): ["60.0 ± 1.0 (3)"]}, index=["a|b"])
    monkeypatch.delenv("DGL_REPORT", raising=False)
    assert dgl_core.publish("table_1", table) is table and not list(tmp_path.iterdir())
    monkeypatch.setenv("DGL_REPORT", str(tmp_path))
    assert dgl_core.publish("table_1", table) is table
    figure, axes = style.new()
    picture = style.Picture(figure, "nothing")
    assert dgl_core.publish("figure_1", picture) is picture
    files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert set(files) == {"tables/table_1.csv", "tables/table_1.md", "figures/figure_1.png", "figures/figure_1.svg"}
    assert files["tables/table_1.csv"].decode().splitlines()[0] == ',"fused, paper","fused, this run"'
    assert files["tables/table_1.md"].decode() == markdown_table(table)
    assert files["figures/figure_1.png"].startswith(b"\x89PNG") and b"<svg" in files["figures/figure_1.svg"]
    for name in ("Table 1", "../table", "table__1", ""):
        with pytest.raises(ValueError, match="must be lower-case"):
            dgl_core.publish(name, table)
    with pytest.raises(TypeError, match="not dict"):
        dgl_core.publish("table_2", {"a": 1})


def test_markdown_tables_have_one_width_and_escape_bars():
    lines = markdown_table(
        pandas.DataFrame({"x": ["1|2", "3"]}, index=pandas.Index(["a", "b"], name="row"))
    ).splitlines()
    assert lines[0] == "| row | x |" and lines[1] == "| --- | --- |" and lines[2] == "| **a** | 1\\|2 |"


def test_written_files_are_whole_and_readable_by_others(tmp_path):
    path = write_atomic(tmp_path / "new" / "a.txt", "ü")
    assert path.read_bytes() == "ü".encode() and path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_importing_the_package_imports_nothing_heavy():
    heavy = ("torch", "matplotlib", "nbformat")
    code = f"import sys, dgl_core, dgl_core.reproduce.command; print([m for m in {heavy} if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert printed.stdout.strip() == "[]"


SAMPLES = {"small": 60, "larger": 70}  # two sets as an experiment names them


@pytest.fixture
def rows(monkeypatch, tmp_path):
    """Three rows of two seeds, one epoch each: one that alpha does not concern, one that it weighs, its control."""
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path))
    base = [RunSpec("triplet", model="mlp", dataset_options={"samples": 60}, epochs=1, milestones=()) for _ in (0, 1)]
    base = [spec.but(seed=seed, batch_size=16) for seed, spec in enumerate(base)]
    return {
        "vanilla": base,
        "DGL": [spec.but(method="dgl", method_options={"alpha": 4.0}) for spec in base],
        "vanilla, rate x alpha": [spec.but(encoder_lr_scale=4.0) for spec in base],
    }


@pytest.fixture
def experiment(rows):
    """The rows as a notebook asks for them: at their own seeds, or at others."""

    def of(profile, dataset, seeds=None):
        spec = lambda each, seed: each.but(seed=seed, dataset_options={"samples": SAMPLES[dataset]})  # noqa: E731
        ours = {row: [spec(each, each.seed) for each in specs] for row, specs in rows.items()}
        return ours if seeds is None else {row: [spec(specs[0], s) for s in seeds] for row, specs in ours.items()}

    return of


@pytest.fixture
def trained(monkeypatch):
    """The specifications that are trained from now on, in order."""
    seen, train = [], training.train
    monkeypatch.setattr(training, "train", lambda spec, **also: seen.append(spec) or train(spec, **also))
    return seen


@pytest.mark.parametrize("alpha", [4, 4.0, None])
def test_parameters_that_nobody_changed_show_train_and_print_nothing(experiment, trained, capsys, alpha):
    assert dgl_core.start("smoke", alpha=alpha).your_runs(experiment, "small") == {}
    assert not trained and capsys.readouterr().out == ""


def test_another_alpha_trains_what_it_concerns_once_and_finds_the_rest(experiment, trained, capsys):
    load_or_run(experiment("smoke", "small"))
    trained.clear()
    settings = dgl_core.start("smoke", alpha=8)
    before, title = panels = settings.your_runs(experiment, "small")
    assert before.endswith(", this run (smoke)") and title.endswith(", your run (alpha 8)")
    assert panels[before] == load_or_run(experiment("smoke", "small"))
    said = capsys.readouterr().out
    assert said.startswith(f"{title}: 4 runs to train, about ") and said.count("\n") == 1
    assert len(trained) == 4
    rows, made = experiment("smoke", "small"), panels[title]
    assert [record.spec.plain() for record in made["vanilla"]] == [spec.plain() for spec in rows["vanilla"]]
    assert [record.spec.method_options["alpha"] for record in made["DGL"]] == [8.0, 8.0]
    assert [record.spec.encoder_lr_scale for record in made["vanilla, rate x alpha"]] == [8.0, 8.0]
    assert settings.your_runs(experiment, "small") == panels and len(trained) == 4
    assert capsys.readouterr().out == f"{title}: found, trained before.\n"


def test_another_seed_trains_one_run_a_row_and_both_parameters_may_change(experiment, trained):
    load_or_run(experiment("smoke", "small"))
    trained.clear()
    _, title = panels = dgl_core.start("smoke", 5, alpha=8.0).your_runs(experiment, "small")
    assert title.endswith("your run (alpha 8, seed 5)")
    assert {row: [record.spec.seed for record in records] for row, records in panels[title].items()} == {
        row: [5] for row in experiment("smoke", "small")
    }
    assert [spec.seed for spec in trained] == [5, 5, 5]
    _, title = dgl_core.start("smoke", 5, alpha=4.0).your_runs(experiment, "small")
    assert title.endswith("your run (seed 5)")


def test_recompute_says_so_and_trains_your_runs_again_but_not_those_of_the_notebook(experiment, trained, capsys):
    dgl_core.start("smoke", alpha=8.0).your_runs(experiment, "small")
    trained.clear()
    capsys.readouterr()
    dgl_core.start("smoke", alpha=8.0, recompute=True).your_runs(experiment, "small")
    assert "recompute = True: the runs of this notebook are trained anew" in capsys.readouterr().out
    assert [spec.method for spec in trained] == ["dgl", "dgl", "vanilla", "vanilla"]


def test_every_set_is_trained_and_keeps_its_own_alpha_until_that_of_the_notebook_is_changed(experiment, trained):
    usual = dgl_core.start("smoke", alpha=1.0)
    assert usual.your_runs(experiment, *SAMPLES, usual=1.0) == {} and not trained
    assert len(usual.your_runs(experiment, "small")) == 2, "nobody said that 1 is usual"
    trained.clear()
    dgl_core.start("smoke", 5, alpha=1.0).your_runs(experiment, *SAMPLES, usual=1.0)
    fives = [spec for spec in trained if spec.seed == 5]
    assert len(fives) == 6 and {spec.dataset_options["samples"] for spec in fives} == set(SAMPLES.values())
    assert {spec.encoder_lr_scale for spec in fives} == {1.0, 4.0}, "the rows' own alpha"


def test_below_a_cell_one_line_counts_the_runs_and_a_sentence_stays(rows, monkeypatch):
    jupyter = types.ModuleType("ipykernel.iostream")
    jupyter.OutStream = type("OutStream", (io.StringIO,), {})
    monkeypatch.setitem(sys.modules, "ipykernel.iostream", jupyter)
    monkeypatch.setattr(sys, "stderr", cell := jupyter.OutStream())
    load_or_run(rows["vanilla"])
    written = cell.getvalue()
    first, *_, last = [part for part in written.split("\r") if part.strip()]
    assert re.match(r"training: 0 of 2 runs made, (about \d+ s left|longer than estimated)", first)
    assert last.startswith("2 runs trained in ") and last.count("\n") == 1 and "\x1b" not in written
    load_or_run(rows["vanilla"])
    assert cell.getvalue() == written, "what is recorded needs no line"
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    load_or_run(rows["DGL"])
    assert log.getvalue() == "", "commands have their own lines"
