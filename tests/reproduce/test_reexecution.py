"""Executing a committed notebook again gives the same bytes, real training in a store of its own included."""

from __future__ import annotations

import pytest
from locked import other_versions

from dgl_core.reproduce.execute import NOTEBOOKS
from tools.audit import first_difference
from tools.notebooks import rebuild


def test_the_same_bytes():
    """Of one notebook; ``make audit`` compares all of them, and nbval all their outputs."""
    if others := other_versions():
        pytest.skip(f"the outputs were made with the versions of requirements.lock, here are {others}")
    name = "03_vanilla_vs_dgl"
    committed, again = (NOTEBOOKS / f"{name}.ipynb").read_text(), rebuild([name])[name]
    assert committed == again, first_difference(committed, again)
