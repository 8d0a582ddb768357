"""Make the recipe of a set of audio-visual clips; such sets differ in where their lists come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgl_core.data.media.clips import Clips, View, load_clips, prepare_clips
from dgl_core.data.media.video import RULES
from dgl_core.data.recipe import SEEDS, Recipe

if TYPE_CHECKING:
    from dgl_core.data.dataset import Dataset

CHOICES = {"spectrogram": ("compact", "official", "paper"), "augment": ("none", "shift", "crop")}
_UNLISTED = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")  # line breaks, bytes that are no UTF-8
_VIEW = {"spectrogram": "official", "frame_size": 224, "augment": "crop", "rule": "1fps"}


@dataclass(frozen=True)
class Listing:
    """The clips of a set and what to know of them.

    Args:
        clips: which there are and where their media lie.
        source: where the values come from, in words.
        key: folder of the prepared arrays in the cache.
        long: ten seconds of sound, not three.
        complete: a clip that cannot be read is an error, as where the lists are the benchmark.
    """

    clips: Clips
    source: str
    key: str
    long: bool = False
    complete: bool = False


def clip_recipe(
    name: str,
    listed: Callable[..., Listing],
    options: Mapping[str, Any],
    *,
    choices: Mapping[str, tuple] | None = None,
    verify: Callable[[Path | None], str] | None = None,
) -> Recipe:
    """Return the recipe of a set of clips.

    Args:
        name: of the set.
        listed: ``listed(root, **own) -> Listing``; ``own`` are the options that no ``View`` has.
        options: those of this set with their defaults; seed and the options of a ``View`` come to them.
        choices, verify: as in ``Recipe``.
    """
    of_view = {f.name for f in fields(View)}

    def viewed(root: Path | None, given: Mapping[str, Any]) -> tuple[Listing, View]:
        listing = listed(root, **{key: value for key, value in given.items() if key not in of_view})
        for text in (*listing.clips.classes, *(source.clip for source in listing.clips.sources)):
            if _UNLISTED.search(text):
                raise ValueError(f"{name}: the name {text!r} has characters that no list can hold; rename that file")
        return listing, View(**{key: given[key] for key in given.keys() & of_view}, long=listing.long)

    def load(root: Path | None, **given: Any) -> Dataset:
        listing, view = viewed(root, given)
        about = {"source": listing.source, "key": listing.key, "complete": listing.complete}
        return load_clips(listing.clips, view, name=name, **about)

    def prepare(root: Path | None, **given: Any) -> str:
        listing, view = viewed(root, given)
        return str(prepare_clips(listing.clips, view, listing.key, again=True))

    return Recipe(
        name,
        load,
        {**options, "seed": 0, **_VIEW},
        choices={**CHOICES, "rule": RULES, **(choices or {})},
        limits={"seed": SEEDS, "frames": (1, 64), "frame_size": (16, 512)},
        verify=verify,
        prepare=prepare,
    )
