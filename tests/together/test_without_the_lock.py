"""Where the lock cannot be installed: torch, numpy, scipy, pandas, pillow and matplotlib rehearse and train alone."""

from __future__ import annotations

import subprocess
import sys
import wave

import numpy as np
import pytest
import soundfile
from few_packages import ALONE, importable_with
from PIL import Image

from dgl_core.data.media import sound
from dgl_core.utils import ROOT

THERE = ("torch", "numpy", "scipy", "pandas", "pillow", "matplotlib")

RUN = """
from dgl_core.__main__ import main
sys.exit(main(%r))
"""


@pytest.fixture
def dgl(tmp_path, monkeypatch):
    """Run a command of the house in an interpreter that finds those packages alone."""
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path / "results" / "runs"))
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DGL_DATA", str(tmp_path / "data"))

    def run(*words: str) -> subprocess.CompletedProcess:
        code = ALONE % sorted({*importable_with(*THERE), "dgl_core"}) + RUN % list(words)
        return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)

    return run


def test_other_packages_are_really_away():
    assert {"torch", "PIL", "scipy", "dateutil"} <= importable_with(*THERE)
    assert not {"soundfile", "librosa", "joblib", "sklearn", "av", "papermill"} & importable_with(*THERE)


def test_it_rehearses(dgl, tmp_path):
    run = dgl("rehearse", "cremad", "--size", "small", "--steps", "1")
    assert run.returncode == 0, run.stderr
    assert "REHEARSAL on random data: CREMA-D" in run.stdout and "dgl" in run.stdout
    assert list((tmp_path / "results" / "rehearsal").glob("*.json"))


def write_cremad(folder, clips=24, rate=16000):
    """Sounds and frames as CREMA-D has them, few and short; the sounds by Python's own writer."""
    emotions, lists = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG"), {"train": [], "test": []}
    draw = np.random.default_rng(0)
    (folder / "AudioWAV").mkdir(parents=True)
    for number in range(clips):
        emotion = emotions[number % 6]
        name = f"{1001 + number}_DFA_{emotion}_XX"
        with wave.open(str(folder / "AudioWAV" / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(draw.integers(-9000, 9000, rate // 2).astype("<i2").tobytes())
        (folder / "Image-01-FPS" / name).mkdir(parents=True)
        picture = draw.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / "Image-01-FPS" / name / "00000.jpg")
        lists["test" if number >= clips - 6 else "train"].append(f"{name},{emotion}\n")
    for part, lines in lists.items():
        (folder / f"{part}.csv").write_text("".join(lines))


def test_it_trains_on_clips_in_the_shape_of_crema_d(dgl, tmp_path):
    """From wav files and frames to a record: prepared, resampled, trained, in the paper's 257 x 188 and 224 x 224."""
    write_cremad(tmp_path / "data" / "cremad")
    run = dgl("train", "dataset=cremad", "method=dgl", "epochs=1", "batch_size=6", "model=small")
    assert run.returncode == 0, run.stderr
    assert "Recorded in" in run.stdout and list((tmp_path / "results" / "runs").rglob("*.json"))
    assert run.stderr.count("librosa is not installed, so scipy resamples") == 1
    (about,) = (tmp_path / "cache").rglob("cache.json")
    assert '"resampler": "scipy"' in about.read_text(), "arrays say who resampled"


def test_what_is_missing_for_a_method_is_one_sentence(dgl, tmp_path):
    run = dgl("train", "dataset=triplet", "method=relearn", "model=mlp", "epochs=1")
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert "The clusters of relearn need sklearn, which is not installed: pip install 'dgl-core[data]'" in run.stderr


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"])
@pytest.mark.parametrize("channels", [1, 2])
def test_python_reads_wav_files_as_soundfile_does(tmp_path, monkeypatch, subtype, channels):
    draw = np.random.default_rng(0).uniform(-1, 1, (501, channels))
    draw[0], draw[1] = -1.0, 1.0
    soundfile.write(tmp_path / "a.wav", draw, 16000, subtype=subtype)
    expected = sound.read_wav(tmp_path / "a.wav", 16000)
    monkeypatch.setattr(sound, "importable", lambda package: False)
    assert np.array_equal(sound.read_wav(tmp_path / "a.wav", 16000), expected)
    path = tmp_path / "cut.wav"
    path.write_bytes((tmp_path / "a.wav").read_bytes()[:-300])
    with pytest.raises(ValueError, match="truncated|contradicts|declares|not a readable"):
        sound.read_wav(path, 16000)


@pytest.mark.parametrize("content", [b"", b"RIFFnonsense", b"OggS" + bytes(60)])
def test_what_python_cannot_read_is_one_sentence(tmp_path, monkeypatch, content):
    (tmp_path / "x.wav").write_bytes(content)
    monkeypatch.setattr(sound, "importable", lambda package: False)
    with pytest.raises(ValueError, match="x.wav: not a readable sound file .*without soundfile only wav files"):
        sound.read_wav(tmp_path / "x.wav", 16000)


def test_scipy_resamples_a_tone_as_librosa_does(monkeypatch):
    time = np.arange(16000) / 16000
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)[None]
    expected = sound.mono("tone", tone, 16000, 22050)
    monkeypatch.setattr(sound, "importable", lambda package: False)
    found = sound.mono("tone", tone, 16000, 22050)
    inside = slice(500, -500)  # the ends depend on the filter
    assert found.shape == expected.shape and np.abs(found - expected)[inside].max() < 5e-3
