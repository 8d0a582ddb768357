"""The generated audio-visual emotion set, in the folder layout and naming of CREMA-D.

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
import wave
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dgl_core.data.files import cache
from dgl_core.data.generated import kept
from dgl_core.data.generated.emotions.acting import EMOTIONS, SENTENCES, act_face, act_voice
from dgl_core.data.generated.emotions.face import draw, looks
from dgl_core.data.generated.emotions.voice import RATE, speak, speaker
from dgl_core.data.recipe import random_split
from dgl_core.utils import ROOT

VERSION = 2  # raised when the same settings give other bytes
ACTORS = tuple(range(1001, 1092))  # as many as CREMA-D has
LEVELS = ("XX", "LO", "MD", "HI")  # XX, unspecified, first
SIDE = 96  # pixels of a frame
AUDIO, FRAMES = "AudioWAV", "Image-01-FPS"
_PER_CLASS = len(ACTORS) * len(SENTENCES) * len(LEVELS)


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of a generated set.

    Args:
        clips: number of clips, as equal as possible over the classes.
        seed: of everything random.
        audio_difficulty: 0 (a listener cannot miss the emotion) to 1 (hardly to be told apart).
        visual_difficulty: the same for the faces.
    """

    clips: int = 1500
    seed: int = 0
    audio_difficulty: float = 0.35
    visual_difficulty: float = 0.45

    def __post_init__(self):
        low, high = 3 * len(EMOTIONS), _PER_CLASS * len(EMOTIONS)
        if not low <= self.clips <= high:
            raise ValueError(f"clips is {self.clips}; the generated set has {low} to {high} clips")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; give 0 or more")
        for name in ("audio_difficulty", "visual_difficulty"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number from 0 (plain) to 1 (hardest)")

    @property
    def digest(self) -> str:
        """Return the name of the set: a hash of the settings and the generator's version."""
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


def _rng(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def clip_list(settings: Settings) -> list[Clip]:
    """Return all clips of a set; no actor says the same sentence with the same emotion and level twice."""
    sentences, block = tuple(SENTENCES), len(ACTORS) * len(SENTENCES)
    orders = [
        np.concatenate([level * block + _rng(settings.seed, 0, label, level).permutation(block) for level in range(4)])
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
    rng = _rng(settings.seed, 2, clip.number)
    cues = act_voice(rng, clip.label, settings.audio_difficulty)
    return speak(rng, clip.sentence, speaker(_rng(settings.seed, 1, clip.actor, 0)), cues, settings.audio_difficulty)


def picture(settings: Settings, clip: Clip) -> np.ndarray:
    """Return the face of a clip, uint8 ``[96, 96, 3]``."""
    rng = _rng(settings.seed, 3, clip.number)
    cues = act_face(rng, clip.label, settings.visual_difficulty)
    return draw(rng, looks(_rng(settings.seed, 1, clip.actor, 1)), cues, settings.visual_difficulty, SIDE)


def ensure(settings: Settings, read: bool = False) -> Path:
    """Return the folder of a generated set, written now if it is not there yet or not whole.

    Args:
        settings: what decides its bytes.
        read: compare every file with the manifest, as before anything is made from them; else only look for absence.
    """
    folder = cache.cache_root() / f"emotions-{settings.digest}"
    what = f"the generated emotion set ({settings.clips} clips)"
    return cache.ensure(folder, lambda f: _write(settings, f), kept.wrong if read else _problem, what)


def _problem(folder: Path) -> str:
    """Return what is wrong with a folder; sizes were part of the write, so only absence is looked for here."""
    try:
        expected = cache.read_manifest(folder)
    except (OSError, ValueError) as error:
        return f"no readable {cache.MANIFEST} ({error})"
    kinds = Counter(file.partition("/")[0] for file in expected)
    if kinds[AUDIO] != kinds[FRAMES] or not {"train.csv", "val.csv", "test.csv"} <= set(expected):
        return f"{cache.MANIFEST} is incomplete"
    missing = [file for file in expected if not (folder / file).is_file()]
    return f"{len(missing)} of {len(expected)} files are missing, e.g. {missing[0]}" if missing else ""


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
    (folder / "settings.json").write_text(
        json.dumps({"generator": VERSION} | asdict(settings), indent=1) + "\n", encoding="utf-8"
    )
    cache.write_manifest(folder, [f.relative_to(folder) for f in folder.rglob("*") if f.is_file()])


def _write_parallel(settings: Settings, folder: Path, shares: int) -> None:
    """Start one plain process per share, which scripts, notebooks and daemonic workers alike can do."""
    package_root = str(ROOT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([package_root, os.environ.get("PYTHONPATH", "")])}
    command = [
        sys.executable,
        "-m",
        "dgl_core.data.generated.emotions.emotion_files",
        json.dumps(asdict(settings)),
        str(folder),
        str(shares),
    ]
    workers = [subprocess.Popen([*command, str(share)], env=environment) for share in range(shares)]
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


def wav_bytes(samples: np.ndarray, rate: int = RATE) -> bytes:
    """Return a mono 16-bit wav file as bytes; ``samples`` int16 ``[n]``."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


if __name__ == "__main__":
    _write_share(Settings(**json.loads(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[4]), int(sys.argv[3]))
