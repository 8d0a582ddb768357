"""A record of real data answers for those data only; without the data it still can be read."""

from __future__ import annotations

import dataclasses

import pytest

from dgl_core import data
from dgl_core.paper.experiments import late_fusion
from dgl_core.runs import run


def reference(dataset: str):
    return run.reference(late_fusion.branches("cpu", dataset, [0]))["vanilla"][0]


def of_other_data(record):
    return dataclasses.replace(record, data=record.data | {"fingerprint": "other"})


@pytest.mark.skipif(not data.DATASETS["grid_letters"].available(None), reason="GRID is not here (DGL_DATA)")
def test_other_real_data_are_refused():
    record = reference("grid_letters")
    assert run.same_data(record) is record
    with pytest.raises(ValueError, match="other data.*recompute"):
        run.same_data(of_other_data(record))


def test_without_the_data_there_is_nothing_to_compare(monkeypatch, tmp_path):
    monkeypatch.setenv("DGL_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    record = of_other_data(reference("grid_letters"))
    assert run.same_data(record) is record


def test_generated_data_are_known_by_their_revision():
    record = of_other_data(reference("emotions"))
    assert run.same_data(record) is record
