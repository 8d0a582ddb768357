"""Read the media of one clip: its spectrogram and some of its frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dgl_core.data.media.pictures import picture_files, read_picture
from dgl_core.data.media.sound import read_wav
from dgl_core.data.media.spectrogram import Form, spectrogram
from dgl_core.data.media.video import Frames, is_video, read_video


@dataclass(frozen=True)
class Source:
    """Name the media files of one clip.

    Args:
        clip: name, unique in its set.
        sound: wav or other sound file, or a video.
        pictures: video, or a folder of frames; may be the file of the sound.
    """

    clip: str
    sound: str
    pictures: str

    def stamp(self) -> str:
        """Describe the files by size and time of change; "missing" ones are noted too."""
        return " ".join(_stamp(Path(path)) for path in dict.fromkeys((self.sound, self.pictures)))


def check_names(paths: Iterable[str]) -> None:
    """Refuse names that no list can hold.

    Raises:
        ValueError: a name with a line break, or one that is not UTF-8.
    """
    for path in paths:
        if "\n" in path or "\r" in path or path != path.encode("utf-8", "replace").decode():
            raise ValueError(f"{ascii(path)}: this name has a line break or is not UTF-8; rename the file or folder")


def read_clip(source: Source, form: Form, frames: Frames) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Read a clip: spectrogram float64 ``[F, T]``, frames uint8 ``[K, S, S, 3]``, width and height of a picture.

    Raises:
        ValueError, FileNotFoundError: with file, reason and remedy.
    """
    sound, pictures = Path(source.sound), Path(source.pictures)
    for path in (sound, pictures):
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing; copy or extract it again, or drop the clip from the lists")
    media = None
    if pictures.is_dir():
        stack, size = _from_folder(pictures, frames)
    else:
        media = read_video(pictures, frames, sound=is_video(sound) and sound == pictures)
        stack, size = media.frames, media.picture
    if not is_video(sound):
        wave = read_wav(sound, form.rate)
    else:
        heard = media if sound == pictures else read_video(sound, None, sound=True)
        wave = heard.mono(sound, form.rate)
    return spectrogram(wave, form), stack, size


def _from_folder(folder: Path, frames: Frames) -> tuple[np.ndarray, tuple[int, int]]:
    files = picture_files(folder)
    if len(files) < frames.count:
        raise FileNotFoundError(
            f"{folder}: {len(files) or 'no'} frame{'s' if len(files) > 1 else ''} of clip {folder.name!r} where "
            f"{frames.count} are wanted; extract the frames of this clip again, or drop it from the lists"
        )
    if frames.rule == "even":
        files = [files[(2 * k + 1) * len(files) // (2 * frames.count)] for k in range(frames.count)]
    read = [read_picture(file, frames.size) for file in files[: frames.count]]
    return np.stack([picture for picture, _ in read]), read[0][1]


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "missing"
    if path.is_dir():
        return "+".join(_stamp(file) for file in picture_files(path)) or "empty"
    return f"{status.st_size}.{status.st_mtime_ns}"
