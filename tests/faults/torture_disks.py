"""Full and read-only disks, clocks that jump, two runners on one store and one report."""

from __future__ import annotations

import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.torture import Kind
from tests.faults.torture_damage import obscurity
from tests.faults.torture_kills import (
    SETS,
    differences,
    leftovers,
    load_here,
    make_project,
    plain,
    prepare_project,
    prepare_runs,
    prepare_sets,
    records,
    report_of,
    run_words,
    train_here,
)  # fmt: skip
from tests.faults.torture_process import Child, Ended, Failed, call, patience

REMEDY = ("ree some space", "another folder", "DGL_RESULTS", "DGL_DATA_CACHE", "--out")


# -- disks -------------------------------------------------------------------------------------------------------------


def small_disk(folder: Path, kilobytes: int) -> bool:
    """A file system of this size at ``folder``, where this user may mount one; the campaign takes it away again."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    return subprocess.run(words, capture_output=True).returncode == 0


def filled(folder: Path, free: int) -> None:
    """Leave about ``free`` bytes."""
    try:
        with open(folder / ".ballast", "wb") as file:
            while True:
                file.write(bytes(512))
                file.flush()
    except OSError:
        pass
    size = max(0, (folder / ".ballast").stat().st_size - free)
    os.truncate(folder / ".ballast", size)


def limited(size: int) -> None:
    """Without a small disk: no file may grow beyond ``size`` bytes in this process."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def protected(ended: Ended, where: str, done: str) -> None:
    """What a process says when it cannot write: one sentence with the place and the remedy.

    Raises:
        Failed: hang, traceback, raw message.
    """
    if ended.hung:
        raise Failed("lost", f"{done}: it hangs")
    wrong = obscurity(ended, (where,)) or obscurity(ended, REMEDY)
    if wrong:
        raise Failed("obscure", f"{done}: {wrong}")


def full_disk(rng: random.Random, folder: Path, number: int) -> str:
    """A disk that is full while a run, a data set or a report is written; with room, the same work succeeds."""
    what = ("run", "data", "report")[number % 3]
    disk = folder / "disk"
    mounted = small_disk(disk, 1536)
    free = rng.randrange(0, {"run": 60_000, "data": 120_000, "report": 30_000}[what])
    if mounted:
        filled(disk, free)
    elif what == "report":
        return "no small disk can be mounted here: nothing was tried"
    work, where, right = _writing(what, folder, disk)

    def cramped() -> object:
        if not mounted:
            limited(max(64, free // 4))
        return work()

    done = f"{free} bytes free for a {what}"
    ended = call(cramped, folder, 120, command=what != "data")
    refused = ended.raised is not None or ended.status != 0
    if refused or ended.hung:
        protected(ended, where, done)
        done += ", refused"
    elif right(ended):
        raise Failed("silent", f"{done}: {right(ended)}")
    if mounted:
        (disk / ".ballast").unlink(missing_ok=True)
    behind = leftovers(disk, lambda p: not p.name.startswith(".") or p.name == ".lock") if refused else []
    ended = call(work, folder, 120, command=what != "data")
    if ended.hung or ended.raised or ended.status:
        raise Failed("lost", f"{done}; with room again: {ended.said[-300:]!r}")
    if right(ended):
        raise Failed("silent", f"{done}; with room again: {right(ended)}")
    if behind:
        raise Failed("left", f"{done}: {', '.join(behind)[:300]}")
    return done


def _writing(what: str, folder: Path, disk: Path) -> tuple[Callable[[], object], str, Callable[[Ended], str]]:
    """What writes to the disk, the word that names the place, and what is wrong with its result ("" nothing)."""
    root = folder.parent
    if what == "run":
        expected = pickle.loads((root / "runs" / "dgl.pickle").read_bytes())["record"]
        return (lambda: train_here(run_words("dgl"), disk), str(disk),
                lambda ended: "" if [plain(r) for r in records(disk)] == [expected] else "another record")  # fmt: skip
    if what == "data":
        name, options, _ = SETS["few clips"]
        place = root / "sets" / "few-clips"
        about = pickle.loads((place / "about.pickle").read_bytes())["found"]
        return (lambda: load_here(name, options, place / "data", disk / "cache"), str(disk),
                lambda ended: differences(about, ended.value))  # fmt: skip
    expected = pickle.loads((root / "project.pickle").read_bytes())["report"]
    project = make_project(folder / "project")

    def work() -> int:
        done = project.reproduce("--out", str(disk / "report"), TORTURE_SLEEP="0")
        print(done.stderr, file=sys.stderr)
        return done.returncode

    return work, str(disk), lambda ended: "" if report_of(disk / "report") == expected else "another report"


def read_only(rng: random.Random, folder: Path, number: int) -> str:
    """A disk that cannot be written to: one sentence, and nothing is changed."""
    what = ("run", "data", "report")[number % 3]
    disk = folder / "disk"
    if not small_disk(disk, 256):
        return "no small disk can be mounted here: nothing was tried"
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, capture_output=True)
    work, where, _ = _writing(what, folder, disk)
    ended = call(work, folder, 120, command=what != "data")
    if not ended.hung and ended.raised is None and ended.status == 0:
        raise Failed("silent", f"a {what} on a read-only disk: it says it is done")
    protected(ended, where, f"a {what} on a read-only disk")
    return f"a {what}"


# -- clocks ------------------------------------------------------------------------------------------------------------

YEAR = 3.2e7


def clock(rng: random.Random, folder: Path, number: int) -> str:
    """Claims dated far in the past or the future, of the dead and the living; a clock that jumps while a run trains."""
    about = pickle.loads((folder.parent / "runs" / "dgl.pickle").read_bytes())
    store, jump = folder / "store", rng.choice((-1, 1)) * rng.choice((70.0, 4000.0, YEAR))
    what = ("a dead worker", "an unknown host", "half a claim", "a jump while training")[number % 4]
    done = f"{what}, {jump:+.0f} s"
    if what == "a jump while training":

        def work() -> int:
            real, begun = time.time, time.monotonic()
            time.time = lambda: real() + (jump if time.monotonic() - begun > 0.05 else 0.0)
            return train_here(run_words("dgl"), store)

        ended = call(work, folder, 60, command=True)
    else:
        _claimed(store, what, jump)
        ended = call(lambda: train_here(run_words("dgl"), store), folder, 60, command=True)
        if ended.status == 2 and not obscurity(ended, ("another worker",)) and what != "a dead worker":
            # It says so; but a claim that nobody renews must not hold the run for ever.
            ended = _patient(store, folder, done)
    if ended.hung or ended.status:
        raise Failed("lost", f"{done}: {ended.said[-200:]!r}")
    if [plain(r) for r in records(store)] != [about["record"]]:
        raise Failed("silent", f"{done}: another record")
    behind = leftovers(store, lambda p: p.suffix == ".json" and not p.name.startswith("."))
    if behind:
        raise Failed("left", f"{done}: {', '.join(behind)}")
    return done


def _claimed(store: Path, what: str, jump: float) -> None:
    """A claim that nobody renews, as another worker would have left it."""
    import json
    import socket

    from dgl_core.runs import keys
    from dgl_core.runs.command import read_spec
    from dgl_core.runs.store import Store
    from dgl_core.training.environment import making

    spec = keys.canonical(read_spec(run_words("dgl")[1:]))
    path = Store(store, making(True)).path(spec, keys.key(spec)).with_suffix(".claim")
    path.parent.mkdir(parents=True)
    dead = Child(lambda: None, store.parent / "dead")
    dead.wait()
    host = socket.gethostname() if what == "a dead worker" else "another-host"
    text = json.dumps({"host": host, "pid": dead.pid, "token": "0" * 32})
    path.write_text(text[: len(text) // 2] if what == "half a claim" else text)
    now = time.time() + jump
    os.utime(path, (now, now))


def _patient(store: Path, folder: Path, done: str) -> Ended:
    """Ask again for a good minute."""
    give_up = time.monotonic() + 75 * patience()
    while time.monotonic() < give_up:
        ended = call(lambda: train_here(run_words("dgl"), store), folder, 60, command=True)
        if ended.status != 2:
            return ended
        time.sleep(3)
    raise Failed("lost", f"{done}: a claim that nobody renews holds the run for more than a minute")


# -- two runners -------------------------------------------------------------------------------------------------------


def two_runners(rng: random.Random, folder: Path, number: int) -> str:
    """Two runners at once on one store, and every second time on one report folder too."""
    about = pickle.loads((folder.parent / "project.pickle").read_bytes())
    project = make_project(folder / "project")
    outs = [project.out, project.out if number % 2 else project.root / "other"]
    both = []
    for out in outs:
        both.append(project.start("--out", str(out), FAKE_SECONDS="0.2"))
        time.sleep(rng.uniform(0, 2))
    said = "one report" if number % 2 else "two reports"
    ends = [process.communicate(timeout=150 * patience()) for process in both]
    for process, (_, errors) in zip(both, ends, strict=True):
        if process.returncode:
            how = "obscure" if "Traceback" in errors else "lost"
            raise Failed(how, f"two runners, {said}: exit status {process.returncode}: {errors[-300:]!r}")
    made = [(p.name, plain(r)) for p, r in zip(project.records(), records(project.store), strict=True)]
    if made != about["records"]:
        raise Failed("lost", f"two runners, {said}: {len(made)} records")
    for out in outs:
        if report_of(out) != about["report"]:
            raise Failed("silent", f"two runners, {said}: another report")
    behind = leftovers(project.store, lambda p: p.suffix == ".json" and not p.name.startswith("."))
    behind += leftovers(project.out, lambda p: not p.name.startswith("."))
    if behind:
        raise Failed("left", f"two runners, {said}: {', '.join(behind)}")
    return said


def two_trainings(rng: random.Random, folder: Path, number: int) -> str:
    """Three processes that want one run: one trains, all get the same record."""
    about = pickle.loads((folder.parent / "runs" / "dgl.pickle").read_bytes())
    store = folder / "store"

    def work() -> dict:
        os.environ["DGL_RESULTS"] = str(store)
        from dgl_core.runs import load_or_run
        from dgl_core.runs.command import read_spec

        return plain(load_or_run([read_spec(run_words("dgl")[1:])])[0])

    children = []
    for child in range(3):
        children.append(Child(work, folder / f"process{child}"))
        time.sleep(rng.uniform(0, 0.2))
    for child in children:
        ended = child.wait(90)
        if ended.hung or ended.raised:
            raise Failed("lost", f"three at one run: {ended.said[-300:]!r}")
        if ended.value != about["record"]:
            raise Failed("silent", "three at one run: another record")
    if behind := leftovers(store, lambda p: p.suffix == ".json" and not p.name.startswith(".")):
        raise Failed("left", f"three at one run: {', '.join(behind)}")
    return "three at one run"


def _prepare_all(root: Path) -> None:
    for prepare in (prepare_runs, prepare_sets, prepare_project):
        prepare(root)


KINDS = [
    Kind("disk-full", full_disk, 18, prepare=_prepare_all),
    Kind("disk-read-only", read_only, 3, size=3, prepare=_prepare_all),
    Kind("clock", clock, 12, seconds=400, prepare=_prepare_all),
    Kind("two-runners", two_runners, 6, prepare=_prepare_all),
    Kind("two-trainings", two_trainings, 6, prepare=_prepare_all),
]
