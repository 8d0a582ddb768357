"""Data sets by name: ``load("emotions")``; your own arrays: ``ArrayDataset(...)``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dgl_core.data.base import PARTS, ArrayDataset, Dataset
from dgl_core.data.recipe import Recipe, data_roots, nearest, random_split

DATASETS: dict[str, Recipe] = {}


def load(name: str, root: str | os.PathLike | None = None, **options: Any) -> Dataset:
    """The data set ``name`` with the given options.

    Args:
        name: key of ``DATASETS``.
        root: folder that holds the real data sets; default ``$DGL_DATA``, then ``./data``. Generated sets ignore it.
        options: as the recipe declares them.

    Raises:
        ValueError: unknown name or option (with the nearest right one), or broken data.
        FileNotFoundError: the data are not there; the message says where they were looked for and what to do.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; {nearest(name, DATASETS)}")
    recipe = DATASETS[name]
    return recipe.load(Path(root) if root else None, **recipe.check(options))


__all__ = ["DATASETS", "PARTS", "ArrayDataset", "Dataset", "Recipe", "data_roots", "load", "nearest", "random_split"]
