"""From specifications to records: each run is made once, whoever asks, however many ask, wherever it stops."""

from __future__ import annotations

import dataclasses
import datetime
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import tiny

from dgl_core.runs import audit, keys, run
from dgl_core.runs.run import RunsFailed, load_or_run, run_all
from dgl_core.runs.store import Store
from dgl_core.training import train
from dgl_core.training.records import RunSpec

tiny.register()
TESTS = Path(__file__).resolve().parents[1]


def spec(**fields) -> RunSpec:
    small = {"model": "small", "model_options": {"width": 2}, "epochs": 2, "batch_size": 4, "lr": 0.05}
    return RunSpec("tiny", **small | fields)


def grid() -> dict[str, list[RunSpec]]:
    dgl = [spec(method="dgl", seed=seed) for seed in (0, 1)]
    return {"vanilla": [spec(seed=seed) for seed in (0, 1)], "DGL": dgl, "DGL again": dgl}


def plain(record) -> dict[str, object]:
    """A record without what may differ between two makings of one run."""
    curves = {c: v for c, v in record.curves.items() if not c.startswith("seconds/")}
    return {"key": record.key, "curves": curves, "predictions": record.predictions, "data": record.data}


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> Path:
    """A store of its own for every test."""
    folder = tmp_path / "store"
    monkeypatch.setenv("DGL_RESULTS", str(folder))
    return folder


@pytest.fixture
def trained(monkeypatch) -> list[RunSpec]:
    """The specifications that are really trained, in order."""
    made, original = [], train.train

    def counting(spec, **options):
        made.append(spec)
        return original(spec, **options)

    monkeypatch.setattr(train, "train", counting)
    return made


@pytest.fixture(scope="module")
def expected() -> dict[str, dict[str, object]]:
    """The records of the grid, made one after another without any store."""
    specs = {keys.key(s): keys.canonical(s) for group in grid().values() for s in group}
    return {key: plain(train.train(s, key=key)) for key, s in specs.items()}


# -- asking ------------------------------------------------------------------------------------------------------------


def test_what_is_recorded_is_not_trained_again(trained, store):
    first = load_or_run(grid())
    assert {name: len(group) for name, group in first.items()} == {"vanilla": 2, "DGL": 2, "DGL again": 2}
    assert len(trained) == 4, "two rows ask for the same runs: they are made once"
    assert load_or_run(grid()) == first and len(trained) == 4
    assert first["DGL"] == first["DGL again"]
    assert [[r.spec.seed for r in group] for group in first.values()] == [[0, 1]] * 3
    assert sorted(p.suffix for p in store.iterdir()) == [".json"] * 4, "no claim and no checkpoint stays behind"


def test_a_list_comes_back_as_a_list(trained):
    records = load_or_run([spec(seed=1), spec(seed=0), spec(seed=1)])
    assert [r.spec.seed for r in records] == [1, 0, 1] and len(trained) == 2


def test_recompute_makes_new_records(trained):
    (before,) = load_or_run([spec()])
    (after,) = load_or_run([spec()], recompute=True)
    assert len(trained) == 2 and plain(after) == plain(before)
    assert load_or_run([spec()]) == [after]


def test_another_spelling_finds_the_same_record(trained):
    load_or_run([spec(method="dgl", method_options={"alpha": 4})])
    load_or_run([spec(method="dgl", method_options={"alpha": 4.0}, dataset_options={"samples": 24.0})])
    assert len(trained) == 1


def test_pending_lists_each_missing_run_once_in_order():
    specs = [spec(seed=2), spec(seed=1), spec(seed=2), spec(seed=0)]
    assert [s.seed for s in run.pending(specs)] == [2, 1, 0]
    load_or_run([spec(seed=1)])
    assert [s.seed for s in run.pending(specs)] == [2, 0]


def test_nothing_asked_nothing_done(store):
    assert load_or_run([]) == [] and load_or_run({}) == {} and run_all([]) == [] and not store.exists()


def test_a_record_says_what_it_is():
    (record,) = load_or_run([spec(method="dgl", method_options={"alpha": 2})])
    assert record.key == keys.key(record.spec) and record.revisions == keys.revisions(record.spec)
    assert record.spec == keys.canonical(spec(method="dgl", method_options={"alpha": 2.0}))
    assert record.data["counts"] == {"train": 12, "val": 6, "test": 6}
    assert record.data["modalities"] == ["sound", "face"] and record.data["fingerprint"] == tiny.images().fingerprint
    assert record.environment["threads"] == 1 and {"torch", "python", "commit", "device"} <= set(record.environment)
    assert record.cost["parameters"] > 0 and record.cost["seconds"] > 0
    assert record.created.endswith("+00:00")


@pytest.mark.parametrize("damage", ["truncated", "edited", "schema"])
def test_a_damaged_record_is_made_again(trained, store, capsys, damage):
    (record,) = load_or_run([spec()])
    (path,) = store.iterdir()
    text = path.read_text()
    changed = {
        "truncated": text[:200],
        "edited": text.replace('"seed', '"sed').replace("0.", "1.", 3),
        "schema": text.replace('"schema": 1', '"schema": 7'),
    }[damage]
    assert changed != text
    path.write_text(changed)
    (again,) = load_or_run([spec()])
    assert len(trained) == 2 and plain(again) == plain(record)
    assert "is not used" in capsys.readouterr().err
    assert sorted(p.suffix for p in store.iterdir()) == [".damaged", ".json"]


# -- reference ---------------------------------------------------------------------------------------------------------


def test_reference_never_answers_for_a_run(trained, store, tmp_path, monkeypatch):
    """And a run never answers for the reference."""
    monkeypatch.setattr(run, "reference_root", lambda: tmp_path / "reference")
    (made,) = load_or_run([spec()])
    assert run.reference([spec()]) == []
    assert run.publish_reference([spec(), spec(seed=7)]) == 1
    assert run.reference({"a": [spec(), spec(seed=7)], "b": []}) == {"a": [made], "b": []}
    for path in store.iterdir():
        path.unlink()
    assert run.find(spec()) is None and run.pending([spec()]) == [keys.canonical(spec())]
    load_or_run([spec()])
    assert len(trained) == 2


def test_estimates_follow_what_was_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "reference_root", lambda: tmp_path / "reference")
    guess = run.estimate_seconds(spec(epochs=10))
    assert guess > 0 and run.estimate_seconds(spec(epochs=20)) == 2 * guess
    (record,) = load_or_run([spec()])
    assert run.estimate_seconds(spec(epochs=20)) == pytest.approx(10 * record.cost["seconds"])
    load_or_run([spec(method="dgl")])
    assert run.estimate_seconds(spec(epochs=2)) == pytest.approx(record.cost["seconds"]), "the same method counts"


def test_audit_trains_again_and_compares(monkeypatch, tmp_path):
    folder = tmp_path / "reference" / "tiny"
    for module in (run, audit):
        monkeypatch.setattr(module, "reference_root", lambda: tmp_path / "reference")
    (record,) = load_or_run([spec()])
    run.publish_reference([spec()])
    said = []
    assert audit.audit(say=said.append) == [] and "identical" in said[0]

    def changed(**fields) -> list[str]:
        Store(folder).replace(type(record)(**vars(record) | fields))
        return audit.audit(say=said.append)

    (wrong,) = changed(curves=record.curves | {"test/fused/accuracy": [0.99] * 2})
    assert wrong.startswith("vanilla on tiny, seed 0: fused test accuracy differs")
    (other,) = changed(data=record.data | {"fingerprint": "other"})
    assert other.startswith("vanilla on tiny, seed 0: the data here are other data")
    for path in folder.iterdir():
        path.unlink()
    (old,) = changed(key="0" * 64)
    assert old.startswith("vanilla on tiny, seed 0: made by revisions")


def test_audit_says_by_which_seed_it_chose(monkeypatch, capsys):
    """And chooses others every day, unless one is given."""
    asked = []
    monkeypatch.setattr(audit, "audit", lambda count, seed: asked.append((count, seed)) or [])
    assert audit.main(["2", "--seed", "7"]) == 0 and audit.main([]) == 0
    assert asked == [(2, 7), (3, datetime.date.today().toordinal())]
    assert "again: dgl audit 2 --seed 7" in capsys.readouterr().out


def test_audit_of_nothing_is_no_praise(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(audit, "reference_root", lambda: tmp_path)
    assert audit.main([]) == 1 and "holds no records" in capsys.readouterr().err


def test_skipped_epochs_do_not_count_as_different(monkeypatch, tmp_path):
    for module in (run, audit):
        monkeypatch.setattr(module, "reference_root", lambda: tmp_path / "reference")
    (record,) = load_or_run([spec(evaluate_every=2)])
    assert math.isnan(record.curves["val/fused/accuracy"][0]) and record.epoch("best_val") == 1
    run.publish_reference([record.spec])
    said = []
    assert audit.audit(say=said.append) == [] and "identical" in said[0]


# -- how a record was made ---------------------------------------------------------------------------------------------


def test_native_and_portable_records_never_stand_in_for_each_other(trained, store, monkeypatch):
    """One key, two files; each process finds the record of its own numerics only."""
    (portable,) = load_or_run([spec()])
    assert portable.making == "portable", "tests run so (conftest.py)"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert run.find(spec()) is None and len(run.pending([spec()])) == 1
    (native,) = load_or_run([spec()])
    assert native.making == "" and native.key == portable.key and len(trained) == 2
    assert sorted(".portable" in path.name for path in store.glob("*.json")) == [False, True]
    assert load_or_run([spec()]) == [native]
    monkeypatch.undo()
    monkeypatch.setenv("DGL_RESULTS", str(store))
    assert load_or_run([spec()]) == [portable]


def test_a_portable_record_of_an_earlier_version_is_found_and_makes_room(store, monkeypatch):
    """Earlier versions kept every record under the plain name."""
    (portable,) = load_or_run([spec()])
    (path,) = store.glob("*.json")
    plain_name = path.rename(path.with_name(path.name.replace(".portable", "")))
    assert run.find(spec()) == portable
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    (native,) = load_or_run([spec()])
    assert native.making == "" and plain_name.exists() and run.find(spec()) == native
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert run.find(spec()) == portable


def test_a_run_on_two_processes_does_not_stand_in_for_one_on_one(store):
    (alone,) = load_or_run([spec()])
    (path,) = store.glob("*.json")
    path.unlink()
    shared = dataclasses.replace(alone, environment=alone.environment | {"processes": 2})
    Store(store, shared.making).save(shared)
    assert shared.making == "portable.2processes" and run.find(spec()) is None
    assert run.here(processes=2).load(alone.spec, alone.key) == shared
    whole = dataclasses.replace(shared, environment=shared.environment | {"whole_batch": True})
    assert whole.making == "portable", "the update is that of one process"


def test_what_killed_workers_left_is_cleaned_up(store):
    (record,) = load_or_run([spec()])
    (path,) = store.glob("*.json")
    old = time.time() - 7200
    useless = [path.with_suffix(".checkpoint"), store / ".x.json.abc.tmp", store / "gone.claim"]
    useful = [store / "unfinished.checkpoint", store / ".y.json.abc.tmp", store / "living.claim"]
    for file in (*useless, *useful):
        file.write_text("{}")
    for file in useless:
        os.utime(file, (old, old))
    load_or_run([spec(seed=1)])
    assert not any(file.exists() for file in useless) and all(file.exists() for file in useful)
    assert load_or_run([spec()]) == [record]


# -- failing -----------------------------------------------------------------------------------------------------------


def test_a_failing_run_is_reported_after_all_others(store):
    bad = [spec(batch_size=1000), spec(method="dgl", dataset_options={"modalities": 1})]
    order = []
    with pytest.raises(RunsFailed) as caught:
        run_all(
            [bad[0], spec(), bad[1], spec(seed=1)], progress=lambda done, total, s, seconds: order.append((done, total))
        )
    assert order == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [failed for failed, _ in caught.value.failures] == [keys.canonical(b) for b in bad]
    assert str(caught.value) == (
        "vanilla on tiny, seed 0: batch_size 1000 exceeds the 12 training samples. (1 more failed). Finished runs are "
        "recorded."
    )
    assert run.pending([spec(), spec(seed=1)]) == [] and len(list(store.iterdir())) == 2


def test_a_misspelled_run_stops_everything_before_it_starts(trained):
    with pytest.raises(ValueError, match="did you mean 'vanilla'"):
        run_all([spec(), spec(method="vanila")])
    assert trained == []


def test_interrupt_keeps_what_is_finished_and_resumes(trained, store, monkeypatch, expected):
    """Ctrl-C in the middle of the second run: the first is recorded, the second goes on from its checkpoint."""
    counting, stop = train.train, [False]

    def interrupted(spec, **options):
        def log(line: str) -> None:
            if stop[0]:
                raise KeyboardInterrupt

        return counting(spec, **options | {"every": 0, "log": log})

    monkeypatch.setattr(train, "train", interrupted)
    specs = grid()["DGL"]

    def progress(*_):
        stop[0] = True

    with pytest.raises(KeyboardInterrupt):
        run_all(specs, progress=progress)
    assert [s.seed for s in run.pending(specs)] == [1]
    assert sorted(p.suffix for p in store.iterdir()) == [".checkpoint", ".json"]
    stop[0] = False
    epochs = []
    monkeypatch.setattr(train, "train", lambda s, **o: counting(s, **o | {"log": epochs.append}))
    records = run_all(specs)
    assert len(epochs) == 1, "the first of two epochs is not trained again"
    assert [plain(r) for r in records] == [expected[keys.key(s)] for s in specs]
    assert [p.suffix for p in store.iterdir()] == [".json"] * 2


# -- many workers ------------------------------------------------------------------------------------------------------


def check_grid(records, expected) -> None:
    assert [plain(r) for r in records] == [expected[keys.key(s)] for group in grid().values() for s in group]


def test_a_run_that_another_runner_holds_is_left_for_last(store):
    """Two runners with the same list share the work instead of waiting for each other at every run."""
    first, second = keys.canonical(spec(seed=1)), spec(seed=0)
    done, held, release = [], threading.Event(), threading.Event()

    def other_runner() -> None:
        with run.here().claim(first, keys.key(first)) as mine:
            assert mine
            held.set()
            release.wait(60)

    def progress(number, total, finished, seconds) -> None:
        done.append((number, finished.seed))
        release.set()

    thread = threading.Thread(target=other_runner)
    thread.start()
    held.wait(60)
    records = run_all([first, second], progress=progress)
    thread.join()
    assert done == [(1, 0), (2, 1)] and [r.spec.seed for r in records] == [1, 0]


def test_workers_are_processes(expected):
    """Anything with ``submit``; only specifications travel."""
    specs = [s for group in grid().values() for s in group]
    done = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn, initializer=tiny.register) as pool:
        records = run_all(specs, client=pool, progress=lambda n, total, s, seconds: done.append((n, total)))
        check_grid(records, expected)
        assert done == [(i, 4) for i in range(1, 5)]
        with pytest.raises(RunsFailed, match="batch_size 1000 exceeds") as caught:
            run_all([spec(batch_size=1000), spec(seed=5)], client=pool)
        assert len(caught.value.failures) == 1 and run.pending([spec(seed=5)]) == []


def test_workers_are_dask(expected):
    """Two threads of one process: trainings there must not share random numbers."""
    distributed = pytest.importorskip("distributed")
    specs = [s for group in grid().values() for s in group]
    quiet = {"dashboard_address": None, "n_workers": 1, "threads_per_worker": 2, "processes": False}
    with distributed.Client(**quiet, set_as_default=False) as client:
        check_grid(run_all(specs, client=client), expected)
        with pytest.raises(RunsFailed, match="batch_size 1000 exceeds"):
            run_all([spec(batch_size=1000)], client=client)
        again = run_all(specs[:1], client=client, recompute=True)
        assert plain(again[0]) == expected[keys.key(specs[0])]


SCRIPT = """
import sys, time
sys.path[:0] = [{root!r}, {tests!r}]
import tiny; tiny.register()
from runs.test_run import grid
from dgl_core.runs import keys, run
from dgl_core.training import train as training

train = training.train

def counting(spec, **options):
    print("TRAINED", keys.key(spec), flush=True)
    return train(spec, **options | {{"every": 0}} | {{"log": {log}}})

training.train = counting
print("READY", flush=True)
if {wait}:
    sys.stdin.readline()
run.run_all(s for group in grid().values() for s in group)
"""


def start(wait: bool = True, log: str = "None") -> subprocess.Popen:
    code = SCRIPT.format(root=str(TESTS.parent), tests=str(TESTS), wait=wait, log=log)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes)


def test_two_runners_on_one_store_and_one_is_killed(expected, store):
    """Side by side each run is trained once; what a killed runner had begun is finished by them, without waiting."""
    first, second = start(), start()
    victim = start(wait=False, log="lambda line: time.sleep(600)")  # sleeps after its first epoch, checkpoint written
    try:
        assert victim.stdout.readline() == "READY\n"
        begun = victim.stdout.readline().split()[1]
        deadline = time.time() + 300
        while not list(store.glob("*.checkpoint")) and time.time() < deadline:
            time.sleep(0.02)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        assert [p.suffix for p in sorted(store.iterdir())] == [".checkpoint", ".claim"]
        for runner in (first, second):
            assert runner.stdout.readline() == "READY\n"
        for runner in (first, second):
            runner.stdin.write("\n")
            runner.stdin.flush()
        trained = [
            line.split()[1] for runner in (first, second) for line in runner.communicate(timeout=300)[0].splitlines()
        ]
    finally:
        for runner in (first, second, victim):
            runner.kill()
            runner.wait()
    assert first.returncode == second.returncode == 0
    assert sorted(trained) == sorted(expected), "every run once, not twice"
    assert begun in expected
    check_grid(run_all(s for group in grid().values() for s in group), expected)
    assert [p.suffix for p in store.iterdir()] == [".json"] * 4
