"""Files that declare more, or something else, than they hold: none may be read as if it were whole."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile
from media_files import FLV, MPG, tone, write_video, write_wav
from PIL import Image

from dgl_core.data.files.cache import MANIFEST, write_manifest
from dgl_core.data.media.pictures import read_frame
from dgl_core.data.media.sound import read_wav
from dgl_core.data.media.video import Frames, pictures, read_video
from dgl_core.data.media.whole import check_whole

needs_av = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="PyAV is not here: pip install av")
SHARES = (0.05, 0.3, 0.5, 0.8, 0.95)


def refused(path: Path, data: bytes, message: str, read) -> None:
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as error:
        read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value) and "again" in str(error.value)


@pytest.mark.parametrize("kind", ["wav PCM_16", "wav PCM_24", "wav FLOAT", "wav ALAW", "flac PCM_16", "ogg VORBIS"])
def test_a_sound_that_was_cut_off_is_refused(tmp_path, kind):
    ending, subtype = kind.split()
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (22051, 2))
    soundfile.write(tmp_path / f"a.{ending}", sound, 22050, subtype=subtype)
    data = (tmp_path / f"a.{ending}").read_bytes()
    assert len(read_wav(tmp_path / f"a.{ending}", 22050)) == 22051
    for share in SHARES:
        refused(tmp_path / f"cut.{ending}", data[: int(len(data) * share)], "copy", lambda p: read_wav(p, 22050))


# place and bytes of the header that are changed, what is said; a second of 22 050 Hz, 16 bit, mono
LIES = {
    "more samples": (40, (90000).to_bytes(4, "little"), "truncated at 44144 bytes"),
    "fewer samples": (40, (1000).to_bytes(4, "little"), "its header declares 1044 bytes, the file has 44144"),
    "another rate": (24, (44100).to_bytes(4, "little"), "contradicts itself .44100 Hz, 1 x 16 bit, but 44100 bytes"),
    "more channels": (22, (2).to_bytes(2, "little"), "contradicts itself"),
    "fewer bits": (34, (8).to_bytes(2, "little"), "contradicts itself"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_wav_with_a_lying_header_is_refused(tmp_path, lie):
    data = bytearray(write_wav(tmp_path / "a.wav", tone(1.0, 22050), 22050).read_bytes())
    place, content, message = LIES[lie]
    data[place : place + len(content)] = content
    refused(tmp_path / "lie.wav", bytes(data), message, lambda p: read_wav(p, 22050))


@pytest.mark.parametrize("missing", [1, 2, 99, 255])
def test_a_wav_that_lacks_a_few_bytes_is_refused(tmp_path, missing):
    data = write_wav(tmp_path / "a.wav", tone(1.0, 22050), 22050).read_bytes()
    refused(tmp_path / "cut.wav", data[:-missing], f"truncated at {44144 - missing} byt", lambda p: read_wav(p, 22050))


def test_harmless_headers_pass(tmp_path):
    data = bytearray(write_wav(tmp_path / "a.wav", tone(1.0, 22050), 22050).read_bytes())
    piped = data[:40] + b"\xff" * 4 + data[44:]  # of a program that writes into a pipe
    tagged = data + b"LIST" + (1000).to_bytes(4, "little") + bytes(1000)
    careless = data[:40] + len(data).to_bytes(4, "little") + data[44:]  # the length of the file, not of the samples
    unpadded = tagged[:-1000] + bytes(999)
    unpadded[-1003:-999] = (999).to_bytes(4, "little")
    for content in (piped, tagged, careless, data + b"\0", unpadded):
        (tmp_path / "b.wav").write_bytes(content)
        assert np.array_equal(read_wav(tmp_path / "b.wav", 22050)[:22050], read_wav(tmp_path / "a.wav", 22050))


@needs_av
@pytest.mark.parametrize("kind", ["flv", "mp4", "mov", "mkv", "avi", "mpg"])
def test_a_video_that_was_cut_off_is_refused(tmp_path, kind):
    codecs = {"flv": FLV, "mpg": MPG, "avi": ("mpeg4", "mp3")}.get(kind, ("mpeg4", "aac"))
    seconds, fps = (1.16, 25) if kind == "mpg" else (8.0, 3)
    path = write_video(tmp_path / f"a.{kind}", seconds, fps=fps, codecs=codecs, size=(160, 120))
    data = path.read_bytes()
    frames = Frames(1, "1fps", 16)
    assert read_video(path, frames, sound=True).frames.shape == (1, 16, 16, 3)
    for share in SHARES[:-1]:
        refused(
            tmp_path / f"cut.{kind}",
            data[: int(len(data) * share)],
            "copy|download",
            lambda p: read_video(p, frames, sound=True),
        )
    if kind == "mpg":  # between two packets: the sound ends in the middle of one of its own
        cut = data[: len(data) // 2048 // 2 * 2048]
        refused(
            tmp_path / "cut.mpg",
            cut,
            "truncated within its last packet of sound",
            lambda p: read_video(p, frames, sound=True),
        )


def test_an_mp4_whose_index_comes_first_declares_the_rest(tmp_path):
    boxes = b"".join(
        (8 + n).to_bytes(4, "big") + name + bytes(n) for name, n in ((b"ftyp", 8), (b"moov", 99), (b"mdat", 999))
    )
    (tmp_path / "a.mp4").write_bytes(boxes)
    check_whole(tmp_path / "a.mp4")
    refused(tmp_path / "cut.mp4", boxes[:600], "truncated at 600 bytes, its content goes on", check_whole)


@needs_av
def test_media_that_contradict_the_manifest_of_their_set_are_refused(tmp_path):
    """Also where the damage leaves a file that decodes, and also a file that was put beside those listed."""
    wav = write_wav(tmp_path / "set" / "sound" / "a.wav", tone(1.0, 22050), 22050)
    video = write_video(tmp_path / "set" / "train" / "dog" / "b.avi", codecs=("mpeg4", "mp3"))
    picture = tmp_path / "set" / "frames" / "c" / "0.png"
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(picture)
    readers = {
        wav: lambda p: read_wav(p, 22050),
        video: lambda p: read_video(p, Frames(1, "1fps", 16), sound=True),
        picture: lambda p: read_frame(p, 16),
    }
    folder = tmp_path / "set"
    write_manifest(folder, [path.relative_to(folder) for path in readers])
    for path, read in readers.items():
        read(path)
        data = bytearray(path.read_bytes())
        beside = path.with_name(f"new{path.suffix}")
        refused(beside, bytes(data), f"not the file that .*{MANIFEST} lists", read)
        data[-20] ^= 1
        refused(path, bytes(data), f"not the file that .*{MANIFEST} lists; copy or extract it again", read)
    with pytest.raises(ValueError, match="not the file that"):
        next(pictures(video))


@needs_av
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "png", "jpg", "flv", "mp4", "mpg", "avi", "mkv"])
def test_a_flipped_bit_of_a_header_never_ends_a_pass(tmp_path, kind):
    """Whatever a decoder raises becomes one sentence about the file; what no checksum tells, a manifest does."""
    path, rng = tmp_path / f"a.{kind}", np.random.default_rng(0)
    if kind in ("wav", "flac", "ogg"):
        soundfile.write(path, tone(0.3, 22050).T, 22050)
    elif kind in ("png", "jpg"):
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)).save(path)
    else:
        codecs = {"flv": FLV, "mpg": MPG, "avi": ("mpeg4", "mp3")}.get(kind, ("mpeg4", "aac"))
        write_video(path, 1.16 if kind == "mpg" else 2.0, fps=25 if kind == "mpg" else 5, codecs=codecs)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, min(420, len(whole)), 4):
        data = bytearray(whole)
        data[place] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            if kind in ("wav", "flac", "ogg"):
                read_wav(path, 22050)
            elif kind in ("png", "jpg"):
                read_frame(path, 16)
            else:
                read_video(path, Frames(2, "1fps", 16), sound=True)
        except ValueError as error:
            assert str(path) in str(error), place
            refused += 1
    assert refused, "no flip was noticed"
