"""A set of your own in folders, without a line of code.

Put ``my_set/<part>/<class>/<clip>.mp4`` below a data root, with parts ``train``, ``val`` and ``test`` (or just
``my_set/<class>/<clip>.mp4``: then the parts are cut at random), and load it with
``data.load("folder", folder="my_set")``. Any video format; a wav file with the name of a clip is taken for its sound, a
folder with that name for its frames. Data that are no media: ``ArrayDataset``.

``groups`` finds the speaker (or whatever clips share) in the name of a clip: a pattern whose first bracket matches it,
``groups="([^_]+)_"`` for ``anna_07.mp4``. No speaker is then in two parts, and verdicts count speakers, not clips.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from dgl_core.data.media.folders import as_clips, scan
from dgl_core.data.sets.clip_recipe import Listing, clip_recipe, cut_training
from dgl_core.utils import data_roots

PARTS = ("train", "val", "test")


def find_own(root: Path | None, name: str) -> Path:
    """Return the folder of that name below a data root."""
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"folder is {name!r}; give the name of a folder below a data root, e.g. folder='my_set'")
    roots = data_roots(root)
    for place in roots:
        if (place / name).is_dir():
            return place / name
    raise FileNotFoundError(
        f"no folder {name!r} in {', '.join(map(str, roots))}. Put {name}/<part>/<class>/<clip>.mp4 there, or set "
        "DGL_DATA to the folder that holds it"
    )


def group_names(clips: Sequence[str], pattern: str) -> list[str] | None:
    """Find the group in every clip's name; None without a pattern."""
    if not pattern:
        return None
    try:
        form = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"groups is {pattern!r}, which is no pattern ({error}); write for example '([^_]+)_'"
        ) from None
    if form.groups < 1:
        raise ValueError(f"groups is {pattern!r}; put the part that names the group into brackets, as in '([^_]+)_'")
    found = [form.match(clip) for clip in clips]
    if None in found:
        raise ValueError(f"groups={pattern!r} finds no group in the clip name {clips[found.index(None)]!r}")
    return [match[1] for match in found]


def listed(root: Path | None, folder: str, seed: int, length: str, groups: str) -> Listing:
    """List the clips of the folders; classes are the names of their folders."""
    here = find_own(root, folder)
    cut = any((here / part).is_dir() for part in PARTS)
    found = scan([(part, here / part) for part in PARTS] if cut else [("train", here)], lambda label: label)
    if not found:
        raise FileNotFoundError(f"{here}: no clips; they belong into {folder}/<part>/<class>/<clip>.mp4")
    there, named = {clip.part for clip in found}, group_names([clip.name for clip in found], groups)
    if "test" not in there or "val" not in there:
        val, test = 0.0 if "val" in there else 0.15, 0.0 if "test" in there else 0.2
        parts = cut_training([clip.label for clip in found], [clip.part for clip in found], val, seed, test, named)
        for clip, part in zip(found, parts, strict=True):
            clip.part = part
    clips = as_clips(found, sorted({clip.label for clip in found}), lambda clip: f"{clip.label}/{clip.name}")
    place = hashlib.sha256(str(here.resolve()).encode()).hexdigest()[:8]
    of = dict(zip((source.clip for source in clips.sources), named, strict=True)) if named else None
    if named:
        from dgl_core.data.dataset import check_leak  # here, because listing what there is needs no torch

        check_leak(named, [clip.part for clip in found], f"folder {folder!r}")
    return Listing(clips, f"folder {folder!r}", f"folder-{here.name}-{place}", long=length == "10s", groups=of)


OPTIONS = {"folder": "", "length": "3s", "frames": 1, "groups": ""}
RECIPE = clip_recipe("folder", listed, OPTIONS, choices={"length": ("3s", "10s")})
