"""CREMA-D, Kinetics-Sounds, VGGSound and a set of your own, in their exact layouts, from videos written here."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from media_files import FLV, number_of, tone, write_video, write_wav
from PIL import Image

from dgl_core import data
from dgl_core.data import command
from dgl_core.data.media import folders
from dgl_core.data.recipe import Facts, Recipe, facts
from dgl_core.data.sets import kinetics
from dgl_core.data.transforms import Augmentation, PerFrame, TimeCrop

pytestmark = pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="PyAV is not here: pip install av")
SMALL = {"spectrogram": "compact", "frame_size": 16, "augment": "none"}


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DGL_DATA", str(tmp_path))
    return tmp_path


class Copies:
    """Written once, linked often: encoding is what takes time in these tests."""

    def __init__(self, folder: Path):
        self.video = write_video(folder / "v.mp4", 2.3, fps=5, rate=16000)
        self.flash = write_video(folder / "v.flv", 1.1, fps=5, codecs=FLV)
        self.wav = write_wav(folder / "v.wav", tone(1.0, 16000), 16000)

    def put(self, kind: str, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(getattr(self, kind), path)
        return path


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    return Copies(tmp_path_factory.mktemp("media"))


def test_cremad_from_flv_and_wav(home, copies):
    lists: dict[str, list[str]] = {"train": [], "test": []}
    emotions = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
    for number in range(24):
        emotion = emotions[number % 6]
        name = f"{1001 + number}_DFA_{emotion}_XX"
        copies.put("wav", home / "cremad" / "AudioWAV" / f"{name}.wav")
        copies.put("flash", home / "cremad" / "VideoFlash" / f"{name}.flv")
        lists["test" if number >= 18 else "train"].append(f"{name},{emotion}\n")
    for part, lines in lists.items():
        (home / "cremad" / f"{part}.csv").write_text("".join(lines))
    dataset = data.load("cremad", **SMALL)
    assert dataset.counts == {"train": 12, "val": 6, "test": 6} and dataset.classes == emotions
    assert dataset.shapes == {"audio": (1, 64, 47), "visual": (3, 16, 16)}
    assert number_of(dataset.inputs["visual"][3].numpy()) == 0  # the first frame
    two = data.load("cremad", **SMALL, frames=2)
    assert two.shapes["visual"] == (3, 2, 16, 16)
    assert [number_of(frame) for frame in two.inputs["visual"][3].numpy()] == [0, 5]  # one a second
    cut = home / "cremad" / "VideoFlash" / f"{dataset.ids[5]}.flv"
    whole = cut.read_bytes()
    cut.unlink()
    cut.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ValueError, match=f"1 of 24 clips of cremad could not be read.*{cut.stem}.*unreadable.csv"):
        data.load("cremad", **SMALL)


def make_kinetics(root, copies, classes=("bowling", "Playing_Piano", "tap dancing")):
    for place, label in enumerate(classes):
        for number in range(6):
            part = ("train", "train", "train", "train", "val", "test")[number]
            name = f"abcdefghi{place}{number}_{number:06d}_{number + 10:06d}"
            copies.put("video", root / "ks" / part / label / f"{name}.mp4")


def test_kinetics_folders(home, copies, capsys):
    make_kinetics(home, copies)
    copies.put("video", home / "ks" / "train" / "abseiling" / "abcdefghi99_000001_000011.mp4")  # not a class of the set
    silent = home / "ks" / "train" / "bowling" / "silent_____1_000000_000010.mp4"
    write_video(silent, 2.3, fps=5, sound=False)
    dataset = data.load("ks", **SMALL)
    assert dataset.counts == {"train": 12, "val": 3, "test": 3} and len(dataset.classes) == 34
    assert dataset.shapes == {"audio": (1, 32, 156), "visual": (3, 3, 16, 16)}
    assert [number_of(frame) for frame in dataset.inputs["visual"][0].numpy()] == [0, 5, 10]
    assert {dataset.classes[t] for t in dataset.target.tolist()} == {"bowling", "playing piano", "tap dancing"}
    assert "1 of 19 listed clips missing or unreadable" in dataset.source and "no clip of: blowing" in dataset.source
    assert "silent_____1_000000_000010.mp4: has no sound" in capsys.readouterr().err


def test_kinetics_pairs_by_name_where_the_official_code_shifts(home, copies):
    """The official processed form; the middle clip has too few frames, so that a pairing by place would be wrong."""
    root = home / "ks"
    for number, frames in enumerate((3, 2, 3, 3, 3)):
        name = f"clip{number}"
        for part, images in (("train", "train_img"), ("test", "val_img")):
            wave = np.full((1, 16000), 0.1 * (number + 1), np.float32)
            write_wav(root / "audio" / part / "bowling" / f"{part}{name}.wav", wave, 16000)
            folder = root / "visual" / images / "Image-01-FPS" / "bowling" / f"{part}{name}"
            folder.mkdir(parents=True)
            for frame in range(frames):
                Image.new("RGB", (20, 20), (16 + 8 * number,) * 3).save(folder / f"{frame:05d}.png")
    dataset = data.load("ks", **SMALL)
    assert sum(dataset.counts.values()) == 8
    levels = dataset.inputs["audio"][:, 0].float().amax(1).tolist()
    for row, name in enumerate(dataset.ids):
        number = int(name[-1])
        assert number != 1 and number_of(dataset.inputs["visual"][row, 0].numpy()) == number
        quieter = [level for level, other in zip(levels, dataset.ids, strict=True) if other[-1] < name[-1]]
        assert all(levels[row] > level for level in quieter)  # the sound is that of the same clip


def test_kinetics_lists_of_31_classes(home, copies):
    make_kinetics(home, copies)
    rows = {"train": [], "test": []}
    for place in range(3):
        for number in range(6):
            # the two lists of OGM-GE name clips differently
            name = f"abcdefghi{place}{number}_{number}" if number == 5 else f"abcdefghi{place}{number}_{number:06d}_0"
            rows["test" if number == 5 else "train"].append(f"{name},10,{place}\n")
    rows["train"].append("gone______1_000001_000011,10,2\n")
    for part, lines in rows.items():
        (home / "ks" / f"my_{part}.txt").write_text("".join(lines))
    dataset = data.load("ks", classes=31, **SMALL)
    assert len(dataset.classes) == 31 and dataset.counts == {"train": 12, "val": 3, "test": 3}
    assert "lists of OGM-GE" in dataset.source and "1 of 19 listed clips missing" in dataset.source
    (home / "ks" / "my_test.txt").write_text("".join(rows["test"]).replace(",10,0", ",10,1"))
    with pytest.raises(ValueError, match="lists of Kinetics-Sounds and the folders disagree: class"):
        data.load("ks", classes=31, **SMALL)
    (home / "ks" / "my_test.txt").write_text("x\n")
    with pytest.raises(ValueError, match="my_test.txt, line 1: 'x' is not"):
        data.load("ks", classes=31, **SMALL)


def test_kinetics_class_lists():
    sizes = {count: len(set(names)) for count, names in kinetics.CLASSES.items()}
    assert sizes == {31: 31, 33: 33, 34: 34}
    assert set(kinetics.CLASSES[33]) - set(kinetics.CLASSES[31]) == {"tying tie", "finger snapping"}
    assert kinetics.clip_key("--4-0ihtnBU_000058_000068") == kinetics.clip_key("--4-0ihtnBU_58") == ("--4-0ihtnBU", 58)
    with pytest.raises(ValueError, match="classes for data set 'ks'"):
        data.load("ks", classes=32)


def test_one_clip_in_two_places_is_refused(home, copies):
    make_kinetics(home, copies)
    copies.put("video", home / "ks" / "test" / "bowling" / "abcdefghi00_000000_000010.mp4")
    with pytest.raises(ValueError, match="1 clip ids occur.*abcdefghi00_.*test/bowling and train/bowling"):
        data.load("ks", **SMALL)


def test_vggsound_reports_what_is_missing(home, copies, capsys):
    lines = []
    for number in range(12):
        part, label = ("test" if number % 4 == 3 else "train"), f"sound, {number % 2} ü"
        lines.append(f'video-{number:05d},{number},"{label}",{part}\n')
        name = f"video-{number:05d}_{number:06d}"
        if number == 1:
            copies.put("wav", home / "vggsound" / "audio" / "train-set" / f"{name}.wav")
            folder = home / "vggsound" / "img" / "Image-01-FPS" / f"{name}.mp4"  # the official folders end like files
            folder.mkdir(parents=True)
            for frame in range(3):
                Image.new("RGB", (20, 20)).save(folder / f"{frame}.jpg")
        elif number != 5:
            copies.put("video", home / "vggsound" / "deep er" / part / f"{name}.mp4")
    (home / "vggsound" / "vggsound.csv").write_text("".join(lines), encoding="utf-8")
    dataset = data.load("vggsound", **SMALL)
    assert dataset.counts == {"train": 6, "val": 2, "test": 3} and dataset.classes == ("sound, 0 ü", "sound, 1 ü")
    assert "1 of 12 listed clips missing or unreadable" in dataset.source
    assert "video-00005_000005.wav is missing" in capsys.readouterr().err
    assert command.main(["status", "vggsound"]) == 0
    assert "(11 clips, 1 could not be read (unreadable.csv)" in capsys.readouterr().out
    with open(home / "vggsound" / "vggsound.csv", "a") as file:
        file.write("video-00000,0,x,train\n")
    with pytest.raises(ValueError, match="line 13: clip 'video-00000_000000' is listed twice"):
        data.load("vggsound", **SMALL)


def test_a_folder_of_your_own_needs_no_code(home, copies, capsys):
    for label in ("cat ü", "dog"):
        for number in range(8):
            copies.put("video", home / "my set" / label / f"take {number}.mp4")
    dataset = data.load("folder", folder="my set", **SMALL, length="10s", rule="even", frames=2)
    assert dataset.classes == ("cat ü", "dog") and dataset.counts == {"train": 10, "val": 2, "test": 4}
    assert dataset.shapes == {"audio": (1, 32, 156), "visual": (3, 2, 16, 16)} and "dog/take 3" in dataset.ids
    assert [number_of(frame) for frame in dataset.inputs["visual"][0].numpy()] == [3, 9]  # of 12 frames
    settings = ["folder=my set", "spectrogram=compact", "frame_size=16", "augment=none", "length=3s"]
    assert command.main(["prepare", "folder", *settings]) == 0
    assert "folder: 16 clips in" in capsys.readouterr().out
    cases = ((["folder=x"], "no folder 'x'"), (["folder=../x"], "folder is '../x'"), (["what"], "is no option"))
    for wrong, message in cases:
        assert command.main(["prepare", "folder", *wrong]) == 1
        assert message in capsys.readouterr().err
    assert command.main(["prepare", "emotions"]) == 1
    assert "sets that have: cremad, ks, vggsound, folder, grid" in capsys.readouterr().err


def test_speakers_of_a_folder_are_found_in_its_names_and_stay_in_one_part(home, copies):
    for label in ("cat", "dog"):
        for speaker in ("anna", "ben", "carl", "dora"):
            for take in range(2):
                copies.put("video", home / "said" / label / f"{speaker}_{take}.mp4")
    dataset = data.load("folder", folder="said", **SMALL, groups="([^_]+)_")
    parts = {
        group: {p for g, p in zip(dataset.groups, dataset.split, strict=True) if g == group} for group in dataset.groups
    }
    assert set(parts) == {"anna", "ben", "carl", "dora"} and all(len(found) == 1 for found in parts.values())
    assert set.union(*parts.values()) == set(data.PARTS)
    for pattern, message in (
        ("(", "is no pattern"),
        ("[^_]+_", "into brackets"),
        ("(x)", "no group in the clip name 'anna_0'"),
    ):
        with pytest.raises(ValueError, match=message):
            data.load("folder", folder="said", **SMALL, groups=pattern)
    for part in data.PARTS:
        copies.put("video", home / "cut" / part / "cat" / f"anna_{part}.mp4")
    with pytest.raises(ValueError, match="folder 'cut': group 'anna' is in 'test' and in 'train'"):
        data.load("folder", folder="cut", **SMALL, groups="([^_]+)_")


@pytest.mark.parametrize("place", ["dog/ta\nke", "d\nog/take", "dog/" + os.fsdecode(b"ta\xffke")])
def test_a_file_name_that_no_list_can_hold_is_refused(home, copies, place):
    for label in ("cat", "dog"):
        for number in range(4):
            copies.put("video", home / "mine" / label / f"take {number}.mp4")
    copies.put("video", home / "mine" / f"{place}.mp4")
    with pytest.raises(ValueError, match="folder: the name '.*' has characters that no list can hold; rename"):
        data.load("folder", folder="mine", **SMALL)


def test_time_crop_is_random_in_training_and_central_in_evaluation():
    x = torch.arange(20.0).repeat(4, 3, 1)  # [4, 3, 20]
    crop = TimeCrop(6)
    assert crop(x)[0, 0, 0].tolist() == [7, 8, 9, 10, 11, 12]
    generator = torch.Generator().manual_seed(0)
    starts = torch.cat([crop(x, generator)[:, 0, 0, 0] for _ in range(100)])
    assert set(starts.tolist()) == set(range(15))
    piece = crop(x, generator)
    assert piece.shape == (4, 1, 3, 6) and (piece.diff(dim=3) == 1).all() and (piece == piece[:, :, :1]).all()


def test_each_frame_is_transformed_on_its_own():
    class Add(Augmentation):
        def draw(self, shape, generator):
            return (torch.rand(shape[0], 1, 1, 1, generator=generator),)

        def use(self, x, drawn):
            return x.permute(0, 3, 1, 2) + drawn[0]

    x = torch.zeros(2, 3, 4, 4, 3)
    y = PerFrame(Add())(x, torch.Generator().manual_seed(0))
    assert y.shape == (2, 3, 3, 4, 4) and len(set(y[:, 0, :, 0, 0].flatten().tolist())) == 6


def test_every_block_belongs_to_a_set_and_every_set_has_one():
    assert set(facts()) == {recipe.name for recipe in data.DATASETS.values() if recipe.name != "tiny"}
    for name in facts():
        for item in command.remotes(data.DATASETS[name]):
            assert len(item.sha256) == 64 and all(url.startswith("https://raw.github") for url in item.urls)


def test_a_set_without_a_block_says_what_to_write():
    with pytest.raises(ValueError, match=r"'birds' has no block in .*catalogue.toml; write \[birds\].*title ="):
        Recipe("birds", load=lambda root: None, options={})
    assert Recipe("birds", load=lambda root: None, options={}, facts=Facts("birds")).available(None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[birds]\nsize = '2 MB'\n", r"block \[birds\].*has no title; write"),
        ("[b]\ntitel = 'x'\n", "did you mean 'title'"),
    ],
)
def test_a_wrong_block_says_what_is_wrong(monkeypatch, tmp_path, text, message):
    from dgl_core.data import recipe

    (tmp_path / "catalogue.toml").write_text(text)
    monkeypatch.setattr(recipe, "CATALOGUE", tmp_path / "catalogue.toml")
    with pytest.raises(ValueError, match=message):
        facts.__wrapped__()


REAL = Path(os.environ.get("DGL_DATA", ""), "split_lists")


needs_lists = pytest.mark.skipif(not REAL.is_dir(), reason="the official lists are not here (set DGL_DATA)")


@needs_lists
@pytest.mark.parametrize("name", ["cremad", "ks"])
def test_the_checksums_are_those_of_the_official_lists(name):
    for item, part in zip(command.remotes(data.DATASETS[name]), ("train", "test"), strict=True):
        path = next(REAL.glob(f"{name}_{part}.*"))
        assert item.right(path) and path.stat().st_size == item.size and item.lines == path.read_bytes().count(b"\n")


@needs_lists
def test_the_33_classes_are_those_of_the_official_code():
    official = (REAL / "ks_classes.txt").read_text().split(",")
    assert {folders.plain(name) for name in official} == set(kinetics.CLASSES[33])
