"""Find clips in folders named after their classes: Kinetics-Sounds, and a set of your own.

``<set>/<part>/<class>/<clip>.mp4`` with parts ``train``, ``val``, ``test`` (any video format; a wav file of the same
name takes the place of the sound in the video, a folder of that name with extracted frames the place of the video).
Files of one clip find each other by their name without ending, in whatever order and folder they lie. Few formats
show damage; with a ``MANIFEST.sha256`` in ``<set>``, as ``sha256sum`` writes it, every file is checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dgl_core.data.media.clips import Clips
from dgl_core.data.media.source import Source
from dgl_core.data.media.video import VIDEO, is_video

SOUND = frozenset({".wav", ".flac", ".ogg"})


@dataclass
class Found:
    """Hold what was found of a clip: its class, part and files."""

    label: str
    part: str
    name: str
    place: Path
    sound: Path | None = None
    pictures: Path | None = None

    def source(self, clip: str) -> Source:
        """Name the media of the clip; where one is missing, the file that should be there, to be reported later."""
        missing = self.place / self.name
        sound = self.sound or (
            self.pictures if self.pictures and is_video(self.pictures) else missing.with_name(f"{self.name}.wav")
        )
        pictures = self.pictures or missing.with_name(f"{self.name}.mp4")
        return Source(clip, str(sound), str(pictures))


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
            for path in sorted(folder.iterdir()):
                if path.name.startswith("."):
                    continue
                clip = clips.setdefault((part, label, stem(path.name)), Found(label, part, stem(path.name), folder))
                _add(clip, path)
    return sorted(
        (clip for clip in clips.values() if clip.sound or clip.pictures), key=lambda c: (c.part, c.label, c.name)
    )


def _add(clip: Found, path: Path) -> None:
    ending = path.suffix.lower()
    if path.is_dir():
        clip.pictures = path  # extracted frames are read faster than a video
    elif ending in SOUND:
        clip.sound = path
    elif ending in VIDEO and (clip.pictures is None or not clip.pictures.is_dir()):
        clip.pictures = path


def as_clips(found: Sequence[Found], classes: Sequence[str], name: Callable[[Found], str]) -> Clips:
    """Make ``Clips`` of what was found.

    Raises:
        ValueError: two clips have one name, so that a test clip may be a training clip; both places are given.
    """
    first: dict[str, Found] = {}
    twice = []
    for clip in found:
        before = first.setdefault(name(clip), clip)
        if before is not clip:
            twice.append((before, clip))
    if twice:
        a, b = twice[0]
        raise ValueError(
            f"{len(twice)} clip ids occur more than once, e.g. {name(a)!r} in {a.part}/{a.label} and "
            f"{b.part}/{b.label}; remove one of the two"
        )
    index = {label: number for number, label in enumerate(classes)}
    return Clips(
        tuple(classes), [index[c.label] for c in found], [c.part for c in found], [c.source(name(c)) for c in found]
    )


def plain(name: str) -> str:
    """Normalise a class name for comparison: "Playing_bass guitar" and "playing bass guitar" are one."""
    return re.sub(r"[\s_]+", " ", name).strip().lower()
