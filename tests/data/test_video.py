"""Sound and frames from video files: which frames, equal spectrograms, and everything that can be wrong with a file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import librosa
import numpy as np
import pytest
from media_files import FLV, MPG, number_of, tone, write_video, write_wav

from dgl_core.data.media import video
from dgl_core.data.media.reader import Source, read_clip
from dgl_core.data.media.sound import read_wav
from dgl_core.data.media.spectrogram import FORMS, LONG_FORMS, spectrogram
from dgl_core.data.media.video import Frames, pictures, read_video
from dgl_core.utils import data_roots

needs_av = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="PyAV is not here: pip install av")
RAW = next((root / "grid_raw_sample" for root in data_roots() if (root / "grid_raw_sample").is_dir()), None)
needs_grid = pytest.mark.skipif(RAW is None, reason="no raw GRID videos here (set DGL_DATA)")
KINDS = {"flv": (FLV, "flv"), "mp4": (("mpeg4", "aac"), "mp4"), "mpg": (MPG, "mpg"), "avi": (("mpeg4", "mp3"), "avi")}


@needs_av
@pytest.mark.parametrize("kind", KINDS)
def test_sound_and_frames_come_out_of_one_file(tmp_path, kind):
    codecs, ending = KINDS[kind]
    fps = 25 if kind == "mpg" else 10
    path = write_video(tmp_path / f"clip ü.{ending}", 1.1 if kind == "mpg" else 2.5, fps=fps, codecs=codecs)
    media = read_video(path, Frames(2, "1fps", 32), sound=True)
    assert media.frames.shape == (2, 32, 32, 3) and media.picture == (64, 48)
    assert [number_of(picture) for picture in media.frames] == [0, fps]
    found = media.mono(path, 44100)
    expected = tone(2.5, 44100)[0][: len(found)]
    lag = np.correlate(found[5000:15000], expected[7000:13000]).argmax() - 2000  # encoders add a little silence
    shifted = found[5000 + lag : 15000 + lag]
    assert abs(lag) < 4000 and np.corrcoef(shifted, expected[5000:15000])[0, 1] > 0.99


@needs_av
@pytest.mark.parametrize("rule", ["1fps", "even"])
def test_a_title_in_another_encoding_does_not_matter(tmp_path, rule):
    """Of every version of PyAV: before 19 it has to be told, since then it cannot be told."""
    path = write_video(tmp_path / "a.mp4", 1.0, fps=10)
    content = path.read_bytes()
    assert content.count(b"Lavf")
    path.write_bytes(content.replace(b"Lavf", b"L\xe9vf"))  # the name of the writing program, in Latin-1
    assert len(read_video(path, Frames(1, rule, 32), sound=True).frames) == 1


@needs_av
def test_rules_of_frames(tmp_path):
    path = write_video(tmp_path / "a.mp4", 2.5, fps=10)  # 25 frames
    kept = {rule: read_video(path, Frames(3, rule, 32), sound=False).frames for rule in ("1fps", "even")}
    assert [number_of(x) for x in kept["1fps"]] == [0, 10, 20]
    assert [number_of(x) for x in kept["even"]] == [4, 12, 20]  # middles of three parts of 25
    assert [number_of(x) for x in read_video(path, Frames(5, "even", 32), sound=False).frames] == [2, 7, 12, 17, 22]
    with pytest.raises(ValueError, match="3 frames .rule '1fps'. where 4 are wanted; .*ask for fewer frames"):
        read_video(path, Frames(4, "1fps", 32), sound=False)


@needs_av
@pytest.mark.parametrize("channels", [2, 3, 6])
def test_channels_are_averaged_and_other_rates_resampled(tmp_path, channels):
    path = write_video(tmp_path / "a.mp4", 1.0, channels=channels, rate=48000)
    found = read_video(path, None, sound=True).mono(path, 16000)
    assert abs(len(found) - 16000) < 1500
    wav = write_wav(tmp_path / "a.wav", tone(1.0, 32000, 5), 32000)  # five channels
    sound = read_wav(wav, 22050)
    expected = librosa.resample(tone(1.0, 32000, 5).mean(0), orig_sr=32000, target_sr=22050)
    assert sound.shape == expected.shape and np.abs(sound - expected).max() < 1e-4


@needs_av
def test_what_can_be_wrong_with_a_video(tmp_path):
    mute = write_video(tmp_path / "mute one.mp4", sound=False)
    blind = write_video(tmp_path / "blind.mp4", pictures=False)
    whole = write_video(tmp_path / "whole.flv", 2.5, codecs=FLV).read_bytes()
    cases = {
        "mute one.mp4: has no sound": mute,
        "blind.mp4: has no pictures": blind,
        "cut.flv: truncated, its video ends at": tmp_path / "cut.flv",
        "none.mp4: cannot be decoded": tmp_path / "none.mp4",
        "empty.mp4: cannot be decoded": tmp_path / "empty.mp4",
    }
    (tmp_path / "cut.flv").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "none.mp4").write_bytes(b"<html>404</html>" * 99)
    (tmp_path / "empty.mp4").write_bytes(b"")
    for message, path in cases.items():
        with pytest.raises(ValueError, match=message):
            read_video(path, Frames(1, "1fps", 32), sound=True)
    with pytest.raises(FileNotFoundError, match="gone.mp4 is missing"):
        read_video(tmp_path / "gone.mp4", Frames(), sound=True)
    assert read_video(mute, Frames(1, "1fps", 32), sound=False).frames.shape == (1, 32, 32, 3)
    assert len(read_video(blind, None, sound=True).mono(blind, 16000)) > 15000


@needs_av
def test_a_wav_takes_the_place_of_the_sound_of_a_video(tmp_path):
    video = write_video(tmp_path / "a.flv", codecs=FLV)
    wav = write_wav(tmp_path / "a.wav", tone(2.0, 16000), 16000)
    sound, frames, size = read_clip(Source("a", str(wav), str(video)), FORMS["official"], Frames(1, "1fps", 32))
    assert np.array_equal(sound, spectrogram(read_wav(wav, 22050), FORMS["official"])) and size == (64, 48)
    empty = write_wav(tmp_path / "b.wav", np.zeros((1, 0)), 16000)
    with pytest.raises(ValueError, match="b.wav: the sound file is empty"):
        read_clip(Source("b", str(empty), str(video)), FORMS["official"], Frames(1, "1fps", 32))


@pytest.mark.parametrize("name", ["official", "paper"])
def test_long_spectrograms_equal_those_of_librosa(name):
    sound = tone(4.0, 16000)[0] + np.random.default_rng(0).normal(0, 0.01, 64000)
    repeated = np.clip(np.tile(sound, 3)[:160000], -1, 1)
    rules = {"official": {"n_fft": 256, "hop_length": 128}, "paper": {"n_fft": 512, "hop_length": 159, "center": False}}
    expected = np.log(np.abs(librosa.stft(repeated, **rules[name])) + 1e-7)
    found = spectrogram(sound, LONG_FORMS[name])
    assert found.shape == expected.shape == LONG_FORMS[name].shape
    assert np.abs(found - expected).max() < 1e-4


def test_the_official_piece_is_626_columns():
    assert 1 + 5 * 16000 // 128 == 626 and LONG_FORMS["paper"].shape[1] == (160000 - 353) // (512 - 353)


@needs_av
@needs_grid
def test_real_sound_has_librosas_spectrogram():
    path = sorted(RAW.glob("*.mpg"))[0]
    media = read_video(path, Frames(3, "1fps", 64), sound=True)
    assert media.rate == 44100 and media.sound.shape[0] == 2 and media.picture == (360, 288)
    sound = media.mono(path, 22050)
    assert np.abs(sound - librosa.resample(media.sound.mean(0), orig_sr=44100, target_sr=22050)).max() < 1e-6
    repeated = np.clip(np.tile(sound, 3)[:66150], -1, 1)
    for name, options in (("official", {"hop_length": 353}), ("paper", {"hop_length": 159, "center": False})):
        wave = sound if name == "official" else media.mono(path, 16000)
        repeated = np.clip(np.tile(wave, 3)[: FORMS[name].samples], -1, 1)
        expected = np.log(np.abs(librosa.stft(repeated, n_fft=512, **options)) + 1e-7)
        assert np.abs(spectrogram(wave, FORMS[name]) - expected).max() < 1e-4


@needs_av
@needs_grid
def test_every_raw_video_has_75_frames_and_three_seconds_of_sound():
    for path in sorted(RAW.glob("*.mpg"))[::6]:
        assert sum(1 for _ in pictures(path)) == 75
        assert 2.9 < read_video(path, None, sound=True).sound.shape[1] / 44100 < 3.05


def test_without_pyav_it_is_said_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(ImportError, match="Videos need av.*pip install 'dgl-core.media.'"):
        read_video(Path(tmp_path / "a.mp4"), Frames(), sound=True)


def looked_at(path: Path, wanted: list[int], frames: str) -> video._Reader:
    """Look at frames written as letters: K stands for itself, p is built on the one before, a capital X is damaged."""
    reader = video._Reader.__new__(video._Reader)
    reader.path, reader.wanted, reader.kept, reader.number, reader.damaged = path, wanted, [], 0, False
    for letter in frames:
        frame = SimpleNamespace(
            is_corrupt=letter == "X", key_frame=letter == "K", to_image=lambda letter=letter: letter
        )
        reader._look(SimpleNamespace(decode=lambda frame=frame: [frame]))
    return reader


def test_a_frame_that_is_built_on_a_damaged_one_is_refused(tmp_path):
    """Whatever comes before the next frame that stands for itself shows what the damage left."""
    with pytest.raises(ValueError, match="frame 4 is damaged"):
        looked_at(tmp_path / "clip.mp4", [0, 4], "KpXppK")
    assert looked_at(tmp_path / "clip.mp4", [0, 5], "KpXppK").kept == ["K", "K"], "a new picture repairs it"
