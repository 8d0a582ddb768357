"""Generated RGB-D rooms: the offline stand-in for NYUv2, always labelled as generated.

Planes and boxes in perspective with exact depth. Flat things (door, window, picture, rug) can only be told by colour;
furniture whose surface wears the look of another class, or of the wall behind it, only by depth. So both are needed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dgl_core.data.files import cache
from dgl_core.data.files.arrays import new_array
from dgl_core.data.generated import kept
from dgl_core.data.generated.portable import generator
from dgl_core.data.generated.rooms.looks import CLASSES
from dgl_core.data.generated.rooms.render import render
from dgl_core.data.generated.rooms.scene import Furnisher
from dgl_core.data.recipe import SEEDS, Recipe

if TYPE_CHECKING:
    from dgl_core.data.dataset import Dataset

VERSION = 1  # raised when the same settings give other pictures


def load_rooms(
    root: Path | None, *, images: int, seed: int, mislead: float, height: int, width: int, multiple: int, augment: str
) -> Dataset:
    """Load the generated set, made on first use; it lives in the cache, so ``root`` is not used.

    Args:
        images: how many, one room each. seed: of the rooms; picture k is the same in a set of any length.
        mislead: share of surfaces that wear the look of another class, 0..1.
        height, width, multiple, augment: as ``nyuv2.load_nyuv2``.
    """
    import torch

    from dgl_core.data.dense import DenseDataset

    inputs = {kind: torch.from_numpy(array) for kind, array in ensure(images, seed, mislead, height, width).items()}
    return DenseDataset(
        inputs,
        inputs.pop("label"),
        split(images),
        name="rooms",
        classes=CLASSES,
        source=f"generated rooms: {images} pictures, seed {seed}, misleading surfaces {mislead:g}",
        generated=True,
        version=f"rooms {VERSION} seed {seed} mislead {mislead:g} size {height}x{width}",
        multiple=multiple,
        augment=augment,
    )


def split(images: int) -> list[str]:
    """Return "train", "val" or "test" for each picture, in blocks, because every picture is a room of its own."""
    val, test = (max(1, round(share * images)) for share in (0.15, 0.25))
    return ["train"] * (images - val - test) + ["val"] * val + ["test"] * test


def draw(number: int, seed: int, mislead: float, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw picture ``number``: RGB uint8 [H, W, 3], depth int16 [H, W] (mm), label uint8 [H, W]."""
    rng = generator(seed, number)
    return render(Furnisher(rng, mislead).room(), height, width, rng)


def ensure(images: int, seed: int, mislead: float, height: int, width: int) -> dict[str, np.ndarray]:
    """Return memory-mapped ``rgb`` [N, 3, H, W], ``depth`` and ``label`` [N, H, W], drawn where missing."""
    settings = json.dumps([VERSION, images, seed, mislead, height, width])
    name = f"rooms-{hashlib.sha256(settings.encode()).hexdigest()[:12]}"
    kinds = {"rgb": ((3,), np.uint8), "depth": ((), np.int16), "label": ((), np.uint8)}

    def write(folder: Path) -> None:
        cache.say(f"drawing {images} rooms of {height} x {width} once")
        rgb, depth, label = (
            new_array(folder / f"{kind}.npy", (images, *channels, height, width), dtype)
            for kind, (channels, dtype) in kinds.items()
        )
        for number in range(images):
            picture, depth[number], label[number] = draw(number, seed, mislead, height, width)
            rgb[number] = picture.transpose(2, 0, 1)
        for array in (rgb, depth, label):
            array.flush()
        (folder / "settings.json").write_text(settings, encoding="utf-8")
        cache.write_manifest(folder, [Path(f"{kind}.npy") for kind in kinds])

    folder = cache.ensure(cache.cache_root() / name, write, kept.problem, "the generated rooms")
    return {kind: np.load(folder / f"{kind}.npy", mmap_mode="c", allow_pickle=False) for kind in kinds}


RECIPE = Recipe(
    "rooms",
    load_rooms,
    {"images": 480, "seed": 0, "mislead": 0.3, "height": 96, "width": 128, "multiple": 32, "augment": "esanet"},
    generated=True,
    choices={"augment": ("esanet", "none")},
    limits={"images": (8, 100_000), "mislead": (0, 1), "height": (16, 480), "width": (16, 640), "multiple": (1, 256)}
    | {"seed": SEEDS},
    verify=lambda root: kept.verify("rooms"),
)
