"""Every committed notebook keeps the contract, and each rule of the contract fires where it is broken."""

from __future__ import annotations

import ast
import re

import jupytext
import nbformat
import pytest
from notebook_rules import MOST_BEFORE, exercises, lines_before_picture, violations

from dgl_core.paper import experiments
from dgl_core.reproduce.execute import NOTEBOOKS, declared_parameters, notebook_names, tags, text
from dgl_core.reproduce.report.markup import formula
from tools.normalise_notebooks import normalise


@pytest.mark.parametrize("name", notebook_names())
def test_notebook_keeps_the_contract(name):
    assert violations(NOTEBOOKS / f"{name}.py") == []


def test_every_notebook_is_planned_and_every_executed_one_has_its_source():
    assert set(notebook_names()) == set(experiments.NOTEBOOKS)
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(notebook_names())


@pytest.mark.parametrize("name", notebook_names())
def test_every_parameter_reaches_the_runs(name):
    """What stands in the parameters cell is handed to ``start``, and a notebook that trains shows its reader's runs."""
    source = (NOTEBOOKS / f"{name}.py").read_text()
    (start,) = (call for call in ast.walk(ast.parse(source)) if isinstance(call, ast.Call) and called(call) == "start")
    handed = {ast.unparse(value) for value in (*start.args, *(word.value for word in start.keywords))}
    declared = set(declared_parameters(jupytext.read(NOTEBOOKS / f"{name}.py")))
    assert handed == declared
    assert ("recompute" in declared) == ("settings.your_runs(" in source) == ("load_or_run(" in source)


def called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


@pytest.mark.parametrize("name", notebook_names())
def test_exercises_have_a_start_and_a_folded_solution_that_is_checked(name):
    notebook = jupytext.read(NOTEBOOKS / f"{name}.py")
    starts = [cell for cell in notebook.cells if cell.source.startswith("# Exercise ")]
    solutions = [cell for cell in notebook.cells if cell.source.startswith("# Solution ")]
    assert len(starts) == len(solutions) >= 3 and not list(exercises(notebook))
    assert all("solution" in tags(cell) for cell in solutions)


def test_each_rule_on_exercises_fires():
    prose, cell = nbformat.v4.new_markdown_cell("**Exercises.** (1) Do."), nbformat.v4.new_code_cell
    start, hidden = cell("# Exercise 1, a start: x"), {"tags": ["solution"], "jupyter": {"source_hidden": True}}

    def said(*cells):
        return " ".join(exercises(nbformat.v4.new_notebook(cells=[prose, *cells])))

    assert said(start, cell("check(1)", metadata=hidden)) == ""
    assert "nothing checks the solution of exercise 1" in said(start, cell("x", metadata=hidden))
    assert "exercise 1 has no solution" in said(start)
    assert "exercise 1 has no cell that starts it" in said()
    assert "that no cell starts" in said(cell("x", metadata=hidden))
    assert "not folded" in said(start, cell("x", metadata={"tags": ["solution"]}))
    assert "nobody runs" in said(start, cell("x", metadata=hidden | {"tags": ["solution", "nbval-skip"]}))
    assert "exercise 2, which the last text does not have" in said(cell("# Exercise 2, a start: y"))


@pytest.mark.parametrize("name", notebook_names())
def test_every_formula_becomes_mathml(name):
    for cell in jupytext.read(NOTEBOOKS / f"{name}.py").cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"`[^`]*`", "", cell.source)
            for display, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$\s](?:[^$]*[^$\s])?)\$", prose, flags=re.DOTALL):
                assert formula(display or inline, bool(display)).startswith("<math")


def test_no_two_notebooks_publish_under_one_name():
    """The later one would replace the file of the earlier one in the report."""
    sources = {name: (NOTEBOOKS / f"{name}.py").read_text() for name in notebook_names()}
    every = [(name, as_) for name in sources for as_ in re.findall(r'publish\(\s*f?"([^"]+)"', sources[name])]
    assert len(every) > 50
    for name, one in every:
        form = re.compile(re.sub(r"\\\{.*?\\\}", "[a-z0-9_]+", re.escape(one)))
        for other, two in every:
            if other != name:
                assert not form.fullmatch(re.sub(r"\{.*?\}", "value", two)), (name, one, other, two)


FIGURE = nbformat.v4.new_output("display_data", data={"image/png": "iVBORw0KGgo=", "text/plain": "a line"})
ERROR = nbformat.v4.new_output("error", ename="KeyError", evalue="'x'", traceback=[])
VIEW = nbformat.v4.new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {"model_id": "1"}})


def good_notebook():
    """A small notebook that breaks no rule: title, parameters, figure with caption, widget below a panel, limits."""
    cell, prose = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    title = "# 9. Title\n\n**Question.** Q?\n\n**Claim checked.** C.\n\n**Runtime.** 1 s."
    notebook = nbformat.v4.new_notebook(
        cells=[
            prose(title),
            cell("seed = 0", metadata={"tags": ["parameters"]}, execution_count=1),
            cell("draw()", outputs=[FIGURE.copy()], execution_count=2),
            cell("interact(draw)", metadata={"tags": ["nbval-skip"]}, execution_count=3),
            prose("**Figure 9.1.** A line."),
            cell("1 / 0", metadata={"tags": ["raises-exception"]}, outputs=[ERROR.copy()], execution_count=4),
            prose("## What this does not show\nMuch."),
        ]
    )
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return notebook


def written(folder, notebook, edit=lambda notebook: None):
    """Write ``.py`` and ``.ipynb`` of a notebook; ``edit`` changes the ``.ipynb`` after the ``.py`` was made."""
    path = folder / "09_small.py"
    path.write_text(jupytext.writes(notebook, fmt="py:percent"))
    normalise(notebook)
    edit(notebook)
    path.with_suffix(".ipynb").write_text(text(notebook))
    return path


def test_a_good_notebook_breaks_no_rule(tmp_path):
    assert violations(written(tmp_path, good_notebook())) == []


def both(change):
    """A rule about what a person writes is broken in the .py and the .ipynb alike."""
    return change, lambda notebook: None


def only_executed(change):
    return lambda notebook: None, change


def at(number, **values):
    def change(notebook):
        notebook.cells[number].update(values)

    return change


def tagged(number, *names):
    def change(notebook):
        notebook.cells[number].metadata["tags"] = list(names)

    return change


def told_first(lines):
    def change(notebook):
        notebook.cells.insert(2, nbformat.v4.new_markdown_cell("\n".join(["A line."] * lines)))

    return change


def removed(number):
    def change(notebook):
        del notebook.cells[number]

    return change


BROKEN = {
    "differ at cell 2": only_executed(at(2, source="draw(2)")),
    "execution counts are": only_executed(at(3, execution_count=None)),
    "not 1..4": only_executed(at(3, execution_count=7)),
    "holds a KeyError": both(tagged(5)),
    "metadata 'widgets'": only_executed(lambda notebook: notebook.metadata.update(widgets={})),
    "metadata 'papermill'": only_executed(lambda notebook: notebook.metadata.update(papermill={})),
    "cell 1 is not normalised": only_executed(at(1, id="a1b2c3d4")),
    "cell 2 is not normalised": only_executed(lambda notebook: notebook.cells[2].metadata.update(papermill={})),
    "was injected": both(tagged(2, "injected-parameters")),
    "has the tags ['hide-input']": both(tagged(2, "hide-input")),
    "holds a widget view": only_executed(at(3, outputs=[VIEW.copy()])),
    "0 cells are tagged": both(tagged(1)),
    "2 cells are tagged": both(tagged(2, "parameters")),
    "only name = literal": both(at(1, source="seed = int(0)")),
    "no title": both(at(0, source="9. Title **Question.** **Claim checked.** **Runtime.**")),
    "no **Question.**": both(at(0, source="# 9\n**Claim checked.** **Runtime.**")),
    "no **Claim checked.**": both(at(0, source="# 9\n**Question.** **Runtime.**")),
    "no **Runtime.**": both(at(0, source="# 9\n**Question.** **Claim checked.**")),
    "What this does not show": both(at(6, source="## Summary")),
    "46 lines stand before the first picture": both(told_first(40)),
    "16 lines of code": both(at(2, source="\n".join(f"x = {n}" for n in range(16)))),
    "without a caption": both(at(4, source="A line.")),
    "not tagged nbval-skip": both(tagged(3)),
    "without a static panel": both(removed(2)),
    "bytes: GitHub shows": only_executed(lambda notebook: notebook.cells[0].metadata.update(text="A" * 1_000_000)),
}


@pytest.mark.parametrize("message", BROKEN)
def test_each_rule_fires(tmp_path, message):
    before, after = BROKEN[message]
    notebook = good_notebook()
    before(notebook)
    found = violations(written(tmp_path, notebook, after))
    assert any(message in line for line in found), found


def test_one_screen_is_what_is_shown_above_the_first_picture(tmp_path):
    """Folded code does not count, what it prints does, and nothing below the picture does."""
    notebook = good_notebook()
    told_first(37)(notebook)
    setup = nbformat.v4.new_code_cell("import x\n" * 20, metadata={"jupyter": {"source_hidden": True}})
    setup.outputs = [nbformat.v4.new_output("stream", text="one\ntwo\n")]
    notebook.cells.insert(2, setup)
    notebook.cells[-1].source += "\nMore." * 50
    assert lines_before_picture(notebook.cells) == MOST_BEFORE == 45
    setup.outputs[0].text += "three\n"
    assert any("46 lines stand before" in line for line in violations(written(tmp_path, notebook)))


def test_a_notebook_that_was_never_executed_is_missing(tmp_path):
    path = written(tmp_path, good_notebook())
    path.with_suffix(".ipynb").unlink()
    assert violations(path) == ["09_small.ipynb is missing: make notebooks"]


def test_normalising_removes_what_changes_and_keeps_what_counts():
    notebook = good_notebook()
    stream = "commit    5da6340a+changes\npython    3.12.1\npackages  torch 2.13.0\ndata      DGL_DATA\n"
    provenance = nbformat.v4.new_code_cell(
        "dgl_core.provenance()", execution_count=6, outputs=[nbformat.v4.new_output("stream", text=stream)]
    )
    sound = nbformat.v4.new_output(
        "display_data", data={"text/html": "<audio src='data:...'>", "text/plain": "<Audio>"}
    )
    notebook.cells[3].outputs = [FIGURE.copy(), VIEW.copy()]
    notebook.cells.insert(4, nbformat.v4.new_code_cell("play()", execution_count=4, outputs=[sound]))
    notebook.cells[4].metadata["tags"] = ["nbval-skip"]
    notebook.cells[6].execution_count = 5
    notebook.cells.append(provenance)
    notebook.metadata.widgets = notebook.metadata.papermill = {"a": 1}
    notebook.metadata.language_info = {"name": "python", "version": "3.11.7"}
    notebook.cells[2].metadata.update(papermill={"duration": 1.2}, execution={"iopub": 1}, tags=[])
    once = text(normalise(notebook))
    assert text(normalise(nbformat.reads(once, as_version=4))) == once
    again = nbformat.reads(once, as_version=4)
    assert [cell.id for cell in again.cells] == [f"cell-{n:02d}" for n in range(9)]
    assert [cell.execution_count for cell in again.cells if cell.cell_type == "code"] == [1, 2, 3, 4, 5, 6]
    assert (
        not again.cells[3].outputs
        and not again.cells[4].outputs
        and again.cells[2].outputs
        and again.cells[2].metadata == {}
    )
    assert not {"widgets", "papermill"} & set(again.metadata) and "version" not in again.metadata.language_info
    kept = again.cells[-1].outputs[0].text
    assert "5da6340a" not in kept and "3.12.1" not in kept and "DGL_DATA" not in kept and "torch 2.13.0" in kept
