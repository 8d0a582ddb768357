"""The static contract of a committed notebook: what a strict comparison of outputs cannot see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat

from dgl_core.reproduce.execute import declared_parameters, tags

TAGS = {"parameters", "nbval-ignore-output", "nbval-skip", "raises-exception"}
TAGS |= {"navigation", "bootstrap", "solution"}  # tools.navigation writes the first two; the last is folded
HEADINGS = ("**Question.**", "**Claim checked.**", "**Runtime.**")
MOST_LINES = 15  # of code in a cell
MOST_BEFORE = 45  # lines that a reader sees before the first picture: one screen
MOST_BYTES = 1_000_000  # what GitHub shows
WIDGET = re.compile(r"\binteract(?:ive)?(?:_output)?\(|\bwidgets\.\w+\(")


def violations(path: Path) -> list[str]:
    """Everything that is wrong with the notebook ``path`` (its .py) and the .ipynb beside it."""
    executed = path.with_suffix(".ipynb")
    if not executed.exists():
        return [f"{executed.name} is missing: make notebooks"]
    notebook = nbformat.read(executed, as_version=4)
    found = [*_same_inputs(path, notebook), *_executed(notebook), *_clean(notebook), *_anatomy(notebook)]
    found += exercises(notebook)
    if executed.stat().st_size >= MOST_BYTES:
        found.append(f"{executed.stat().st_size} bytes: GitHub shows notebooks below {MOST_BYTES}")
    return found


def _inputs(notebook) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(cell.cell_type, cell.source, tuple(sorted(tags(cell)))) for cell in notebook.cells]


def _same_inputs(path: Path, notebook) -> Iterator[str]:
    edited, committed = _inputs(jupytext.read(path)), _inputs(notebook)
    if edited != committed:
        number = next((n for n, pair in enumerate(zip(edited, committed, strict=False)) if pair[0] != pair[1]), "last")
        yield f"the .py and the .ipynb differ at cell {number}: make notebooks"


def _executed(notebook) -> Iterator[str]:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        yield f"execution counts are {counts}, not 1..{len(code)}"
    for cell in code:
        errors = [output.ename for output in cell.outputs if output.output_type == "error"]
        if errors and "raises-exception" not in tags(cell):
            yield f"In [{cell.execution_count}] holds a {errors[0]}"


def _clean(notebook) -> Iterator[str]:
    for key in ("widgets", "papermill"):
        if key in notebook.metadata:
            yield f"metadata {key!r} is not normalised"
    for number, cell in enumerate(notebook.cells):
        if cell.get("id") != f"cell-{number:02d}" or {"papermill", "execution"} & set(cell.metadata):
            yield f"cell {number} is not normalised"
        if "injected-parameters" in tags(cell):
            yield f"cell {number} was injected by papermill"
        elif not set(tags(cell)) <= TAGS:
            yield f"cell {number} has the tags {sorted(set(tags(cell)) - TAGS)}"
        for output in cell.get("outputs", ()):
            if any("widget" in kind for kind in output.get("data", ())):
                yield f"cell {number} holds a widget view, which GitHub does not show"
    try:
        declared_parameters(notebook)
    except ValueError as error:
        yield str(error)


def _anatomy(notebook) -> Iterator[str]:
    cells = notebook.cells
    if not cells or cells[0].cell_type != "markdown" or not cells[0].source.startswith("# "):
        yield "the first cell has no title"
    for heading in HEADINGS:
        if not cells or heading not in cells[0].source:
            yield f"the first cell has no {heading}"
    prose = [cell for cell in cells if cell.cell_type == "markdown"]
    if not prose or "What this does not show" not in prose[-1].source:
        yield "the last text does not say 'What this does not show'"
    if (lines := lines_before_picture(cells)) > MOST_BEFORE:
        yield f"{lines} lines stand before the first picture, at most {MOST_BEFORE} are one screen"
    for number, cell in enumerate(cells):
        if cell.cell_type != "code":
            continue
        lines = sum(bool(line.strip()) for line in cell.source.splitlines())
        if lines > MOST_LINES:
            yield f"cell {number} has {lines} lines of code, at most {MOST_LINES} read well"
        below = next((c for c in cells[number + 1 :] if "nbval-skip" not in tags(c)), None)
        if _shows_figure(cell) and not (
            below and below.cell_type == "markdown" and below.source.startswith("**Figure")
        ):
            yield f"cell {number} draws a figure without a caption below it"
        if WIDGET.search(cell.source):
            if "nbval-skip" not in tags(cell):
                yield f"cell {number} has a widget and is not tagged nbval-skip"
            above = next((c for c in reversed(cells[:number]) if c.cell_type == "code"), None)
            if above is None or not _shows_figure(above):
                yield f"cell {number} has a widget without a static panel directly above it"


def exercises(notebook) -> Iterator[str]:
    """Each exercise of the last text has a start and a solution, which is folded, checked and run in comparisons."""
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    told = re.findall(r"\((\d+)\) |^(\d+)\. ", prose[-1].partition("**Exercises.**")[2], re.MULTILINE)
    found: dict[str, list[str]] = {}  # exercise -> sources of its solution
    started = None
    for number, cell in enumerate(notebook.cells):
        start = re.match(r"# Exercise (\d+), a start: ", cell.source) if cell.cell_type == "code" else None
        if start:
            started = start[1]
            found[started] = []
        if start and not re.search(rf"\({started}\)|^{started}\.", prose[-1], re.MULTILINE):
            yield f"cell {number} starts exercise {started}, which the last text does not have"
        if "solution" in tags(cell):
            if started is None:
                yield f"cell {number} solves an exercise that no cell starts"
            else:
                found[started].append(cell.source)
            if not cell.metadata.get("jupyter", {}).get("source_hidden"):
                yield f"cell {number} is a solution that is not folded"
            if "nbval-skip" in tags(cell):
                yield f"cell {number} is a solution that nobody runs"
    for exercise in (first or second for first, second in told):
        if exercise not in found:
            yield f"exercise {exercise} has no cell that starts it"
        elif not found[exercise]:
            yield f"exercise {exercise} has no solution"
        elif not any("check(" in source for source in found[exercise]):
            yield f"nothing checks the solution of exercise {exercise}"


def lines_before_picture(cells) -> int:
    """Count the lines above the first picture: text, code that is not folded, what cells print; 0 without a picture."""
    first = next((n for n, cell in enumerate(cells) if _shows_figure(cell)), -1)
    read = [output for cell in cells[:first] if first > 0 for output in cell.get("outputs", ())]
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in read]
    texts += [cell.source for cell in cells[: first + 1] if not cell.metadata.get("jupyter", {}).get("source_hidden")]
    return sum(bool(line.strip()) for text in texts for line in text.splitlines())


def _shows_figure(cell) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", ()))
