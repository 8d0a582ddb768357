"""Read the files of NYU Depth v2: checked, decoded once, kept as memory-mapped arrays.

Layout of the folder: ``rgb.zip`` (NNNN.jpg), ``depth.zip`` (NNNN.png, 8 bit, value / 25.5 = metres), ``label.zip``
(NNNN.png, 8 bit, class or 255 = void), ``train.txt`` and ``test.txt`` (numbers NNNN, one a line), ``classes.csv``
(label,name,...), ``MANIFEST.sha256``. ``python -m dgl_core.data.sets.convert.nyuv2`` makes it from the official
MATLAB file.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dgl_core.data.files import cache
from dgl_core.data.files.arrays import new_array
from dgl_core.data.recipe import SEEDS, Recipe

if TYPE_CHECKING:
    from dgl_core.data.dataset import Dataset


ZIPS = {"rgb": ("rgb.zip", "jpg"), "depth": ("depth.zip", "png"), "label": ("label.zip", "png")}
CACHE_VERSION = 1  # raised when the same files give other arrays
VOID = 255
REMEDY = "copy the zip again or convert the set again (python -m dgl_core.data.sets.convert.nyuv2)"


def read_classes(path: Path) -> list[str]:
    """Read the class names in label order; the row of void is left out."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = [(row["label"], row["name"]) for row in csv.DictReader(file) if row["label"] != str(VOID)]
    if [label for label, _ in rows] != [str(k) for k in range(len(rows))]:
        raise ValueError(f"{path}: labels are not 0, 1, 2, ... in this order; copy the file again")
    return [name for _, name in rows]


def read_members(folder: Path, kind: str, numbers: Sequence[int], classes: int) -> Iterator[np.ndarray]:
    """Yield decoded pictures of one kind ("rgb", "depth", "label"), uint8 [H, W, 3] or [H, W], each checked.

    Raises:
        ValueError: a zip or a member is missing or unreadable, has another size than the first label map, a wrong bit
            depth, or a label that is neither a class nor void; the message names zip, member and remedy.
    """
    with _open(folder / ZIPS["label"][0]) as labels:
        height, width = _decode(labels, f"{numbers[0]:04d}.png", "L").shape
    file, ending = ZIPS[kind]
    with _open(folder / file) as archive:
        for number in numbers:
            name = f"{number:04d}.{ending}"
            place = f"{folder / file}: member {name}"
            array = _decode(archive, name, "RGB" if kind == "rgb" else "L")
            if array.shape[:2] != (height, width):
                raise ValueError(f"{place} is {array.shape[1]} x {array.shape[0]}, not {width} x {height}; {REMEDY}")
            strange = (array >= classes) & (array != VOID)
            if kind == "label" and strange.any():
                wrong = int(array[strange][0])
                raise ValueError(f"{place} has label {wrong}, which is neither 0..{classes - 1} nor void; {REMEDY}")
            yield array


def check_members(folder: Path, numbers: Sequence[int]) -> None:
    """Check that each of the three zips has a member for every number.

    Raises:
        ValueError: naming the first one that is missing.
    """
    for file, ending in ZIPS.values():
        with _open(folder / file) as archive:
            missing = {f"{number:04d}.{ending}" for number in numbers} - set(archive.namelist())
        if missing:
            raise ValueError(f"{folder / file}: member {min(missing)} is missing; {REMEDY}")


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path} is no readable zip file ({error}); {REMEDY}") from error


def _decode(archive: zipfile.ZipFile, name: str, mode: str) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    place = f"{archive.filename}: member {name}"
    try:
        with Image.open(io.BytesIO(archive.read(name))) as image:
            if image.mode == mode:
                return np.asarray(image)
            found = image.mode
    except KeyError:
        raise ValueError(f"{place} is missing; {REMEDY}") from None
    except (UnidentifiedImageError, zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{place} is no readable picture ({error}); {REMEDY}") from error
    wanted = "8-bit grey" if mode == "L" else "8-bit RGB"
    raise ValueError(f"{place} has mode {found!r}, not {wanted}; {REMEDY}")


class Prepared:
    """The pictures decoded once into memory-mapped arrays: labels as stored, RGB and depth at a chosen size."""

    def __init__(self, folder: Path, numbers: Sequence[int], classes: int, manifest: dict[str, str]):
        self.folder, self.numbers, self.classes = folder, numbers, classes
        self.stamp = hashlib.sha256(json.dumps([CACHE_VERSION, manifest, list(numbers)]).encode()).hexdigest()

    def labels(self) -> np.ndarray:
        """Return the label maps, uint8 [N, H, W]."""
        return self._arrays("labels", {"label": None})["label"]

    def pictures(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return RGB uint8 [N, 3, h, w] (box average) and depth uint8 [N, h, w] (nearest)."""
        stored = self.labels().shape[1:]
        if not (8 <= height <= stored[0] and 8 <= width <= stored[1]):
            raise ValueError(
                f"height and width are {height} and {width}; give at least 8 and at most {stored[0]} and {stored[1]}, "
                "the stored size"
            )
        arrays = self._arrays(f"pictures-{height}x{width}", {"rgb": (height, width), "depth": (height, width)})
        return arrays["rgb"], arrays["depth"]

    def _arrays(self, what: str, sizes: dict[str, tuple[int, int] | None]) -> dict[str, np.ndarray]:
        def write(folder: Path) -> None:
            cache.say(f"decoding {len(self.numbers)} NYUv2 pictures once ({what})")
            for kind, size in sizes.items():
                images = (
                    _resized(array, size, kind) for array in read_members(self.folder, kind, self.numbers, self.classes)
                )
                first = next(images)
                shape = (len(self.numbers), *first.shape)
                array = new_array(folder / f"{kind}.npy", shape, np.uint8)
                array[0] = first
                for row, image in enumerate(images, start=1):
                    array[row] = image
                array.flush()
            about = {"stamp": self.stamp, "sha256": {f"{k}.npy": cache.sha256(folder / f"{k}.npy") for k in sizes}}
            (folder / "cache.json").write_text(json.dumps(about), encoding="utf-8")

        folder = cache.ensure(cache.cache_root() / "nyuv2" / what, write, self._problem, f"the prepared {what}")
        return {kind: np.load(folder / f"{kind}.npy", mmap_mode="c", allow_pickle=False) for kind in sizes}

    def _problem(self, folder: Path) -> str:
        try:
            about = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
            stamp, sums = about["stamp"], about["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return "half-written"
        if stamp != self.stamp:
            return "made from other files or by another version"
        return "".join(f"{file}: {why}" for file, why in cache.wrong_files(folder, sums).items())


def _resized(array: np.ndarray, size: tuple[int, int] | None, kind: str) -> np.ndarray:
    from PIL import Image

    if size is not None and array.shape[:2] != size:
        rule = Image.Resampling.BOX if kind == "rgb" else Image.Resampling.NEAREST
        array = np.asarray(Image.fromarray(array).resize(size[::-1], rule))
    return array.transpose(2, 0, 1) if kind == "rgb" else array


VALIDATION = 0.1  # share of the official training pictures


def load_nyuv2(
    root: Path | None, *, height: int, width: int, labels: str, multiple: int, augment: str, seed: int
) -> Dataset:
    """Load the labelled set at a chosen size.

    Args:
        root: folder that holds ``nyuv2_rgbd40``; default as for every real set.
        height, width: of the network input before it is filled up; at most the stored size.
        labels: where predictions are scored: "stored", at the size of the label files (the published protocol), or
            "input", at height x width, which is faster.
        multiple: height and width are filled up until divisible by this (ESANet: 32, or 16 with stem stride 1).
        augment: "esanet" or "none". seed: which scenes become the validation part.
    """
    import torch

    from dgl_core.data.dense import DenseDataset
    from dgl_core.data.tasks.label_maps import at_size

    folder = RECIPE.find(root)
    parts = read_split(folder, seed)
    numbers = sorted(parts)
    names = read_classes(folder / "classes.csv")
    check_members(folder, numbers)
    stored = Prepared(folder, numbers, len(names), RECIPE.checksums(folder))
    rgb, depth = stored.pictures(height, width)
    target = torch.from_numpy(stored.labels())
    return DenseDataset(
        {"rgb": torch.from_numpy(rgb), "depth": torch.from_numpy(depth)},
        target if labels == "stored" else at_size(target, (height, width)),
        [parts[n] for n in numbers],
        name="nyuv2",
        classes=names,
        ids=[f"{n:04d}" for n in numbers],
        source="NYU Depth v2, labelled set, 40 classes, official split; validation cut from train by scene",
        multiple=multiple,
        augment=augment,
    )


def read_split(folder: Path, seed: int) -> dict[int, str]:
    """Part of every picture number: the official lists, with ``VALIDATION`` of the training scenes cut off."""
    lists = {part: _read_numbers(folder / f"{part}.txt") for part in ("train", "test")}
    both = sorted(set(lists["train"]) & set(lists["test"]))
    if both:
        raise ValueError(f"picture {both[0]:04d} is in both {folder / 'train.txt'} and test.txt; copy the lists again")
    held = set(cut_validation(lists["train"], seed))
    return {n: "test" for n in lists["test"]} | {n: "val" if n in held else "train" for n in lists["train"]}


def cut_validation(train: Sequence[int], seed: int) -> list[int]:
    """Choose whole scenes, at random, that make up at most ``VALIDATION`` of the training pictures.

    The set is numbered in the order of recording, so pictures of one scene stand side by side, and the official split
    puts whole scenes in one part. A run of consecutive training numbers is therefore one scene or a few: cutting only
    between runs never puts a scene into both train and validation.
    """
    numbers = np.sort(np.asarray(train))
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    if len(runs) < 2:
        raise ValueError(f"the training list is one run of {len(numbers)} numbers; no scene can be held out of it")
    shuffled = [runs[i] for i in np.random.Generator(np.random.PCG64(seed)).permutation(len(runs))]
    wanted, held = VALIDATION * len(numbers), []
    for run in shuffled:
        if len(held) + len(run) <= wanted:
            held += run.tolist()
    return held or min(shuffled, key=len).tolist()


def _read_numbers(path: Path) -> list[int]:
    numbers = []
    for line, text in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not text.strip():
            continue
        if not text.strip().isdigit() or int(text) in numbers:
            raise ValueError(f"{path}, line {line}: {text!r} is no picture number, or occurs twice")
        numbers.append(int(text))
    return numbers


def verify_nyuv2(root: Path | None) -> str:
    """Check all files against their checksums, the lists against each other and against the zips."""
    folder = RECIPE.find(root)
    parts = read_split(folder, seed=0)
    check_members(folder, sorted(parts))
    train, test = (sum((part == "test") is is_test for part in parts.values()) for is_test in (False, True))
    classes = len(read_classes(folder / "classes.csv"))
    files = len(RECIPE.facts.manifest)
    return f"{files} files match their checksums, {train} train and {test} test pictures, {classes} classes"


RECIPE = Recipe(
    "nyuv2",
    load_nyuv2,
    {"height": 240, "width": 320, "labels": "stored", "multiple": 32, "augment": "esanet", "seed": 0},
    choices={"augment": ("esanet", "none"), "labels": ("stored", "input")},
    limits={"height": (8, 480), "width": (8, 640), "multiple": (1, 256), "seed": SEEDS},
    verify=verify_nyuv2,
)
