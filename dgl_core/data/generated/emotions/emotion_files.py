"""The generated audio-visual emotion set, in the folder layout and naming of CREMA-D: written once, then read like it.

``AudioWAV/1001_DFA_ANG_XX.wav`` and ``Image-01-FPS/1001_DFA_ANG_XX/00000.jpg``: actor, sentence, emotion, level. The
same settings give the same bytes on every x86-64 processor, because only operations that IEEE 754 defines are used.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.io import wavfile

from dgl_core.data.files import cache
from dgl_core.data.files.arrays import prepared
from dgl_core.data.generated import kept
from dgl_core.data.generated.emotions.acting import EMOTIONS, SENTENCES, act_face, act_voice
from dgl_core.data.generated.emotions.face import Looks, draw
from dgl_core.data.generated.emotions.voice import RATE, Speaker, speak
from dgl_core.data.generated.portable import generator
from dgl_core.data.media.clips import View, dataset, read_list
from dgl_core.data.media.pictures import read_frame, read_picture
from dgl_core.data.media.sound import read_wav
from dgl_core.data.media.spectrogram import spectrogram
from dgl_core.data.recipe import SEEDS, Recipe, random_split, split_with
from dgl_core.utils import ROOT, without_interrupts

if TYPE_CHECKING:
    from dgl_core.data.dataset import Dataset

VERSION = 2  # raised when the same settings give other bytes
ACTORS = tuple(range(1001, 1092))  # as many as CREMA-D has
LEVELS = ("XX", "LO", "MD", "HI")  # XX, unspecified, first
TEST = 0.2  # share of the test part
SIDE = 96  # pixels of a frame
AUDIO, FRAMES = "AudioWAV", "Image-01-FPS"
MOST = len(EMOTIONS) * len(ACTORS) * len(SENTENCES) * len(LEVELS)  # clips that differ


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of a generated set."""

    clips: int = 1500  # as equal as possible over the classes
    seed: int = 0  # of everything random
    audio_difficulty: float = 0.35  # 0 (a listener cannot miss the emotion) to 1 (hardly to be told apart)
    visual_difficulty: float = 0.45  # the same for the faces

    @property
    def digest(self) -> str:
        """Name the set by a hash of the settings and the generator's version."""
        text = json.dumps({"generator": VERSION} | asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Clip:
    """One recording: its number in the set, actor, sentence, label and level."""

    number: int
    actor: int
    sentence: str
    label: int
    level: str

    @property
    def name(self) -> str:
        return f"{self.actor}_{self.sentence}_{EMOTIONS[self.label]}_{self.level}"


def clip_list(settings: Settings) -> list[Clip]:
    """Return all clips of a set; no actor says the same sentence with the same emotion and level twice."""
    sentences, block, seed = tuple(SENTENCES), len(ACTORS) * len(SENTENCES), settings.seed
    orders = [
        [level * block + place for level in range(4) for place in generator(seed, 0, label, level).permutation(block)]
        for label in range(len(EMOTIONS))
    ]
    clips = []
    for number in range(settings.clips):
        place, label = divmod(number, len(EMOTIONS))
        level, rest = divmod(int(orders[label][place]), block)
        actor, sentence = divmod(rest, len(sentences))
        clips.append(Clip(number, ACTORS[actor], sentences[sentence], label, LEVELS[level]))
    return clips


def sound(settings: Settings, clip: Clip) -> np.ndarray:
    """Return the voice of a clip, int16 ``[n]`` at 22 050 Hz."""
    rng, difficulty = generator(settings.seed, 2, clip.number), settings.audio_difficulty
    cues = act_voice(rng, clip.label, difficulty)
    return speak(rng, clip.sentence, Speaker(generator(settings.seed, 1, clip.actor, 0)), cues, difficulty)


def picture(settings: Settings, clip: Clip) -> np.ndarray:
    """Return the face of a clip, uint8 ``[96, 96, 3]``."""
    rng, difficulty = generator(settings.seed, 3, clip.number), settings.visual_difficulty
    cues = act_face(rng, clip.label, difficulty)
    return draw(rng, Looks(generator(settings.seed, 1, clip.actor, 1)), cues, difficulty, SIDE)


def ensure(settings: Settings, read: bool = False) -> Path:
    """Return the folder of a generated set, written now if it is not there yet or not whole.

    Args:
        read: compare every file with the manifest; else only look for absence, because sizes were part of the write.
    """
    folder = cache.cache_root() / f"emotions-{settings.digest}"
    problem = partial(kept.problem, files=2 * settings.clips + 4, read=read)  # a list of each part, and the settings
    what = f"the generated emotion set ({settings.clips} clips)"
    return cache.ensure(folder, lambda place: _write(settings, place), problem, what)


def _write(settings: Settings, folder: Path) -> None:
    (folder / AUDIO).mkdir()
    (folder / FRAMES).mkdir()
    clips = clip_list(settings)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = max(1, min(processors, len(clips) // 100))
    if shares == 1:
        _write_share(settings, folder, 0, 1)
    else:
        seconds = round(len(clips) / 70 / shares)
        if seconds > 3:
            cache.say(f"generating {len(clips)} clips in {shares} processes (about {seconds} s) into {folder.parent}")
        _write_parallel(settings, folder, shares)
    parts = random_split([clip.label for clip in clips], seed=settings.seed)
    for part in ("train", "val", "test"):
        lines = [f"{c.name},{EMOTIONS[c.label]}\n" for c, p in zip(clips, parts, strict=True) if p == part]
        (folder / f"{part}.csv").write_text("".join(lines), encoding="utf-8")
    about = json.dumps({"generator": VERSION} | asdict(settings), indent=1)
    (folder / "settings.json").write_text(about + "\n", encoding="utf-8")
    cache.write_manifest(folder, [f.relative_to(folder) for f in folder.rglob("*") if f.is_file()])


def _write_parallel(settings: Settings, folder: Path, shares: int) -> None:
    """Start one plain process per share, which scripts, notebooks and daemonic workers alike can do."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", __spec__.name, json.dumps(asdict(settings)), folder]
    with without_interrupts():
        workers = [subprocess.Popen([*command, str(share), str(shares)], env=environment) for share in range(shares)]
    try:
        failed = [code for code in [worker.wait() for worker in workers] if code]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    if failed:
        raise OSError(f"a process that generates clips ended with exit code {failed[0]}")


def _write_share(settings: Settings, folder: Path, share: int, shares: int) -> None:
    parent = os.getppid()
    for clip in clip_list(settings)[share::shares]:
        if os.getppid() != parent:  # whoever wanted the clips was killed
            return
        (folder / AUDIO / f"{clip.name}.wav").write_bytes(wav_bytes(sound(settings, clip)))
        (folder / FRAMES / clip.name).mkdir()
        frame = Image.fromarray(picture(settings, clip))
        frame.save(folder / FRAMES / clip.name / "00000.jpg", quality=92, subsampling=0)


def wav_bytes(samples: np.ndarray) -> bytes:
    """Return a mono 16-bit wav file at 22 050 Hz as bytes; ``samples`` int16 ``[n]``."""
    buffer = io.BytesIO()
    wavfile.write(buffer, RATE, samples)
    return buffer.getvalue()


def load_emotions(
    root: Path | None, *, clips: int, seed: int, audio_difficulty: float, visual_difficulty: float, test: float, **view
) -> Dataset:
    """Load the generated set, written on first use; it lives in its own cache, so ``root`` is not used.

    Args:
        test: share of the test part. view: how the clips are read.
    """
    settings = Settings(clips, seed, audio_difficulty, visual_difficulty)
    try:
        return _read(settings, ensure(settings), test, View(**view))
    except cache.Damaged:
        with cache.afresh():
            return _read(settings, ensure(settings, read=True), test, View(**view))


def _read(settings: Settings, folder: Path, test: float, view: View) -> Dataset:
    """Read the set from its media and the arrays beside them; ``Damaged`` if a file differs from the manifest."""
    lists = {part: read_list(folder / f"{part}.csv", EMOTIONS) for part in ("train", "val", "test")}
    rows = sorted((name, label, part) for part, listed in lists.items() for name, label in listed)
    names, labels, parts = zip(*rows, strict=True)
    if test != TEST:
        parts = split_with(labels, test, settings.seed)
    sounds = [folder / AUDIO / f"{name}.wav" for name in names]
    pictures = [folder / FRAMES / name / "00000.jpg" for name in names]
    size, form = view.stored.size, view.form
    width, height = read_picture(pictures[0], size)[1]

    def array(what: str, files: Sequence[Path], shape: tuple, dtype: type, read: Callable) -> np.ndarray:
        """Return the array ``[N, *shape]`` of one modality, kept beside its media."""
        lines = [what, *(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files)]
        stamp = hashlib.sha256("\n".join(lines).encode()).hexdigest()

        def fill(stored: np.ndarray) -> None:
            for row, file in enumerate(files):
                stored[row] = read(file)

        return prepared(folder / "prepared" / what, stamp, names, shape, dtype, fill)

    def hear(path: Path) -> np.ndarray:
        return spectrogram(read_wav(path, form.rate), form)

    difficulty = f"{settings.audio_difficulty:g} / {settings.visual_difficulty:g}"
    return dataset(
        array(f"audio-{view.spectrogram}", sounds, form.shape, np.float16, hear),
        array(f"frames-{size}", pictures, (size, size, 3), np.uint8, partial(read_frame, size=size)),
        labels,
        parts,
        names,
        view,
        name="emotions",
        classes=EMOTIONS,
        source=f"generated: {settings.clips} clips, seed {settings.seed}, difficulty {difficulty}",
        stretch=width / height,
        version=f"emotions {VERSION} {settings.digest}",
    )


RECIPE = Recipe(
    "emotions",
    load_emotions,
    asdict(Settings()) | {"test": TEST, "spectrogram": "compact", "frame_size": 48, "augment": "shift"},
    generated=True,
    choices={"spectrogram": ("compact", "official", "paper"), "augment": ("none", "shift", "crop")},
    limits={"clips": (18, MOST), "seed": SEEDS, "test": (0.05, 0.9), "frame_size": (16, 512)}
    | {"audio_difficulty": (0, 1), "visual_difficulty": (0, 1)},
    verify=lambda root: kept.verify("emotions"),
)


if __name__ == "__main__":
    _write_share(Settings(**json.loads(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
