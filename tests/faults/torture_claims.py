"""A folder of records in the hands of strangers: ``dgl claims --mine`` reads what it can and names what it cannot.

The verdicts must be those of the folder without the strange file, or the file must be named; and nothing may hang.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.faults.torture import Kind
from tests.faults.torture_damage import TARGETS, obscurity
from tests.faults.torture_process import Failed, command, dgl, undisturbed

STRANGE = "strange.json"


def _first(folder: Path) -> Path:
    return sorted(folder.glob("triplet-dgl-*.json"))[0]


def _edited(change: Callable[[dict], object]) -> Callable[[Path], object]:
    """A record that was changed by hand and signed again, as its own code would sign it."""

    def make(folder: Path) -> None:
        import hashlib

        body = json.loads(_first(folder).read_text())
        body.pop("checksum")
        body["spec"]["seed"] = 77
        change(body)
        sign = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        (folder / STRANGE).write_text(json.dumps(body | {"checksum": sign}, sort_keys=True))

    return make


def _text(content: str | bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / STRANGE).write_bytes(content.encode() if isinstance(content, str) else content)


def _set(*place: str, value: object) -> Callable[[dict], object]:
    def change(body: dict) -> None:
        inner = body
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = value

    return change


def _huge(folder: Path) -> None:
    with open(folder / STRANGE, "wb") as file:
        file.write(b'{"schema": 1, "x": "')
        file.truncate(3 * 2**30)  # a sparse file: read as a whole it takes 3 GB


def _copies(folder: Path) -> None:
    """The same runs once more under other names: they are no new seeds."""
    for number, path in enumerate(sorted(folder.glob("*.json"))):
        shutil.copy(path, folder / f"copy{number}.json")


def _in_a_subfolder(folder: Path) -> None:
    (folder / "backup").mkdir()
    for path in sorted(folder.glob("*.json")):
        shutil.copy(path, folder / "backup" / path.name)


FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": lambda folder: os.mkfifo(folder / STRANGE),
    "a link to an endless device": lambda folder: os.symlink("/dev/zero", folder / STRANGE),
    "a link to nothing": lambda folder: os.symlink("/no/such/file", folder / STRANGE),
    "a link to itself": lambda folder: os.symlink(folder / STRANGE, folder / STRANGE),
    "a link to the folder": lambda folder: os.symlink(folder, folder / "loop"),
    "a folder": lambda folder: (folder / STRANGE).mkdir(),
    "a device": lambda folder: os.symlink("/dev/full", folder / STRANGE),
    "an empty file": _text(""),
    "bytes that are no text": _text(b"\xff\xfe\x00\x80"),
    "a null byte": _text("\0"),
    "deep nesting": _text("[" * 200_000),
    "deep nesting of objects": _text('{"a":' * 200_000),
    "a list": _text("[]"),
    "null": _text("null"),
    "a number of a million digits": _text("1" * 1_000_000),
    "NaN": _text("NaN"),
    "another schema": _text('{"schema": 99, "checksum": "x"}'),
    "terminal escapes": _text('{"schema": "\\u001b[2J\\u001b]0;owned\\u0007", "checksum": "x"}'),
    "3 GB": _huge,
    "copies of every record": _copies,
    "copies in a subfolder": _in_a_subfolder,
    "text for a curve": _edited(_set("curves", "test/fused/accuracy", value=["much"] * 8)),
    "text for curves": _edited(_set("curves", value="none")),
    "an empty curve": _edited(_set("curves", "test/fused/accuracy", value=[])),
    "NaN for scores": _edited(_set("curves", "test/fused/accuracy", value=[float("nan")] * 8)),
    "scores above 1": _edited(_set("curves", "test/fused/accuracy", value=[55.0] * 8)),
    "no curves": _edited(_set("curves", value={})),
    "null for data": _edited(_set("data", value=None)),
    "text for the environment": _edited(_set("environment", value="x")),
    "terminal escapes in a name": _edited(_set("spec", "dataset", value="\x1b[2Jowned")),
    "a number for a method": _edited(_set("spec", "method", value=3)),
    "an unknown method": _edited(_set("spec", "method", value="no_such_method")),
    "text for a seed": _edited(_set("spec", "seed", value="x")),
    "text for epochs": _edited(_set("spec", "epochs", value="many")),
    "another data fingerprint": _edited(_set("data", "fingerprint", value="0" * 64)),
    "two processes": _edited(_set("environment", "processes", value=2)),
    "a modality less": _edited(_set("data", "modalities", value=["strong"])),
    "text for alpha": _edited(_set("spec", "method_options", value={"alpha": "x"})),
    "no key": _edited(_set("key", value="")),
}


def prepare(root: Path) -> None:
    """Three methods with three seeds each, and what the ledger says of them."""
    place = root / "mine"
    if place.exists():
        return
    undisturbed(lambda: TARGETS["claims-folder"][0].prepare(place / "records") or True, place / "work")
    undisturbed(lambda: dgl("claims", "--mine", str(place / "records")) == 0 or None, place / "read")
    ended = command(["claims", "--mine", str(place / "records")], place / "said")
    (place / "expected.pickle").write_bytes(pickle.dumps(ended.output))


def strange(rng: random.Random, folder: Path, number: int) -> str:
    """Put one strange file beside sound records and ask for the verdicts."""
    what, place = list(FILES)[number], folder.parent / "mine"
    expected, mine = pickle.loads((place / "expected.pickle").read_bytes()), folder / "records"
    shutil.copytree(place / "records", mine)
    FILES[what](mine)
    ended = command(["claims", "--mine", str(mine)], folder, 40)
    if ended.hung:
        raise Failed("lost", f"{what}: dgl claims --mine hangs")
    if "\x1b" in ended.said:
        raise Failed("obscure", f"{what}: it writes escapes to the terminal: {ended.said[:200]!r}")
    names = (STRANGE, "copy", "backup", "loop", "not judged: triplet (mlp, ")  # the last: a group of its own
    if ended.status:
        raise Failed("lost", f"{what}: one file ends it ({obscurity(ended, names) or ended.errors[:200]!r})")
    if "Traceback" in ended.errors:
        raise Failed("obscure", f"{what}: {ended.errors[-300:]!r}")
    if ended.output != expected and not any(name in ended.said for name in names):
        raise Failed("silent", f"{what}: other verdicts without a word: {_changed(expected, ended.output)}")
    return what


def _changed(expected: str, found: str) -> str:
    fresh = [line.strip() for line in found.splitlines() if line not in expected.splitlines()]
    return "; ".join(fresh)[:300] or "some are missing"


KINDS = [Kind("input-claims", strange, len(FILES), size=len(FILES), prepare=prepare, seconds=120)]
