"""The plan of a profile in words and numbers, and processes that share GPUs."""

from __future__ import annotations

import os
import time

import pytest

from dgl_core.paper.experiments import profiles
from dgl_core.reproduce import command
from dgl_core.reproduce.plan import Plan, plan_of, summary, table
from dgl_core.runs import workers
from dgl_core.runs.estimates import Estimates
from dgl_core.runs.store import Store
from dgl_core.training.records import RunRecord, RunSpec

BASE = RunSpec("emotions", model="small", epochs=10)


def record(spec: RunSpec, seconds: float) -> RunRecord:
    key = f"{spec.method}{spec.seed}".ljust(64, "0")
    return RunRecord(spec, key, {}, {}, {"lr": [0.1]}, {}, {"seconds": seconds}, {}, "2026-01-01T00:00:00+00:00")


@pytest.fixture
def known(tmp_path):
    """Vanilla took 2 s an epoch, DGL 3 s."""
    store = Store(tmp_path / "store")
    store.save(record(BASE, 20.0))
    store.save(record(BASE.but(method="dgl"), 30.0))
    return Estimates([tmp_path / "store"], tmp_path / "rehearsal")


def plan(todo, known, absent=None, recorded=()):
    return Plan({"04_benchmark": list(todo)}, [*todo, *recorded], list(todo), known, absent or {})


def test_estimates_follow_the_method_then_the_network_then_say_nothing(known):
    assert known.seconds(BASE.but(epochs=5)) == 10
    assert known.seconds(BASE.but(method="dgl", seed=7)) == 30
    assert known.seconds(BASE.but(method="agm")) == 25, "others on the same data"
    assert known.seconds(BASE.but(model="resnet18")) is None
    assert known.seconds(BASE.but(precision="bf16")) is None and known.seconds(RunSpec("cremad")) is None


def test_records_are_read_once_however_many_runs_are_asked_about(known, tmp_path, monkeypatch):
    reads = []
    monkeypatch.setattr(Store, "records", lambda self: reads.append(self.root) or [])
    estimates = Estimates([tmp_path / "a", tmp_path / "b"], tmp_path / "none")
    assert [estimates.seconds(BASE.but(seed=seed)) for seed in range(100)] == [None] * 100 and len(reads) == 2


def test_the_plan_in_a_line(known):
    todo = [BASE.but(method="dgl", seed=seed) for seed in range(8)]
    assert summary(plan(todo, known, recorded=[BASE]), 2).endswith(
        "1 notebooks, 9 training runs; 1 recorded, 8 to train: about 2 min"
    )
    mixed = summary(plan([*todo, RunSpec("other")], known), 2)
    assert mixed.endswith("9 to train: about 2 min and 1 runs whose time is not measured")
    assert summary(plan([RunSpec("other")], known), 1).endswith("1 to train: time not measured")
    counted = summary(plan([RunSpec("cremad")], known), 1)
    assert counted.endswith("1 to train: 1 runs of 1.4e+16 operations together, not timed here")
    assert summary(plan([], known), 1).endswith("0 recorded, none to train")


def test_the_plan_by_data_set_names_what_is_missing_and_what_to_do(known):
    todo = [BASE.but(seed=seed) for seed in range(3)]
    lines = table(plan(todo, known, {"cremad": [RunSpec("cremad")] * 4, "other": []}, [BASE.but(seed=9)]))
    assert [line.split()[:2] for line in lines[:2]] == [["data", "set"], ["generated", "emotions"]]
    assert lines[1].split()[2:5] == ["4", "1", "3"] and "about 60 s" in lines[1] and lines[1].endswith("made here")
    assert "4 runs of 5.6e+16 operations together, not timed here" in lines[2] and "CREMA-D" in lines[2]
    assert "not here: 'python -m dgl_core data status cremad' says how to get it" in lines[2]
    assert lines[3].endswith("not here: this version does not read it")


def test_the_paper_plan_of_this_machine(monkeypatch, tmp_path):
    """Everything that it names exists, and what is absent is counted apart."""
    for name in ("DGL_DATA", "DGL_RESULTS"):
        monkeypatch.setenv(name, str(tmp_path / name))
    made = plan_of("paper", ["04_benchmark"])
    assert {"cremad", "ks", "vggsound"} <= made.absent.keys() and len(made.todo) == len(made.every)
    assert len({spec.identity() for spec in made.absent["cremad"]}) == len(made.absent["cremad"])
    assert len(table(made)) == 1 + len({spec.dataset for spec in made.every}) + len(made.absent)
    assert all(made.seconds(spec) > 0 for spec in made.todo[:3])


def place(seconds: float) -> tuple[int, str]:
    time.sleep(seconds)
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]


def test_gpus_are_dealt_out_in_turn():
    with workers.local_workers(3, ["0", "GPU-b"]) as pool:
        seen = dict(f.result() for f in [pool.submit(place, 0.5) for _ in range(9)])
    assert sorted(seen.values()) in (["0", "0", "GPU-b"], ["0", "GPU-b"]), seen


@pytest.mark.parametrize("named, expected", [("0,2", ["0", "2"]), ("", []), ("-1", []), ("GPU-a", ["GPU-a"])])
def test_gpus_that_this_process_may_use(monkeypatch, named, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert workers.visible_gpus() == expected


@pytest.mark.parametrize("gpus, arguments, count", [("0,1", [], 2), ("0,1", ["--per-gpu", "3"], 6), ("", [], 1)])
def test_one_training_per_gpu_or_as_many_as_asked(monkeypatch, tmp_path, gpus, arguments, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    options = command.parse(["--profile", "paper", "--out", str(tmp_path), *arguments])
    assert options.workers == count and len(options.gpus) == len(gpus.split(",")) * bool(gpus)
    with pytest.raises(ValueError, match="--per-gpu is 0"):
        command.parse(["--out", str(tmp_path), "--per-gpu", "0"])


def test_titles_exist_for_what_is_planned():
    assert {"cremad", "ks", "vggsound"} <= profiles.TITLES.keys()
