"""Make the recipe of a set of audio-visual clips; such sets differ in where their lists come from."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dgl_core import data
from dgl_core.data.media.clips import Clips, View, load_clips, prepare_clips
from dgl_core.data.media.video import RULES
from dgl_core.data.recipe import SEEDS, Recipe, random_split

CHOICES = {"spectrogram": ("compact", "official", "paper"), "augment": ("none", "shift", "crop")}
_UNLISTED = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")  # line breaks, bytes that are no UTF-8
_VIEW = {"spectrogram": "official", "frame_size": 224, "augment": "crop", "rule": "1fps"}


@dataclass(frozen=True)
class Listing:
    """The clips of a set and what to know of them."""

    clips: Clips
    source: str  # where the values come from, in words
    key: str  # folder of the prepared arrays in the cache
    long: bool = False  # ten seconds of sound, not three
    groups: Mapping[str, str] | None = None  # clip -> what it shares with others
    complete: bool = False  # a clip that cannot be read is an error, as where the lists are the benchmark


def clip_recipe(
    name: str,
    listed: Callable[..., Listing],
    options: Mapping[str, Any],
    *,
    choices: Mapping[str, tuple] | None = None,
    verify: Callable[[Path | None], str] | None = None,
) -> Recipe:
    """Return the recipe of a set of clips with these ``options``, seed and those of a ``View``.

    ``listed(root, **own)`` lists the clips; ``own`` are the options that no ``View`` has.
    """
    of_view = {f.name for f in fields(View)}

    def viewed(root: Path | None, given: Mapping[str, Any]) -> tuple[Listing, View]:
        listing = listed(root, **{key: value for key, value in given.items() if key not in of_view})
        for text in (*listing.clips.classes, *(source.clip for source in listing.clips.sources)):
            if _UNLISTED.search(text):
                raise ValueError(f"{name}: the name {text!r} has characters that no list can hold; rename that file")
        return listing, View(**{key: given[key] for key in given.keys() & of_view}, long=listing.long)

    def load(root: Path | None, **given: Any) -> data.Dataset:
        listing, view = viewed(root, given)
        about = {"source": listing.source, "key": listing.key, "complete": listing.complete, "groups": listing.groups}
        return load_clips(listing.clips, view, name=name, **about)

    def prepare(root: Path | None, **given: Any) -> str:
        listing, view = viewed(root, given)
        return str(prepare_clips(listing.clips, view, listing.key, again=True))

    limits = {"seed": SEEDS, "frames": (1, 64), "frame_size": (16, 512)}
    choices = {**CHOICES, "rule": RULES, **(choices or {})}
    options = {**options, "seed": 0, **_VIEW}
    return Recipe(name, load, options, choices=choices, limits=limits, verify=verify, prepare=prepare)


def cut_training(
    labels: Sequence,
    parts: Sequence[str],
    val: float,
    seed: int,
    test: float = 0.0,
    groups: Sequence[str] | None = None,
) -> list[str]:
    """Return the parts after cutting shares of the training part off, class by class; the others stay."""
    training = [number for number, part in enumerate(parts) if part == "train"]
    of = None if groups is None else [groups[number] for number in training]
    cut = random_split([labels[number] for number in training], val=val, test=test, seed=seed, groups=of)
    moved = dict(zip(training, cut, strict=True))
    return [moved.get(number, part) for number, part in enumerate(parts)]


def read_rows(path: Path, fits: Callable[[list[str]], bool], form: str) -> list[list[str]]:
    """Read a list of clips, one a line; a ``ValueError`` has the line that does not fit, and a right one's ``form``."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    for number, row in enumerate(rows, start=1):
        if not fits(row):
            raise ValueError(f"{path}, line {number}: {','.join(row)!r} is not {form}")
    return rows
