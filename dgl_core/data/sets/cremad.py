"""CREMA-D: 7442 clips of 91 actors, six emotions; the official lists have 6698 for training and 744 for testing.

Layout below a data root (as the set is published): ``cremad/AudioWAV/<clip>.wav`` and ``cremad/VideoFlash/<clip>.flv``,
or, where frames were extracted with the official script, ``cremad/Image-01-FPS/<clip>/*.jpg``; the lists
``cremad/train.csv`` and ``cremad/test.csv`` (``python -m dgl_core data fetch cremad`` gets them).
Cao, Cooper, Keutmann, Gur, Nenkova, Verma, IEEE Transactions on Affective Computing 5(4), 2014; ODbL 1.0.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from dgl_core.data.generated.emotions.acting import EMOTIONS
from dgl_core.data.generated.emotions.emotion_files import AUDIO, FRAMES
from dgl_core.data.media.clips import Clips, read_list
from dgl_core.data.media.reader import Source
from dgl_core.data.sets.clip_recipe import Listing, clip_recipe, cut_training

VIDEOS = "VideoFlash"


def listed(root: Path | None, seed: int) -> Listing:
    """List the clips of the official lists; validation is cut from the training list, as large as the test list."""
    folder = RECIPE.find(root)
    lists = {part: read_list(_list_file(folder, part), EMOTIONS) for part in ("train", "test")}
    rows = [(name, label, part) for part, clips in lists.items() for name, label in clips]
    share = len(lists["test"]) / len(lists["train"])
    cut = cut_training([label for _, label, _ in rows], [part for *_, part in rows], share, seed)
    names, labels, parts = zip(*sorted((*row[:2], part) for row, part in zip(rows, cut, strict=True)), strict=True)
    clips = Clips(EMOTIONS, labels, parts, [_source(folder, name) for name in names])
    return Listing(clips, "CREMA-D, official split lists", "cremad", complete=True)


def verify_cremad(root: Path | None) -> str:
    """Check that every clip of the official lists has a sound and a picture, and that no clip is listed twice."""
    clips = listed(root, 0).clips
    names = [source.clip for source in clips.sources]
    for name in (name for name, after in pairwise(names) if name == after):
        raise ValueError(f"clip {name!r} is listed twice in the train and test lists of CREMA-D; fetch the lists again")
    absent = [s.clip for s in clips.sources if not (Path(s.sound).is_file() and Path(s.pictures).exists())]
    if absent:
        raise FileNotFoundError(
            f"{RECIPE.find(root)}: {len(absent)} of {len(names)} listed clips lack their sound or pictures, "
            f"e.g. {absent[0]!r}; copy or extract them again"
        )
    test = clips.parts.count("test")
    found, published = (len(names) - test, test), (RECIPE.facts.counts["train"], RECIPE.facts.counts["test"])
    said = "{} train and {} test clips, each with sound and pictures".format(*found)
    return said + ("" if found == published else " (the official lists have {} and {})".format(*published))


def _source(folder: Path, name: str) -> Source:
    frames, video = folder / FRAMES / name, folder / VIDEOS / f"{name}.flv"
    pictures = frames if frames.is_dir() or not video.is_file() else video
    return Source(name, str(folder / AUDIO / f"{name}.wav"), str(pictures))


def _list_file(folder: Path, part: str) -> Path:
    places = [folder / f"{part}.csv", folder.parent / "split_lists" / f"cremad_{part}.csv"]
    for path in filter(Path.is_file, places):
        return path
    raise FileNotFoundError(
        f"the official {part} list of CREMA-D (clip,label) is missing: put it at {places[0]}, or let "
        "'python -m dgl_core data fetch cremad' get it"
    )


RECIPE = clip_recipe("cremad", listed, {"frames": 1}, verify=verify_cremad)
