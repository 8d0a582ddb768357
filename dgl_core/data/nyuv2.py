"""NYU Depth v2, the 1449 labelled RGB-D pictures: 40 classes, the official 795/654 split (Table 5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dgl_core.data.nyuv2_files import FILES, Prepared, check_files, check_members, read_classes
from dgl_core.data.recipe import Recipe, data_roots, find_folder

if TYPE_CHECKING:
    from dgl_core.data.base import Dataset

NYUV2 = "nyuv2_rgbd40"  # folder below a data root
VALIDATION = 0.1  # share of the official training pictures


def load_nyuv2(
    root: Path | None, *, height: int, width: int, labels: str, multiple: int, augment: str, seed: int
) -> Dataset:
    """The labelled set at a chosen size.

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
    from dgl_core.segmentation import at_size

    folder = find_nyuv2(root)
    manifest = check_files(folder)
    parts = read_split(folder, seed)
    numbers = sorted(parts)
    names = read_classes(folder / "classes.csv")
    check_members(folder, numbers)
    stored = Prepared(folder, numbers, len(names), manifest)
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


def find_nyuv2(root: Path | None) -> Path:
    """The folder of the set.

    Raises:
        FileNotFoundError: says where it was looked for, what belongs there, and what can be used instead.
    """
    return find_folder(
        root,
        NYUV2,
        f"NYUv2 is not here: no folder {NYUV2}",
        "Put it there, set DGL_DATA to the folder that holds it, make it from nyu_depth_v2_labeled.mat "
        "(python -m dgl_core.data.nyuv2_convert --help), or use the generated set 'rooms'",
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
    """Whole scenes, chosen at random, that make up at most ``VALIDATION`` of the training pictures.

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
    """All files against their checksums, the lists against each other and against the zips."""
    folder = find_nyuv2(root)
    check_files(folder)
    parts = read_split(folder, seed=0)
    check_members(folder, sorted(parts))
    train, test = (sum((part == "test") is is_test for part in parts.values()) for is_test in (False, True))
    classes = len(read_classes(folder / "classes.csv"))
    return f"{len(FILES)} files match their checksums, {train} train and {test} test pictures, {classes} classes"


def available(root: Path | None) -> bool:
    """Is the set here?"""
    return any((place / NYUV2).is_dir() for place in data_roots(root))


RECIPE = Recipe(
    "nyuv2",
    "NYUv2 (RGB-D, 40 classes)",
    load_nyuv2,
    {"height": 240, "width": 320, "labels": "stored", "multiple": 32, "augment": "esanet", "seed": 0},
    revision=1,
    available=available,
    generated=False,
    choices={"augment": ("esanet", "none"), "labels": ("stored", "input")},
    licence="NYU Depth v2",
    find=find_nyuv2,
    verify=verify_nyuv2,
)
