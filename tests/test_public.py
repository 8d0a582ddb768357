"""The public names: what README and the notebooks of others import. A name is never taken away silently."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dgl_core
from dgl_core.utils import ROOT

NAMES = {
    *("DisentangledObjective", "disentangled_logits", "disentangled_loss", "diagnose"),  # the method, the meter
    *("ArrayDataset", "ConcatFusion", "LateFusion", "METHODS", "MultimodalModel", "fit", "random_split"),
    *("compare", "load_model"),  # training one's own, and what comes of it
    *("RunSpec", "load_or_run", "reference"),  # recorded runs
    *("check", "provenance", "publish", "start", "answer", "difference"),  # inside the notebooks
}


def test_these_are_the_public_names():
    assert set(dgl_core.__all__) == NAMES
    assert all(getattr(dgl_core, name) is not None for name in NAMES)


def loaded(statement: str) -> list[str]:
    """Modules of the house that a fresh interpreter holds after a statement, the package itself left out."""
    code = f"{statement}\nimport sys; print(*sorted(m for m in sys.modules if m.startswith('dgl_core.')))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_the_method_loads_nothing_else_of_the_house():
    assert loaded("import dgl_core.gradients") == ["dgl_core.gradients"]


def test_the_data_set_class_loads_at_most_six_modules():
    found = loaded("from dgl_core.data import ArrayDataset")
    assert len(found) <= 6, found


def test_dgl_loads_none_of_its_rivals():
    found = loaded("import dgl_core.methods.dgl")
    assert len(found) <= 12 and not any("baselines" in name or "models" in name for name in found), found


@pytest.mark.parametrize("room", ["data", "methods", "models", "training", "runs", "verdicts", "paper", "reproduce"])
def test_opening_a_room_is_cheap(room):
    code = f"import sys, dgl_core.{room}; assert 'sklearn' not in sys.modules and 'pandas' not in sys.modules"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
