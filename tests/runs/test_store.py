"""The folder of records: claims, damage, and a disk that will not take any more."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from training.test_records import record

from dgl_core.data.files import atomic
from dgl_core.runs import store
from dgl_core.runs.store import Store


@pytest.fixture
def kept(tmp_path) -> Store:
    return Store(tmp_path / "made" / "on" / "demand")


def claim_file(kept: Store, owner: dict | str, age: float = 0.0):
    made = record()
    path = kept.path(made.spec, made.key).with_suffix(".claim")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(owner if isinstance(owner, str) else json.dumps(owner))
    os.utime(path, (time.time() - age,) * 2)
    return path


def claimed(kept: Store) -> bool:
    made = record()
    with kept.claim(made.spec, made.key) as mine:
        return mine


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


# -- records -----------------------------------------------------------------------------------------------------------


def test_saved_and_found(kept):
    made = record()
    assert kept.load(made.spec, made.key) is None and kept.records() == []
    assert kept.save(made) == made
    assert kept.load(made.spec, made.key) == made and kept.records() == [made]
    assert [p.name for p in kept.root.iterdir()] == [f"tiny-dgl-2.0-seed4-{made.key[:16]}.json"]


def test_the_first_finished_record_wins(kept):
    first, second = record(created="first"), record(created="second")
    kept.save(first)
    assert kept.save(second) == first and kept.load(first.spec, first.key) == first
    assert kept.replace(second) == second and kept.load(first.spec, first.key) == second


@pytest.mark.parametrize("damage", ["truncated", "edited", "empty", "schema", "bytes", "another run"])
def test_a_damaged_record_is_set_aside(kept, capsys, damage):
    made = record()
    kept.save(made)
    path = kept.path(made.spec, made.key)
    text = path.read_text()
    path.write_bytes({
        "truncated": text[:100].encode(),
        "edited": text.replace("0.75", "0.99").encode(),
        "empty": b"",
        "schema": json.dumps(json.loads(text) | {"schema": 0}).encode(),
        "bytes": b"\xff\xfe" + text.encode(),
        "another run": record(key="0" * 64).to_json().encode(),
    }[damage])  # fmt: skip
    held = path.read_bytes()
    if damage != "another run":
        assert kept.records() == []
        assert path.name in capsys.readouterr().err
    assert kept.load(made.spec, made.key) is None
    message = capsys.readouterr().err
    assert f"Record {path.name} is not used" in message and "damaged" in message
    assert path.with_name(path.name + ".damaged").read_bytes() == held and not path.exists()
    assert kept.save(made) == made and kept.load(made.spec, made.key) == made


def test_a_record_of_a_later_version_stops_nobody(kept):
    """Somebody went back to an older version: its records are not readable here, the others are."""
    from training.test_records import signed

    kept.save(record())
    (kept.root / "later.json").write_text(signed(extra=1))
    assert kept.records() == [record()]


# -- claims ------------------------------------------------------------------------------------------------------------


def test_a_run_is_claimed_once(kept):
    made = record()
    with kept.claim(made.spec, made.key) as mine:
        assert mine and not claimed(kept)
    assert claimed(kept), "a claim must be released at the end"
    assert list(kept.root.iterdir()) == []


def test_a_failing_run_releases_its_claim(kept):
    made = record()
    with pytest.raises(KeyboardInterrupt), kept.claim(made.spec, made.key):
        raise KeyboardInterrupt
    assert claimed(kept)


def test_two_runs_do_not_block_each_other(kept):
    a, b = record(), record(spec=record().spec.but(seed=9), key="b" * 64)
    with kept.claim(a.spec, a.key) as first, kept.claim(b.spec, b.key) as second:
        assert first and second


HERE = socket.gethostname()


@pytest.mark.parametrize("owner, age, taken", [
    ({"host": HERE, "pid": os.getpid()}, 0, False),
    ({"host": HERE, "pid": os.getppid()}, 0, False),
    ({"host": HERE, "pid": "dead"}, 0, True),
    ({"host": "elsewhere", "pid": 1}, 0, False),
    ({"host": "elsewhere", "pid": 1}, 2 * store.STALE, True),
    ({"host": HERE, "pid": os.getppid()}, 2 * store.STALE, True),
    ("", 0, False),
    ("", 2 * store.STALE, True),
    ('{"host": "el', 2 * store.STALE, True),
    ("[]", 2 * store.STALE, True),
], ids=["mine", "alive here", "dead here", "alive elsewhere", "silent elsewhere", "silent here", "being written",
        "never written", "half written", "nonsense"])  # fmt: skip
def test_a_stale_claim_is_taken_over_and_a_live_one_is_not(kept, owner, age, taken):
    if isinstance(owner, dict) and owner["pid"] == "dead":
        owner = owner | {"pid": dead_pid()}
    path = claim_file(kept, owner, age)
    assert claimed(kept) is taken
    assert path.exists() is not taken
    assert [p for p in kept.root.iterdir() if p != path] == []


def test_a_worker_gives_signs_of_life(kept, monkeypatch):
    monkeypatch.setattr(store, "HEARTBEAT", 0.02)
    made = record()
    with kept.claim(made.spec, made.key):
        path = kept.path(made.spec, made.key).with_suffix(".claim")
        os.utime(path, (0, 0))
        deadline = time.time() + 10
        while path.stat().st_mtime == 0 and time.time() < deadline:
            time.sleep(0.01)
        assert time.time() - path.stat().st_mtime < 10


def test_of_many_that_see_a_stale_claim_one_goes_on(kept):
    """Twenty workers, one abandoned claim: never two at a time, and every one of them gets its turn or says no."""
    made = record()
    for _ in range(10):
        claim_file(kept, {"host": "elsewhere", "pid": 1}, 2 * store.STALE)
        together, working, most, wins = threading.Barrier(20), [], [], []

        def work(together=together, working=working, most=most, wins=wins):
            together.wait()
            with kept.claim(made.spec, made.key) as mine:
                if mine:
                    working.append(1)
                    most.append(len(working))
                    wins.append(1)
                    time.sleep(0.02)
                    working.pop()

        threads = [threading.Thread(target=work) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wins and max(most) == 1
    assert list(kept.root.iterdir()) == []


def test_a_claim_dated_in_the_future_does_not_block_for_ever(kept, monkeypatch, capsys):
    """A clock that was wrong: the claim counts as new once it is seen, and is stale a minute later."""
    path = claim_file(kept, {"host": "elsewhere", "pid": 1}, -1000 * store.STALE)
    assert not claimed(kept) and "in the future" in capsys.readouterr().err
    assert abs(path.stat().st_mtime - time.time()) < 30
    os.utime(path, (time.time() - 2 * store.STALE,) * 2)
    assert claimed(kept)


def test_a_claim_taken_over_by_another_between_look_and_rename_is_given_back(kept, monkeypatch):
    """Two see an abandoned claim; the second must not throw out the first, who is quicker."""
    path = claim_file(kept, {"host": "elsewhere", "pid": 1}, 2 * store.STALE)
    look, quicker = store._is_stale, json.dumps({"host": HERE, "pid": os.getpid(), "token": "quicker"})

    def look_then_be_overtaken(at):
        stale = look(at)
        if at == path:
            path.write_text(quicker)
        return stale

    monkeypatch.setattr(store, "_is_stale", look_then_be_overtaken)
    assert not claimed(kept)
    assert path.read_text() == quicker and list(kept.root.iterdir()) == [path]


def test_a_claim_that_was_taken_over_is_not_released_by_its_first_owner(kept):
    """A worker that slept for long (a closed laptop) must not remove the claim of the one that goes on with the run."""
    made = record()
    path = kept.path(made.spec, made.key).with_suffix(".claim")
    with kept.claim(made.spec, made.key):
        path.unlink()
        path.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    assert path.exists()


# -- a disk that is full or read-only ----------------------------------------------------------------------------------


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_only(path, *_, **__):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))


def test_a_full_disk_when_the_record_is_written(kept, monkeypatch):
    made = record()
    kept.save(made)
    monkeypatch.setattr(atomic.os, "replace", no_space)
    other = record(created="later")
    with pytest.raises(OSError, match="No space left on device.*DGL_RESULTS") as caught:
        kept.replace(other)
    assert caught.value.errno == errno.ENOSPC and str(kept.root) in str(caught.value)
    monkeypatch.undo()
    assert kept.load(made.spec, made.key) == made, "the record that was there is untouched"
    assert len(list(kept.root.iterdir())) == 1, "nothing half-written is left"


def test_a_full_disk_when_the_run_is_claimed(kept, monkeypatch):
    """No claim stays behind that would block the run until it is stale."""

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            os.close(self.handle)

        write = no_space

    def full(handle, mode):
        file = Full()
        file.handle = handle
        return file

    monkeypatch.setattr(store.os, "fdopen", full)
    with pytest.raises(OSError, match="No space left on device.*DGL_RESULTS"):
        claimed(kept)
    monkeypatch.undo()
    assert claimed(kept)


@pytest.mark.parametrize("call", ["open", "makedirs"])
def test_a_read_only_folder(kept, monkeypatch, call):
    if call == "open":
        monkeypatch.setattr(store.os, "open", read_only)
    else:
        monkeypatch.setattr(store.Path, "mkdir", read_only)
    with pytest.raises(OSError, match="Read-only file system.*DGL_RESULTS"):
        claimed(kept)


def test_reading_needs_no_writing(kept, monkeypatch):
    """A store on a read-only disk still gives what it holds, and only a message for what is damaged."""
    made = record()
    kept.save(made)
    monkeypatch.setattr(store.Path, "replace", read_only)
    monkeypatch.setattr(store.Path, "mkdir", read_only)
    assert kept.load(made.spec, made.key) == made
    kept.path(made.spec, made.key).write_text("{")
    assert kept.load(made.spec, made.key) is None


def test_files_are_flushed_to_the_disk_before_they_get_their_name(kept, monkeypatch):
    """Or a power cut leaves an empty file under the right name: the file first, then the move, then the folder."""
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(atomic.os, "fsync", lambda handle: done.append("fsync") or fsync(handle))
    monkeypatch.setattr(atomic.os, "replace", lambda *paths: done.append("move") or replace(*paths))
    kept.save(record())
    assert done == ["fsync", "move", "fsync"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_whatever_is_written_says_where_and_what_to_do(tmp_path, monkeypatch, code):
    def refused(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.tempfile, "mkstemp", refused)
    with pytest.raises(atomic.CannotWrite, match=f"cannot write to .*{os.strerror(code)}. (Free|Make) .*") as caught:
        atomic.write_atomic(tmp_path / "figure.png", b"x")
    assert str(tmp_path) in str(caught.value) and caught.value.errno == code
