"""The main command: it keeps what has not changed, executes what has, and says so in its exit status."""

from __future__ import annotations

import argparse
import re

import nbformat
import pytest

from dgl_core import utils
from dgl_core.reproduce import command, outputs
from dgl_core.reproduce.execute import check_parameters, declared_parameters
from dgl_core.reproduce.plan import Plan
from dgl_core.runs import keys
from dgl_core.runs.store import Store
from dgl_core.training.records import RunSpec
from dgl_core.utils import Clock, duration

TABLE = "import pandas, dgl_core\ndgl_core.publish('{}', pandas.DataFrame({{'a': [1]}}))"


def test_executes_once_then_keeps_then_executes_what_changed(project):
    project.notebook("01_first", "print(profile)", TABLE.format("old_name"))
    project.notebook("02_second", "print('two')")
    first = project.reproduce()
    assert first.returncode == 0, first.stderr
    executed = nbformat.read(project.out / "notebooks" / "01_first.ipynb", as_version=4)
    assert [cell.execution_count for cell in executed.cells if cell.cell_type == "code"] == [1, 2, 3, 4]
    assert (project.out / "tables" / "old_name.csv").read_text() == ",a\n0,1\n"

    again = project.reproduce()
    assert again.returncode == 0 and again.stdout.count("kept, nothing changed") == 2

    # The test's plan is the same as before, so only the source of 01 has changed.
    project.notebook("01_first", TABLE.format("new_name"))
    changed = project.reproduce("--only", "01", "02_second")
    assert "01_first  executed" in changed.stdout and "02_second  kept" in changed.stdout
    assert sorted(path.name for path in (project.out / "tables").iterdir()) == ["new_name.csv", "new_name.md"]
    assert 'href="tables/new_name.csv"' in (project.out / "01_first.html").read_text()


def test_failures_are_named_in_two_lines_and_cost_nothing_that_was_finished(project):
    project.notebook("01_first", "print(1)", runs=3)
    project.notebook("02_second", "x = 1", "x / 0  # here")
    result = project.reproduce(FAKE_FAILURE="1")
    assert result.returncode == 1
    assert "3 to train" in result.stdout and "2 of 2 notebooks failed" in result.stdout
    assert "FAILED  vanilla on emotions seed 1\n  FloatingPointError: the loss is NaN in step 7\n" in result.stderr
    assert "FAILED  01_first, not executed\n  some of its training runs failed\n" in result.stderr
    assert "FAILED  02_second, code cell 3: x / 0  # here\n  ZeroDivisionError: division by zero\n" in result.stderr
    assert "ZeroDivisionError" in (project.out / "index.html").read_text()
    assert len(project.records()) == 2

    project.notebook("02_second", "x = 1")
    again = project.reproduce()
    assert again.returncode == 0, again.stderr
    assert "2 recorded, 1 to train" in again.stdout and "all 2 notebooks are good" in again.stdout
    assert len(project.records()) == 3 and "ZeroDivisionError" not in (project.out / "index.html").read_text()


def test_what_the_reader_did_not_choose_is_left_out_and_is_no_failure(project):
    project.notebook("01_first", "print(1)", runs=3)
    project.notebook("02_second", "x = 1")
    result = project.reproduce("--tables", "1")
    assert result.returncode == 0, result.stderr
    assert "Chosen: 0 of 3 runs; 3 are left out" in result.stdout and not project.records()
    assert "01_first  left out: 3 of its runs were not chosen" in result.stdout
    assert "1 of 2 notebooks are good" in result.stdout and "02_second  executed" in result.stdout
    wrong = project.reproduce("--budget", "soon")
    assert wrong.returncode == 2 and "error: the budget is 'soon'; give a time such as 8h" in wrong.stderr


def test_a_notebook_is_kept_only_while_everything_it_depends_on_is_the_same(project, monkeypatch, tmp_path):
    source = project.notebook("01_first", "print(1)")
    for name in ("ROOT", "NOTEBOOKS"):
        monkeypatch.setattr(outputs, name, project.root / {"ROOT": "", "NOTEBOOKS": "notebooks"}[name])
    monkeypatch.setattr(utils, "ROOT", project.root)
    (project.root / "pyproject.toml").touch()
    monkeypatch.setattr(keys, "key", lambda spec: f"key-{spec.seed}")
    monkeypatch.setenv("DGL_RESULTS", str(project.store))
    monkeypatch.setenv("DGL_DATA", str(tmp_path / "data"))
    specs = [RunSpec("emotions", seed=0)]
    record = Store(project.store, "portable").path(specs[0], "key-0")

    def now(profile="smoke", specs=specs):
        return outputs.fingerprint("01_first", profile, specs)

    def changes(path, by="\n# changed\n"):
        before = now()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(by)
        return now() != before

    assert now() == now() != now("cpu")
    assert changes(source)
    assert changes(project.root / "dgl_core" / "metrics.py")
    assert changes(record)
    assert changes(project.root / "results" / "reference" / "emotions" / "a.json")
    assert changes(tmp_path / "data" / "grid" / "words.txt")
    assert not changes(tmp_path / "data" / "generated" / "clips.npz")
    assert not changes(record.with_name("of_another_notebook.json"))


def test_a_damaged_result_file_counts_as_none(tmp_path):
    outputs.record_failure(tmp_path, "01_first", "code cell 2", "ValueError: x")
    path = outputs.paths(tmp_path, "01_first")[1]
    assert outputs.load(tmp_path, "01_first").error == "ValueError: x"
    path.write_text(path.read_text()[:40])
    assert outputs.load(tmp_path, "01_first") is None
    assert outputs.load(tmp_path, "02_second") is None


def test_the_page_needs_nothing_but_itself(project):
    figure = "from dgl_core.figures import style\nimport dgl_core\nfigure, axes = style.new()\n"
    figure += "dgl_core.publish('figure_1', style.Picture(figure, 'an empty figure'))"
    path = project.notebook("01_first", "print('PASS  1.1 it holds (error < 1e-9)')", figure)
    text = (
        "\n# %% [markdown]\n# **Figure 1.** Empty, with $x_i^2$.\n#\n# $$\\sum_i x_i$$ and [there](02_second.ipynb)\n"
    )
    path.write_text(path.read_text() + text)
    project.whole_site()
    assert project.reproduce().returncode == 0
    page = (project.out / "01_first.html").read_text()
    # Links are for people to follow; what is loaded lies in the folder.
    loaded = re.findall(r"""(?:src|<link[^>]+href)=["']([^"'?#]+)""", page)
    assert loaded and not [file for file in loaded if not (project.out / file).is_file()]
    assert page.count("<math") == 2 and "$" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert 'alt="an empty figure"' in page and "<strong>Figure 1.</strong> Empty" in page
    assert 'href="02_second.html"' in page and 'href="figures/figure_1.svg"' in page
    assert "1.1 it holds" in page and "error &lt; 1e-9" in page


def test_parameters_are_checked_against_the_notebooks_own_cell():
    def notebook(source, count=1):
        cells = [nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]}) for _ in range(count)]
        return nbformat.v4.new_notebook(cells=cells)

    good = notebook('profile = "smoke"  # smoke | cpu\nseed = 0\nrates = [0.1, 0.2]')
    assert declared_parameters(good) == {"profile": "smoke", "seed": 0, "rates": [0.1, 0.2]}
    check_parameters(good, {"profile": "cpu", "seed": 3})
    with pytest.raises(ValueError, match="'profle': did you mean 'profile'"):
        check_parameters(good, {"profle": "cpu"})
    with pytest.raises(ValueError, match="seed = '3' must be int"):
        check_parameters(good, {"seed": "3"})
    for bad in ("seed = int(3)", "import os", "a = b = 1", "a, b = 1, 2"):
        with pytest.raises(ValueError, match="only name = literal"):
            declared_parameters(notebook(bad))
    for count in (0, 2):
        with pytest.raises(ValueError, match=f"{count} cells"):
            declared_parameters(notebook("seed = 0", count))


def test_time_left_starts_with_the_estimate_and_ends_with_the_measured_pace():
    now = [0.0]
    clock = Clock(total=100, workers=2, now=lambda: now[0])
    assert clock.left() == 50
    now[0] = 10
    assert clock.left() == 40
    clock.finished(50)  # half the work in 10 seconds: five times faster than estimated for two workers
    left = clock.left()
    assert 10 < left < 25
    now[0] = 13
    assert clock.left() == pytest.approx(left - 3)
    clock.finished(50)
    assert clock.left() == 0
    assert Clock(total=0).left() == 0


@pytest.mark.parametrize(
    "seconds, text", [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (5400, "1 h 30 min"), (-3, "0 s")]
)
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


def test_the_longest_notebook_starts_first(tmp_path, monkeypatch):
    """By its time; where none has run here, by the length of its source; one without a source says so later."""
    monkeypatch.setattr(command, "NOTEBOOKS", tmp_path)
    for name, length in {"short": 1, "long": 9, "quick": 50}.items():
        (tmp_path / f"{name}.py").write_text("#" * length)
    assert command.longest_first({"short": None, "gone": None, "long": None}) == ["long", "short", "gone"]
    assert command.longest_first({"short": 60.0, "quick": 5.0, "long": 20.0}) == ["short", "long", "quick"]


def test_the_line_of_the_notebooks_names_only_what_there_is():
    words = command.notebooks_in_words
    assert words(0, 9, "about 2 min left", 9, []) == "notebooks: 0 of 9, about 2 min left, a guess: 9 never ran here"
    assert words(8, 9, "about 8 s left", 0, ["08_x"]) == "notebooks: 8 of 9, about 8 s left (08_x)"


def test_a_precision_that_is_not_here_is_refused_before_anything_trains():
    """Once for all runs, instead of by each of them."""
    todo = [RunSpec("cremad", seed=seed, precision="tf32") for seed in range(3)]
    for portable in (False, True):
        options = argparse.Namespace(dask=None, portable=portable)
        with pytest.raises(ValueError, match="precision 'tf32' exists on NVIDIA GPUs only; on cpu use 'fp32'"):
            command.train(Plan({}, todo, todo, None), options)
    command.check_precisions(todo, argparse.Namespace(dask="tcp://somewhere:8786", portable=False))
    command.check_precisions([RunSpec("cremad")], options)
