"""Find clips in folders named after their classes: Kinetics-Sounds, and a set of your own.

``<set>/<part>/<class>/<clip>.mp4`` with parts ``train``, ``val``, ``test``, in any video format. A wav file of the same
name takes the place of its sound, a folder of that name with extracted frames the place of its pictures. Few formats
show damage; with a ``MANIFEST.sha256`` in ``<set>``, as ``sha256sum`` writes it, every file is checked.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dgl_core.data.media.clips import Clips
from dgl_core.data.media.reader import Source
from dgl_core.data.media.video import VIDEO, is_video

SOUND = frozenset({".wav", ".flac", ".ogg"})


@dataclass
class Found:
    """Hold what was found of a clip in the folder ``place``."""

    label: str
    part: str
    name: str
    place: Path
    sound: Path | None = None
    pictures: Path | None = None

    def source(self, clip: str) -> Source:
        """Name the media of the clip; where one is missing, the file that should be there, to be reported later."""
        heard = self.pictures if self.pictures and is_video(self.pictures) else self.place / f"{self.name}.wav"
        return Source(clip, str(self.sound or heard), str(self.pictures or self.place / f"{self.name}.mp4"))


def stem(name: str) -> str:
    """Strip the ending of a video or sound file from a name; other dots belong to the name."""
    head, dot, ending = name.rpartition(".")
    return head if dot and f".{ending.lower()}" in VIDEO | SOUND else name


def scan(trees: Iterable[tuple[str, Path]], known: Callable[[str], str | None]) -> list[Found]:
    """Find all clips in some trees ``(part, folder)``, sorted.

    Args:
        known: the class that a folder name stands for, None for one that is not wanted.
    """
    clips: dict[tuple[str, str, str], Found] = {}
    for part, tree in trees:
        for folder in sorted(tree.iterdir()) if tree.is_dir() else ():
            label = known(folder.name) if folder.is_dir() else None
            if label is None:
                continue
            for path in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
                name, ending = stem(path.name), path.suffix.lower()
                clip = clips.setdefault((part, label, name), Found(label, part, name, folder))
                if path.is_dir():
                    clip.pictures = path  # extracted frames are read faster than a video
                elif ending in SOUND:
                    clip.sound = path
                elif ending in VIDEO and (clip.pictures is None or not clip.pictures.is_dir()):
                    clip.pictures = path
    return [clip for _, clip in sorted(clips.items()) if clip.sound or clip.pictures]


def as_clips(found: Sequence[Found], classes: Sequence[str], name: Callable[[Found], str]) -> Clips:
    """Make ``Clips`` of what was found.

    Raises:
        ValueError: two clips have one name, so that a test clip may be a training clip; both places are given.
    """
    called = defaultdict(list)
    for clip in found:
        called[name(clip)].append(f"{clip.part}/{clip.label}")
    twice = [(clip, places) for clip, places in called.items() if len(places) > 1]
    if twice:
        example = f"{twice[0][0]!r} in {' and '.join(twice[0][1])}"
        raise ValueError(f"{len(twice)} clip ids occur more than once, e.g. {example}; remove all but one")
    labels, parts = [classes.index(clip.label) for clip in found], [clip.part for clip in found]
    return Clips(tuple(classes), labels, parts, [clip.source(name(clip)) for clip in found])


def plain(name: str) -> str:
    """Normalise a class name for comparison: "Playing_bass guitar" and "playing bass guitar" are one."""
    return re.sub(r"[\s_]+", " ", name).strip().lower()
