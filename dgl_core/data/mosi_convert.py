"""From the pickles of CMU-MOSI sequences that the community passes on to one npz file, without running them.

    python -m dgl_core.data.mosi_convert mosi_data.pkl data/mosi_sequences/sequences.npz

Read are dictionaries ``{split: {name: array}}`` with splits train, valid (val, dev) and test; modalities text, audio
and vision (visual, video) as [N, L, D]; labels (regression_labels, label): sentiment scores, or integer classes 0 and
1; id where there is one.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dgl_core.data.safe_pickle import load_pickle
from dgl_core.data.sequences import PARTS, check_sequences
from dgl_core.utils import write_atomic

SPLITS = {"train": "train", "valid": "val", "val": "val", "dev": "val", "test": "test"}
NAMES = {"audio": "audio", "vision": "visual", "visual": "visual", "video": "visual", "text": "text"}
LABELS = ("regression_labels", "labels", "label")  # the first that is there
ORDER = ("audio", "visual", "text")


def convert(source: Path, target: Path, zero_infinite: bool = False) -> dict[str, dict[str, np.ndarray]]:
    """Write ``target`` (npz) from ``source`` (pickle), whole or not at all, and return the arrays.

    Args:
        zero_infinite: set infinite values to zero, as the community's loaders do, instead of refusing them.

    Raises:
        ValueError: a pickle that is refused, or contents of another form; the message names file and array.
    """
    content = load_pickle(source)
    try:
        arrays = arrange(content, zero_infinite)
        check_sequences(arrays)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{f"{part}/{name}": x for part in PARTS for name, x in arrays[part].items()})
    write_atomic(target, buffer.getvalue())
    return arrays


def arrange(content: Any, zero_infinite: bool) -> dict[str, dict[str, np.ndarray]]:
    """The arrays under this project's names, in one order, values as float32."""
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}, not a dictionary of splits")
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for split, values in content.items():
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is unknown; known are {', '.join(SPLITS)}")
        if not isinstance(values, Mapping):
            raise ValueError(f"split {split!r} is a {type(values).__name__}, not a dictionary of arrays")
        arrays[SPLITS[split]] = _split(split, values, zero_infinite)
    return arrays


def _split(split: str, values: Mapping[str, Any], zero_infinite: bool) -> dict[str, np.ndarray]:
    found = {NAMES[name]: np.asarray(x) for name, x in values.items() if name in NAMES}
    if not found:
        raise ValueError(f"split {split!r} has no modality; known are {', '.join(NAMES)}")
    arrays = {m: _floats(f"{split}/{m}", found[m]) for m in ORDER if m in found}
    if zero_infinite:
        arrays = {m: np.where(np.isinf(x), np.float32(0), x) for m, x in arrays.items()}
    label = next((name for name in LABELS if name in values), None)
    if label is None:
        raise ValueError(f"split {split!r} has no labels; known names are {', '.join(LABELS)}")
    truth = np.asarray(values[label])
    truth = truth.astype(np.int64) if truth.dtype.kind in "iu" else _floats(f"{split}/{label}", truth)
    arrays["label"] = truth.reshape(-1) if truth.ndim and truth.size == len(truth) else truth
    ids = values.get("id", [f"{split}_{i}" for i in range(arrays["label"].size)])
    rows = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    arrays["id"] = np.array(["_".join(map(_text, r)) if isinstance(r, (list, tuple)) else _text(r) for r in rows])
    return arrays


def _floats(place: str, x: np.ndarray) -> np.ndarray:
    if x.dtype.kind not in "fiu":
        raise ValueError(f"{place} is an array of {x.dtype}, not of numbers")
    return x.astype(np.float32)


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dgl_core.data.mosi_convert", description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, metavar="PICKLE")
    parser.add_argument("target", type=Path, metavar="NPZ")
    parser.add_argument("--zero-infinite", action="store_true", help="set infinite values to zero instead of refusing")
    options = parser.parse_args(arguments)
    try:
        arrays = convert(options.source, options.target, options.zero_infinite)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    counts = ", ".join(f"{part} {len(arrays[part]['label'])}" for part in PARTS)
    shapes = ", ".join(f"{m} {x.shape[1]} x {x.shape[2]}" for m, x in arrays["train"].items() if x.ndim == 3)
    print(f"{options.target}: {counts}; {shapes}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
