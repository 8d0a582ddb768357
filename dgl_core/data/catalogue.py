"""The data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dgl_core.data import audiovisual, grid
from dgl_core.data.recipe import Recipe

_AUGMENT = ("none", "shift")
_CHOICES = {"spectrogram": ("compact", "official", "paper"), "augment": _AUGMENT}


def _found(find: Callable[[Path | None], Path]) -> Callable[[Path | None], bool]:
    def available(root: Path | None) -> bool:
        try:
            find(root)
        except (FileNotFoundError, ValueError):
            return False
        return True

    return available


_RECIPES = (
    Recipe(
        name="emotions",
        title="Generated emotions",
        load=audiovisual.load_emotions,
        options={
            "clips": 1500,
            "seed": 0,
            "audio_difficulty": 0.35,
            "visual_difficulty": 0.45,
            "spectrogram": "compact",
            "frame_size": 48,
            "augment": "shift",
        },
        revision=1,
        available=lambda root: True,
        generated=True,
        choices=_CHOICES,
    ),
    Recipe(
        name="cremad",
        title="CREMA-D",
        load=audiovisual.load_cremad,
        options={"seed": 0, "spectrogram": "official", "frame_size": 224, "augment": "shift"},
        revision=1,
        available=_found(audiovisual.find_cremad),
        generated=False,
        choices=_CHOICES,
    ),
    Recipe(
        name="grid_letters",
        title="GRID letters (a stand-in)",
        load=grid.load_letters,
        options={"fold": 0, "augment": "shift"},
        revision=1,
        available=_found(grid.find_grid),
        generated=False,
        choices={"augment": _AUGMENT},
    ),
    Recipe(
        name="grid_digits",
        title="GRID digits (a stand-in)",
        load=grid.load_digits,
        options={"fold": 0, "augment": "shift"},
        revision=1,
        available=_found(grid.find_grid),
        generated=False,
        choices={"augment": _AUGMENT},
    ),
    Recipe(
        name="grid_words",
        title="GRID words (a stand-in)",
        load=grid.load_words,
        options={"augment": "shift"},
        revision=1,
        available=_found(grid.find_grid),
        generated=False,
        choices={"augment": _AUGMENT},
    ),
)

DATASETS: dict[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}
