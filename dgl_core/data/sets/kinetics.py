"""Kinetics-Sounds: the classes of Kinetics that can be heard. Which classes, the sources do not agree on.

34 are named by those who introduced the set (Arandjelović, Zisserman, *Look, Listen and Learn*, 2017, appendix), by
names of an early Kinetics; 33 are in the official code (``class.txt``), whose networks still have 34 outputs; 31 are
in the lists of OGM-GE, PMR and MMPareto. Layout below a data root: ``ks/<part>/<class>/<clip>.mp4``, or the official
processed form: sounds ``ks/audio/{train,test}/<class>/<clip>.wav`` with folders of frames
``ks/visual/{train_img,val_img}/Image-01-FPS/<class>/<clip>``.

**Difference:** the official loader skips a clip with fewer than three frames, but not its sound, so that every later
picture of the class is paired with the sound of another clip; here the files of a clip are paired by name.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from dgl_core.data.media.clips import Clips
from dgl_core.data.media.folders import Found, as_clips, plain, scan
from dgl_core.data.media.reader import Source
from dgl_core.data.sets.clip_recipe import Listing, clip_recipe, cut_training, read_rows

TREES = (
    ("train", "train"), ("val", "val"), ("test", "test"),
    ("train", "audio/train"), ("test", "audio/test"),
    ("train", "visual/train_img/Image-01-FPS"), ("test", "visual/val_img/Image-01-FPS"),
)  # fmt: skip
_COMMON = (
    "blowing nose, bowling, chopping wood, ripping paper, shuffling cards, singing, tapping pen, laughing, "
    "shoveling snow, tap dancing, tapping guitar, tickling, playing accordion, playing bagpipes, playing bass guitar, "
    "playing clarinet, playing drums, playing guitar, playing harmonica, playing keyboard, playing organ, "
    "playing piano, playing saxophone, playing trombone, playing trumpet, playing violin, playing xylophone"
).split(", ")
_RELEASED = ["blowing out candles", "dribbling basketball", "mowing lawn", "stomping grapes"]  # as Kinetics has them
CLASSES: dict[int, tuple[str, ...]] = {
    31: tuple(sorted(_COMMON + _RELEASED)),
    33: tuple(sorted([*_COMMON, *_RELEASED, "tying tie", "finger snapping"])),
    34: tuple(sorted([*_COMMON, *_RELEASED, "typing", "fingerpicking", "patting"])),
}
# how the 34 classes were called before Kinetics was released
FORMER = {
    "blowing out": "blowing out candles",
    "dribbling ball": "dribbling basketball",
    "mowing the lawn by pushing lawnmower": "mowing lawn",
    "stomping": "stomping grapes",
}
LISTS = {"train": ("my_train.txt", "ks_train.txt"), "test": ("my_test.txt", "ks_test.txt")}


def listed(root: Path | None, classes: int, seed: int) -> Listing:
    """List the clips of the folders; for 31 classes those of the official lists, where they are.

    Without a folder ``test``, ``val`` is the test part, as in the official code; without another ``val``, an eighth of
    the training part is cut off, class by class.
    """
    folder = RECIPE.find(root)
    names = set(CLASSES[classes])
    found = scan(
        [(part, folder / tree) for part, tree in TREES],
        lambda name: next((n for n in (plain(name), FORMER.get(plain(name))) if n in names), None),
    )
    if not found:
        raise FileNotFoundError(f"{folder}: no clip of the {classes} classes; its folders must be named as the classes")
    absent: list[tuple[str, str]] = []
    lists = _lists(folder) if classes == 31 else {}
    if lists:
        found, absent = _select(found, lists)
    elif not any(clip.part == "test" for clip in found):
        for clip in found:
            clip.part = "test" if clip.part == "val" else clip.part
    if not any(clip.part == "val" for clip in found):
        cut = cut_training([clip.label for clip in found], [clip.part for clip in found], 0.125, seed)
        for clip, part in zip(found, cut, strict=True):
            clip.part = part
    clips = as_clips(found, CLASSES[classes], lambda clip: clip.name)
    empty = sorted(names - {clip.label for clip in found})
    note = f"Kinetics-Sounds, {classes} classes" + (", lists of OGM-GE" if lists else "")
    note += f" (no clip of: {', '.join(empty)})" if empty else ""
    gone = [Source(name, *[str(folder / part / "*" / f"{name}.mp4")] * 2) for name, part in absent]
    labels, parts = [*clips.labels, *[None] * len(gone)], [*clips.parts, *(part for _, part in absent)]
    clips = Clips(clips.classes, labels, parts, [*clips.sources, *gone])
    return Listing(clips, note, f"ks-{classes}", long=True)


def clip_key(name: str) -> tuple[str, int] | str:
    """Return what names a clip in every list: "abc_000058_000068" and "abc_58" are one second of one video."""
    match = re.fullmatch(r"(.{11})_(\d+)(?:_\d+)?", name)
    return (match[1], int(match[2])) if match else name


def _lists(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Read clip name and class number of the lists of OGM-GE, if both are here."""
    lists = {}
    for part, (inside, beside) in LISTS.items():
        path = next((p for p in (folder / inside, folder.parent / "split_lists" / beside) if p.is_file()), None)
        if path is None:
            return {}
        rows = read_rows(path, lambda row: len(row) == 3 and row[2].isdecimal(), "'clip,seconds,class number'")
        lists[part] = [(name, number) for name, _, number in rows]
    return lists


def _select(found: list[Found], lists: dict) -> tuple[list[Found], list[tuple[str, str]]]:
    """Select the clips that are listed, each in the part that its list says, and name the absent ones."""
    here = {clip_key(clip.name): clip for clip in found}
    kept, absent, pairs = [], [], Counter()
    for part, rows in lists.items():
        for name, number in rows:
            clip = here.get(clip_key(name))
            if clip is None:
                absent.append((name, part))
            else:
                clip.part = part
                kept.append(clip)
                pairs[number, clip.label] += 1
    by_number: dict[str, str] = {}
    for (number, label), _ in pairs.most_common():
        by_number.setdefault(number, label)
    wrong = [pair for pair in pairs if by_number[pair[0]] != pair[1]]
    if wrong or len(set(by_number.values())) < len(by_number):
        number, label = wrong[0] if wrong else next(iter(by_number.items()))
        raise ValueError(
            f"the lists of Kinetics-Sounds and the folders disagree: class {number} of the lists is in the folder "
            f"{label!r} and elsewhere; put the clips into the folders of their classes"
        )
    return sorted(kept, key=lambda clip: (clip.part, clip.label, clip.name)), absent


RECIPE = clip_recipe("ks", listed, {"classes": 34, "frames": 3}, choices={"classes": tuple(CLASSES)})
