"""CMU-MOSI: utterances of film reviewers, three feature vectors each, negative or positive (Table 2, right).

The features are those of bc-LSTM (Poria et al., ACL 2017): audio, a 73-number openSMILE summary; visual, 100 numbers of
a 3D-CNN; text, 100 numbers of a CNN over word vectors. They are not the sequences of newer papers.

**Warning.** The extractors of text and visual features were fitted on the labels of the official training part: text
alone reaches 98.7 % on a validation part cut from it, 76.2 % on the test part (visual: 89.6 %, 52.1 %). Nothing can be
selected there. The default protocol stays inside the official test part, whose labels no extractor has seen:
cross-validation by video, one fold for testing, the next for validation, the other three for training.

Zadeh, Zellers, Pincus, Morency, IEEE Intelligent Systems 31(6), 2016.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dgl_core import data
from dgl_core.data.recipe import Recipe
from dgl_core.utils import needs

TABLE = "utterances.csv"
FILES = {"train": "mosi_train.npz", "test": "mosi_test.npz"}
WIDTHS = {"audio": 73, "visual": 100, "text": 100}  # in the order of Table 2
CLASSES = ("negative", "positive")
COUNTS = {"train": (738, 709), "test": (285, 467)}  # utterances of each class in the official parts
FOLDS = 5


def load_mosi(root: Path | None, *, protocol: str, fold: int, text: str) -> data.Dataset:
    """Load CMU-MOSI utterances.

    Args:
        protocol: "nested", cross-validation by video inside the official test part (see the warning above), or
            "official", the official parts with 10 training videos held out, for comparison with other papers.
        fold: 0 to 4, the fifth of the videos that tests; the next one validates. Nested protocol only.
        text: "features", or "transcripts": TF-IDF of the words spoken, learned on the training part of this split and
            free of labels. A linear first layer on it is an embedding bag.
    """
    if protocol == "official" and fold:
        raise ValueError(f"fold is {fold}; give 0 with protocol='official', which has one split")
    import torch

    from dgl_core.data.transforms import StandardiseFeatures, group_folds

    folder = RECIPE.find(root)
    table = _table(folder)
    if protocol == "nested":
        rows = [row for row in table if row["split"] == "test"]
        offset = [(f - fold) % FOLDS for f in group_folds([row["video_id"] for row in rows], FOLDS)]
        parts = [{0: "test", 1: "val"}.get(o, "train") for o in offset]
        source = f"CMU-MOSI bc-LSTM features, fold {fold} of {FOLDS} by video inside the official test part"
    else:
        rows, parts = table, [row["suggested_split"] for row in table]
        source = "CMU-MOSI bc-LSTM features, official split, 10 training videos held out"
    inputs = {name: torch.from_numpy(values) for name, values in _features(folder, rows).items()}
    target = inputs.pop("label")
    train = [i for i, part in enumerate(parts) if part == "train"]
    transforms = {m: StandardiseFeatures(x[train]) for m, x in inputs.items()}
    if text == "transcripts":
        inputs["text"] = torch.from_numpy(tfidf([row["transcript"] for row in rows], train))
        transforms.pop("text")
        source += ", text from the transcripts"
    about = {"groups": [row["video_id"] for row in rows]}
    about |= {"ids": [f"{row['video_id']}_{row['segment']}" for row in rows], "source": source}
    return data.Dataset(inputs, target, parts, name="mosi", classes=CLASSES, transforms=transforms, **about)


def _table(folder: Path) -> list[dict[str, str]]:
    """Read ``utterances.csv`` in the order of the arrays: the official training part, then the test part."""
    columns = ("split", "row", "video_id", "segment", "label", "suggested_split", "transcript")
    with open(folder / TABLE, encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    for number, row in enumerate(table, start=2):
        if tuple(row) != columns or None in row.values() or row["split"] not in FILES:
            raise ValueError(f"{folder / TABLE}, line {number}: not {','.join(columns)} with split train or test")
    return sorted(table, key=lambda row: (list(FILES).index(row["split"]), int(row["row"])))


def _features(folder: Path, rows: Sequence[dict[str, str]]) -> dict[str, np.ndarray]:
    """Read features {m: [N, D_m]} and "label" [N] of ``rows``, checked against the table."""
    arrays: dict[str, list[np.ndarray]] = {m: [] for m in (*WIDTHS, "label")}
    for part, file in FILES.items():
        labels = [int(row["label"]) for row in rows if row["split"] == part]
        if not labels:
            continue
        path = folder / file
        with np.load(path, allow_pickle=False) as stored:
            for name in arrays:
                if name not in stored:
                    raise ValueError(f"{path} has no array {name!r}; copy the file again")
                wanted = (len(labels), WIDTHS[name]) if name in WIDTHS else (len(labels),)
                shape = stored[name].shape
                if shape != wanted:
                    said = f"not {wanted} as {TABLE} and bc-LSTM say; copy the file again"
                    raise ValueError(f"{path}: {name} has shape {shape}, {said}")
                arrays[name].append(stored[name])
        here = arrays["label"][-1]
        for row in np.flatnonzero(here != labels):
            said = f"label {here[row]} in row {row} is {labels[row]} in {TABLE}; copy both files again"
            raise ValueError(f"{path}: {said}")
    return {name: np.concatenate(values) for name, values in arrays.items()}


def tfidf(transcripts: Sequence[str], train: Sequence[int]) -> np.ndarray:
    """Return the TF-IDF of words and pairs that two or more utterances of ``train`` have ``[N, V]``, mean square 1."""
    needs("Transcripts as words", "sklearn")
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float32)
    vectorizer.fit([transcripts[row] for row in train])
    table = vectorizer.transform(transcripts).toarray()  # rows of length 1, or 0 where no word is known
    return table * np.float32(table.shape[1] ** 0.5)


RECIPE = Recipe(
    "mosi",
    load_mosi,
    {"protocol": "nested", "fold": 0, "text": "features"},
    limits={"fold": (0, FOLDS - 1)},
    choices={"protocol": ("nested", "official"), "text": ("features", "transcripts")},
)
