"""Sound and pictures from files: spectrograms against librosa, prepared arrays, damage, real CREMA-D folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import librosa
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from dgl_core import data
from dgl_core.data import command
from dgl_core.data.files import arrays, cache
from dgl_core.data.files.atomic import temporary
from dgl_core.data.generated.emotions import emotion_files
from dgl_core.data.generated.emotions.acting import EMOTIONS
from dgl_core.data.media.sound import read_wav
from dgl_core.data.media.spectrogram import FORMS, spectrogram
from dgl_core.data.sets import cremad


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DGL_DATA", raising=False)
    return tmp_path


def voice(number: int) -> np.ndarray:
    settings = emotion_files.Settings(clips=18)
    return emotion_files.sound(settings, emotion_files.clip_list(settings)[number]) / 32768


def reference(sound: np.ndarray, name: str) -> np.ndarray:
    """The official transformation with librosa itself, and the paper's."""
    form = FORMS[name]
    repeated = np.clip(np.tile(sound, 100)[: form.samples], -1.0, 1.0)
    options = {"hop_length": 353} if name == "official" else {"hop_length": 512 - 353, "center": False}
    return np.log(np.abs(librosa.stft(repeated, n_fft=512, **options)) + 1e-7)


@pytest.mark.parametrize("name", ["official", "paper"])
@pytest.mark.parametrize("number", [0, 2, 5])
def test_spectrograms_equal_those_of_librosa(name, number):
    sound = voice(number)
    assert np.abs(spectrogram(sound, FORMS[name]) - reference(sound, name)).max() < 1e-4


def test_sizes_are_those_of_the_code_and_of_the_paper():
    shapes = {name: spectrogram(np.ones(40000), form).shape for name, form in FORMS.items()}
    assert shapes == {"official": (257, 188), "paper": (257, 299), "compact": (64, 47)}
    assert all(form.shape == shapes[name] for name, form in FORMS.items())
    assert (FORMS["paper"].samples - 353) // (512 - 353) == 299  # what scipy's spectrogram gives for 3 s at 16 kHz


def test_compact_is_the_mean_of_blocks_of_the_official_form():
    sound = voice(1)
    full = spectrogram(sound, FORMS["official"])
    compact = spectrogram(sound, FORMS["compact"])
    assert compact[10, 20] == pytest.approx(full[40:44, 80:84].mean(), abs=1e-12)


@pytest.mark.parametrize("seconds", [0.01, 0.7, 2.9, 3.0, 6.0])
def test_short_sound_is_repeated_and_long_sound_cut(seconds):
    sound = np.random.default_rng(0).uniform(-2, 2, int(seconds * 22050))  # beyond -1..1: clipped
    full = np.resize(np.clip(sound, -1, 1), 66150)
    assert np.array_equal(spectrogram(sound, FORMS["official"]), spectrogram(full, FORMS["official"]))


def test_wav_is_read_as_librosa_reads_it(tmp_path):
    stereo = np.stack([voice(0), 0.5 * voice(0)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, 16000)
    expected, _ = librosa.load(tmp_path / "a.wav", sr=22050)
    found = read_wav(tmp_path / "a.wav", 22050)
    assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize(
    ("content", "message"), [(b"RIFFnonsense", "not a readable sound file"), (b"", "not a readable sound file")]
)
def test_unreadable_wav_is_named_with_a_remedy(tmp_path, content, message):
    (tmp_path / "x y.wav").write_bytes(content)
    with pytest.raises(ValueError, match=f"x y.wav: {message}.*again"):
        read_wav(tmp_path / "x y.wav", 22050)


def test_wav_without_samples_and_wav_with_nan_are_named(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 22050)
    with pytest.raises(ValueError, match="empty.wav: the sound file is empty"):
        read_wav(tmp_path / "empty.wav", 22050)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), 22050, subtype="FLOAT")
    with pytest.raises(ValueError, match="nan.wav.*not finite"):
        read_wav(tmp_path / "nan.wav", 22050)


def make_cremad(root, rate=16000):
    """A folder as CREMA-D has it: 30 clips of half a second, frames of 40 x 30, the official kind of lists."""
    folder = root / "cremad"
    (folder / "AudioWAV").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lists = {"train": [], "test": []}
    for number in range(30):
        emotion = EMOTIONS[number % 6]
        name = f"{1001 + number}_DFA_{emotion}_XX"
        soundfile.write(folder / "AudioWAV" / f"{name}.wav", rng.uniform(-0.5, 0.5, rate // 2), rate)
        (folder / "Image-01-FPS" / name).mkdir(parents=True)
        for frame in range(2):
            picture = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(picture).save(folder / "Image-01-FPS" / name / f"{frame:05d}.jpg")
        lists["test" if number >= 24 else "train"].append(f"{name},{emotion}\n")
    for part, lines in lists.items():
        (folder / f"{part}.csv").write_text("".join(lines))
    return folder


def load(root, **options):
    return data.load("cremad", root, **{"spectrogram": "compact", "frame_size": 32} | options)


def test_cremad_folder_loads_with_the_official_lists(tmp_path):
    make_cremad(tmp_path)
    dataset = load(tmp_path)
    assert dataset.counts == {"train": 18, "val": 6, "test": 6}  # validation as large as test, cut from train
    assert not dataset.generated and dataset.classes == ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
    listed = (tmp_path / "cremad" / "test.csv").read_text().split("\n")[:-1]
    test = {f"{dataset.ids[i]},{dataset.classes[dataset.target[i]]}" for i in dataset.indices("test").tolist()}
    assert test == set(listed)
    assert dataset.shapes == {"audio": (1, 64, 47), "visual": (3, 32, 32)}
    assert data.DATASETS["cremad"].available(tmp_path) and not data.DATASETS["cremad"].available(tmp_path / "cremad")
    assert cremad.verify_cremad(tmp_path) == (
        "24 train and 6 test clips, each with sound and pictures (the official lists have 6698 and 744)"
    )


def test_rows_of_the_arrays_belong_to_their_clips(tmp_path):
    folder = make_cremad(tmp_path)
    dataset = load(tmp_path, spectrogram="official", augment="none")
    row = 17
    name = dataset.ids[row]
    sound = read_wav(folder / "AudioWAV" / f"{name}.wav", 22050)
    expected = spectrogram(sound, FORMS["official"]).astype(np.float16)
    assert torch.equal(dataset.batch(torch.tensor([row]))[0]["audio"][0, 0], torch.from_numpy(expected).float())
    picture = Image.open(folder / "Image-01-FPS" / name / "00000.jpg").convert("RGB").resize((32, 32), 2)
    assert np.array_equal(dataset.inputs["visual"][row].numpy(), np.asarray(picture))


def test_official_lists_beside_the_folder_are_found(tmp_path):
    folder = make_cremad(tmp_path)
    (tmp_path / "split_lists").mkdir()
    for part in ("train", "test"):
        os.replace(folder / f"{part}.csv", tmp_path / "split_lists" / f"cremad_{part}.csv")
    assert load(tmp_path).counts["test"] == 6
    (tmp_path / "split_lists" / "cremad_test.csv").unlink()
    with pytest.raises(FileNotFoundError, match="test list of CREMA-D .* is missing: put it at .*test.csv"):
        load(tmp_path)


def test_missing_set_says_where_it_was_looked_for_and_what_else_there_is(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}.*DGL_DATA.*'emotions'"):
        load(tmp_path)


def test_missing_media_are_named(tmp_path):
    folder = make_cremad(tmp_path)
    name = "1003_DFA_SAD_XX"
    (folder / "AudioWAV" / f"{name}.wav").unlink()
    with pytest.raises(ValueError, match=f"1 of 30 clips of cremad.*{name}.wav is missing.*drop the clip"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"1 of 30 listed clips lack.*{name}"):
        cremad.verify_cremad(tmp_path)
    make_wav = np.zeros(8000)
    soundfile.write(folder / "AudioWAV" / f"{name}.wav", make_wav, 16000)
    for frame in (folder / "Image-01-FPS" / name).iterdir():
        frame.unlink()
    with pytest.raises(ValueError, match=f"no frame of clip '{name}'"):
        load(tmp_path)


def test_broken_media_are_named(tmp_path):
    folder = make_cremad(tmp_path)
    (folder / "Image-01-FPS" / "1003_DFA_SAD_XX" / "00000.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ValueError, match="1003_DFA_SAD_XX.00000.jpg: not a readable picture"):
        load(tmp_path)
    (folder / "AudioWAV" / "1004_DFA_FEA_XX.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match="2 of 30 clips of cremad could not be read"):
        load(tmp_path)


@pytest.mark.parametrize("line", ["1003_DFA_SAD_XX,JOY", "1003_DFA_SAD_XX", "a,SAD,b"])
def test_a_wrong_line_of_a_list_is_named(tmp_path, line):
    folder = make_cremad(tmp_path)
    with open(folder / "test.csv", "a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=f"test.csv, line 7: '{line}'"):
        load(tmp_path)


def test_a_clip_in_both_lists_is_refused(tmp_path):
    folder = make_cremad(tmp_path)
    with open(folder / "test.csv", "a") as file:
        file.write("1003_DFA_SAD_XX,SAD\n")
    with pytest.raises(ValueError, match="1 clip ids occur more than once, e.g. '1003_DFA_SAD_XX'"):
        load(tmp_path)
    with pytest.raises(ValueError, match="'1003_DFA_SAD_XX' is listed twice"):
        cremad.verify_cremad(tmp_path)


def damage(path, place=-300):
    """Flip one bit, and leave size and times as they were, as a failing disk does."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("share", [0.0, 0.4, 0.97])
def test_a_manifest_that_was_cut_off_makes_the_set_again(home, capsys, share):
    folder = emotion_files.ensure(emotion_files.Settings(clips=18))
    lines = (folder / cache.MANIFEST).read_text().splitlines(keepends=True)
    (folder / cache.MANIFEST).write_text("".join(lines[: int(len(lines) * share)]))
    emotion_files.ensure(emotion_files.Settings(clips=18))
    assert "MANIFEST.sha256 is incomplete; making it again" in capsys.readouterr().err
    assert (folder / cache.MANIFEST).read_text() == "".join(lines)


def test_verify_reads_what_it_answers_for(home, capsys):
    data.load("emotions", clips=18, frame_size=16, spectrogram="compact")
    assert command.main(["verify", "emotions"]) == 0
    assert "every file as its manifest says; 2 folders of arrays as their checksums say" in capsys.readouterr().out
    path = next((cache.cache_root()).glob("emotions-*/prepared/*/array.npy"))
    damage(path)
    assert command.main(["verify", "emotions"]) == 1
    assert f"{path.name}: wrong checksum; delete this folder" in capsys.readouterr().err


def test_verify_reads_prepared_clips(home, capsys):
    make_cremad(home)
    where = ["--root", str(home)]
    load(home)
    assert command.main([*where, "verify", "cremad"]) == 0
    damage(next(cache.cache_root().glob("cremad/*/sound.npy")))
    assert command.main([*where, "verify", "cremad"]) == 1
    assert "sound.npy: wrong checksum; delete this folder, its arrays are made again" in capsys.readouterr().err


def counted(folder, stamp="s", times=None):
    """A prepared array 0, 1, 2 that notes each time it is made."""

    def fill(array):
        times.append(1)
        array[:] = np.arange(3)[:, None]

    return arrays.prepared(folder, stamp, ["a", "b", "c"], (2,), np.float16, fill)


def change_version(folder):
    about = json.loads((folder / "cache.json").read_text())
    (folder / "cache.json").write_text(json.dumps(about | {"version": 0}))


DAMAGE = {
    "of version 0": change_version,
    "half-written": lambda folder: (folder / "cache.json").unlink(),
    "half-written ": lambda folder: (folder / "cache.json").write_text("{"),
    "missing": lambda folder: (folder / "array.npy").unlink(),
    "wrong checksum": lambda folder: (folder / "array.npy").write_bytes(b"\0" * 140),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_a_damaged_array_is_made_again_and_said_so(tmp_path, capsys, message):
    times = []
    folder = tmp_path / "array"
    assert counted(folder, times=times).tolist() == counted(folder, times=times).tolist() == [[0, 0], [1, 1], [2, 2]]
    assert len(times) == 1
    DAMAGE[message](folder)
    assert counted(folder, times=times).tolist() == [[0, 0], [1, 1], [2, 2]]
    assert len(times) == 2 and message.strip() in capsys.readouterr().err
    assert (folder / "index.csv").read_text() == "row,clip\n0,a\n1,b\n2,c\n"


def test_an_array_of_other_files_is_made_again(tmp_path, capsys):
    times = []
    counted(tmp_path / "array", times=times)
    counted(tmp_path / "array", stamp="t", times=times)
    assert len(times) == 2 and "have changed" in capsys.readouterr().err


def test_an_interrupted_preparation_leaves_nothing(tmp_path):
    def fill(array):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        arrays.prepared(tmp_path / "array", "s", ["a"], (2,), np.uint8, fill)
    assert [f.name for f in tmp_path.iterdir()] == []


@pytest.mark.skipif(os.name == "nt", reason="processes are asked after with a signal")
def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = temporary(tmp_path / "array").name.split(".")[2].partition("-")[0]  # how this host is named
    left, used, elsewhere = (
        tmp_path / f".array.{host}-{process}-0a1b2c3d.tmp"
        for host, process in ((here, dead.pid), (here, os.getpid()), ("0" * 14, dead.pid))
    )
    for folder in (left, used, elsewhere):
        folder.mkdir()
    counted(tmp_path / "array", times=[])
    assert not left.exists() and used.exists() and elsewhere.exists()


def test_manifest_lines_that_leave_the_folder_are_refused(tmp_path):
    (tmp_path / cache.MANIFEST).write_text(f"{'0' * 64}  ../secret\n")
    with pytest.raises(ValueError, match="no line of a SHA-256 manifest"):
        cache.read_manifest(tmp_path)
