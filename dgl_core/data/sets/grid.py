"""Spoken words of one GRID talker with the lips that speak them: 51 words, or 25 letters, or 10 digits.

A real audio-visual stand-in, never to be called CREMA-D. Cooke, Barker, Cunningham, Shao, JASA 120(5), 2006; CC BY 4.0.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dgl_core import data
from dgl_core.data.files import cache
from dgl_core.data.files.arrays import prepared
from dgl_core.data.recipe import Recipe

FOLDS = 5
NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SLOT = {"letters": 3, "digits": 4}  # place of the word in the six-word sentence
VAL_SHARE = 8  # one in eight utterances left after the test part is cut validates


def verify_grid(root: Path | None) -> str:
    """Check the files against their manifest and the counts against the description of the set."""
    folder = WORDS.find(root)
    rows = _samples(folder)
    counts = (len(rows), len({row["utterance"] for row in rows}), len({row["word"] for row in rows}))
    published = tuple(WORDS.facts.counts.values())
    if counts != published:
        raise ValueError(f"{folder / 'samples.csv'}: {counts} words, utterances, classes; expected {published}")
    return "{} words of {} utterances, {} classes, checksums as in the manifest".format(*counts)


def load_words(root: Path | None, **view) -> data.Dataset:
    """Load all 51 words; 200 of 1000 utterances test, as the set's own list says; validation is cut by utterance."""
    folder = WORDS.find(root)
    rows = _samples(folder)
    letters = [row for row in rows if row["slot"] == "3"]  # one per utterance: cut by it, and every word is cut evenly
    training = [row for row in letters if row["split"] == "train"]
    places = [place for some in _shuffled([row["word"] for row in training]) for place in some[::VAL_SHARE]]
    val = {training[place]["utterance"] for place in places}
    parts = ["val" if row["utterance"] in val else row["split"] for row in rows]
    classes = sorted({(int(row["label51"]), row["word"]) for row in rows})
    return _dataset(folder, "words", rows, tuple(word for _, word in classes), parts, **view)


def load_fold(root: Path | None, task: str, *, fold: int, **view) -> data.Dataset:
    """Load 25 letters, 40 utterances each, or 10 digits, 100 each; ``fold`` is the fifth of them that tests."""
    folder = WORDS.find(root)
    rows = [row for row in _samples(folder) if row["slot"] == str(SLOT[task])]
    classes = NUMERALS if task == "digits" else tuple(sorted({row["word"] for row in rows}))
    return _dataset(folder, task, rows, classes, fold_parts([row["word"] for row in rows], fold), **view)


def fold_parts(words: Sequence[str], fold: int) -> list[str]:
    """Return the part of each utterance in one fold: each word evenly spread, every utterance tests in one of five."""
    parts = np.full(len(words), "train", dtype=object)
    for rows in _shuffled(words):
        blocks = np.array_split(rows, FOLDS)
        parts[blocks[fold]] = "test"
        rest = np.concatenate([blocks[(fold + k) % FOLDS] for k in range(1, FOLDS)])
        parts[rest[: max(1, round(len(rest) / VAL_SHARE))]] = "val"
    return parts.tolist()


def _shuffled(words: Sequence[str]) -> Iterator[np.ndarray]:
    """Yield the places of each word, in an order drawn at random once and for all."""
    rng = np.random.Generator(np.random.PCG64(0))
    for word in sorted(set(words)):
        yield rng.permutation([i for i, w in enumerate(words) if w == word])


def _samples(folder: Path) -> list[dict[str, str]]:
    with open(folder / "samples.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _lips(folder: Path) -> np.ndarray:
    """Return the grey lip frames uint8 ``[6000, 8, 48, 32]``, memory-mapped; decoded from the archive once."""
    from PIL import Image

    names = sorted({row["utterance"] for row in _samples(folder)})

    def fill(frames: np.ndarray) -> None:
        with zipfile.ZipFile(folder / "lips.zip") as archive:
            for number, name in enumerate(names):
                sheet = np.asarray(Image.open(io.BytesIO(archive.read(f"{name}.jpg"))).convert("L"))  # [6 * 32, 8 * 48]
                frames[6 * number : 6 * number + 6] = sheet.reshape(6, 32, 8, 48).transpose(0, 2, 1, 3)

    rows = [f"{name}/{slot}" for name in names for slot in range(6)]
    stamp = cache.read_manifest(folder)["lips.zip"]
    return prepared(cache.cache_root() / f"{folder.name}-lips", stamp, rows, (8, 32, 48), np.uint8, fill)


def _dataset(
    folder: Path, task: str, rows: Sequence[dict], classes: Sequence[str], parts: list[str], frames: int, augment: str
) -> data.Dataset:
    import torch

    from dgl_core.data import transforms

    index = np.array([int(row["row"]) for row in rows])
    with np.load(folder / "audio_logmel.npz", allow_pickle=False) as file:
        audio = torch.from_numpy(file["mel"][index])  # uint8 [N, 64 frames, 40 mel], linear in the log power
    visual = torch.from_numpy(_lips(folder)[index, :: 8 // frames])  # uint8 [N, frames, 32, 48], evenly spaced
    train = torch.tensor([i for i, part in enumerate(parts) if part == "train"])
    levels, inputs = torch.arange(256).double(), {}
    for name, x, shift in (("audio", audio, (4, 0)), ("visual", visual, (2, 3))):
        counts = torch.bincount(x[train].flatten(), minlength=256).double()  # mean and deviation are exact from them
        mean = (counts * levels).sum() / counts.sum()
        std = (counts * (levels - mean) ** 2).sum().div(counts.sum()).sqrt()
        inputs[name] = transforms.Standardise(float(mean), float(std), shift=shift if augment == "shift" else (0, 0))
    return data.Dataset(
        {"audio": audio, "visual": visual},
        torch.tensor([classes.index(row["word"]) for row in rows]),
        parts,
        name=f"grid_{task}",
        classes=classes,
        ids=[f"{row['utterance']}/{row['slot']}" for row in rows],
        source="GRID corpus, talker s1 (Cooke et al. 2006, CC BY 4.0)",
        transforms=inputs,
    )


def grid(task: str) -> Recipe:
    """Return the recipe of the words, letters or digits of one talker."""
    return Recipe(
        f"grid_{task}",
        load_words if task == "words" else partial(load_fold, task=task),
        ({} if task == "words" else {"fold": 0}) | {"frames": 8, "augment": "shift"},
        choices={"frames": (1, 2, 4, 8), "augment": ("none", "shift")},  # frames evenly spaced over the word
        limits={"fold": (0, FOLDS - 1)},
        verify=verify_grid,
    )


RECIPES = LETTERS, DIGITS, WORDS = grid("letters"), grid("digits"), grid("words")
