"""The recipes whose data are media files: CREMA-D, Kinetics-Sounds, VGGSound, and a folder of your own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dgl_core.data.media.video import RULES
from dgl_core.data.recipe import Recipe
from dgl_core.data.sets import cremad, kinetics, own, vggsound

_CHOICES = {"spectrogram": ("compact", "official", "paper"), "augment": ("none", "shift", "crop"), "rule": RULES}
_VIEW = {"spectrogram": "official", "frame_size": 224, "augment": "crop", "rule": "1fps"}


def found(find: Callable[[Path | None], Path]) -> Callable[[Path | None], bool]:
    """Whether a set is here, from the function that finds it."""

    def available(root: Path | None) -> bool:
        try:
            find(root)
        except (FileNotFoundError, ValueError):
            return False
        return True

    return available


def _recipe(name: str, title: str, load: Callable, prepare: Callable, find: Callable | None, **rest) -> Recipe:
    options = rest.pop("options")
    return Recipe(
        name=name,
        title=title,
        load=load,
        options=options | {"seed": 0} | _VIEW,
        revision=1,
        available=found(find) if find is not None else lambda root: True,
        generated=False,
        choices=_CHOICES | rest.pop("choices", {}),
        find=find,
        prepare=prepare,
        **rest,
    )


RECIPES = (
    _recipe(
        "cremad", "CREMA-D", cremad.load_cremad, cremad.prepare_cremad, cremad.find_cremad,
        options={"frames": 1}, licence="CREMA-D", verify=cremad.verify_cremad,
    ),
    _recipe(
        "ks", "Kinetics-Sounds", kinetics.load_kinetics, kinetics.prepare_kinetics, kinetics.find_kinetics,
        options={"classes": 34, "frames": 3}, choices={"classes": tuple(kinetics.CLASSES)}, licence="Kinetics-Sounds",
    ),
    _recipe(
        "vggsound", "VGGSound", vggsound.load_vggsound, vggsound.prepare_vggsound, vggsound.find_vggsound,
        options={"frames": 3}, licence="VGGSound",
    ),
    _recipe(
        "folder", "A folder of your own", own.load_folder, own.prepare_folder, None,
        options={"folder": "", "length": "3s", "frames": 1}, choices={"length": own.LENGTHS},
    ),
)  # fmt: skip
