"""What goes wrong on real machines: one clear message, a non-zero exit, and nothing finished is lost."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
import time

import pytest

from conftest import HEADER
from dgl_core.data.files import atomic
from dgl_core.data.files.atomic import write_atomic
from dgl_core.reproduce import command, outputs
from dgl_core.training.environment import PORTABLE_NUMERICS


def alive(project) -> list[str]:
    """Processes that belong to the project and are still there."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                with open(f"/proc/{entry.name}/environ", "rb") as file:
                    if f"DGL_RESULTS={project.store}".encode() in file.read().split(b"\0"):
                        found.append(entry.name)
            except OSError:
                continue
    return found


@pytest.mark.parametrize("said_that_it_began", [False, True])
def test_a_kernel_that_dies_mid_cell_is_a_failure_although_papermill_calls_it_completed(project, said_that_it_began):
    wait = "import time\ntime.sleep(1)\n" if said_that_it_began else ""
    project.notebook("01_first", "print('before')", f"import os\n{wait}os._exit(1)", "print('after')")
    result = project.reproduce()
    assert result.returncode == 1
    assert "FAILED  01_first, code cell 3: import os\n  the kernel died (out of memory?)\n" in result.stderr
    assert not (project.out / "notebooks" / "01_first.json").read_text().count('"error": ""')


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_training_keeps_what_is_finished_and_goes_on_from_there(project, number):
    project.notebook("01_first", "print(1)", runs=6)
    process = project.start(FAKE_SECONDS="0.6")
    status, _, errors = project.interrupt_after(process, records=2, number=number)
    finished = {path.name: path.stat().st_mtime_ns for path in project.records()}
    assert status == 130 and errors.strip().count("\n") == 0 and "Interrupted" in errors
    assert 2 <= len(finished) < 6
    assert not alive(project)
    if number == signal.SIGINT:
        again = project.reproduce()
        assert again.returncode == 0, again.stderr
        assert f"{len(finished)} recorded, {6 - len(finished)} to train" in again.stdout
        assert finished.items() <= {path.name: path.stat().st_mtime_ns for path in project.records()}.items()
        assert not list(project.store.rglob("*.claim"))


def processes(project, words: str) -> list[int]:
    """Processes of the project whose command line holds some words."""
    commands = {pid: open(f"/proc/{pid}/cmdline").read().replace("\0", " ") for pid in alive(project)}
    return [int(pid) for pid, command in commands.items() if words in command]


def started(project, **variables):
    """A runner whose notebook is in the middle of a long cell."""
    cell = "from pathlib import Path\nPath('started').touch()\nimport time\ntime.sleep(60)"
    project.notebook("01_first", cell)
    process, mark = project.start(**variables), project.root / "notebooks" / "started"
    give_up = time.monotonic() + 60
    while not mark.exists() and time.monotonic() < give_up:
        time.sleep(0.1)
    assert mark.exists()
    return process


def wait_for_the_end(project, seconds: float = 15) -> None:
    give_up = time.monotonic() + seconds
    while alive(project) and time.monotonic() < give_up:
        time.sleep(0.2)
    assert not alive(project)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_runner_that_ends_in_a_notebook_leaves_no_papermill_no_kernel_and_no_files(project, tmp_path, number):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = started(project, TMPDIR=str(scratch))
    assert len(processes(project, "ipykernel_launcher")) == 1 and any(scratch.glob("dgl_report_*"))
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    if number == signal.SIGINT:
        assert process.returncode == 130 and "Interrupted" in errors
    wait_for_the_end(project)
    assert not list(scratch.glob("dgl_*")) and not list(project.out.rglob("*.ipynb"))


def test_papermill_that_is_killed_is_named_and_takes_its_kernel_along(project):
    process = started(project)
    (kernel,) = processes(project, "ipykernel_launcher")
    with open(f"/proc/{kernel}/stat") as file:
        os.kill(int(file.read().rsplit(")", 1)[1].split()[1]), signal.SIGKILL)  # its parent
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "FAILED  01_first, while it was executed\n  papermill's process ended with exit code -9" in errors
    wait_for_the_end(project)


def test_workers_end_with_a_runner_that_is_killed_and_the_next_one_takes_over(project):
    project.notebook("01_first", "print(1)", runs=4)
    process = project.start(FAKE_SECONDS="1.0")
    project.interrupt_after(process, records=1, number=signal.SIGKILL)
    give_up = time.monotonic() + 10
    while alive(project) and time.monotonic() < give_up:
        time.sleep(0.1)
    assert not alive(project)
    before = len(project.records())
    again = project.reproduce()
    assert again.returncode == 0, again.stderr
    assert f"{before} recorded" in again.stdout and len(project.records()) == 4


def test_two_runners_on_one_store_share_the_work(project):
    project.notebook("01_first", "print(1)", runs=4)
    both = [project.start("--out", str(project.root / name), FAKE_SECONDS="0.3") for name in ("a", "b")]
    ends = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert len(project.records()) == 4 and not list(project.store.rglob("*.claim"))


def test_a_full_disk_while_training_is_named_and_keeps_the_other_records(project):
    project.notebook("01_first", "print(1)", runs=3)
    result = project.reproduce(FAKE_FULL_DISK="0")
    assert result.returncode == 1
    assert "seed 0\n  OSError: [Errno 28] No space left on device" in result.stderr
    assert len(project.records()) == 2


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB, where this user may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_report_folder_is_named_and_nothing_is_half_written(project, small_disk):
    project.notebook("01_first", "print('x' * 100_000)")
    result = project.reproduce("--out", str(small_disk))
    assert result.returncode == 1
    said = f"error: cannot write to {small_disk / 'notebooks'}: No space left on device. Free some space there."
    assert said in result.stderr and "nothing finished is lost" in result.stderr
    assert not [path for path in small_disk.rglob("*") if path.is_file()]


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = write_atomic(tmp_path / "table.csv", "old")

    def full(*unused):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--profile", "smokee"], "Unknown profile 'smokee': did you mean 'smoke'?"),
        (["--only", "03_vanila_vs_dgl"], "Unknown notebook '03_vanila_vs_dgl': did you mean '03_vanilla_vs_dgl'?"),
        (["--only", "99"], "Unknown notebook '99'"),
        (["--workers", "0"], "--workers is 0; it must be at least 1"),
        (["--only", ""], "--only names no notebook"),
        (["--only", " , "], "--only names no notebook"),
        (["--out", ""], "--out is empty; give a value or leave it out"),
        (["--dask", ""], "--dask is empty"),
        (["--profile", "paper", "--rehearse", ""], "--rehearse is empty"),
        (["--profile", ""], "Unknown profile ''"),
        (["--profile", "paper", "--rehearse", "7"], "the size of a rehearsal is '7'"),
        (["--out", "/dev/null/report"], "cannot write to /dev/null/report"),
        (["--dask", "tcp://127.0.0.1:1"], "no Dask scheduler answers at 'tcp://127.0.0.1:1'"),
    ],
)
def test_a_request_for_something_that_does_not_exist_is_one_line(arguments, message, capsys, monkeypatch, tmp_path):
    if "--dask" in arguments:
        from dgl_core.runs.workers import dask_workers

        with pytest.raises(ValueError, match="no Dask scheduler answers"), dask_workers(arguments[1]):
            pass
        return
    monkeypatch.setattr(signal, "signal", lambda *unused: None)
    assert command.main(arguments) == 2
    errors = capsys.readouterr().err
    assert message in errors and errors.count("\n") == 1


def test_a_read_only_report_folder_is_refused_before_any_work(project, capsys, monkeypatch):
    def read_only(*unused, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(command.tempfile, "TemporaryFile", read_only)
    monkeypatch.setattr(signal, "signal", lambda *unused: None)
    assert command.main(["--profile", "smoke", "--out", str(project.out)]) == 2
    assert "Read-only file system; choose another folder with --out" in capsys.readouterr().err


DAMAGE = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:150]), "0 cells are tagged 'parameters'"),
    "empty": (lambda path: path.write_bytes(b""), "0 cells are tagged 'parameters'"),
    "bytes": (lambda path: path.write_bytes(b"\xff\xfe\x00" * 50), "01_first.py is no notebook (UnicodeDecodeError"),
    "syntax": (lambda path: path.write_text('# %% tags=["parameters"]\nprofile = (\n'), "was never closed"),
    "code": (lambda path: path.write_text('# %% tags=["parameters"]\nprofile = open("x")\n'), "only name = literal"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "01_first.py is no file"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_source_is_that_notebooks_failure(tmp_path, monkeypatch, kind):
    """Named in one sentence; the other notebooks are executed all the same."""
    path = tmp_path / "01_first.py"
    path.write_text(HEADER.format(title="First") + "\n# %%\nprint(1)\n")
    damage, message = DAMAGE[kind]
    damage(path)
    monkeypatch.setattr(outputs, "NOTEBOOKS", tmp_path)
    result = outputs.refresh("01_first", "smoke", tmp_path / "out", [], True, threading.Event())
    assert result.where == "its source" and message in result.error and "\n" not in result.error
    assert outputs.load(tmp_path / "out", "01_first") == result


def test_portable_numerics_reach_the_kernels(project):
    names = sorted(PORTABLE_NUMERICS)
    project.notebook("01_first", f"import os\nassert {PORTABLE_NUMERICS!r} == {{n: os.environ[n] for n in {names}}}")
    clean = {name: "" for name in names}
    assert project.reproduce(**clean).returncode == 0
