"""Keep run records in a folder: written once and atomically, claimed while in work, set aside when damaged."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

from dgl_core.training.records import CorruptRecord, RunRecord, RunSpec
from dgl_core.utils import write_atomic

HEARTBEAT = 10.0  # seconds between signs of life of a worker
STALE = 60.0  # a claim without a sign of life for this long is taken over


class Store:
    """Keep the run records of one machine, one JSON file each.

    Nothing locks: a run is claimed by a file that only one worker can create; the first finished record wins.

    Args:
        root: the folder; made when the first record is written.
    """

    def __init__(self, root: Path):
        self.root = Path(root)

    def path(self, spec: RunSpec, key: str) -> Path:
        options = map(str, spec.method_options.values())
        words = [spec.dataset, spec.method, *options, f"seed{spec.seed}", key[:16]]
        return self.root / (re.sub(r"[^\w.+-]+", "_", "-".join(words)) + ".json")

    def load(self, spec: RunSpec, key: str) -> RunRecord | None:
        """Read a record; None if there is none. A damaged file is moved aside (``.damaged``) with a message."""
        path = self.path(spec, key)
        try:
            record = _read(path)
            if record.key != key:
                raise CorruptRecord(f"it holds the run {record.key[:16]}")
            return record
        except FileNotFoundError:
            return None
        except CorruptRecord as error:
            print(f"Record {path.name} is not used: {error}. {_set_aside(path)}", file=sys.stderr)
            return None

    def save(self, record: RunRecord) -> RunRecord:
        """Write the record unless another worker finished the same run first; returns the one that stands."""
        standing = self.load(record.spec, record.key)
        if standing is not None:
            return standing
        return self.replace(record)

    def replace(self, record: RunRecord) -> RunRecord:
        """Write the record over an older one (a run that was asked to be made again)."""
        with self._explained():
            write_atomic(self.path(record.spec, record.key), record.to_json())
        return record

    def records(self) -> list[RunRecord]:
        """Read all records that can be read, sorted by file name."""
        found = []
        for path in sorted(self.root.rglob("*.json")):
            try:
                found.append(_read(path))
            except CorruptRecord as error:
                print(f"Record {path.name} is not used: {error}.", file=sys.stderr)
        return found

    @contextmanager
    def claim(self, spec: RunSpec, key: str):
        """Claim a run; yields True while this worker alone holds it, False if another living worker does."""
        path = self.path(spec, key).with_suffix(".claim")
        mine = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex})
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            claimed = _create(path, mine) or (_is_stale(path) and _take_over(path, mine))
        if not claimed:
            yield False
            return
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(HEARTBEAT):
                if _text(path) == mine:
                    os.utime(path)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield True
        finally:
            stop.set()
            thread.join()
            if _text(path) == mine:  # it is not if this worker slept for long and another one took over
                path.unlink(missing_ok=True)

    @contextmanager
    def _explained(self):
        """Explain a full or read-only disk in one sentence, with the remedy."""
        try:
            yield
        except OSError as error:
            remedy = "Free some space there, or name another folder in DGL_RESULTS."
            raise OSError(error.errno, f"cannot write to {self.root}: {error.strerror}. {remedy}") from error


def _read(path: Path) -> RunRecord:
    try:
        return RunRecord.from_json(path.read_text())
    except UnicodeDecodeError:
        raise CorruptRecord("it is no text") from None


def _set_aside(path: Path) -> str:
    aside = path.with_suffix(".damaged")
    try:
        path.replace(aside)
    except OSError as error:
        return f"It stays where it is ({error.strerror})."
    return f"Moved to {aside.name}."


def _create(path: Path, text: str) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _is_stale(path: Path) -> bool:
    """Tell whether a claim has had no heartbeat for a while, or its process on this host is gone."""
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False  # released at this moment
    try:
        owner = json.loads(_text(path))
        gone = owner["host"] == socket.gethostname() and not _alive(owner["pid"])
    except (ValueError, KeyError, TypeError):
        gone = False  # being written at this moment, or never finished
    return gone or age > STALE


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return True  # no way to ask there: signal 0 would interrupt the process; the heartbeat decides alone
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _take_over(path: Path, text: str) -> bool:
    """Take over a stale claim: of several workers that see it, the one that creates the file beside it goes on.

    That file then replaces the claim in one move, so there is never a moment without a claim for a newcomer to take.
    """
    taking = path.with_name(f"{path.name}.taking")
    if not _create(taking, text):
        if _is_stale(taking):  # its worker died between two lines: whoever looks next may try
            taking.unlink(missing_ok=True)
        return False
    try:
        if not _is_stale(path):
            return False  # another worker had taken over, or the owner released it, since we looked
        os.replace(taking, path)
        return True
    finally:
        taking.unlink(missing_ok=True)
