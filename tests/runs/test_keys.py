"""One name a run: a specification is resolved once, and what is resolved stays as it is."""

from __future__ import annotations

import pytest
import tiny

from dgl_core.runs import keys, run
from dgl_core.training.records import RunSpec

tiny.register()


def spec(**fields) -> RunSpec:
    small = {"model": "small", "model_options": {"width": 2}, "epochs": 1, "batch_size": 4}
    return RunSpec("tiny", **small | fields)


def test_a_run_is_its_specification_its_key_and_its_revisions():
    wanted = keys.resolve(spec(method="dgl", method_options={"alpha": 4}))
    assert wanted.spec == keys.canonical(wanted.spec) == spec(method="dgl"), "a default is left out"
    assert wanted.key == keys.key(wanted.spec) and wanted.revisions == keys.revisions(wanted.spec)
    assert keys.resolve(wanted) is wanted


def test_spellings_of_one_run_are_one():
    spellings = [spec(method="dgl", method_options=options) for options in ({}, {"alpha": 4}, {"alpha": 4.0})]
    assert len(set(map(keys.resolve, spellings))) == 1
    assert len({keys.resolve(spec(seed=seed)) for seed in range(3)}) == 3


@pytest.mark.parametrize("recorded", [False, True])
def test_each_specification_is_spelled_out_once(tmp_path, monkeypatch, recorded):
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path))
    asked = [spec(seed=0), spec(seed=1)]
    if recorded:
        run.load_or_run(asked)
    seen, canonical = [], keys.canonical
    monkeypatch.setattr(keys, "canonical", lambda one: seen.append(one.seed) or canonical(one))
    run.load_or_run({"a": asked[:1], "b": asked[1:]})
    assert seen == [0, 1]
