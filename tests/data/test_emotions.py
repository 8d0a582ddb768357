"""The generated emotion set: the same bytes, the layout of CREMA-D, concurrent writers, damage."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from media_digest import media_digest

from dgl_core import data
from dgl_core.data.files import cache
from dgl_core.data.generated import kept
from dgl_core.data.generated.emotions import emotion_files as generated
from dgl_core.data.generated.emotions import voice
from dgl_core.data.generated.emotions.acting import EMOTIONS, SENTENCES
from dgl_core.data.generated.emotions.emotion_files import Settings
from dgl_core.data.generated.portable import cosine, decibel, exponential, semitones, sine
from dgl_core.training.environment import PORTABLE_NUMERICS

TINY = Settings(clips=18, seed=5)
# SHA-256 over the media of TINY. If it changes, raise generated.VERSION and write the new value here.
DIGEST = "f44b299c5f882c8d28c953c47f4d716bf1c6e50c6001e234ad7ee6d67286a592"


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path))
    return tmp_path


def test_the_same_settings_give_these_bytes():
    assert media_digest(TINY) == DIGEST


def test_another_processor_gives_the_same_bytes():
    emulator = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if emulator is None or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("qemu-x86_64 is not installed (package qemu-user), or this is no x86-64 machine")
    script = str(Path(__file__).resolve().parents[1] / "media_digest.py")
    result = subprocess.run(
        [emulator, "-cpu", "Nehalem", sys.executable, script, str(TINY.clips), str(TINY.seed), "3"],
        env=os.environ | PORTABLE_NUMERICS | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == media_digest(TINY, 3)


def test_processes_share_the_work_and_give_the_same_bytes(home, tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for folder in (alone, shared):
        (folder / generated.AUDIO).mkdir(parents=True)
        (folder / generated.FRAMES).mkdir()
    generated._write_share(TINY, alone, 0, 1)
    generated._write_parallel(TINY, shared, 2)
    files = sorted(f.relative_to(alone) for f in alone.rglob("*") if f.is_file())
    assert len(files) == 2 * TINY.clips
    assert all((alone / f).read_bytes() == (shared / f).read_bytes() for f in files)


def test_layout_names_and_lists_are_those_of_cremad(home):
    folder = generated.ensure(TINY)
    clips = generated.clip_list(TINY)
    listed = {}
    for part in data.PARTS:
        for line in (folder / f"{part}.csv").read_text().splitlines():
            name, emotion = line.split(",")
            listed[name] = part
            actor, sentence, label, level = name.split("_")
            assert label == emotion and 1001 <= int(actor) <= 1091
            assert sentence in SENTENCES and level in generated.LEVELS
    assert sorted(listed) == sorted(clip.name for clip in clips) and set(listed.values()) == set(data.PARTS)
    for name in listed:
        assert (folder / "AudioWAV" / f"{name}.wav").is_file()
        assert [f.name for f in (folder / "Image-01-FPS" / name).iterdir()] == ["00000.jpg"]


def test_clips_are_unique_and_balanced_up_to_the_largest_set():
    clips = generated.clip_list(Settings(clips=3001))
    assert len({clip.name for clip in clips}) == 3001
    counts = Counter(clip.label for clip in clips)
    assert set(counts) == set(range(6)) and max(counts.values()) - min(counts.values()) <= 1
    largest = generated.clip_list(Settings(clips=generated.MOST))
    assert len({clip.name for clip in largest}) == len(largest) == 26208


def test_difficulty_of_one_modality_leaves_the_other_alone():
    easy, hard = Settings(clips=18), Settings(clips=18, audio_difficulty=1.0)
    clip = generated.clip_list(easy)[4]
    assert np.array_equal(generated.picture(easy, clip), generated.picture(hard, clip))
    assert not np.array_equal(generated.sound(easy, clip), generated.sound(hard, clip))
    other = generated.clip_list(Settings(clips=18, seed=1))[4]
    assert not np.array_equal(generated.picture(easy, clip), generated.picture(Settings(clips=18, seed=1), other))


def test_sound_and_pictures_are_plausible():
    settings = Settings(clips=18)
    for clip in generated.clip_list(settings)[:6]:
        sound, picture = generated.sound(settings, clip), generated.picture(settings, clip)
        assert sound.dtype == np.int16 and 1.2 < len(sound) / voice.RATE < 5
        assert 300 < np.abs(sound).max() < 32767  # heard, and not clipped
        assert picture.dtype == np.uint8 and picture.shape == (96, 96, 3) and picture.std() > 20


@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_the_plain_emotion_is_in_the_features_and_the_hardest_is_not(modality):
    """Nearest class centre of the acted cues: a bound on what any network could read, without training one."""
    from dgl_core.data.generated.emotions.acting import act_face, act_voice

    act, accuracy = (act_voice if modality == "audio" else act_face), {}
    for difficulty in (0.0, 1.0):
        cues = np.array(
            [
                list(act(np.random.Generator(np.random.PCG64([label, clip])), label, difficulty).values())
                for label in range(6)
                for clip in range(60)
            ]
        )
        labels = np.repeat(np.arange(6), 60)
        scaled = (cues - cues.mean(0)) / cues.std(0)
        centres = np.array([scaled[(labels == k) & (np.arange(360) % 2 == 0)].mean(0) for k in range(6)])
        test = np.arange(360) % 2 == 1
        found = ((scaled[test][:, None] - centres) ** 2).sum(2).argmin(1)
        accuracy[difficulty] = (found == labels[test]).mean()
    assert accuracy[0.0] > 0.95 and accuracy[1.0] < 0.6


def test_loaded_set_agrees_with_its_lists(home):
    dataset = data.load("emotions", clips=36, seed=2)
    assert dataset.generated and dataset.classes == EMOTIONS and dataset.modalities == ("audio", "visual")
    assert all(EMOTIONS[label] == name.split("_")[2] for name, label in zip(dataset.ids, dataset.target, strict=True))
    assert dataset.shapes == {"audio": (1, 64, 47), "visual": (3, 48, 48)}
    train = dataset.batch(dataset.indices("train"))[0]["audio"]
    assert abs(float(train.mean())) < 1e-3 and abs(float(train.std()) - 1) < 1e-2
    again = data.load("emotions", clips=36, seed=2)
    assert again.fingerprint == dataset.fingerprint
    assert all(torch.equal(again.inputs[m], dataset.inputs[m]) for m in dataset.modalities)
    assert data.load("emotions", clips=36, seed=2, visual_difficulty=0.1).fingerprint != dataset.fingerprint


def test_an_incomplete_set_is_made_again_and_said_so(home, capsys):
    folder = generated.ensure(TINY)
    before = (folder / cache.MANIFEST).read_text()
    sound = next((folder / "AudioWAV").iterdir())
    sound.unlink()
    assert generated.ensure(TINY) == folder and sound.is_file() and (folder / cache.MANIFEST).read_text() == before
    assert "1 of 40 files are missing" in capsys.readouterr().err


def test_verify_finds_a_changed_byte(home):
    folder = generated.ensure(TINY)
    assert "every file as its manifest says" in kept.verify("emotions")
    sound = next((folder / "AudioWAV").iterdir())
    content = bytearray(sound.read_bytes())
    content[1000] ^= 1
    time.sleep(0.01)
    sound.write_bytes(content)
    with pytest.raises(ValueError, match=f"{sound.name}: wrong checksum.*delete this folder"):
        kept.verify("emotions")


def flip(path: Path, place: int = -1) -> None:
    """Flip one bit; size and time stay what they were."""
    times, content = path.stat(), bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_verify_reads_instead_of_remembering(home):
    data.load("emotions", clips=TINY.clips, seed=TINY.seed)
    folder = generated.ensure(TINY)
    assert "every file" in kept.verify("emotions")
    for path in (next((folder / "AudioWAV").iterdir()), next(folder.glob("prepared/audio-*/array.npy"))):
        flip(path)
        with pytest.raises(ValueError, match=f"{path.name}: wrong checksum; delete this folder"):
            kept.verify("emotions")
        flip(path)


@pytest.mark.parametrize("what", ["AudioWAV/*.wav", "Image-01-FPS/*/*.jpg", "train.csv"])
def test_no_array_is_made_from_media_that_the_manifest_contradicts(home, what, capsys):
    options = {"clips": TINY.clips, "seed": TINY.seed}
    right = data.load("emotions", **options).fingerprint
    folder = generated.ensure(TINY)
    shutil.rmtree(folder / "prepared")
    flip(next(folder.glob(what)), 1000 if what.endswith("wav") else -3)
    assert data.load("emotions", **options).fingerprint == right
    assert "wrong checksum; making it again" in capsys.readouterr().err and kept.problem(folder) == ""


def test_two_forms_of_one_set_have_two_fingerprints(home):
    forms = ({}, {"spectrogram": "official"}, {"frame_size": 32})
    assert len({data.load("emotions", clips=18, **form).fingerprint for form in forms}) == 3


def test_two_processes_may_write_the_same_set(home):
    command = (
        "from dgl_core.data.generated.emotions import emotion_files as g; print(g.ensure(g.Settings(clips=60, seed=9)))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    writers = [
        subprocess.Popen([sys.executable, "-c", command], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    folders = {writer.communicate(timeout=120)[0].strip() for writer in writers}
    assert [writer.returncode for writer in writers] == [0, 0] and len(folders) == 1
    assert kept.problem(Path(folders.pop())) == ""
    assert [f.name for f in home.iterdir() if f.name.startswith(".")] == []  # nothing half-made is left


def test_leftovers_of_a_killed_process_go_away(home):
    leftover = home / f".emotions-{TINY.digest}.1.dead"
    leftover.mkdir()
    os.utime(leftover, (0, 0))
    generated.ensure(TINY)
    assert not leftover.exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    tmp_path.chmod(0o500)
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    with pytest.raises(OSError, match="set DGL_DATA_CACHE"):
        generated.ensure(TINY)


def test_a_place_that_is_a_file_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match="cannot write the generated emotion set.*set DGL_DATA_CACHE"):
        generated.ensure(TINY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clips": 17}, "clips is 17"),
        ({"clips": 26209}, "clips is 26209"),
        ({"seed": -1}, "seed is -1"),
        ({"audio_difficulty": 1.5}, "audio_difficulty is 1.5"),
        ({"visual_difficulty": -0.1}, "visual_difficulty is -0.1"),
        ({"frame_size": 8}, "frame_size is 8"),
        ({"spectrogram": "offical"}, "did you mean 'official'"),
        ({"augment": "flip"}, "'flip'"),
    ],
)
def test_bad_settings_are_refused(home, options, message):
    with pytest.raises(ValueError, match=message):
        data.load("emotions", **{"clips": 18} | options)


def test_portable_functions_are_right():
    turns = np.linspace(-3, 3, 4001)
    assert np.abs(sine(turns) - np.sin(2 * np.pi * turns)).max() < 1e-11
    assert np.abs(cosine(turns) - np.cos(2 * np.pi * turns)).max() < 1e-11
    x = np.linspace(-20, 20, 4001)
    assert np.abs(exponential(x) / np.exp(x) - 1).max() < 1e-12
    assert abs(float(decibel(20.0)) - 10) < 1e-11 and abs(float(semitones(12.0)) - 2) < 1e-12


def test_importing_the_data_room_does_not_import_torch():
    code = "import sys, dgl_core.data.catalogue; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
