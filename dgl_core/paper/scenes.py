"""Look up RGB-D pictures for the eye: the test pictures whose predicted label maps a run keeps."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from dgl_core import data
from dgl_core.data.generated.rooms import pictures
from dgl_core.data.sets.convert.nyuv2 import METRES
from dgl_core.training.records import RunSpec


class Scene(NamedTuple):
    """One picture: ``rgb`` uint8 [H, W, 3], ``depth`` [H, W] in metres, ``label`` uint8 [H, W] (255: void)."""

    rgb: np.ndarray
    depth: np.ndarray
    label: np.ndarray


def scenes(spec: RunSpec, count: int = 4, part: str = "test", root: Path | None = None) -> list[Scene]:
    """Look up the first ``count`` pictures of a part of a run's data set, as stored; generated ones are drawn."""
    recipe = data.DATASETS[spec.dataset]
    options = recipe.check(spec.dataset_options)
    if recipe.generated:
        numbers = [n for n, p in enumerate(pictures.split(options["images"])) if p == part][:count]
        settings = [options[name] for name in ("seed", "mislead", "height", "width")]
        drawn = (pictures.draw(number, *settings) for number in numbers)
        return [Scene(rgb, depth / 1000, label) for rgb, depth, label in drawn]
    dataset = recipe.load(root, **options)
    found = []
    for row in dataset.indices(part)[:count].tolist():
        rgb, depth = dataset.inputs["rgb"][row].permute(1, 2, 0).numpy(), dataset.inputs["depth"][row].numpy()
        found.append(Scene(rgb, depth / METRES, dataset.target[row].numpy()))
    return found
