"""VGGSound: ten-second clips of 309 classes. Videos vanish from the web; what is missing is counted and named.

Layout below a data root: ``vggsound/vggsound.csv`` (video,second,class,part; no header) and, anywhere below
``vggsound``, files named ``<video>_<second, six digits>.mp4``; wav files and folders of frames of these names, as the
official scripts make them, are used where they are. Chen, Xie, Vedaldi, Zisserman, ICASSP 2020; lists CC BY 4.0.
"""

from __future__ import annotations

import os
from pathlib import Path

from dgl_core.data.media.clips import Clips
from dgl_core.data.media.folders import SOUND, Found, stem
from dgl_core.data.media.video import VIDEO
from dgl_core.data.sets.clip_recipe import Listing, clip_recipe, cut_training, read_rows

LIST = "vggsound.csv"
VAL_SHARE = 0.05  # of each class of the training part


def listed(root: Path | None, seed: int) -> Listing:
    """List the clips of the official list with the files found; a twentieth of the training part validates."""
    folder = RECIPE.find(root)
    rows = read_csv(folder / LIST)
    files = find_media(folder, {name for name, _, _ in rows})
    classes = tuple(sorted({label for _, label, _ in rows}))
    labels = [classes.index(label) for _, label, _ in rows]
    parts = cut_training(labels, [part for _, _, part in rows], VAL_SHARE, seed)
    nowhere = folder / "video"
    sources = [files.get(name, Found(label, part, name, nowhere)).source(name) for name, label, part in rows]
    return Listing(Clips(classes, labels, parts, sources), "VGGSound, official list", "vggsound", long=True)


def read_csv(path: Path) -> list[tuple[str, str, str]]:
    """Read clip name, class and part of each line of the official list; no clip may be listed twice."""
    seen: dict[str, tuple[str, str, str]] = {}

    def fits(row: list[str]) -> bool:
        return len(row) == 4 and row[1].isdecimal() and row[3] in ("train", "test")

    for number, row in enumerate(read_rows(path, fits, "'video,second,class,train or test'"), start=1):
        name = f"{row[0]}_{row[1].zfill(6)}"
        if name in seen:
            raise ValueError(f"{path}, line {number}: clip {name!r} is listed twice; fetch the list again")
        seen[name] = (name, row[2], row[3])
    return list(seen.values())


def find_media(folder: Path, names: set[str]) -> dict[str, Found]:
    """Find the files of the named clips, wherever below ``folder`` they lie."""
    found: dict[str, Found] = {}
    for place, folders, files in os.walk(folder):
        for name in sorted(folders):
            if stem(name) in names:
                found.setdefault(stem(name), Found("", "", stem(name), Path(place))).pictures = Path(place, name)
        folders[:] = sorted(name for name in folders if stem(name) not in names and not name.startswith("."))
        for file in sorted(files):
            name, ending = stem(file), Path(file).suffix.lower()
            if name in names and ending in VIDEO | SOUND:
                clip = found.setdefault(name, Found("", "", name, Path(place)))
                if ending in SOUND:
                    clip.sound = Path(place, file)
                elif clip.pictures is None:
                    clip.pictures = Path(place, file)
    return found


RECIPE = clip_recipe("vggsound", listed, {"frames": 3})
