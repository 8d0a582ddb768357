"""One pass over many clips: what is left after a kill, after damage, after a repair; clips that cannot be read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from media_files import tone, write_wav
from PIL import Image

from dgl_core.data.media import clip_arrays, prepare, workers
from dgl_core.data.media.spectrogram import Form
from dgl_core.data.media.video import Frames
from dgl_core.data.media.workers import Source

FORM = Form(8000, 2000, 200, False, (9, 10), window=16)  # a tiny spectrogram
FRAMES = Frames(1, "1fps", 16)


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    return tmp_path


def make_clips(root, count=6):
    """Clips with odd names, each with a sound and a frame that tell its number."""
    sources = []
    for number in range(count):
        clip = f'clip {number}, "ü"'
        wav = write_wav(root / "media" / f"{clip}.wav", (number + 1) / 200 * np.ones((1, 500)), 8000)
        (root / "media" / clip).mkdir()
        Image.new("RGB", (40, 30), (number, 0, 0)).save(root / "media" / clip / "0.png")
        sources.append(Source(clip, str(wav), str(root / "media" / clip)))
    return sources


def ensure(root, sources, **options):
    return prepare.ensure(root / "arrays", sources, FORM, FRAMES, **options)


def check(root, sources, missing=()):
    """Every row holds its own clip."""
    arrays, entries = clip_arrays.load(root / "arrays")
    assert {e.clip for e in entries} == {s.clip for s in sources} - set(missing)
    assert [e.row for e in entries] == list(range(len(entries))) and len(arrays["sound"]) == len(entries)
    for entry in entries:
        number = int(entry.clip.split()[1].rstrip(","))
        assert arrays["frames"][entry.row, 0, 5, 5].tolist() == [number, 0, 0]
        assert (entry.width, entry.height) == (40, 30)
        loudness = 8 * (number + 1) / 200  # at zero frequency, half the window's length
        assert np.allclose(arrays["sound"][entry.row, 0], np.log(loudness), atol=0.01)


def count_reads(monkeypatch):
    reads = []

    def read(source, form, frames, make=workers.read_clip):
        reads.append(source.clip)
        return make(source, form, frames)

    monkeypatch.setattr(workers, "read_clip", read)
    return reads


def test_rows_index_and_checksums(home, monkeypatch):
    sources = make_clips(home)
    reads = count_reads(monkeypatch)
    report = ensure(home, sources)
    assert (report.clips, report.unreadable) == (6, []) and str(report) == f"6 clips in {home / 'arrays'}"
    check(home, sources)
    ensure(home, sources)
    assert len(reads) == 6  # nothing is read twice
    assert clip_arrays.problem(home / "arrays", workers.settings(FORM, FRAMES)) == ""
    assert np.load(home / "arrays" / "sound.npy", allow_pickle=False).shape == (6, 9, 10)


def test_unreadable_clips_are_counted_named_and_tried_again(home, monkeypatch):
    sources = make_clips(home)
    wrong = {1: b"RIFF", 4: b""}
    good = {n: Path(sources[n].sound).read_bytes() for n in wrong}
    for n, data in wrong.items():
        Path(sources[n].sound).write_bytes(data)
    Path(sources[2].sound).unlink()
    report = ensure(home, sources)
    assert report.clips == 3 and [e.clip for e in report.unreadable] == [sources[n].clip for n in (1, 2, 4)]
    assert "3 could not be read, e.g. clip 1" in str(report)
    lines = (home / "arrays" / "unreadable.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4 and "is missing; copy" in lines[2] and '"clip 2, ""ü"""' in lines[2]
    check(home, sources, [sources[n].clip for n in (1, 2, 4)])
    reads = count_reads(monkeypatch)
    for n, data in good.items():
        Path(sources[n].sound).write_bytes(data)
    assert ensure(home, sources).clips == 5
    assert reads == [sources[n].clip for n in (1, 2, 4)]  # what was read stays
    check(home, sources, [sources[2].clip])
    reads.clear()
    ensure(home, sources)
    assert reads == []
    ensure(home, sources, again=True)
    assert reads == [sources[2].clip]


def test_lists_may_shrink_grow_and_files_may_change(home, monkeypatch):
    sources = make_clips(home)
    ensure(home, sources[:5])
    ensure(home, sources[2:])  # the first two go, the last one comes
    check(home, sources[2:])
    reads = count_reads(monkeypatch)
    os.utime(sources[3].sound, (1, 1))
    ensure(home, sources[2:])
    assert reads == [sources[3].clip]
    check(home, sources[2:])
    ensure(home, sources[2:3])
    check(home, sources[2:3])


def test_a_clip_listed_twice_is_refused(home):
    sources = make_clips(home, 2)
    with pytest.raises(ValueError, match="1 clip ids occur more than once, e.g. 'clip 0"):
        ensure(home, [*sources, sources[0]])


def change(folder, **values):
    for file in ("settings.json", "cache.json"):
        about = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(about | values))


def half_a_line(folder):
    (folder / "cache.json").unlink()
    text = (folder / "index.csv").read_text(encoding="utf-8")
    (folder / "index.csv").write_text(text[:-9], encoding="utf-8")


def short_array(folder):
    (folder / "cache.json").unlink()
    with open(folder / "sound.npy", "r+b") as file:
        file.truncate(128 + 3 * 180 + 7)


# damage, clips that must be read again
DAMAGE = {
    "nothing": (lambda folder: None, 0),
    "another version": (lambda folder: change(folder, version=0), 6),
    "made in another way": (lambda folder: change(folder, form={}), 6),
    "killed before the checksums": (lambda folder: (folder / "cache.json").unlink(), 0),
    "half a line": (half_a_line, 1),
    "half an array": (short_array, 3),
    "no index": (lambda folder: (folder / "index.csv").unlink(), 6),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_repaired_with_as_little_work_as_possible(home, monkeypatch, what):
    sources = make_clips(home)
    ensure(home, sources)
    damage, again = DAMAGE[what]
    damage(home / "arrays")
    reads = count_reads(monkeypatch)
    assert ensure(home, sources).clips == 6
    assert len(reads) == again
    check(home, sources)


SCRIPT = """
import json, sys
from pathlib import Path
from dgl_core.data.media import prepare
from dgl_core.data.media.workers import Source
from dgl_core.data.media.spectrogram import Form
from dgl_core.data.media.video import Frames
prepare.FEW, prepare.SYNC = 0, 0.0
sources = [Source(*row) for row in json.load(open(sys.argv[1]))]
form = Form(8000, 2000, 200, False, (9, 10), window=16)
print(prepare.ensure(Path(sys.argv[2]), sources, form, Frames(1, "1fps", 16)).clips)
"""


def start(home, sources):
    (home / "sources.json").write_text(json.dumps([[s.clip, s.sound, s.pictures] for s in sources]))
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-c", SCRIPT, str(home / "sources.json"), str(home / "arrays")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)


def noted(home):
    return sum(1 for e in clip_arrays.read_index(home / "arrays").values() if not e.problem)


@pytest.mark.skipif(os.name == "nt", reason="no such signals on Windows")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_pass_goes_on_where_it_was(home, number):
    sources = make_clips(home, 150)
    process = start(home, sources)
    while noted(home) < 10 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=120)
    before = noted(home)
    assert process.returncode != 0 and 10 <= before < 150
    assert not (home / "arrays" / "cache.json").exists()
    process = start(home, sources)
    out, err = process.communicate(timeout=300)
    assert out == "150\n", err
    assert f"reading {150 - before} clips" in err
    check(home, sources)


def test_a_decoder_that_crashes_costs_one_clip(home, monkeypatch):
    sources = make_clips(home, 5)
    bad = Path(sources[2].sound)
    bad.unlink()
    monkeypatch.setattr(prepare, "FEW", 0)
    (home / "sitecustomize.py").write_text(
        "import os\n"
        "import dgl_core.data.media.workers as m\n"
        "before = m.read_wav\n"
        "def crash(path, rate):\n"
        "    if '3,' in path.name:\n"
        "        os.kill(os.getpid(), 11)\n"
        "    return before(path, rate)\n"
        "m.read_wav = crash\n"
    )
    runner = home / "runner.py"
    runner.write_text(
        "import sys\nsys.path.insert(0, sys.argv[0].rsplit('/', 1)[0])\nimport sitecustomize\n"
        "import dgl_core.data.media.workers as m\nm._serve(sys.argv[1])\n"
    )

    def start_one(order):
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, str(runner), order], env=environment, **pipes)

    monkeypatch.setattr(workers, "_start", start_one)
    report = ensure(home, sources)
    assert report.clips == 3
    reasons = {e.clip: e.problem for e in report.unreadable}
    assert "is missing" in reasons[sources[2].clip]
    assert "its decoder crashed (exit code -11)" in reasons[sources[3].clip]
    check(home, sources, list(reasons))


def test_progress_tells_what_is_done_and_how_long_it_takes(monkeypatch, home):
    arrays = clip_arrays.ClipArrays(home / "arrays", workers.settings(FORM, FRAMES))
    work = prepare._Pass(arrays, [(n, None) for n in range(100)], {}, FORM, FRAMES)
    assert work.says() == "0 of 100 clips, starting"
    work.done, work.bad, work.started = 25, 2, time.monotonic() - 100
    assert work.says() == "25 of 100 clips, 2 could not be read, about 5 min left"


def test_short_sounds_are_repeated(home):
    wav = write_wav(home / "a.wav", tone(0.1, 8000), 8000)
    (home / "f").mkdir()
    Image.new("RGB", (4, 4)).save(home / "f" / "0.png")
    sound, _, _ = workers.read_clip(Source("a", str(wav), str(home / "f")), FORM, FRAMES)
    assert sound.shape == (9, 10) and np.isfinite(sound).all()
