"""Read one run record from a file of unknown origin: a whole record, with the types that a verdict needs."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path

from dgl_core.training.records import RunRecord

LARGEST = 64 * 2**20  # bytes; a record of the largest set of the paper has about one hundredth of it
KINDS = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


def read(path: Path) -> RunRecord:
    """Read one record from a regular file of moderate size; ValueError: there is none with the values that it needs."""
    _check_file(os.stat(path))
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # it may have become a pipe meanwhile
    with os.fdopen(handle, "rb") as file:
        _check_file(os.fstat(handle))
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"it has more than {LARGEST // 2**20} MiB")
    try:
        record = RunRecord.from_json(content.decode())
    except UnicodeDecodeError:
        raise ValueError("it is no text") from None
    _check_values(record)
    return record


def _check_file(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise ValueError("it is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"it is a {KINDS.get(stat.S_IFMT(found.st_mode), 'special thing')}, not a file")
    if found.st_size > LARGEST:
        raise ValueError(f"it has more than {LARGEST // 2**20} MiB")


def _check_values(record: RunRecord) -> None:
    """Refuse a record whose values have other types than a verdict needs, or a last score that is no fraction."""

    def needs(holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"its {what}")

    def number(value: object) -> bool:
        return isinstance(value, float) or (type(value) is int and abs(value) < 10**15)

    needs(isinstance(record.data, dict), "data are no table")
    modalities = record.data.get("modalities")
    names = isinstance(modalities, list) and all(isinstance(m, str) for m in modalities)
    needs(names and bool(modalities) and len(set(modalities)) == len(modalities), "modalities are no list of names")
    needs(isinstance(record.data.get("fingerprint"), str), "data have no fingerprint")
    needs(isinstance(record.data.get("score", ""), str), "score has no name")
    revisions = record.revisions
    needs(isinstance(revisions, dict) and all(map(number, revisions.values())), "revisions are no numbers")
    needs(isinstance(record.environment, dict), "environment is no table")
    processes = record.environment.get("processes", 1)
    needs(type(processes) is int and processes >= 1, "number of processes is none")
    gates = (record.spec.method_options.get(name, 0.0) for name in ("alpha", "encoder_gate", "fusion_gate"))
    needs(all(map(number, gates)), "alpha or gates are no numbers")
    fold = record.spec.dataset_options.get("fold", 0)
    needs(type(fold) is int, "fold is no whole number")
    curves = record.curves
    needs(isinstance(curves, dict) and isinstance(curves.get("lr"), list) and bool(curves["lr"]), "curves lack 'lr'")
    for name, values in curves.items():
        fits = isinstance(values, list) and len(values) == len(curves["lr"]) and all(map(number, values))
        needs(fits, f"curve {name!r} is no list of one number an epoch")
    needs("fused" in record.branches(), f"curves have no 'test/fused/{record.selecting}'")
    for branch in record.branches():
        score = record.score(branch)
        lowest = -math.inf if record.selecting == "r2" else 0  # worse than the mean has no limit
        needs(
            math.isfinite(score) and lowest <= score <= 1, f"last test score of {branch!r}, {score!r}, is no fraction"
        )
