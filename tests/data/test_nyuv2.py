"""NYUv2: a small folder in its layout, bad input, and the real set."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dgl_core.data.files import cache
from dgl_core.data.sets import nyuv2
from dgl_core.data.sets.nyuv2 import RECIPE, cut_validation, read_split, recorded_together
from dgl_core.data.tasks.label_maps import VOID, median_frequency
from dgl_core.utils import data_roots

FOLDER = RECIPE.facts.folder
NAMES = ("wall", "floor", "bed", "otherprop")
TRAIN = [1, 2, 5, 6, 7, 10, 12, 13, 14, 15]
TEST = [3, 4, 8, 9, 11]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))


def picture(number: int, kind: str) -> np.ndarray:
    """Smooth colours (so that JPEG keeps them), a depth ramp, and label stripes with some void."""
    rows, columns = np.mgrid[:24, :32]
    if kind == "rgb":
        return np.stack([rows * 8, columns * 6, np.full_like(rows, number * 9)], axis=2).astype(np.uint8)
    if kind == "depth":
        return (40 + rows + columns + number).astype(np.uint8)
    label = (columns // 8 + number) % 4
    return np.where((rows < 2) & (columns < 5), VOID, label).astype(np.uint8)


def encode(array: np.ndarray, ending: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(
        buffer, {"jpg": "JPEG", "png": "PNG"}[ending], **({"quality": 95} if ending == "jpg" else {})
    )
    return buffer.getvalue()


def write_zip(folder: Path, kind: str, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(folder / nyuv2.ZIPS[kind][0], "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def members(kind: str) -> dict[str, bytes]:
    ending = nyuv2.ZIPS[kind][1]
    return {f"{n:04d}.{ending}": encode(picture(n, kind), ending) for n in sorted(TRAIN + TEST)}


def sign(folder: Path) -> None:
    cache.write_manifest(folder, [Path(name) for name in RECIPE.facts.manifest if (folder / name).exists()])


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / FOLDER
    folder.mkdir()
    for kind in nyuv2.ZIPS:
        write_zip(folder, kind, members(kind))
    for part, numbers in (("train", TRAIN), ("test", TEST)):
        (folder / f"{part}.txt").write_text("".join(f"{n:04d}\n" for n in numbers))
    rows = [*enumerate(NAMES), (VOID, "void (unlabelled: ignore)")]
    (folder / "classes.csv").write_text("label,name,train_pixels\n" + "".join(f"{k},{n},1\n" for k, n in rows))
    sign(folder)
    return folder


@pytest.fixture
def folder(pristine, tmp_path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "data" / FOLDER))


def load(folder: Path, **options):
    return RECIPE.load(folder.parent, **RECIPE.check({"height": 24, "width": 32, "multiple": 8} | options))


# -- a sound folder ------------------------------------------------------------------------------------------------


def test_members_become_tensors_in_the_order_of_their_numbers(folder):
    data = load(folder)
    assert data.name == "nyuv2" and not data.generated and data.classes == NAMES
    assert data.ids == tuple(f"{n:04d}" for n in range(1, 16))
    assert [int(i) for i, part in zip(data.ids, data.split, strict=True) if part == "test"] == TEST
    for row, number in enumerate(range(1, 16)):
        assert np.array_equal(data.target[row], picture(number, "label"))
        assert np.array_equal(data.inputs["depth"][row], picture(number, "depth"))
        difference = data.inputs["rgb"][row].permute(1, 2, 0).numpy().astype(int) - picture(number, "rgb")
        assert np.abs(difference).max() < 12
    train = data.indices("train")
    assert torch.equal(data.task.weights, median_frequency(data.target[train], 4))
    depth = data.inputs["depth"][train].double()
    assert data.view.depth_mean.item() == pytest.approx(depth.mean().item(), rel=1e-6)
    assert data.view.depth_std.item() == pytest.approx(depth.std(correction=0).item(), rel=1e-6)


def test_smaller_inputs_keep_the_stored_labels_for_scoring(folder):
    data = load(folder, height=12, width=16)
    inputs, target = data.batch(data.indices("test"))
    assert inputs["rgb"].shape == (5, 3, 16, 16) and target.shape == (5, 32, 32)  # 12 -> 16 rows, so 24 -> 32
    assert np.array_equal(target[0, :24], picture(3, "label")) and (target[:, 24:] == VOID).all()
    inner = data.inputs["rgb"][4].numpy().astype(float)
    full = load(folder).inputs["rgb"][4].numpy().astype(float)
    assert np.abs(inner - full.reshape(3, 12, 2, 16, 2).mean(axis=(2, 4))).max() <= 1
    assert load(folder, height=12, width=16, labels="input").target.shape == (15, 12, 16)


def test_decoding_happens_once_per_size_and_again_for_other_files(folder, capsys):
    first = load(folder)
    assert "decoding 15 NYUv2 pictures" in capsys.readouterr().err
    assert load(folder).fingerprint == first.fingerprint and not capsys.readouterr().err
    load(folder, height=16, width=16)
    said = capsys.readouterr().err
    assert said.count("decoding") == 2 and "label" not in said  # the labels are shared
    changed = members("label")
    changed["0001.png"] = encode(np.zeros((24, 32), np.uint8), "png")
    write_zip(folder, "label", changed)
    sign(folder)
    assert load(folder).fingerprint != first.fingerprint and "have changed" in capsys.readouterr().err


def test_verification_says_what_was_checked_or_what_is_wrong(folder):
    said = RECIPE.verify(folder.parent)
    assert said == "6 files match their checksums, 10 train and 5 test pictures, 4 classes"
    swap("depth", "0015.png", None)(folder)
    with pytest.raises(ValueError, match="depth.zip: member 0015.png is missing"):
        RECIPE.verify(folder.parent)


def test_validation_is_whole_runs_of_consecutive_training_numbers(folder):
    train = [n for n in range(1, 1500) if n % 13 > 5]
    for seed in range(5):
        held = cut_validation(train, seed)
        assert 0 < len(held) <= 0.1 * len(train) and set(held) < set(train)
        runs = {n // 13 for n in held}
        assert sorted(held) == [n for n in train if n // 13 in runs]
    assert cut_validation(train, 0) == cut_validation(train, 0) != cut_validation(train, 1)
    parts = read_split(folder, 0)
    assert {n for n, p in parts.items() if p == "val"} in ({10}, {1, 2}) and sorted(parts) == list(range(1, 16))


def test_a_group_is_a_run_of_consecutive_numbers_of_one_part():
    parts = {1: "train", 2: "train", 3: "test", 4: "test", 6: "test", 7: "val"}
    named = ["train 0001", "train 0001", "test 0003", "test 0003", "test 0006", "val 0007"]
    assert recorded_together(list(parts), parts) == named


# -- bad input -----------------------------------------------------------------------------------------------------


def swap(kind: str, name: str, content: bytes | None):
    def damage(folder: Path) -> None:
        changed = members(kind) | {name: content}
        write_zip(folder, kind, {n: c for n, c in changed.items() if c is not None})
        sign(folder)

    return damage


def rewrite(file: str, text: str):
    def damage(folder: Path) -> None:
        (folder / file).write_text(text)
        sign(folder)

    return damage


def wide(kind: str) -> bytes:
    ending = nyuv2.ZIPS[kind][1]
    return encode(np.concatenate([picture(5, kind)] * 2, axis=1), ending)


BAD = {
    "missing rgb member": (swap("rgb", "0007.jpg", None), r"rgb.zip: member 0007.jpg is missing; copy the zip again"),
    "missing label member": (swap("label", "0001.png", None), r"label.zip: member 0001.png is missing"),
    "rgb size": (swap("rgb", "0005.jpg", wide("rgb")), r"rgb.zip: member 0005.jpg is 64 x 24, not 32 x 24"),
    "label size": (swap("label", "0005.png", wide("label")), r"label.zip: member 0005.png is 64 x 24, not 32 x 24"),
    "label above": (
        swap("label", "0006.png", encode(np.full((24, 32), 4, np.uint8), "png")),
        r"label.zip: member 0006.png has label 4, which is neither 0..3 nor void",
    ),
    "depth of 16 bits": (
        swap("depth", "0002.png", encode(np.full((24, 32), 2841, np.uint16), "png")),
        r"depth.zip: member 0002.png has mode 'I;16', not 8-bit grey",
    ),
    "grey rgb": (swap("rgb", "0002.jpg", encode(picture(2, "depth"), "jpg")), r"0002.jpg has mode 'L', not 8-bit RGB"),
    "no picture": (swap("rgb", "0002.jpg", b"hello"), r"rgb.zip: member 0002.jpg is no readable picture"),
    "no zip": (rewrite("depth.zip", "hello"), r"depth.zip is no readable zip file"),
    "in both lists": (rewrite("test.txt", "0001\n0003\n"), r"picture 0001 is in both"),
    "no number": (rewrite("train.txt", "0001\nbed\n"), r"train.txt, line 2: 'bed' is no picture number"),
    "class order": (rewrite("classes.csv", "label,name\n1,wall\n"), r"labels are not 0, 1, 2"),
    "manifest": (lambda folder: (folder / "MANIFEST.sha256").unlink(), r"MANIFEST.sha256 is missing"),
    "unlisted": (lambda folder: cache.write_manifest(folder, [Path("rgb.zip")]), r"does not list depth.zip"),
    "changed": (lambda folder: (folder / "test.txt").write_text("0003\n"), r"test.txt: wrong checksum.*copy"),
    "file gone": (lambda folder: (folder / "label.zip").unlink(), r"label.zip is missing: copy"),
}


@pytest.mark.parametrize("name", BAD)
def test_broken_folders_are_named_with_file_and_remedy(folder, name):
    damage, message = BAD[name]
    damage(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(folder)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"height": 25}, "height and width are 25 and 32; give at least 8 and at most 24 and 32"),
        ({"width": 4}, "width is 4; data set 'nyuv2' takes 8"),
        ({"augment": "flip"}, "augment"),
        ({"labels": "full"}, "labels"),
        ({"hight": 12}, "did you mean 'height'"),
    ],
)
def test_options_out_of_range_are_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        load(folder, **options)


def test_absent_data_say_where_they_belong(tmp_path):
    assert not RECIPE.available(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder 'nyuv2_rgbd40'.*convert.nyuv2.*DGL_DATA.*'rooms'"):
        RECIPE.load(tmp_path, **RECIPE.check({}))


# -- the real set --------------------------------------------------------------------------------------------------

real = pytest.mark.skipif(not RECIPE.available(None), reason="NYUv2 is not here (DGL_DATA)")


@real
def test_the_real_lists_are_the_official_split():
    folder = next(root / FOLDER for root in data_roots() if (root / FOLDER).is_dir())
    parts = read_split(folder, 0)
    counts = {part: list(parts.values()).count(part) for part in ("train", "val", "test")}
    assert sorted(parts) == list(range(1, 1450)) and counts["test"] == 654 and counts["train"] + counts["val"] == 795
    assert 70 <= counts["val"] <= 79
    assert len(nyuv2.read_classes(folder / "classes.csv")) == 40


@real
def test_real_pictures_pass_the_checks_and_hold_what_the_class_table_says():
    folder = next(root / FOLDER for root in data_roots() if (root / FOLDER).is_dir())
    numbers = list(range(1, 1450, 145))
    rgb, depth, label = (
        np.stack(list(nyuv2.read_members(folder, kind, numbers, 40))) for kind in ("rgb", "depth", "label")
    )
    assert rgb.shape == (10, 240, 320, 3) and depth.shape == label.shape == (10, 240, 320)
    assert 1.5 < depth.mean() / 25.5 < 4.5 and 0.05 < (label == VOID).mean() < 0.4
    assert np.bincount(label[label != VOID], minlength=40).argmax() == 0  # wall is the most frequent class
