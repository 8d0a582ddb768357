"""``python -m tools.reference``: trains what only notebook 08 shows, and publishes nothing that is not finished."""

from __future__ import annotations

import pytest

from dgl_core.paper.experiments import beyond, profiles
from dgl_core.runs import run
from dgl_core.runs.store import Store
from tools import reference


@pytest.fixture
def store(monkeypatch, tmp_path):
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path))
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")  # native numerics, as the committed records were made with
    return Store(tmp_path)


def test_folds_have_no_finals(store):
    assert reference.finals("mosi") == []


def test_an_unfinished_square_has_no_finals(store):
    assert reference.finals("emotions") == []


def test_finals_are_two_points_with_the_seeds_of_table_1(store):
    grid = beyond.decoupling_grid("cpu", "emotions", beyond.reference_seeds("emotions"))
    for record in run.reference([spec for rows in grid.values() for specs in rows.values() for spec in specs]):
        store.save(record)
    found = reference.finals("emotions")
    assert len(found) == 2 * len(profiles.REFERENCE_SEEDS)
    assert all(run.reference([spec]) for spec in found), "the committed records lack finals: python -m tools.reference"


def test_only_what_is_finished_is_published(store, monkeypatch, tmp_path, capsys):
    first = run.reference(beyond.reference_specs("emotions")[:1])[0]
    store.save(first)
    monkeypatch.setattr(run, "reference_root", lambda: tmp_path / "published")
    assert reference.main(["emotions", "--publish"]) == 0
    assert "emotions: 1 records published" in capsys.readouterr().out
    assert len(list((tmp_path / "published").rglob("*.json"))) == 1
