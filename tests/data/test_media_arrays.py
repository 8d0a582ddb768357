"""One pass over many clips: what is left after a kill, after damage, after a repair; clips that cannot be read."""

from __future__ import annotations

import dataclasses
import hashlib
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

from dgl_core.data.files import cache
from dgl_core.data.media import arrays, reader
from dgl_core.data.media.reader import Source, read_clip
from dgl_core.data.media.spectrogram import FORMS, Form
from dgl_core.data.media.video import Frames
from dgl_core.utils import Clock

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
    return arrays.ensure(root / "arrays", sources, FORM, FRAMES, **options)


def check(root, sources, missing=()):
    """Every row holds its own clip, in the order of the list, and nothing of the work is left."""
    made, entries = arrays.load(root / "arrays")
    assert [e.clip for e in entries] == [s.clip for s in sources if s.clip not in missing]
    assert len(made["sound"]) == len(made["frames"]) == len(entries)
    for row, entry in enumerate(entries):
        number = int(entry.clip.split()[1].rstrip(","))
        assert made["frames"][row, 0, 5, 5].tolist() == [number, 0, 0]
        assert (entry.width, entry.height) == (40, 30)
        loudness = 8 * (number + 1) / 200  # at zero frequency, half the window's length
        assert np.allclose(made["sound"][row, 0], np.log(loudness), atol=0.01)
    assert not (root / "arrays.clips").exists() and not list(root.glob(".arrays*"))
    assert arrays.problem(root / "arrays", arrays.settings(FORM, FRAMES)) == ""


def count_reads(monkeypatch):
    reads = []

    def read(source, form, frames):
        reads.append(source.clip)
        return read_clip(source, form, frames)

    monkeypatch.setattr(reader, "read_clip", read)
    return reads


def test_rows_index_and_checksums(home, monkeypatch):
    sources = make_clips(home)
    reads = count_reads(monkeypatch)
    report = ensure(home, sources)
    assert (report.clips, report.unreadable) == (6, []) and str(report) == f"6 clips in {home / 'arrays'}"
    check(home, sources)
    ensure(home, sources)
    assert len(reads) == 6  # nothing is read twice
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
    before = cache.sha256(home / "arrays" / "cache.json"), (home / "arrays").stat().st_ino
    ensure(home, sources, again=True)
    assert reads == [sources[2].clip]
    assert (cache.sha256(home / "arrays" / "cache.json"), (home / "arrays").stat().st_ino) == before


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


@pytest.mark.parametrize("name", ["li\nne", os.fsdecode(b"by\xffte")])
@pytest.mark.parametrize("part", ["clip", "sound", "pictures"])
def test_a_name_that_no_list_can_hold_is_refused_in_one_sentence(home, part, name):
    source = dataclasses.replace(make_clips(home, 1)[0], **{part: name})
    with pytest.raises(
        ValueError, match="this name has a line break or is not UTF-8; rename the file or folder"
    ) as error:
        ensure(home, [source])
    assert ascii(name) in str(error.value)


def change(folder, **values):
    about = json.loads((folder / "cache.json").read_text())
    (folder / "cache.json").write_text(json.dumps(about | values))


def flip(file):
    with open(file, "r+b") as f:
        f.seek(-50, 2)
        byte = f.read(1)
        f.seek(-50, 2)
        f.write(bytes([byte[0] ^ 1]))


# damage, clips that must be read again
DAMAGE = {
    "nothing": (lambda folder: None, 0),
    "another version": (lambda folder: change(folder, version=1), 6),
    "made in another way": (lambda folder: change(folder, form={}), 6),
    "no checksums": (lambda folder: (folder / "cache.json").unlink(), 6),
    "a flipped bit of the sound": (lambda folder: flip(folder / "sound.npy"), 6),
    "a flipped bit of the frames": (lambda folder: flip(folder / "frames.npy"), 6),
    "a flipped bit of the index": (lambda folder: flip(folder / "index.csv"), 6),
    "half an array": (lambda folder: os.truncate(folder / "sound.npy", 700), 6),
    "no index": (lambda folder: (folder / "index.csv").unlink(), 6),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_arrays_are_made_again_from_the_media(home, monkeypatch, what):
    sources = make_clips(home)
    ensure(home, sources)
    damage, again = DAMAGE[what]
    damage(home / "arrays")
    reads = count_reads(monkeypatch)
    assert ensure(home, sources).clips == 6
    assert len(reads) == again
    check(home, sources)


def test_a_damaged_remainder_of_a_killed_pass_is_named_and_read_again(home, monkeypatch):
    sources = make_clips(home)
    half = reader.ClipReader(home / "arrays.clips", FORM, FRAMES)
    for source in sources[:3]:
        half(source, source.stamp())
    flip_places = [half.result(source, source.stamp()) for source in sources[:2]]
    os.truncate(flip_places[0], 100)
    data = bytearray(flip_places[1].read_bytes())
    data[len(data) // 3] ^= 1  # in an array: its checksum does not fit any more
    flip_places[1].write_bytes(data)
    reads = count_reads(monkeypatch)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"npz was damaged and is removed; try again"):
            ensure(home, sources)
    assert ensure(home, sources).clips == 6
    assert sorted(reads) == sorted(s.clip for i, s in enumerate(sources) if i != 2)
    check(home, sources)


def test_arrays_are_those_of_the_first_version(home):
    """Digests made by the store that version 2 replaced; sounds at their own rate, so no resampler takes part."""
    sources = []
    for number in range(7):
        clip = f"clip {number}"
        wav = write_wav(home / f"{clip}.wav", tone(0.3 + 0.7 * number, 22050, 1 + number % 2), 22050)
        (home / clip).mkdir()
        for frame in range(4):
            values = np.random.RandomState(10 * number + frame).randint(0, 255, (30 + number, 40, 3))
            Image.fromarray(values.astype(np.uint8)).save(home / clip / f"{frame}.png")
        sources.append(Source(clip, str(wav), str(home / clip)))
    digests = {}
    for form, frames in (("official", Frames(1, "1fps", 32)), ("compact", Frames(3, "even", 20))):
        arrays.ensure(home / form, sources, FORMS[form], frames)
        digest = hashlib.sha256()
        for name, array in arrays.load(home / form)[0].items():
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
        digests[form] = digest.hexdigest()
    assert digests == {
        "official": "6918c6b741c17cfda7409d903237cca8a1200e137a317832f7b63ec23b8cb900",
        "compact": "5cb63366feaf676da3e406e6d0ef191a81d97d7cb3b3af82878c52a1648b40fd",
    }


# without a guard of the main module, as people write scripts
SCRIPT = """
import json, sys
from pathlib import Path
from dgl_core.data.media import arrays, reader
from dgl_core.data.media.reader import Source
from dgl_core.data.media.spectrogram import Form
from dgl_core.data.media.video import Frames
reader.FEW = 0
sources = [Source(*row) for row in json.load(open(sys.argv[1]))]
form = Form(8000, 2000, 200, False, (9, 10), window=16)
print(arrays.ensure(Path(sys.argv[2]), sources, form, Frames(1, "1fps", 16)).clips)
"""
# what worker processes do before they read: each clip waits, one kills its process (the first time, or always)
HOOK = """
import os, sys, time
if "loky" in " ".join(sys.orig_argv):
    from pathlib import Path
    from dgl_core.data.media import reader
    assert "torch" not in sys.modules
    def read(path, rate, before=reader.read_wav):
        time.sleep(float(os.environ.get("WAIT", "0")))
        victim, mark = os.environ.get("VICTIM"), Path(os.environ.get("MARK", "/"))
        if victim and victim in path.name and not mark.is_file():
            if os.environ.get("ONCE"):
                mark.write_text("")
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))
        return before(path, rate)
    reader.read_wav = read
"""


def start(home, sources, **environment):
    (home / "sources.json").write_text(json.dumps([[s.clip, s.sound, s.pictures] for s in sources]))
    (home / "script.py").write_text(SCRIPT)
    (home / "hook").mkdir(exist_ok=True)
    (home / "hook" / "sitecustomize.py").write_text(HOOK)
    places = [str(home / "hook"), str(Path(__file__).resolve().parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "MARK": str(home / "mark")} | environment
    command = [sys.executable, str(home / "script.py"), str(home / "sources.json"), str(home / "arrays")]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True, start_new_session=True
    )


def noted(home):
    return len(list((home / "arrays.clips").glob("*.npz")))


def readers(home):
    """Processes that belong to a run of the script here."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            environment = (place / "environ").read_bytes()
        except OSError:
            continue
        if f"MARK={home / 'mark'}".encode() in environment:
            found.append(place)
    return found


@pytest.mark.skipif(os.name == "nt", reason="no such signals on Windows")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_pass_goes_on_where_it_was(home, monkeypatch, number):
    sources = make_clips(home, 80)
    process = start(home, sources, WAIT="0.05")
    while noted(home) < 20 and process.poll() is None:
        time.sleep(0.02)
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)  # Ctrl-C goes to the whole group
    process.communicate(timeout=120)
    deadline = time.monotonic() + 30
    while readers(home) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not readers(home), "processes outlived the one that wanted the clips"
    before = noted(home)
    assert process.returncode != 0 and 20 <= before < 80 and not (home / "arrays").exists()
    reads = count_reads(monkeypatch)
    assert ensure(home, sources).clips == 80
    assert len(reads) == 80 - before
    check(home, sources)


@pytest.mark.skipif(os.name == "nt", reason="no such signals on Windows")
def test_a_process_that_dies_once_costs_nothing(home):
    sources = make_clips(home, 12)
    out, err = start(home, sources, VICTIM="clip 5,", SIGNAL="9", ONCE="1").communicate(timeout=120)
    assert (home / "mark").exists() and out == "12\n", err
    check(home, sources)


@pytest.mark.skipif(os.name == "nt", reason="no such signals on Windows")
def test_a_clip_that_always_kills_its_process_is_named_and_costs_no_other(home, monkeypatch):
    sources = make_clips(home, 12)
    process = start(home, sources, VICTIM="clip 5,", SIGNAL="11")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1 and not out and not (home / "arrays").exists()
    assert f"1 clips killed the process that read them, twice: {sources[5].pictures}; try again" in err
    assert noted(home) == 11
    reads = count_reads(monkeypatch)
    assert ensure(home, sources).clips == 12  # with another decoder
    assert reads == [sources[5].clip]
    check(home, sources)


def test_progress_tells_what_is_done_and_how_long_it_takes():
    clock = Clock(100.0, now=iter([0.0, 25.0, 25.0]).__next__)
    clock.finished(25.0)
    assert reader.progress({True: 23, False: 2}, 100, clock) == "25 of 100 clips, 2 could not be read, about 75 s left"


def test_short_sounds_are_repeated(home):
    wav = write_wav(home / "a.wav", tone(0.1, 8000), 8000)
    (home / "f").mkdir()
    Image.new("RGB", (4, 4)).save(home / "f" / "0.png")
    sound, _, _ = read_clip(Source("a", str(wav), str(home / "f")), FORM, FRAMES)
    assert sound.shape == (9, 10) and np.isfinite(sound).all()


def test_ctrl_c_is_for_the_process_that_reads_and_not_for_its_workers():
    """In a terminal it reaches all of them; a worker would answer with a traceback of its own."""

    class Asked:
        def __call__(self) -> bool:
            return signal.getsignal(signal.SIGINT) == signal.SIG_IGN

    heard = []
    assert reader._in_processes(Asked(), [()], 1, heard.append) == []
    assert heard == [True] and signal.getsignal(signal.SIGINT) != signal.SIG_IGN
