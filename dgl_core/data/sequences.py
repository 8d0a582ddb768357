"""Feature sequences of utterances, the form most papers on CMU-MOSI use: an array [N, L, D] per part and modality.

The set is one file, ``mosi_sequences/sequences.npz`` below a data root, with arrays named ``<part>/<what>``: parts
``train``, ``val``, ``test``; each with one array per modality, ``label`` (integer classes 0, 1 or sentiment scores from
-3 to 3) and ``id``. ``python -m dgl_core.data.mosi_convert`` makes it from the pickles that the community passes on.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dgl_core.data.recipe import find_folder
from dgl_core.data.sets.mosi import CLASSES
from dgl_core.utils import data_roots

if TYPE_CHECKING:
    from dgl_core.data.dataset import Dataset

FOLDER, FILE = "mosi_sequences", "sequences.npz"
PARTS = ("train", "val", "test")
ZEROS = ("positive", "drop")
MOST = 3.0  # largest sentiment score
REMEDY = "convert the set again (python -m dgl_core.data.mosi_convert)"


def find_sequences(root: Path | None) -> Path:
    """The folder of the set.

    Raises:
        FileNotFoundError: says where it was looked for and how to make it.
    """
    target = data_roots(root)[0] / FOLDER / FILE
    return find_folder(
        root,
        FOLDER,
        f"CMU-MOSI sequences are not here: no {FOLDER}/{FILE}",
        f"Make it from a pickle (python -m dgl_core.data.mosi_convert PICKLE {target}), or use the generated set "
        "'triplet'",
        lambda folder: (folder / FILE).is_file(),
    )


def load_sequences(root: Path | None, *, steps: int, zero: str) -> Dataset:
    """CMU-MOSI feature sequences with the parts that the file has.

    Args:
        root: folder that holds ``mosi_sequences``; default ``$DGL_DATA``, then ``./data``.
        steps: cut or pad (with zeros, at the end) all sequences to this length; 0 keeps their own, which must be one.
        zero: what a score of 0 is: "positive" (as CubeMLP counts it) or "drop" such utterances.

    Raises:
        FileNotFoundError, ValueError: absent, or broken in any way; the message names the array.
    """
    if not 0 <= steps <= 10_000:
        raise ValueError(f"steps is {steps}; give a length up to 10000, or 0 to keep the sequences as they are")
    path = find_sequences(root) / FILE
    arrays = read_sequences(path)
    import torch

    from dgl_core.data.dataset import Dataset
    from dgl_core.data.transforms import StandardiseFeatures

    modalities = [m for m in arrays["train"] if m not in ("label", "id")]
    lengths = {m: arrays["train"][m].shape[1] for m in modalities}
    if not steps and len(set(lengths.values())) > 1:
        raise ValueError(f"{path}: sequences have different lengths, {lengths}; choose one with the option steps")
    kept = {part: ~((a["label"] == 0) & (zero == "drop") & _scores(a["label"])) for part, a in arrays.items()}
    inputs = {
        m: torch.from_numpy(np.concatenate([_fit(arrays[p][m][kept[p]], steps or lengths[m]) for p in PARTS]))
        for m in modalities
    }
    labels = np.concatenate([classes_of(arrays[p]["label"][kept[p]]) for p in PARTS])
    split = [p for p in PARTS for _ in range(int(kept[p].sum()))]
    train = [i for i, part in enumerate(split) if part == "train"]
    return Dataset(
        inputs,
        torch.from_numpy(labels),
        split,
        name="mosi_sequences",
        classes=CLASSES,
        ids=[str(i) for p in PARTS for i in arrays[p]["id"][kept[p]]],
        source=f"CMU-MOSI feature sequences, score 0 {'dropped' if zero == 'drop' else 'positive'}",
        transforms={m: StandardiseFeatures(x[train], padding=True) for m, x in inputs.items()},
    )


def read_sequences(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Arrays of a file, ``{part: {modality: [N, L, D], "label": [N], "id": [N]}}``, checked.

    Raises:
        ValueError: no npz file, or contents that ``check_sequences`` refuses.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, dict[str, np.ndarray]] = {}
            for name in file.files:
                part, _, what = name.partition("/")
                arrays.setdefault(part, {})[what] = file[name]
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is no npz file of plain arrays ({error}); {REMEDY}") from error
    try:
        check_sequences(arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; {REMEDY}") from None
    return {part: arrays[part] for part in PARTS}


def check_sequences(arrays: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Raises:
    ValueError: a part or array missing, other dimensions, different numbers of samples, different widths between
        parts, values that are not finite, labels outside the classes.
    """
    if set(arrays) != set(PARTS):
        raise ValueError(f"parts are {', '.join(map(repr, arrays))}, not 'train', 'val', 'test'")
    first = {m: x for m, x in arrays["train"].items() if m not in ("label", "id")}
    if not first:
        raise ValueError("part 'train' has no modality")
    for part in PARTS:
        names = set(arrays[part])
        if names != {*first, "label", "id"}:
            different = sorted(names ^ {*first, "label", "id"})
            raise ValueError(f"part {part!r} and part 'train' differ in {different[0]!r}")
        count = len(arrays[part]["label"])
        for name, x in arrays[part].items():
            place = f"{part}/{name}"
            if len(x) != count:
                raise ValueError(f"{place} has {len(x)} samples, {part}/label has {count}")
            if name in first:
                if x.ndim != 3 or x.dtype.kind != "f":
                    raise ValueError(f"{place} is {x.dtype} {list(x.shape)}, not real numbers [N, L, D]")
                if x.shape[1:] != first[name].shape[1:]:
                    raise ValueError(
                        f"{place} has {x.shape[1:]} steps and features, train/{name} {first[name].shape[1:]}"
                    )
                bad = ~np.isfinite(x).all(axis=(1, 2))
                if bad.any():
                    raise ValueError(
                        f"{place} has values that are not finite in sample {str(arrays[part]['id'][bad][0])!r}"
                    )
        label = arrays[part]["label"]
        inside = abs(label) <= MOST if _scores(label) else (label >= 0) & (label < len(CLASSES))
        if label.ndim != 1 or not inside.all():
            what = label[~inside][0] if label.ndim == 1 else list(label.shape)
            raise ValueError(f"{part}/label has {what}; give classes 0 and 1 or scores from -3 to 3, one per sample")


def classes_of(label: np.ndarray) -> np.ndarray:
    """Integer classes as they are; scores below 0 are class 0, others class 1 (CubeMLP's rule)."""
    return (label >= 0).astype(np.int64) if _scores(label) else label.astype(np.int64)


def _scores(label: np.ndarray) -> bool:
    return label.dtype.kind == "f"


def _fit(x: np.ndarray, steps: int) -> np.ndarray:
    """[N, L, D] -> float32 [N, steps, D]."""
    out = np.zeros((len(x), steps, x.shape[2]), dtype=np.float32)
    out[:, : min(steps, x.shape[1])] = x[:, :steps]
    return out
