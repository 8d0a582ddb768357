"""The page of the public names is current, complete, and says what raises."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping

import pytest

import dgl_core
from dgl_core.data import DATASETS
from tools import api

PAGE = api.PAGE.read_text(encoding="utf-8")
ENTRIES = [(module.__name__, name, getattr(module, name)) for _, module, names in api.face() for name in names]
MADE = [(place, name, thing) for place, name, thing in ENTRIES if inspect.isclass(thing) or inspect.isroutine(thing)]


@pytest.fixture(autouse=True)
def no_data_of_other_tests(monkeypatch):
    monkeypatch.delitem(DATASETS, "tiny", raising=False)


def test_the_page_is_current():
    assert api.page() == PAGE, "run python -m tools.api"


def test_every_public_name_has_an_entry_and_those_of_the_package_a_star():
    headings = re.findall(r"^### (\w+)( \\\*)?$", PAGE, re.MULTILINE)
    assert {name for name, star in headings if star} == set(dgl_core.__all__)
    assert {name for name, _ in headings} >= {name for _, name, _ in ENTRIES}
    for room in api.ROOMS:
        assert f": `dgl_core.{room}`" in PAGE


def test_every_method_fusion_model_and_data_set_has_its_line():
    registries = [thing for _, _, thing in ENTRIES if isinstance(thing, Mapping)]
    names = [name for things in registries for name in things]
    assert len(names) > 40 and not [name for name in names if f"| `{name}` | " not in PAGE]
    assert not re.search(r"^\| `\w+` \|  \|", PAGE, re.MULTILINE), "a line says what the thing is"


@pytest.mark.parametrize(("place", "name", "thing"), MADE, ids=[f"{place}.{name}" for place, name, _ in MADE])
def test_an_entry_begins_with_a_sentence(place, name, thing):
    first = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    assert len(first) > 15 and first[0].isupper() and first[-1] in ".:", first


def raised(function) -> set[str]:
    """Names of the errors that a function raises in its own lines."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):
        return set()
    calls = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)} - {"NotImplementedError"}


@pytest.mark.parametrize(("place", "name", "thing"), MADE, ids=[f"{place}.{name}" for place, name, _ in MADE])
def test_what_raises_says_when(place, name, thing):
    function = thing.__dict__.get("__init__", thing.__dict__.get("__post_init__")) if inspect.isclass(thing) else thing
    if raised(function) and function.__module__.startswith("dgl_core"):
        said = inspect.getdoc(thing)
        assert re.search(r"[Rr]efuse|\b\w+(?:Error|Failed)\b", said), said


def test_markdown_that_a_docstring_would_break_is_whole():
    assert PAGE.count("```") % 2 == 0 and "<function" not in PAGE and " at 0x" not in PAGE
    assert not re.search(r"^- \*\*\w+:", PAGE, re.MULTILINE), "stars of a parameter are escaped"
    code = api.prose("Do it::\n\n    a = 1\n    b\n\nThen ``c``.")
    assert code == "Do it:\n\n```text\na = 1\nb\n```\n\nThen `c`."
    listed = api.prose("Do it.\n\nArgs:\n    a: one\n        and more.\n    **b: two.\n\nRaises:\n    ValueError: no.")
    assert listed == "Do it.\n\n**Args.**\n\n- a: one and more.\n- \\*\\*b: two.\n\n**Raises.**\n\n- ValueError: no."
