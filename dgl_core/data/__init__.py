"""Data sets by name: ``load("emotions")``; a folder of videos: ``load("folder", folder="my_set")`` (see ``own.py``).

Your own arrays, first axis samples, any number of modalities::

    import numpy as np
    from dgl_core.data import ArrayDataset, random_split

    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 300)
    sound = rng.normal(size=(300, 1, 40, 30)) + label[:, None, None, None]  # [N, 1, F, T]
    face = rng.normal(size=(300, 3, 32, 32))  # [N, 3, H, W]
    parts = random_split(label, val=0.15, test=0.2)  # or a list of "train", "val", "test"
    dataset = ArrayDataset({"sound": sound, "face": face}, label, parts, classes=("one", "two", "three"))
    print(dataset, dataset.shapes)

Importing this package is cheap: torch is imported with the first data set. Several labels a sample, numbers, sequences,
label maps, class weights, token ids and speakers: ``ArrayDataset`` says how.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgl_core.utils import unknown_name

if TYPE_CHECKING:
    from dgl_core.data.catalogue import DATASETS
    from dgl_core.data.dataset import PARTS, ArrayDataset, Dataset
    from dgl_core.data.recipe import Recipe, random_split

_HOMES = {
    "PARTS": "dataset", "ArrayDataset": "dataset", "Dataset": "dataset",
    "DATASETS": "catalogue", "Recipe": "recipe", "random_split": "recipe",
}  # fmt: skip

__all__ = ["DATASETS", "PARTS", "ArrayDataset", "Dataset", "Recipe", "load", "random_split"]


if not TYPE_CHECKING:  # it would take any name for a public one

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            return getattr(importlib.import_module(f"dgl_core.data.{_HOMES[name]}"), name)
        raise AttributeError(f"module 'dgl_core.data' has no attribute {name!r}")


def load(name: str, root: str | os.PathLike | None = None, **options: Any) -> Dataset:
    """Load the data set ``name`` of ``DATASETS`` with the given options of its recipe.

    Args:
        root: folder that holds the real data sets; default ``$DGL_DATA``, then ``./data``. Generated sets ignore it.

    Raises:
        ValueError: unknown name or option (with the nearest right one), or broken data.
        FileNotFoundError: the data are not there; the message says where they were looked for and what to do.
    """
    known = __getattr__("DATASETS")
    if name not in known:
        raise unknown_name("data set", name, known)
    recipe = known[name]
    return recipe.load(Path(root) if root else None, **recipe.check(options))
