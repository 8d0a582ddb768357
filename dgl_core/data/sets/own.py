"""A set of your own in folders, without a line of code.

Put ``my_set/<part>/<class>/<clip>.mp4`` below a data root, with parts ``train``, ``val`` and ``test`` (or just
``my_set/<class>/<clip>.mp4``: then the parts are cut at random), and load it with
``data.load("folder", folder="my_set")``. Any video format; a wav file with the name of a clip is taken for its sound, a
folder with that name for its frames. Data that are no media: ``ArrayDataset``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from dgl_core.data.media.clips import Clips, View, load_clips, prepare_clips
from dgl_core.data.media.folders import as_clips, scan
from dgl_core.data.recipe import find_folder, random_split

if TYPE_CHECKING:
    from dgl_core.data.dataset import Dataset

PARTS = ("train", "val", "test")
LENGTHS = ("3s", "10s")


def load_folder(root: Path | None, *, folder: str, seed: int, length: str, **view) -> Dataset:
    """The clips of ``<root>/<folder>``; those that cannot be read are left out and counted in ``source``."""
    chosen = View(**view, long=length == "10s")
    clips = listed(root, folder, seed)
    return load_clips(clips, chosen, name="folder", key=_key(root, folder), source=f"folder {folder!r}")


def prepare_folder(root: Path | None, *, folder: str, seed: int, length: str, **view) -> str:
    """Make the arrays of the set, or complete them."""
    chosen = View(**view, long=length == "10s")
    return str(prepare_clips(listed(root, folder, seed), chosen, _key(root, folder), again=True))


def find_own(root: Path | None, name: str) -> Path:
    """The folder of the set.

    Raises:
        ValueError: no name. FileNotFoundError: no such folder.
    """
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"folder is {name!r}; give the name of a folder below a data root, e.g. folder='my_set'")
    remedy = f"Put {name}/<part>/<class>/<clip>.mp4 there, or set DGL_DATA to the folder that holds it"
    return find_folder(root, name, f"no folder {name!r}", remedy)


def listed(root: Path | None, name: str, seed: int) -> Clips:
    """The clips of the folders; classes are the names of their folders."""
    folder = find_own(root, name)
    cut = any((folder / part).is_dir() for part in PARTS)
    found = scan([(part, folder / part) for part in PARTS] if cut else [("train", folder)], lambda label: label)
    if not found:
        raise FileNotFoundError(f"{folder}: no clips; they belong into {name}/<part>/<class>/<clip>.mp4")
    there = {clip.part for clip in found}
    if "test" not in there or "val" not in there:
        training = [clip for clip in found if clip.part == "train"]
        shares = {"val": 0.0 if "val" in there else 0.15, "test": 0.0 if "test" in there else 0.2}
        for clip, part in zip(training, random_split([c.label for c in training], **shares, seed=seed), strict=True):
            clip.part = part
    return as_clips(found, sorted({clip.label for clip in found}), lambda clip: f"{clip.label}/{clip.name}")


def _key(root: Path | None, name: str) -> str:
    place = str(find_own(root, name).resolve())
    return f"folder-{Path(name).name}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
