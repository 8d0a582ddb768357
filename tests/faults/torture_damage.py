"""Every kind of file that the project reads, damaged: single bits, cuts, zeros, emptiness, at random places.

Allowed is the right answer all the same, or a sentence that names the file (or what it holds). Half of the damage keeps
the time of the file, as a failing disk does; half of those come after the file was read and found good once.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.torture import Kind
from tests.faults.torture_kills import (
    differences,
    load_here,
    make_media,
    plain,
    prepare_project,
    records,
    report_of,
    run_words,
    train_here,
)
from tests.faults.torture_process import Ended, Failed, call, dgl, undisturbed

LONGEST = 1500  # characters of a sentence
WAYS = ("flip", "flip", "flip", "cut", "cut", "zeros", "empty")


def damage(rng: random.Random, path: Path, ways: Sequence[str] = WAYS) -> str:
    """Damage a file at a random place; says how. Its content is really another one afterwards."""
    before, times = path.read_bytes(), path.stat()
    keep = rng.random() < 0.5
    for _ in range(100):
        data, way = bytearray(before), rng.choice(ways)
        place = rng.randrange(len(before)) if before else 0
        if way == "flip" and before:
            bit = rng.randrange(8)
            data[place] ^= 1 << bit
            how = f"bit {bit} of byte {place} flipped"
        elif way == "cut":
            del data[place:]
            how = f"cut after {place} of {len(before)} bytes"
        elif way == "zeros":
            length = rng.choice((1, 16, 512))
            data[place : place + length] = bytes(len(data[place : place + length]))
            how = f"{length} zeros from byte {place}"
        else:
            data.clear()
            how = "emptied"
        if data != before:
            break
    else:
        raise RuntimeError(f"{path} has nothing to damage")
    path.write_bytes(data)
    if keep:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return f"{path.name}: {how}" + (", its time kept" if keep else "")


def obscurity(ended: Ended, names: Sequence[str]) -> str:
    """What is wrong with the way a process says no, "" for nothing.

    A sentence: no traceback, no raw message of a library, at most three lines, and one of ``names`` is in it.
    """
    if "Traceback" in ended.errors:
        return f"a traceback: {_tail(ended.errors)}"
    if ended.status < 0 and not ended.raised:
        return f"the process died of signal {-ended.status}"
    if ended.raised is not None and not ended.raised.own:
        return f"{ended.raised.kind} at {ended.raised.place}: {ended.raised.text[:200]!r}"
    text = ended.raised.text if ended.raised else ended.errors or ended.output
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("usage:", "[-"))]
    if not lines:
        return f"nothing is said (exit status {ended.status})"
    if len(lines) > 3 + text.count("usage:") * 6 or max(map(len, lines)) > LONGEST:
        return f"{len(lines)} lines, no sentence: {lines[0][:200]!r}"
    place = f" ({ended.raised.place})" if ended.raised else ""
    if not any(name in ended.said for name in names):
        return f"it names none of {', '.join(map(repr, names))}: {lines[-1][:300]!r}{place}"
    return ""


def _tail(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    frames = [line.strip() for line in lines if "dgl_core" in line and "line" in line]
    return f"{lines[-1][:200]!r}" + (f" ({frames[-1]})" if frames else "")


@dataclass(frozen=True)
class Target:
    """A kind of file, and how the project reads it.

    Args:
        prepare: ``prepare(place)`` makes the files in a fresh folder.
        files: those that may be damaged, given the folder.
        use: reads them, given the folder; returns what is compared.
        names: besides the file's own name, words that a sentence may name the thing by.
        ways: of damage. told: the damage must be said, even where the answer is right (``verify``).
        command: ``use`` returns an exit status and its output is compared. before: done to the copy, not compared.
        free: another answer is no fault (the file is the user's own word), but it must not be obscure.
        once: reading it removes it, so it cannot have been read before.
    """

    prepare: Callable[[Path], object]
    files: Callable[[Path], list[Path]]
    use: Callable[[Path], object]
    names: tuple[str, ...] = ()
    ways: tuple[str, ...] = WAYS
    told: bool = False
    command: bool = False
    before: Callable[[Path], object] | None = None
    free: bool = False
    once: bool = False
    seconds: float = 60.0


def prepare(name: str, target: Target, root: Path) -> None:
    """Make the files of a target once, and note what an undisturbed reader finds."""
    place, copy = root / "targets" / name, root / "targets" / f"{name}-used"

    def made() -> bool:
        (place / "files").mkdir(parents=True)
        target.prepare(place / "files")
        return True

    undisturbed(made, place / "make")
    shutil.copytree(place / "files", copy)

    def used() -> dict:
        if target.before is not None:
            target.before(copy)
        return {"value": target.use(copy)}

    found = undisturbed(used, place / "use")["value"]
    if target.command:
        again = shutil.copytree(place / "files", root / "targets" / f"{name}-said")
        ended = call(lambda: target.use(again), place / "say", target.seconds, command=True)
        found = (ended.status, _without(ended.output, again))
        if ended.status:
            raise RuntimeError(f"{name} fails without any disturbance: {ended.said[-1000:]}")
    (place / "expected.pickle").write_bytes(pickle.dumps(found))


def _without(text: str, folder: Path) -> str:
    """Text without the name of the folder of the case."""
    return text.replace(str(folder), "FOLDER")


def run(name: str, target: Target, rng: random.Random, folder: Path) -> str:
    """One case: damage one file, read, judge."""
    place, copy = folder.parent / "targets" / name, folder / "files"
    expected = pickle.loads((place / "expected.pickle").read_bytes())
    shutil.copytree(place / "files", copy)
    if target.before is not None:
        call(lambda: target.before(copy), folder, 60)
    warm = not (target.before or target.free or target.once) and rng.random() < 0.5
    if warm:
        call(lambda: target.use(copy), folder, target.seconds)
    files = sorted(target.files(copy))
    if not files:
        raise RuntimeError(f"{name} has no file to damage")
    victim = rng.choice(files)
    said = damage(rng, victim, target.ways) + (", after it was read once" if warm else "")
    ended = call(lambda: target.use(copy), folder, target.seconds, command=target.command)
    own = [
        word for word in (victim.stem, victim.parent.name) if any(c.isdigit() for c in word)
    ]  # of a clip, a run, ...
    judge(ended, expected, said, [victim.name, *own, *target.names], copy, target)
    return said


def judge(ended: Ended, expected: object, said: str, names: Sequence[str], copy: Path, target: Target) -> None:
    """Right, or one sentence; everything else is a failure.

    Raises:
        Failed: as what.
    """
    if ended.hung:
        raise Failed("lost", f"{said}; the reader hangs")
    failed = ended.raised is not None or ended.status != 0
    found = (ended.status, _without(ended.output, copy)) if target.command else ended.value
    if failed:
        wrong = obscurity(ended, names)
        if wrong:
            raise Failed("obscure", f"{said}; {wrong}")
        return
    if "Traceback" in ended.errors:
        raise Failed("obscure", f"{said}; a traceback: {_tail(ended.errors)}")
    spoke = any(name in ended.errors or (target.command and name in ended.output) for name in names)
    if found == expected and not target.told or target.free:
        return
    if not spoke or target.told:
        raise Failed("silent", f"{said}; {_difference(expected, found)}; it said {ended.errors[:200]!r}")


def _difference(expected: object, found: object) -> str:
    if found == expected:
        return "it was called right"
    if isinstance(expected, dict) and isinstance(found, dict):
        if "rows" in expected:
            return differences(expected, found) or "another source"
        names = [n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)]
        return f"another answer: {', '.join(sorted(map(str, names)))[:300]}"
    return f"another answer: {str(found)[:200]}"


# -- records, checkpoints, claims, estimates ---------------------------------------------------------------------------


def _spec(method: str = "dgl", seed: int = 0):
    from dgl_core.runs.command import read_spec

    return read_spec(run_words(method, seed)[1:])


def _train(store: Path, method: str = "dgl", seed: int = 0) -> None:
    if train_here(run_words(method, seed), store):
        raise RuntimeError("the run failed")


def _record(place: Path) -> dict:
    """The record as ``load_or_run`` gives it, trained anew where it is not used."""
    os.environ["DGL_RESULTS"] = str(place)
    from dgl_core.runs import load_or_run

    return plain(load_or_run([_spec()])[0])


def _trained(place: Path) -> dict:
    """The record that ``dgl train`` leaves."""
    status = train_here(run_words("dgl"), place)
    if status:
        raise SystemExit(status)
    (found,) = records(place)
    return plain(found)


def _checkpoint(place: Path) -> None:
    """A checkpoint after some epochs, as Ctrl-C leaves it."""
    from dgl_core.training import train

    def stop(line: str) -> None:
        if "5/8" in line:
            raise KeyboardInterrupt

    original = train.train
    train.train = lambda spec, **options: original(spec, **options | {"every": 0.0, "log": stop})
    os.environ["DGL_RESULTS"] = str(place)
    if dgl(*run_words("dgl"), "--device", "cpu") != 130:
        raise RuntimeError("it was not interrupted")
    train.train = original


def _claim(place: Path) -> None:
    """The claim of a worker that is dead, made long ago."""
    from dgl_core.runs import keys
    from dgl_core.runs.store import Store
    from dgl_core.training.environment import making

    spec, store = _spec(), Store(place, making(True))
    pid = os.fork()
    if not pid:
        held = store.claim(keys.canonical(spec), keys.key(spec))
        held.__enter__()
        os._exit(0)
    os.waitpid(pid, 0)
    (path,) = place.glob("*.claim")
    os.utime(path, (1.6e9, 1.6e9))


def _mine(place: Path) -> None:
    for method in ("vanilla", "dgl", "ogm_ge"):
        for seed in range(3):
            _train(place, method, seed)


def _rehearsal(place: Path) -> None:
    """The report of a rehearsal of true size, beside an empty store."""
    report = {
        "label": "random data",
        "dataset": "cremad",
        "scale": 1,
        "model": "resnet18",
        "precision": "fp32",
        "methods": {"vanilla": {"seconds_per_epoch": 31.25}, "dgl": {"seconds_per_epoch": 47.5}},
    }
    from dgl_core.reproduce import rehearse

    report |= {"environment": {"device": "cuda"}}
    rehearse.write(report, place / "rehearsal")


def _estimate(place: Path) -> float:
    os.environ["DGL_RESULTS"] = str(place / "runs")
    from dgl_core.runs.run import estimate_seconds
    from dgl_core.training.records import RunSpec

    return estimate_seconds(RunSpec("cremad", method="dgl"))


# -- data --------------------------------------------------------------------------------------------------------------

SMALL = {"spectrogram": "compact", "frame_size": 16, "augment": "none"}


def _load(name: str, **options) -> Callable[[Path], object]:
    return lambda place: load_here(name, options, place / "data", place / "cache")


def _all_files(*patterns: str) -> Callable[[Path], list[Path]]:
    return lambda place: [p for pattern in patterns for p in place.glob(pattern) if p.is_file()]


def _forget_arrays(place: Path) -> None:
    """As on a machine where the media are there and the arrays are not."""
    for folder in place.glob("cache/emotions-*/prepared"):
        shutil.rmtree(folder)


def _verify(name: str) -> Callable[[Path], int]:
    def use(place: Path) -> int:
        os.environ["DGL_DATA_CACHE"] = str(place / "cache")
        return dgl("data", "--root", str(place / "data"), "verify", name)

    return use


def _listed(place: Path) -> list[Path]:
    """Files that a manifest speaks of, and the manifest."""
    found = []
    for manifest in place.rglob("MANIFEST.sha256"):
        words = [line.partition("  ")[2] for line in manifest.read_text().splitlines()]
        found += [manifest, *(manifest.parent / word for word in words)]
    return found


def _seal(folder: Path, names: Sequence[str]) -> None:
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "MANIFEST.sha256").write_text("".join(lines))


def _make_nyuv2(place: Path) -> None:
    """NYU Depth v2 in miniature: three zips of pictures, two lists, a table, a manifest."""
    import io
    import zipfile

    import numpy as np
    from PIL import Image

    folder, rng = place / "data" / "nyuv2_rgbd40", np.random.default_rng(0)
    folder.mkdir(parents=True)
    numbers = range(1, 16)
    for kind, ending, form in (("rgb", "jpg", "JPEG"), ("depth", "png", "PNG"), ("label", "png", "PNG")):
        with zipfile.ZipFile(folder / f"{kind}.zip", "w") as archive:
            for number in numbers:
                top, shape = (4, (24, 32)) if kind == "label" else (250, (24, 32, 3) if kind == "rgb" else (24, 32))
                buffer = io.BytesIO()
                Image.fromarray(rng.integers(0, top, shape, dtype=np.uint8)).save(buffer, form)
                archive.writestr(f"{number:04d}.{ending}", buffer.getvalue())
    (folder / "train.txt").write_text("".join(f"{n:04d}\n" for n in numbers if n % 3))
    (folder / "test.txt").write_text("".join(f"{n:04d}\n" for n in numbers if not n % 3))
    names = [*enumerate(("wall", "floor", "bed", "otherprop")), (255, "void")]
    (folder / "classes.csv").write_text("label,name,train_pixels\n" + "".join(f"{k},{n},1\n" for k, n in names))
    _seal(folder, [p.name for p in sorted(folder.iterdir())])


def _make_mosi(place: Path) -> None:
    """CMU-MOSI in miniature: two files of features, a table, a manifest."""
    import csv

    import numpy as np

    from dgl_core.data.sets import mosi

    folder, rng, rows = place / "data" / "cmu_mosi", np.random.default_rng(0), []
    folder.mkdir(parents=True)
    for part, count in (("train", 8), ("test", 10)):
        begin = len(rows)
        for video in range(count):
            for segment in range(3 + video % 4):
                held = "val" if part == "train" and video < 2 else part
                rows.append(
                    [part, len(rows) - begin, f"{part}_{video}", segment, int(rng.integers(2)), held, "GOOD FILM"]
                )
        arrays = {m: rng.normal(size=(len(rows) - begin, w)).astype(np.float32) for m, w in mosi.WIDTHS.items()}
        np.savez(folder / mosi.FILES[part], **arrays, label=np.array([row[4] for row in rows[begin:]]))
    with open(folder / mosi.TABLE, "w", newline="") as file:
        head = ["split", "row", "video_id", "segment", "label", "suggested_split", "transcript"]
        csv.writer(file).writerows([head, *rows])
    _seal(folder, [*mosi.FILES.values(), mosi.TABLE])


def _media(place: Path) -> None:
    make_media(place / "data", 14, 6)


def _loaded(make: Callable[[Path], object], load: Callable[[Path], object]) -> Callable[[Path], object]:
    """Files together with the arrays that a first load made of them."""

    def both(place: Path) -> None:
        make(place)
        load(place)

    return both


def _nothing(place: Path) -> None:
    pass


# -- the report --------------------------------------------------------------------------------------------------------


def _report(place: Path) -> None:
    """The finished report of the fake project; its sources are copied by each case."""
    root = place.parents[2]
    prepare_project(root)
    shutil.copytree(root / "project", place / "project")


def _reproduce(place: Path) -> object:
    """The report after the next run of the runner."""
    from tests.conftest import Project

    project = Project.__new__(Project)
    project.root = place / "project"
    project.out, project.store = project.root / "out", project.root / "store"
    ended = project.reproduce()
    for line in ended.stderr.splitlines():
        print(line, file=__import__("sys").stderr)
    if ended.returncode:
        raise SystemExit(ended.returncode)
    made = {p.name: plain(r) for p, r in zip(project.records(), records(project.store), strict=False)}
    return report_of(project.out) | {"records": made}


def _sources(place: Path) -> list[Path]:
    return sorted((place / "project" / "notebooks").glob("*.py"))


FOLDER = _load("folder", folder="my_set", **SMALL)
EMOTIONS = _load("emotions", clips=24, frame_size=16, augment="none")
ROOMS = _load("rooms", images=8, height=24, width=32, multiple=8, augment="none")
NYUV2 = _load("nyuv2", height=24, width=32, multiple=8, augment="none")
MOSI = _load("mosi")
CACHED = ("cache/**/*.npy", "cache/**/*.json", "cache/**/*.csv", "cache/**/MANIFEST.sha256")

TARGETS = {
    "record": (Target(lambda p: _train(p), _all_files("*.json"), _record), 60),
    "checkpoint": (Target(_checkpoint, _all_files("*.checkpoint"), _trained, once=True), 70),
    "claim": (Target(_claim, _all_files("*.claim"), _trained, ("another worker",), once=True), 20),
    "claims-folder": (
        Target(_mine, _all_files("*.json"), lambda place: dgl("claims", "--mine", str(place)), command=True),
        40,
    ),
    "rehearsal": (Target(_rehearsal, _all_files("rehearsal/*.json"), _estimate), 14),
    "emotions": (Target(_loaded(_nothing, EMOTIONS), _all_files("cache/**/*"), EMOTIONS, ("generated emotion",)), 44),
    "emotions-media": (
        Target(
            _loaded(_nothing, EMOTIONS),
            lambda p: [f for f in p.glob("cache/emotions-*/**/*") if f.is_file()],
            EMOTIONS,
            ("generated emotion",),
            before=_forget_arrays,
        ),
        36,
    ),
    "emotions-verify": (
        Target(_loaded(_nothing, EMOTIONS), _listed, _verify("emotions"), command=True, told=True),
        20,
    ),
    "rooms": (Target(_loaded(_nothing, ROOMS), _all_files(*CACHED), ROOMS, ("generated rooms",)), 24),
    "folder-arrays": (Target(_loaded(_media, FOLDER), _all_files(*CACHED), FOLDER, ("arrays",)), 40),
    "folder-media": (
        Target(_media, _all_files("data/**/*.wav", "data/**/*.png", "data/**/*.mp4"), FOLDER, ways=("cut", "empty")),
        30,
    ),
    "nyuv2": (Target(_loaded(_make_nyuv2, NYUV2), _all_files("data/*/*", *CACHED), NYUV2, ("arrays",)), 36),
    "nyuv2-verify": (Target(_make_nyuv2, _listed, _verify("nyuv2"), command=True, told=True), 12),
    "mosi": (Target(_make_mosi, _all_files("data/*/*"), MOSI), 24),
    "report": (
        Target(
            _report,
            _all_files("project/out/**/*", "project/store/*.json"),
            _reproduce,
            ("01_first", "02_second"),
            seconds=120,
        ),
        44,
    ),
    "source": (Target(_report, _sources, _reproduce, ("01_first", "02_second"), free=True, seconds=120), 14),
}


def _kind(name: str, target: Target, share: int) -> Kind:
    return Kind(
        f"damage-{name}",
        lambda rng, folder, number: run(name, target, rng, folder),
        share,
        prepare=lambda root: prepare(name, target, root),
    )


KINDS = [_kind(name, target, share) for name, (target, share) in TARGETS.items()]
