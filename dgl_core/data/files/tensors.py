"""Write and read tensors in the safetensors format: a table in JSON, then plain numbers; nothing in it can run.

The format is eight bytes with the length of the table, the table (name -> type, shape, place; texts under
``__metadata__``) and the numbers, little-endian. Fifty lines need no package, and every reader of safetensors opens
the files.

**Source:** the format page of huggingface/safetensors. **Difference:** one of the texts is a checksum of all the rest.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dgl_core.data.files.atomic import write_atomic

TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
NAMES = {dtype: name for name, dtype in TYPES.items()}
ENTRY = {"dtype", "shape", "data_offsets"}
ABOUT, CHECKSUM = "__metadata__", "sha256"
LONGEST = 10**8  # bytes of a table, the limit of the format
ALIGNED = 8  # the numbers begin at a multiple of so many bytes
REMEDY = ", or name another folder for the weights"


class BrokenFile(ValueError):
    """Raised for a file that holds no tensors in this format, or not those that were written."""


def write(path: str | Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> Path:
    """Write named tensors of any shape and some texts, atomically; returns the path."""
    table, parts, start = {}, [], 0
    for name, tensor in sorted(tensors.items()):
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        place = [start, start + len(content)]
        table[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": place}
        parts.append(content)
        start += len(content)
    numbers = b"".join(parts)
    head = json.dumps({ABOUT: dict(texts) | {CHECKSUM: _checksum(table, texts, numbers)}, **table}).encode()
    head += b" " * (-len(head) % ALIGNED)
    return write_atomic(Path(path), struct.pack("<Q", len(head)) + head + numbers, REMEDY)


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what ``write``, or another writer of the format, has written: tensors and texts.

    Raises:
        FileNotFoundError: there is no such file. BrokenFile: a file of another kind, or a damaged one.
    """
    content = Path(path).read_bytes()
    length = struct.unpack("<Q", content[:8])[0] if len(content) >= 8 else 0
    if not 2 <= length <= min(LONGEST, len(content) - 8):
        raise BrokenFile(_kind(content))
    numbers = content[8 + length :]
    try:
        table = json.loads(content[8 : 8 + length])
        texts = table.pop(ABOUT, {})
        tensors = {name: _tensor(entry, numbers) for name, entry in table.items()}
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise BrokenFile("it is damaged: its table of tensors cannot be read") from None
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise BrokenFile("it is damaged: its texts cannot be read")
    told = texts.pop(CHECKSUM, None)
    if told is not None and told != _checksum(table, texts, numbers):
        raise BrokenFile("it is damaged: its checksum does not match its content")
    return tensors, texts


def _tensor(entry: Mapping, numbers: bytes) -> Tensor:
    """Copy one tensor out of the numbers; whatever does not fit is an error of some kind."""
    (start, end), shape, dtype = entry["data_offsets"], entry["shape"], TYPES[entry["dtype"]]
    if set(entry) != ENTRY or not 0 <= start <= end <= len(numbers) or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError
    flat = torch.empty(0, dtype=dtype)
    if end > start:
        flat = torch.frombuffer(bytearray(numbers[start:end]), dtype=dtype)
    return flat.reshape(shape)


def _checksum(table: Mapping, texts: Mapping[str, str], numbers: bytes) -> str:
    """Compute the SHA-256 of table, texts and numbers."""
    digest = hashlib.sha256(json.dumps([table, dict(texts)], sort_keys=True).encode())
    digest.update(numbers)
    return digest.hexdigest()


def _kind(content: bytes) -> str:
    """Say what a file is that does not begin as the format does."""
    if not content:
        return "it is empty"
    if content[:2] == b"PK" or content[:1] == b"\x80":
        return "it was written by torch.save or pickle, and such a file may hold code, so it is not opened"
    return "it is cut short, or no file of tensors"
