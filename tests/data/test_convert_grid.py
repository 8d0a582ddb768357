"""The word set of GRID from raw videos: against the prepared set where both are here, and what can be wrong."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from media_files import MPG, write_video
from PIL import Image

from dgl_core.data import command
from dgl_core.data.files import cache
from dgl_core.data.sets.convert import grid

pytestmark = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="PyAV is not here: pip install av")
RAW, PREPARED = (Path(os.environ.get("DGL_DATA", ""), name) for name in ("grid_raw_sample", "grid_s1_av"))
needs_grid = pytest.mark.skipif(not (RAW.is_dir() and PREPARED.is_dir()), reason="GRID is not here (set DGL_DATA)")
ALIGNMENT = "0 2000 sil\n2000 5000 bin\n5000 8000 blue\n8000 9000 at\n9000 9500 sp\n9500 12000 f\n12000 15000 two\n"
ALIGNMENT += "15000 20000 now\n20000 25000 sil\n"


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    return tmp_path


def table(folder):
    with open(folder / "samples.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def levels(folder):
    with np.load(folder / "audio_logmel.npz", allow_pickle=False) as file:
        return file["mel"] / 255 * (float(file["hi"]) - float(file["lo"])) + float(file["lo"])


def sheet(folder, name):
    with zipfile.ZipFile(folder / "lips.zip") as archive:
        return np.asarray(Image.open(io.BytesIO(archive.read(f"{name}.jpg")))).astype(int)


@needs_grid
def test_the_raw_samples_give_the_prepared_set(home):
    raw, out = home / "raw", home / "out"
    raw.mkdir()
    names = sorted(p.stem for p in RAW.glob("*.mpg"))
    for path in RAW.glob("*.*g*"):
        if path.stem in names:
            os.symlink(path, raw / path.name)
    assert f"{len(names)} utterances" in grid.convert(raw, out)
    theirs = {(row["utterance"], row["slot"]): row for row in table(PREPARED)}
    ours = table(out)
    assert [row["utterance"] for row in ours[::6]] == names and len(ours) == 6 * len(names)
    same = ("word", "label51", "start_s", "end_s")
    assert all(row[key] == theirs[row["utterance"], row["slot"]][key] for row in ours for key in same)
    # sound: one level of the prepared set is 0.089; a few differ by up to four, from another resampler
    rows = [int(theirs[row["utterance"], row["slot"]]["row"]) for row in ours]
    difference = np.abs(levels(out) - levels(PREPARED)[rows])
    assert difference.mean() < 0.02 and difference.max() < 0.6
    # lips: where the head is found at the same place (nearly always), the pictures are those of the prepared set
    moves = {row["utterance"]: (int(row["crop_dy"]), int(row["crop_dx"])) for row in ours}
    known = {name: tuple(int(theirs[name, "0"][key]) for key in ("crop_dy", "crop_dx")) for name in names}
    assert max(abs(a - b) for name in names for a, b in zip(moves[name], known[name], strict=True)) <= 2
    alike = [name for name in names if moves[name] == known[name]]
    assert len(alike) >= len(names) - 2
    assert all(np.abs(sheet(out, name) - sheet(PREPARED, name)).mean() < 1 for name in alike)
    expected = cache.read_manifest(out)
    assert not cache.wrong_files(out, expected) and {"lips.zip", "samples.csv", "audio_logmel.npz"} <= set(expected)


@needs_grid
def test_the_test_part_of_the_whole_talker_is_that_of_the_prepared_set():
    rows = table(PREPARED)
    utterances = [
        grid.Utterance(
            rows[n]["utterance"],
            [(row["word"], float(row["start_s"]), float(row["end_s"])) for row in rows[n : n + 6]],
            (0, 0),
            np.zeros(0),
            np.zeros(0),
        )
        for n in range(0, len(rows), 6)
    ]
    header, *made = grid._samples(utterances)
    chosen = [row[header.index("split")] for row in made]
    assert chosen == [row["split"] for row in rows]
    assert [str(row[header.index("label51")]) for row in made] == [row["label51"] for row in rows]


def make_raw(folder, names=("bbaf2n", "bbaf3s")):
    for name in names:
        write_video(folder / f"{name}.mpg", 1.0, fps=25, size=(360, 288), codecs=MPG)
        (folder / f"{name}.align").write_text(ALIGNMENT)
    return folder


def test_what_cannot_be_used_is_counted_and_named(home, capsys):
    raw = make_raw(home / "rä w", ("good", "mute", "cut", "none", "five", "word"))
    write_video(raw / "mute.mpg", 1.0, fps=25, size=(360, 288), codecs=MPG, sound=False)
    data = (raw / "cut.mpg").read_bytes()
    (raw / "cut.mpg").write_bytes(data[: len(data) // 2])  # all pictures of this short video, half of its sound
    (raw / "none.align").unlink()
    (raw / "five.align").write_text(ALIGNMENT.replace("9500 12000 f\n", ""))
    (raw / "word.align").write_text(ALIGNMENT.replace("blue", "pink"))
    assert command.main(["prepare", "grid", "--raw", str(raw), "--to", str(home / "out")]) == 0
    assert "1 utterances, 6 words in" in capsys.readouterr().out
    with open(home / "out" / "unreadable.csv", encoding="utf-8", newline="") as file:
        reasons = dict(list(csv.reader(file))[1:])
    expected = {
        "mute": "has no sound", "cut": "truncated", "none": "none.align is missing",
        "five": "not six lines",
        "word": "'pink' is no word",
    }  # fmt: skip
    for name, reason in expected.items():
        assert reason in reasons.pop(name)
    assert not reasons and [row["word"] for row in table(home / "out")] == ["bin", "blue", "at", "f", "two", "now"]


def test_raw_videos_that_contradict_their_manifest_are_left_out(home, capsys):
    raw = make_raw(home / "raw", ("a", "video", "words"))
    cache.write_manifest(raw, [p.relative_to(raw) for p in raw.iterdir()])
    with open(raw / "video.mpg", "r+b") as file:
        file.seek(3000)
        file.write(b"x")
    (raw / "words.align").write_text(ALIGNMENT.replace("blue", "red"))
    assert command.main(["prepare", "grid", "--raw", str(raw), "--to", str(home / "out")]) == 0
    assert "1 utterances, 6 words in" in capsys.readouterr().out
    lines = (home / "out" / "unreadable.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert len(lines) == 2 and all("not the file that" in line for line in lines)


def test_a_name_that_no_list_can_hold_is_refused(home, capsys):
    raw = make_raw(home / "raw", ("good", "li\nne"))
    assert command.main(["prepare", "grid", "--raw", str(raw), "--to", str(home / "out")]) == 1
    assert "li\\nne.mpg': this name has a line break" in capsys.readouterr().err


def test_a_stopped_conversion_goes_on(home, monkeypatch):
    raw, reads = make_raw(home / "raw"), []

    def read(video, template, make=grid.read_utterance):
        if len(reads) == 1:
            raise KeyboardInterrupt
        reads.append(video.stem)
        return make(video, template)

    monkeypatch.setattr(grid, "read_utterance", read)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        grid.convert(raw, home / "out")
    assert not (home / "out").exists()
    done = list(reads)
    reads.clear()
    monkeypatch.setattr(grid, "read_utterance", lambda v, t: reads.append(v.stem) or _original(v, t))
    assert "2 utterances" in grid.convert(raw, home / "out")
    assert set(reads) == {"bbaf2n", "bbaf3s"} - set(done)


_original = grid.read_utterance


def test_other_folders_are_left_alone(home, capsys):
    (home / "out").mkdir()
    (home / "out" / "thesis.tex").write_text("mine")
    raw = make_raw(home / "raw", ("good",))
    assert command.main(["prepare", "grid", "--raw", str(raw), "--to", str(home / "out")]) == 1
    assert "has other files in it" in capsys.readouterr().err and (home / "out" / "thesis.tex").exists()
    (home / "empty").mkdir()
    for arguments, message in ((["--raw", str(home / "empty")], "no videos"), ([], "--raw FOLDER")):
        assert command.main(["--root", str(home), "prepare", "grid", *arguments]) == 1
        assert message in capsys.readouterr().err
