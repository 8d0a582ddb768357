"""Kills at random moments: of a single run, of data preparation, of the runner with all that it started.

Half of the kills of one process come at a random time, half at a random operation on a file, where half-done things
are made. Afterwards the same command goes on to the end, and what it made must equal what nothing disturbed.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Project
from tests.faults.torture import Kind
from tests.faults.torture_process import (
    Child,
    Ended,
    Failed,
    call,
    descendants,
    dgl,
    end,
    nobody_left,
    patience,
    undisturbed,
    words_of,
)  # fmt: skip

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
METHODS = ("vanilla", "dgl", "ogm_ge", "pmr", "agm", "mla", "reconboost", "gblend_ogr", "adaptive")
OPERATIONS = (
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.utime",
    "os.truncate",
    "os.chmod",
    "os.link",
)


# -- counting and dying at operations on files -------------------------------------------------------------------------


class Operations:
    """Counts this process's operations on files below a folder, and kills it at one of them.

    Args:
        folder: only paths below it count. last: the operation before which the process dies; 0: never.
    """

    def __init__(self, folder: Path, last: int = 0):
        self.folder, self.last, self.count = str(folder), last, 0
        sys.addaudithook(self.see)

    def see(self, event: str, arguments: tuple) -> None:
        if event in OPERATIONS and any(isinstance(a, str | Path) and str(a).startswith(self.folder) for a in arguments):
            self.count += 1
            if self.count == self.last:
                os.kill(os.getpid(), signal.SIGKILL)


def disturb(rng: random.Random, work: Callable[[], object], folder: Path, watched: Path, about: dict, **options) -> str:
    """Start ``work``, kill it once at a random moment, and say when and how.

    Args:
        watched: the folder whose operations count. about: seconds and operations of an undisturbed process.

    Raises:
        Failed: it hangs, or answers a polite signal with a traceback.
    """
    number = rng.choice(SIGNALS)
    place = rng.randint(1, max(1, about["operations"])) if rng.random() < 0.5 else 0
    moment = rng.uniform(0.01, about["seconds"])

    def victim() -> object:
        Operations(watched, place)
        return work()

    child = Child(victim, folder, **options)
    if place:
        ended, said = child.wait(90), f"SIGKILL at operation {place}"
    else:
        give_up = time.monotonic() + moment
        while child.running() and time.monotonic() < give_up:
            time.sleep(0.002)
        family = descendants(child.pid)
        aim = rng.choice(("process", "group", "worker") if family else ("process",))
        said = f"{signal.Signals(number).name} to the {aim} after {moment:.2f} s"
        if aim == "process":
            child.signal(number)
        elif aim == "worker":
            os.kill(rng.choice(family), signal.SIGKILL)
        elif child.running():
            os.killpg(child.pid, number)
        ended = child.wait(90)
    if ended.hung:
        raise Failed("lost", f"{said}: the process does not end")
    if "Traceback" in ended.errors or (ended.raised and ended.raised.kind not in ("KeyboardInterrupt", "SystemExit")):
        if not (ended.raised and ended.raised.own and not ended.errors.count("Traceback")):
            raise Failed("obscure", f"{said}: {_last(ended)}")
    return said


def _last(ended: Ended) -> str:
    lines = [line for line in ended.said.splitlines() if line.strip()]
    place = f" ({ended.raised.place})" if ended.raised else ""
    return f"{lines[-1] if lines else 'it says nothing'}{place}, exit status {ended.status}"


# -- a single run ------------------------------------------------------------------------------------------------------


def plain(record) -> dict[str, object]:
    """A record without what may differ between two makings of one run."""
    curves = {c: v for c, v in record.curves.items() if not c.startswith("seconds/")}
    return {"key": record.key, "spec": record.spec, "curves": curves, "predictions": record.predictions,
            "data": record.data, "arrays": record.arrays, "parameters": record.cost.get("parameters")}  # fmt: skip


def run_words(method: str, seed: int = 0) -> list[str]:
    """The command of a run that takes a fraction of a second."""
    return [
        "train", "dataset=triplet", "dataset_options.samples=72", "dataset_options.modalities=2", "model=mlp",
        "model_options.width=8", f"method={method}", "epochs=8", "batch_size=16", "lr=0.05", f"seed={seed}",
    ]  # fmt: skip


def train_here(words: list[str], store: Path, device: tuple[str, ...] = ("--device", "cpu")) -> int:
    """The command in this process, with a checkpoint after every epoch."""
    from dgl_core.training import train

    os.environ["DGL_RESULTS"] = str(store)
    train.train.__kwdefaults__["every"] = 0.0
    return dgl(*words, *device)


def records(store: Path) -> list:
    from dgl_core.runs.store import Store

    return Store(store).records()


def leftovers(folder: Path, fine: Callable[[Path], bool]) -> list[str]:
    """Files below a folder that should not be there."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and not fine(p))


def prepare_runs(root: Path) -> None:
    if (root / "runs").exists():
        return
    for name in ("torch._dynamo", "dgl_core.runs.command", "dgl_core.training.train"):  # here once, not in a child too
        importlib.import_module(name)
    for method in METHODS:
        store = root / "runs" / method

        def work(method: str = method, store: Path = store) -> dict:
            started, seen = time.monotonic(), Operations(store)
            status = train_here(run_words(method), store)
            seconds = time.monotonic() - started
            assert status == 0
            return {"seconds": seconds, "operations": seen.count, "record": plain(records(store)[0])}

        about = undisturbed(work, root / "runs" / f"{method}-work")
        (root / "runs" / f"{method}.pickle").write_bytes(pickle.dumps(about))


def kill_run(rng: random.Random, folder: Path, number: int) -> str:
    """Kill ``dgl train`` one to four times, then let it finish."""
    method, store = METHODS[number % len(METHODS)], folder / "store"
    about = pickle.loads((folder.parent / "runs" / f"{method}.pickle").read_bytes())

    def work() -> int:
        return train_here(run_words(method), store)

    said = [disturb(rng, work, folder / f"kill{n}", store, about, command=True) for n in range(rng.randint(1, 4))]
    done = f"{method}: {', '.join(said)}"
    ended = call(work, folder, 90, command=True)
    if ended.hung or ended.status:
        raise Failed("lost", f"{done}; then the run does not finish: {_last(ended)}")
    found = [plain(record) for record in records(store)]
    if found != [about["record"]]:
        different = [k for k in about["record"] if not found or found[0][k] != about["record"][k]]
        raise Failed("silent", f"{done}; then {len(found)} records, different in {', '.join(different)}")
    behind = leftovers(store, lambda path: path.suffix == ".json" and not path.name.startswith("."))
    if behind:
        raise Failed("left", f"{done}; then {', '.join(behind)} in the store")
    return done


# -- preparing data ----------------------------------------------------------------------------------------------------


def snapshot(dataset) -> dict[str, object]:
    """What training sees of a data set: values by name, checksummed, labels, parts, classes."""
    import hashlib

    inputs, _ = dataset.batch(__import__("torch").arange(len(dataset)))
    rows = {}
    for row, (name, label, part) in enumerate(zip(dataset.ids, dataset.target.tolist(), dataset.split, strict=True)):
        digest = hashlib.sha256()
        for x in inputs.values():
            digest.update(x[row].contiguous().numpy().tobytes())
        rows[name] = (hashlib.sha256(repr(label).encode()).hexdigest(), part, digest.hexdigest())
    return {"rows": rows, "classes": dataset.classes, "source": dataset.source}


def make_media(root: Path, clips: int, video: int = 0) -> None:
    """A folder "my_set" of clips of two classes: a sound and a frame each, the last ones as videos."""
    import numpy as np
    from PIL import Image

    from tests.media_files import write_video, write_wav

    rng = np.random.default_rng(0)
    for number in range(clips):
        place = root / "my_set" / ("one", "two")[number % 2]
        if number >= clips - video:
            write_video(place / f"clip{number}.mp4", 1.0, size=(32, 24), rate=22050)
            continue
        write_wav(place / f"clip{number}.wav", rng.uniform(-0.5, 0.5, (1, 6000)), 22050)
        (place / f"clip{number}").mkdir()
        picture = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(picture).save(place / f"clip{number}" / "00000.png")


SETS = {  # name -> data set and options, with or without media of a user
    "few clips": ("folder", {"folder": "my_set", "spectrogram": "compact", "frame_size": 16, "augment": "none"}, 14),
    "many clips": ("folder", {"folder": "my_set", "spectrogram": "compact", "frame_size": 16, "augment": "none"}, 70),
    "emotions": ("emotions", {"clips": 24, "frame_size": 16, "augment": "none"}, 0),
    "rooms": ("rooms", {"images": 8, "height": 24, "width": 32, "multiple": 8, "augment": "none"}, 0),
}


def load_here(name: str, options: dict, root: Path, cache: Path) -> dict[str, object]:
    """Load a data set in this process with a cache of its own."""
    os.environ["DGL_DATA_CACHE"] = str(cache)
    from dgl_core import data

    return snapshot(data.load(name, root, **options))


def prepare_sets(root: Path) -> None:
    imported: set[str] = set()
    for what, (name, options, clips) in SETS.items():
        place = root / "sets" / what.replace(" ", "-")
        if place.exists():
            continue
        if clips:
            undisturbed(lambda clips=clips, place=place: make_media(place / "data", clips, 2) or True, place / "make")

        def work(name: str = name, options: dict = options, place: Path = place) -> dict:
            seen, started = Operations(place / "cache"), time.monotonic()
            found = load_here(name, options, place / "data", place / "cache")
            return {"seconds": time.monotonic() - started, "operations": seen.count, "found": found}

        if name not in imported:  # once for what it imports
            undisturbed(work, place / "work0")
            shutil.rmtree(place / "cache")
        imported.add(name)
        about = undisturbed(work, place / "work1")
        (place / "about.pickle").write_bytes(pickle.dumps(about))


def kill_preparation(rng: random.Random, folder: Path, number: int) -> str:
    """Kill the making of arrays one to three times, then let it finish."""
    what = list(SETS)[number % len(SETS)]
    name, options, _ = SETS[what]
    place, cache = folder.parent / "sets" / what.replace(" ", "-"), folder / "cache"
    about = pickle.loads((place / "about.pickle").read_bytes())

    def work() -> dict:
        return load_here(name, options, place / "data", cache)

    said = [disturb(rng, work, folder / f"kill{n}", cache, about) for n in range(rng.randint(1, 3))]
    done = f"{what}: {', '.join(said)}"
    nobody_left(5)
    ended = call(work, folder, 120)
    if ended.hung or ended.raised:
        raise Failed("lost", f"{done}; then it cannot be prepared: {_last(ended)}")
    wrong = differences(about["found"], ended.value)
    if wrong:
        raise Failed("lost" if "missing" in wrong else "silent", f"{done}; then {wrong}; it said: {ended.said[:300]!r}")
    behind = leftovers(
        cache, lambda path: not any(p.startswith(".") and p != ".lock" for p in path.relative_to(cache).parts)
    )
    if behind:
        raise Failed("left", f"{done}; then {len(behind)} hidden files in the cache, e.g. {behind[0]}")
    return done


def differences(expected: dict, found: dict | None) -> str:
    """In what two snapshots differ, "" for nothing."""
    if found is None:
        return "everything is missing"
    missing = sorted(set(expected["rows"]) - set(found["rows"]))
    other = sorted(name for name, row in found["rows"].items() if expected["rows"].get(name) != row)
    parts = [f"{len(missing)} samples are missing, e.g. {missing[0]}" if missing else "",
             f"{len(other)} samples have other values, e.g. {other[0]}" if other else "",
             "other classes" if expected["classes"] != found["classes"] else ""]  # fmt: skip
    return ", ".join(filter(None, parts))


# -- the runner --------------------------------------------------------------------------------------------------------

CELLS = """import os, pathlib, time
place = pathlib.Path(os.environ["DGL_REPORT"]) / "tables"
place.mkdir(exist_ok=True)
(place / "{name}.csv").write_text("row,score\\nvanilla,71.9\\ndgl,77.1\\n")
time.sleep(float(os.environ.get("TORTURE_SLEEP", "0.4")))
print("{name} is done")"""
NOTEBOOKS = {"01_first": 3, "02_second": 1}


def make_project(root: Path) -> Project:
    """A project of two notebooks and three runs."""
    project = Project(root)
    for name, runs in NOTEBOOKS.items():
        project.notebook(name, CELLS.format(name=name), "1 + 1", runs=runs)
    return project


def report_of(out: Path) -> dict[str, object]:
    """What a reader sees in a report folder: tables and figures as bytes, cells of notebooks, the pages that exist."""
    found: dict[str, object] = {"pages": sorted(p.name for p in out.glob("*.html"))}
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.parent.name in ("tables", "figures"):
            found[path.relative_to(out).as_posix()] = path.read_bytes()
    for path in sorted((out / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        found[path.name] = [(cell["source"], cell.get("outputs")) for cell in cells]
    return found


def prepare_project(root: Path) -> None:
    if (root / "project").exists():
        return

    def work() -> dict:
        project = make_project(root / "project")
        started = time.monotonic()
        ended = project.reproduce(FAKE_SECONDS="0.25")
        assert ended.returncode == 0, ended.stderr
        made = [(p.name, plain(r)) for p, r in zip(project.records(), records(project.store), strict=True)]
        return {"seconds": time.monotonic() - started, "report": report_of(project.out), "records": made}

    (root / "project.pickle").write_bytes(pickle.dumps(undisturbed(work, root / "project-work")))


TARGETS = {"worker": "spawn_main", "kernel": "ipykernel", "papermill": "papermill"}


def kill_runner(rng: random.Random, folder: Path, number: int) -> str:
    """Kill the runner, or a part of it, at a random moment; the next one finishes everything."""
    target = ("runner", "worker", "group", "kernel", "papermill")[number % 5]
    about = pickle.loads((folder.parent / "project.pickle").read_bytes())
    project = make_project(folder / "project")
    long_cell = target == "runner" and rng.random() < 0.5  # nobody waits an hour for the cell of a dead runner
    process = project.start(FAKE_SECONDS="0.25", TORTURE_SLEEP="90" if long_cell else "0.4")
    name, give_up = rng.choice(SIGNALS), time.monotonic() + 60
    aim: list[int] = []
    awaited = TARGETS.get("kernel" if long_cell else target)
    while awaited and process.poll() is None and time.monotonic() < give_up and not aim:
        aim = [pid for pid in descendants(process.pid) if awaited in words_of(pid)]
        time.sleep(0.02)
    wait = rng.uniform(0, 1.2 if awaited else about["seconds"])
    time.sleep(wait)
    if target not in TARGETS:
        aim = [process.pid]
    elif rng.random() < 0.7:
        name = signal.SIGKILL
    family = descendants(process.pid) if target == "group" else []
    for pid in [*family, *aim] if target == "group" else aim[:1]:
        try:
            os.kill(pid, name)
        except ProcessLookupError:
            pass
    said = f"{signal.Signals(name).name} to the {target} after {wait:.2f} s" + (", in a long cell" if long_cell else "")
    try:
        _, errors = process.communicate(timeout=60 * patience())
    except Exception:
        end([*descendants(process.pid), process.pid])
        raise Failed("lost", f"{said}: the runner does not end") from None
    if "Traceback" in errors and target != "group":
        raise Failed("obscure", f"{said}: {errors[-300:]!r}")
    nobody_left(20)
    again = project.reproduce(FAKE_SECONDS="0.05")
    if again.returncode:
        raise Failed("lost", f"{said}; the next runner ends with {again.returncode}: {again.stderr[-300:]!r}")
    made = [(p.name, plain(r)) for p, r in zip(project.records(), records(project.store), strict=True)]
    if made != about["records"]:
        raise Failed("lost", f"{said}; then the store holds {len(made)} records, not the {len(about['records'])}")
    report = report_of(project.out)
    if report != about["report"]:
        wrong = [n for n in report.keys() | about["report"].keys() if report.get(n) != about["report"].get(n)]
        raise Failed("silent", f"{said}; then the report differs in {', '.join(sorted(wrong))}")
    behind = leftovers(project.store, lambda p: p.suffix == ".json" and not p.name.startswith("."))
    behind += leftovers(project.out, lambda p: not p.name.startswith("."))
    if behind:
        raise Failed("left", f"{said}; then {', '.join(behind)}")
    return said


KINDS = [
    Kind("kill-run", kill_run, 130, prepare=prepare_runs),
    Kind("kill-preparation", kill_preparation, 56, prepare=prepare_sets),
    Kind("kill-runner", kill_runner, 30, prepare=prepare_project),
]
