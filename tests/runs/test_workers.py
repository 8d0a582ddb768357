"""Processes that train: where they run, and that Ctrl-C is not theirs to answer."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from dgl_core.runs import workers
from dgl_core.runs.workers import local_workers, sharing


def test_ctrl_c_is_for_the_runner_and_not_for_its_workers():
    """From their first moment: a worker that is still importing would answer with a traceback and break the pool."""
    with local_workers(2) as pool:
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
        pids = list(pool._processes)
        assert len(pids) == 2, "all of them start while Ctrl-C is ignored"
    assert signal.getsignal(signal.SIGINT) != signal.SIG_IGN


# -- several trainings on one GPU --------------------------------------------------------------------------------------

SERVICE = """#!/bin/sh
echo "$* $(cat) gpus=${{CUDA_VISIBLE_DEVICES-all}} $CUDA_MPS_PIPE_DIRECTORY" >> {log}
{last}
"""


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A function that puts a program in the place of NVIDIA's, whose last line is given; it returns its log."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv(workers.MPS_PLACE, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(workers, "PROBE", "pass")

    def install(last: str) -> Path:
        log, program = tmp_path / "log", tmp_path / workers.MPS
        program.write_text(SERVICE.format(log=log, last=last))
        program.chmod(0o755)
        log.touch()
        return log

    return install


def test_the_service_is_started_and_ended_around_trainings_that_share_a_gpu(service, capsys):
    log = service("exit 0")
    with sharing(["1"], 2) as found:
        place = Path(found[workers.MPS_PLACE])
        assert place.is_dir() and found.keys() == {workers.MPS_PLACE, "CUDA_MPS_LOG_DIRECTORY"}
        (started,) = log.read_text().splitlines()
    assert not place.exists() and not capsys.readouterr().err
    # It serves every GPU: their numbers would be others for its clients if it saw some only.
    assert [started.split(), log.read_text().splitlines()[1].split()] == [
        ["-d", "gpus=all", str(place)],
        ["quit", "gpus=all", str(place)],
    ]


def test_a_service_that_stays_behind_does_not_hold_the_runner_up(service):
    service('[ "$1" != -d ] || sleep 20 & exit 0')
    started = time.monotonic()
    with sharing(["0"], 2) as found:
        assert found
    assert time.monotonic() - started < 15


def test_the_service_ends_after_an_error_too(service):
    log = service("exit 0")
    with pytest.raises(KeyboardInterrupt), sharing(["0"], 2):
        raise KeyboardInterrupt
    assert "quit" in log.read_text()


@pytest.mark.parametrize(("gpus", "per_gpu", "place"), [(["0"], 1, ""), ([], 3, ""), (["0"], 2, "/tmp/mine")])
def test_a_service_that_nobody_needs_or_the_reader_has_started_is_not_started(
    gpus, per_gpu, place, service, capsys, monkeypatch
):
    log = service("exit 0")
    monkeypatch.setenv(workers.MPS_PLACE, place)
    with sharing(gpus, per_gpu) as found:
        assert found == {}
    assert log.read_text() == capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("last", "probe", "reason"),
    [
        ("echo 'Insufficient permissions' >&2; exit 1", "pass", "Insufficient permissions"),
        ("exit 0", "raise SystemExit('no CUDA device')", "no CUDA device"),
        ("exit 3", "pass", "status 3"),
    ],
    ids=["not permitted", "no process can compute", "silent"],
)
def test_without_the_service_trainings_take_turns_and_a_sentence_says_so(
    last, probe, reason, service, capsys, monkeypatch
):
    service(last)
    monkeypatch.setattr(workers, "PROBE", probe)
    with sharing(["0"], 2) as found:
        assert found == {}
    said = capsys.readouterr().err
    assert said.startswith(workers.TURNS) and reason in said and len(said.splitlines()) == 1


def test_a_driver_without_the_service_is_named(service, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with sharing(["0"], 2) as found:
        assert found == {}
    assert capsys.readouterr().err == (
        f"{workers.TURNS}: {workers.MPS} is not on the PATH; it comes with NVIDIA's driver.\n"
    )
