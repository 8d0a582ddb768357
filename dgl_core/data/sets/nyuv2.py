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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from dgl_core import data
from dgl_core.data.files import cache
from dgl_core.data.files.arrays import prepared
from dgl_core.data.recipe import SEEDS, Recipe

ZIPS = {"rgb": ("rgb.zip", "jpg"), "depth": ("depth.zip", "png"), "label": ("label.zip", "png")}
VOID = 255
VALIDATION = 0.1  # share of the official training pictures
REMEDY = "copy the zip again or convert the set again (python -m dgl_core.data.sets.convert.nyuv2)"


def read_classes(path: Path) -> list[str]:
    """Read the class names in label order; the row of void is left out."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = [(row["label"], row["name"]) for row in csv.DictReader(file) if row["label"] != str(VOID)]
    if [label for label, _ in rows] != [str(k) for k in range(len(rows))]:
        raise ValueError(f"{path}: labels are not 0, 1, 2, ... in this order; copy the file again")
    return [name for _, name in rows]


def stored_size(folder: Path, number: int) -> tuple[int, int]:
    """Read height and width of the label map of one picture: the size of all."""
    with _open(folder / ZIPS["label"][0]) as labels:
        return _decode(labels, f"{number:04d}.png", "L").shape


def read_members(folder: Path, kind: str, numbers: Sequence[int], classes: int) -> Iterator[np.ndarray]:
    """Yield decoded pictures of one kind ("rgb", "depth", "label"), uint8 [H, W, 3] or [H, W].

    Raises a ``ValueError`` for a picture that is missing, unreadable, of another size than the first label map or of
    another bit depth, and for a label that is neither a class nor void.
    """
    height, width = stored_size(folder, numbers[0])
    file, ending = ZIPS[kind]
    with _open(folder / file) as archive:
        for number in numbers:
            name = f"{number:04d}.{ending}"
            place = f"{folder / file}: member {name}"
            array = _decode(archive, name, "RGB" if kind == "rgb" else "L")
            if array.shape[:2] != (height, width):
                raise ValueError(f"{place} is {array.shape[1]} x {array.shape[0]}, not {width} x {height}; {REMEDY}")
            for strange in array[(array >= classes) & (array != VOID)] if kind == "label" else ():
                raise ValueError(f"{place} has label {strange}, which is neither 0..{classes - 1} nor void; {REMEDY}")
            yield array


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
    raise ValueError(f"{place} has mode {found!r}, not 8-bit {'grey' if mode == 'L' else 'RGB'}; {REMEDY}")


def decoded(folder: Path, numbers: Sequence[int], classes: int, kind: str, size: tuple[int, int]) -> np.ndarray:
    """Return the pictures of one kind at ``size``, memory-mapped: uint8 [N, h, w], RGB [N, 3, h, w]; decoded once.

    Where ``size`` is not the stored one, RGB is averaged over boxes, and the nearest pixel is taken of the others.
    """
    what = f"{kind}-{size[0]}x{size[1]}"

    def fill(array: np.ndarray) -> None:
        cache.say(f"decoding {len(numbers)} NYUv2 pictures once ({what})")
        for row, image in enumerate(read_members(folder, kind, numbers, classes)):
            array[row] = _resized(image, size, kind)

    stamp = hashlib.sha256(json.dumps([RECIPE.checksums(folder), list(numbers)]).encode()).hexdigest()
    names, shape = [f"{number:04d}" for number in numbers], ((3, *size) if kind == "rgb" else size)
    return prepared(cache.cache_root() / "nyuv2" / what, stamp, names, shape, np.uint8, fill)


def _resized(array: np.ndarray, size: tuple[int, int], kind: str) -> np.ndarray:
    from PIL import Image

    if array.shape[:2] != size:
        rule = Image.Resampling.BOX if kind == "rgb" else Image.Resampling.NEAREST
        array = np.asarray(Image.fromarray(array).resize(size[::-1], rule))
    return array.transpose(2, 0, 1) if kind == "rgb" else array


def load_nyuv2(
    root: Path | None, *, height: int, width: int, labels: str, multiple: int, augment: str, seed: int
) -> data.Dataset:
    """Load the labelled set at a chosen size.

    Args:
        height, width: of the network input before it is filled up; at most the stored size.
        labels: where predictions are scored: "stored", at the size of the label files (the published protocol), or
            "input", at height x width, which is faster.
        multiple: height and width are filled up until divisible by this (ESANet: 32, or 16 with stem stride 1).
        seed: which scenes become the validation part.
    """
    import torch

    from dgl_core.data.dense import DenseDataset
    from dgl_core.data.tasks.label_maps import at_size

    folder = RECIPE.find(root)
    parts = read_split(folder, seed)
    numbers = sorted(parts)
    names = read_classes(folder / "classes.csv")
    stored = stored_size(folder, numbers[0])
    if not (8 <= height <= stored[0] and 8 <= width <= stored[1]):
        most = f"{stored[0]} and {stored[1]}, the stored size"
        raise ValueError(f"height and width are {height} and {width}; give at least 8 and at most {most}")
    target, rgb, depth = (
        torch.from_numpy(decoded(folder, numbers, len(names), kind, stored if kind == "label" else (height, width)))
        for kind in ("label", "rgb", "depth")
    )
    return DenseDataset(
        {"rgb": rgb, "depth": depth},
        target if labels == "stored" else at_size(target, (height, width)),
        [parts[n] for n in numbers],
        name="nyuv2",
        classes=names,
        ids=[f"{n:04d}" for n in numbers],
        groups=recorded_together(numbers, parts),
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

    Pictures are numbered in the order of recording, and the official split puts whole scenes in one part. So a run of
    consecutive training numbers is one scene or a few, and a cut between runs never divides a scene.
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


def recorded_together(numbers: Sequence[int], parts: Mapping[int, str]) -> list[str]:
    """Name for each picture (``numbers`` ascend) the run of consecutive numbers of one part that it belongs to.

    The pictures of a run show one scene or a few, many times over, so a verdict counts runs.
    """
    names: list[str] = []
    for before, number in zip((None, *numbers), numbers, strict=False):
        follows = before is not None and number == before + 1 and parts[number] == parts[before]
        names.append(names[-1] if follows else f"{parts[number]} {number:04d}")
    return names


def _read_numbers(path: Path) -> list[int]:
    numbers: list[int] = []
    for line, text in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if text.strip() and (not text.strip().isdigit() or int(text) in numbers):
            raise ValueError(f"{path}, line {line}: {text!r} is no picture number, or occurs twice")
        numbers += [int(text)] if text.strip() else []
    return numbers


def verify_nyuv2(root: Path | None) -> str:
    """Check all files against their checksums, the lists against each other and against the zips."""
    folder = RECIPE.find(root)
    parts = read_split(folder, seed=0)
    for file, ending in ZIPS.values():
        with _open(folder / file) as archive:
            missing = {f"{number:04d}.{ending}" for number in parts} - set(archive.namelist())
        if missing:
            raise ValueError(f"{folder / file}: member {min(missing)} is missing; {REMEDY}")
    test = list(parts.values()).count("test")
    files, classes = len(RECIPE.facts.manifest), len(read_classes(folder / "classes.csv"))
    return f"{files} files match their checksums, {len(parts) - test} train and {test} test pictures, {classes} classes"


RECIPE = Recipe(
    "nyuv2",
    load_nyuv2,
    {"height": 240, "width": 320, "labels": "stored", "multiple": 32, "augment": "esanet", "seed": 0},
    choices={"augment": ("esanet", "none"), "labels": ("stored", "input")},
    limits={"height": (8, 480), "width": (8, 640), "multiple": (1, 256), "seed": SEEDS},
    verify=verify_nyuv2,
)
