"""Executing a committed notebook again gives the same bytes: theory, and real training in a store of its own."""

from __future__ import annotations

import pytest

from dgl_core.reproduce.execute import NOTEBOOKS
from tools.audit import first_difference
from tools.notebooks import rebuild


@pytest.mark.parametrize("name", ["02_gradient_theory", "03_vanilla_vs_dgl"])
def test_the_same_bytes(name):
    committed, again = (NOTEBOOKS / f"{name}.ipynb").read_text(), rebuild([name])[name]
    assert committed == again, first_difference(committed, again)
