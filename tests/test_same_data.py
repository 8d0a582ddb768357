"""A record of real data answers for those data only; without the data it still can be read."""

from __future__ import annotations

import dataclasses

import pytest

from dgl_core import data, experiments, runs


def reference(dataset: str):
    return runs.reference(experiments.branches("cpu", dataset, [0]))["vanilla"][0]


def of_other_data(record):
    return dataclasses.replace(record, data=record.data | {"fingerprint": "other"})


@pytest.mark.skipif(not data.DATASETS["grid_letters"].available(None), reason="GRID is not here (DGL_DATA)")
def test_other_real_data_are_refused():
    record = reference("grid_letters")
    assert runs.same_data(record) is record
    with pytest.raises(ValueError, match="other data.*recompute"):
        runs.same_data(of_other_data(record))


def test_without_the_data_there_is_nothing_to_compare(monkeypatch, tmp_path):
    monkeypatch.setenv("DGL_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    record = of_other_data(reference("grid_letters"))
    assert runs.same_data(record) is record


def test_generated_data_are_known_by_their_revision():
    record = of_other_data(reference("emotions"))
    assert runs.same_data(record) is record
