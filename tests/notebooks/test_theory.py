"""Notebook 02: every verdict cites checks that really passed, and every equation has its cell."""

from __future__ import annotations

import re

import nbformat
import pytest

from dgl_core.paper.theory.sentences import SENTENCES, sentences_table
from dgl_core.reproduce.execute import NOTEBOOKS

NOTEBOOK = NOTEBOOKS / "02_gradient_theory.ipynb"
SETTLED = re.compile(r"^(?:PASS  )?(2\.\d+[a-z]) ", re.MULTILINE)  # a check, or a difference that is shown


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def settled(notebook):
    """Numbers of all checks and verdicts that the committed execution printed."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return {number for output in outputs for number in SETTLED.findall(output.get("text", ""))}


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda sentence: f"{sentence.where}: {sentence.says}")
def test_the_cited_checks_are_in_the_notebook(sentence, settled):
    assert sentence.verdict in ("proved", "conditional", "false", "open")
    cited = sentence.settled.split(", ")
    assert cited and set(cited) <= settled


def test_every_equation_of_section_3_has_a_verdict():
    numbers = set()
    for sentence in SENTENCES:
        if sentence.where.startswith("Eq."):
            for first, last in re.findall(r"(\d+)(?:–(\d+))?", sentence.where.split(", at")[0].split(", over")[0]):
                numbers |= set(range(int(first), int(last or first) + 1))
    assert numbers == set(range(1, 16))


def test_checks_are_numbered_by_their_section_in_order(notebook):
    section, seen = 0, []
    for cell in notebook.cells:
        headings = re.findall(r"^## 2\.(\d+) ", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else []
        for number in map(int, headings):
            assert number == section + 1
            section = number
        if cell.cell_type == "code":
            printed = [n for output in cell.outputs for n in SETTLED.findall(output.get("text", ""))]
            assert all(number.startswith(f"2.{section}") for number in printed), (section, printed)
            seen += [n for n in dict.fromkeys(printed) if n not in seen]
    order = [(int(re.search(r"\.(\d+)", n).group(1)), n[-1]) for n in seen]
    assert order == sorted(order)


def test_the_table_is_shown_in_full(notebook):
    shown = [output for cell in notebook.cells if 'publish("table_2_5"' in cell.source for output in cell.outputs]
    page = shown[0].data["text/html"]
    assert page.split("<tbody>")[1].count("<tr>") == len(SENTENCES) and "..." not in page
    assert list(sentences_table().columns) == ["the paper says", "verdict", "what holds", "settled by"]
