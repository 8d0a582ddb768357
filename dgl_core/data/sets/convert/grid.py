"""Convert the raw GRID corpus, videos and word alignments, into the folder that ``sets/grid.py`` reads.

``python -m dgl_core data prepare grid --raw FOLDER`` wants ``<utterance>.mpg`` with ``<utterance>.align`` beside it or
in a folder ``align`` (lines "start end word", times in 1/25000 s), as the corpus has them for one talker. Each
utterance is read once and kept; a second call goes on where the first was stopped.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dgl_core.data.files import cache
from dgl_core.data.files.atomic import write_atomic
from dgl_core.data.media.reader import check_names
from dgl_core.data.media.video import VIDEO, pictures, read_video
from dgl_core.data.sets.grid import LETTERS, NUMERALS
from dgl_core.utils import Progress

TICKS = 25000  # of an alignment, in a second
RATE, HOP, WINDOW, FFT = 16000, 160, 400, 512  # 10 ms steps, 25 ms windows
BANDS, LOW, HIGH = 40, 60.0, 7600.0  # mel bands and their range in Hz
STEPS = 64  # of a word, 0.64 s
SLACK = 0.05  # seconds that the sound may end before the last word does
FLOOR = 1e-6
MOUTH = (190, 106, 56, 84)  # top, left, height, width in the first utterance
FACE = (96, 92, 90, 104)  # eyes and nose, which do not move while one speaks
REACH, STRIDE = 16, 2  # pixels that the head is looked for
FRAMES, SIZE = 8, (48, 32)  # of a word; width and height
_OTHERS = "bin lay place set blue green red white at by in with again now please soon".split()
WORDS = tuple(sorted([*_OTHERS, *"abcdefghijklmnopqrstuvxyz", *NUMERALS]))  # 51, in label order
TEST_SHARE = 5  # one in five utterances of each letter


@dataclass
class Utterance:
    """Hold one sentence: words with their times in seconds, lips ``[6, 8, 32, 48]``, log-mel steps of each word."""

    name: str
    words: list[tuple[str, float, float]]
    move: tuple[int, int]
    lips: np.ndarray
    mel: np.ndarray


def convert(raw: Path, target: Path) -> str:
    """Write the layout of ``grid_s1_av`` into ``target``; say how many utterances it has and which were left out.

    Raises:
        FileNotFoundError, ValueError: no videos, none of use, or a name that no list can hold. FileExistsError: other
            files in ``target``.
    """
    videos = sorted((p for p in raw.iterdir() if p.suffix.lower() in VIDEO), key=lambda p: p.stem)
    if not videos:
        raise FileNotFoundError(f"{raw}: no videos (<utterance>.mpg); give the folder of one talker of the GRID corpus")
    if target.exists() and any(target.iterdir()) and not (target / cache.MANIFEST).is_file():
        raise FileExistsError(f"{target} has other files in it; give an empty folder with --to")
    check_names(map(str, videos))
    kept = target.with_name(f".{target.name}.utterances")
    kept.mkdir(parents=True, exist_ok=True)
    template = next(pictures(videos[0]))
    results: list[Utterance | str] = []
    with Progress(lambda: f"{len(results)} of {len(videos)} utterances", sys.stderr):
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            results.extend(pool.map(lambda video: _kept(video, template, kept), videos))
    done = [result for result in results if isinstance(result, Utterance)]
    left_out = [(video.stem, why) for video, why in zip(videos, results, strict=True) if isinstance(why, str)]
    if not done:
        raise ValueError(f"{raw}: none of {len(videos)} utterances can be used, e.g. {left_out[0][1]}")
    cache.ensure(target, lambda folder: _write(folder, done, left_out), lambda _: "renewed", "the GRID word set")
    shutil.rmtree(kept, ignore_errors=True)
    first = f"; {len(left_out)} left out, e.g. {left_out[0][1]} (all: {target / 'unreadable.csv'})" if left_out else ""
    return f"{len(done)} utterances, {6 * len(done)} words in {target}{first}"


def _kept(video: Path, template: np.ndarray, folder: Path) -> Utterance | str:
    """Read one utterance, or what an earlier call kept of it, or the reason why it cannot be used."""
    status = video.stat()
    place = folder / f"{video.stem}-{status.st_size}-{status.st_mtime_ns}.npz"
    try:
        with np.load(place, allow_pickle=False) as file:
            words = [(w, a, b) for w, a, b in json.loads(str(file["words"]))]
            return Utterance(video.stem, words, tuple(file["move"].tolist()), file["lips"], file["mel"])
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile):
        pass  # absent or damaged
    try:
        made = read_utterance(video, template)
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    buffer = io.BytesIO()
    np.savez(buffer, words=json.dumps(made.words), move=made.move, lips=made.lips, mel=made.mel)
    write_atomic(place, buffer.getvalue())
    return made


def read_utterance(video: Path, template: np.ndarray) -> Utterance:
    """Read words, lips and sound of one video; ``template`` is the first picture of the talker's first utterance."""
    words = read_alignment(video)
    sight = np.stack(list(pictures(video)))  # [F, H, W]
    end = words[-1][2]
    if len(sight) < round(end * 25) - 1:
        said = f"{len(sight)} frames, but the last word ends at {end:.2f} s"
        raise ValueError(f"{video}: truncated, {said}; copy it again")
    if sight.shape[1:] != template.shape:
        raise ValueError(f"{video}: pictures are {sight.shape[2]} x {sight.shape[1]}, not as in the first video")
    sound = read_video(video, None, sound=True).mono(video, RATE)
    if len(sound) < (end - SLACK) * RATE:
        said = f"its sound ends at {len(sound) / RATE:.2f} s, the last word at {end:.2f} s"
        raise ValueError(f"{video}: truncated, {said}; copy it again")
    move, steps = find_head(sight[0], template), log_mel(sound)
    mel = np.stack([word_steps(steps, start, end) for _, start, end in words])
    lips = np.stack([word_lips(sight, start, end, move) for _, start, end in words])
    return Utterance(video.stem, words, move, lips, mel.astype(np.float32))


def read_alignment(video: Path) -> list[tuple[str, float, float]]:
    """Read the six words of an utterance with start and end in seconds; silence is left out."""
    places = [video.with_suffix(".align"), video.parent / "align" / f"{video.stem}.align"]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{places[0]} is missing; copy the alignments of the talker beside the videos")
    cache.check_listed(path)
    lines = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    words = [line for line in lines if line[-1] not in ("sil", "sp")]
    if len(words) != 6 or not all(len(w) == 3 and w[0].isdecimal() and w[1].isdecimal() for w in words):
        raise ValueError(f"{path}: not six lines 'start end word' between silences; copy it again")
    unknown = [word for _, _, word in words if word not in WORDS]
    if unknown:
        raise ValueError(f"{path}: {unknown[0]!r} is no word of the GRID vocabulary; copy it again")
    return [(word, int(start) / TICKS, int(end) / TICKS) for start, end, word in words]


def find_head(picture: np.ndarray, template: np.ndarray) -> tuple[int, int]:
    """Find how far (down, right) eyes and nose are from their place in the template, by normalised correlation."""
    top, left, height, width = FACE
    pattern = template[top : top + height, left : left + width].astype(np.float64)
    pattern -= pattern.mean()
    best, found = -np.inf, (0, 0)
    for down in range(-REACH, REACH + 1, STRIDE):
        for right in range(-REACH, REACH + 1, STRIDE):
            patch = picture[top + down : top + down + height, left + right : left + right + width].astype(np.float64)
            patch -= patch.mean()
            match = (patch * pattern).sum() / max(1e-9, np.sqrt((patch * patch).sum()))
            if match > best:
                best, found = match, (down, right)
    return found


def word_lips(sight: np.ndarray, start: float, end: float, move: tuple[int, int]) -> np.ndarray:
    """Cut eight mouths ``[8, 32, 48]``, evenly spaced from one frame before a word to its end."""
    from PIL import Image

    top, left, height, width = MOUTH[0] + move[0], MOUTH[1] + move[1], *MOUTH[2:]
    numbers = np.round(np.linspace(start * 25 - 1, end * 25, FRAMES)).astype(int).clip(0, len(sight) - 1)
    boxes = [Image.fromarray(sight[n, top : top + height, left : left + width]) for n in numbers]
    return np.stack([np.asarray(box.resize(SIZE, Image.Resampling.BOX)) for box in boxes])


def log_mel(sound: np.ndarray) -> np.ndarray:
    """Compute ln(power + 1e-6) in 40 mel bands every 10 ms ``[T, 40]``; step k is centred on k * 10 ms."""
    padded = np.pad(sound.astype(np.float64), (WINDOW // 2, WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP] * np.hanning(WINDOW)
    edges = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([LOW, HIGH]) / 700)), BANDS + 2) / 2595) - 1)
    bins = np.arange(FFT // 2 + 1) * RATE / FFT
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bank = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)).clip(min=0)  # [40, 257]
    return np.log(np.abs(np.fft.rfft(frames, FFT, axis=1)) ** 2 @ bank.T + FLOOR)


def word_steps(steps: np.ndarray, start: float, end: float) -> np.ndarray:
    """Cut the steps of a word and 20 ms around it, centred in 64, silence beside them ``[64, 40]``."""
    word = steps[max(0, round(start * 100) - 2) : round(end * 100) + 2]
    if len(word) > STEPS:
        word = word[(len(word) - STEPS) // 2 :][:STEPS]
    out = np.full((STEPS, BANDS), np.log(FLOOR))
    before = (STEPS - len(word)) // 2
    out[before : before + len(word)] = word
    return out


def _write(folder: Path, done: Sequence[Utterance], left_out: Sequence[tuple[str, str]]) -> None:
    from PIL import Image

    with zipfile.ZipFile(folder / "lips.zip", "w", zipfile.ZIP_STORED) as archive:
        for utterance in done:
            buffer = io.BytesIO()
            sheet = utterance.lips.transpose(0, 2, 1, 3).reshape(6 * SIZE[1], FRAMES * SIZE[0])  # [192, 384]
            Image.fromarray(sheet).save(buffer, "JPEG", quality=90, optimize=True)
            archive.writestr(zipfile.ZipInfo(f"{utterance.name}.jpg"), buffer.getvalue())
    mel = np.concatenate([utterance.mel for utterance in done])
    low, high = np.float32(np.log(FLOOR)), np.float32(mel.max())
    levels = np.round((mel - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
    np.savez(folder / "audio_logmel.npz", mel=levels, lo=low, hi=high)
    _write_csv(folder / "samples.csv", _samples(done))
    _write_csv(folder / "unreadable.csv", [("utterance", "reason"), *left_out])
    cache.write_manifest(folder, map(Path, (*LETTERS.facts.manifest, "unreadable.csv")))


def _samples(done: Sequence[Utterance]) -> list[tuple]:
    """Make the rows of ``samples.csv``; a fifth of the utterances of each letter tests."""
    rng = np.random.RandomState(0)  # with it, the prepared set was cut; numpy keeps its stream
    test: set[str] = set()
    for letter in sorted({u.words[3][0] for u in done}):
        names = [u.name for u in done if u.words[3][0] == letter]
        test |= {names[i] for i in rng.permutation(len(names))[: round(len(names) / TEST_SHARE)]}
    rows: list[tuple] = [tuple("row utterance slot word label51 start_s end_s crop_dy crop_dx split".split())]
    for number, u in enumerate(done):
        for slot, (word, start, end) in enumerate(u.words):
            part = "test" if u.name in test else "train"
            rows.append((6 * number + slot, u.name, slot, word, WORDS.index(word), start, end, *u.move, part))
    return rows


def _write_csv(path: Path, rows: Sequence[tuple]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
