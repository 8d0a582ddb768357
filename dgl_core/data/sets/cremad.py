"""CREMA-D: 7442 clips of 91 actors, six emotions; the official lists have 6698 for training and 744 for testing.

Layout below a data root (as the set is published): ``cremad/AudioWAV/<clip>.wav`` and ``cremad/VideoFlash/<clip>.flv``,
or, where frames were extracted with the official script, ``cremad/Image-01-FPS/<clip>/*.jpg``; the lists
``cremad/train.csv`` and ``cremad/test.csv`` (``python -m dgl_core data fetch cremad`` gets them).
Cao, Cooper, Keutmann, Gur, Nenkova, Verma, IEEE Transactions on Affective Computing 5(4), 2014; ODbL 1.0.
"""

from __future__ import annotations

from pathlib import Path

from dgl_core.data.generated.emotions.acting import EMOTIONS
from dgl_core.data.generated.emotions.emotion_files import AUDIO, FRAMES
from dgl_core.data.media.clips import Clips, read_list
from dgl_core.data.media.reader import Source
from dgl_core.data.recipe import random_split
from dgl_core.data.sets.clip_recipe import Listing, clip_recipe

VIDEOS = "VideoFlash"


def listed(root: Path | None, seed: int) -> Listing:
    """List the clips of the official lists; validation is cut from the training list, as large as the test list.

    Raises:
        FileNotFoundError: set or list are not here. ValueError: a broken list.
    """
    folder = RECIPE.find(root)
    lists = {part: read_list(_list_file(folder, part), EMOTIONS) for part in ("train", "test")}
    share = len(lists["test"]) / len(lists["train"])
    cut = random_split([label for _, label in lists["train"]], val=share, test=0.0, seed=seed)
    lists["val"] = [clip for clip, part in zip(lists["train"], cut, strict=True) if part == "val"]
    lists["train"] = [clip for clip, part in zip(lists["train"], cut, strict=True) if part == "train"]
    rows = sorted((name, label, part) for part, clips in lists.items() for name, label in clips)
    names, labels, parts = zip(*rows, strict=True)
    clips = Clips(EMOTIONS, labels, parts, [_source(folder, name) for name in names])
    return Listing(clips, "CREMA-D, official split lists", "cremad", complete=True)


def verify_cremad(root: Path | None) -> str:
    """Check that every clip of the official lists has a sound and a picture, and that no clip is listed twice."""
    clips = listed(root, 0).clips
    names = [source.clip for source in clips.sources]
    if len(set(names)) < len(names):
        twice = next(name for name, after in zip(names, names[1:], strict=False) if name == after)
        raise ValueError(
            f"clip {twice!r} is listed twice in the train and test lists of CREMA-D; fetch the lists again"
        )
    absent = [s.clip for s in clips.sources if not (Path(s.sound).is_file() and Path(s.pictures).exists())]
    if absent:
        raise FileNotFoundError(
            f"{RECIPE.find(root)}: {len(absent)} of {len(names)} listed clips lack their sound or pictures, "
            f"e.g. {absent[0]!r}; copy or extract them again"
        )
    test = clips.parts.count("test")
    published = RECIPE.facts.counts
    official = (len(names) - test, test) == (published["train"], published["test"])
    found = f"{len(names) - test} train and {test} test clips, each with sound and pictures"
    return found + ("" if official else f" (the official lists have {published['train']} and {published['test']})")


def _source(folder: Path, name: str) -> Source:
    frames, video = folder / FRAMES / name, folder / VIDEOS / f"{name}.flv"
    pictures = frames if frames.is_dir() or not video.is_file() else video
    return Source(name, str(folder / AUDIO / f"{name}.wav"), str(pictures))


def _list_file(folder: Path, part: str) -> Path:
    places = [folder / f"{part}.csv", folder.parent / "split_lists" / f"cremad_{part}.csv"]
    for path in places:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"the official {part} list of CREMA-D (clip,label) is missing: put it at {places[0]}, or let "
        "'python -m dgl_core data fetch cremad' get it"
    )


RECIPE = clip_recipe("cremad", listed, {"frames": 1}, verify=verify_cremad)
