"""A folder of run records: written once and atomically, claimed while in work, quarantined when damaged."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from dgl_core.files import write_atomic
from dgl_core.records import CorruptRecord, RunRecord, RunSpec

HEARTBEAT = 10.0  # seconds between signs of life of a worker
STALE = 60.0  # a claim without a sign of life for this long is taken over


class Store:
    """Run records of one machine, one JSON file each.

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
        """The record, or None. A damaged file is moved aside (``.damaged``) with a message, and counts as none."""
        path = self.path(spec, key)
        try:
            record = RunRecord.from_json(path.read_text())
            if record.key != key:
                raise CorruptRecord(f"it holds the run {record.key[:16]}")
            return record
        except FileNotFoundError:
            return None
        except (CorruptRecord, UnicodeDecodeError) as error:
            aside = path.with_suffix(".damaged")
            path.replace(aside)
            print(f"Record {path.name} is not used: {error}. Moved to {aside.name}.", file=sys.stderr)
            return None

    def save(self, record: RunRecord) -> RunRecord:
        """Write the record unless another worker finished the same run first; returns the one that stands."""
        standing = self.load(record.spec, record.key)
        if standing is not None:
            return standing
        write_atomic(self.path(record.spec, record.key), record.to_json())
        return record

    def replace(self, record: RunRecord) -> RunRecord:
        """Write the record over an older one (a run that was asked to be made again)."""
        write_atomic(self.path(record.spec, record.key), record.to_json())
        return record

    def records(self) -> list[RunRecord]:
        """All readable records, sorted by file name."""
        found = []
        for path in sorted(self.root.rglob("*.json")):
            try:
                found.append(RunRecord.from_json(path.read_text()))
            except CorruptRecord as error:
                print(f"Record {path.name} is not used: {error}.", file=sys.stderr)
        return found

    @contextmanager
    def claim(self, spec: RunSpec, key: str):
        """Yields True while this worker alone holds the run, False if another living worker does."""
        path = self.path(spec, key).with_suffix(".claim")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _create(path) and not (_is_stale(path) and _take_over(path)):
            yield False
            return
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(HEARTBEAT):
                if path.exists():
                    os.utime(path)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield True
        finally:
            stop.set()
            thread.join()
            path.unlink(missing_ok=True)


def _create(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
    return True


def _is_stale(path: Path) -> bool:
    """No heartbeat for a while, or its process on this host is gone."""
    try:
        age = time.time() - path.stat().st_mtime
        owner = json.loads(path.read_text() or "{}")
    except (FileNotFoundError, json.JSONDecodeError):
        return False  # released or being written at this moment
    if owner.get("host") == socket.gethostname() and not _alive(owner.get("pid", 0)):
        return True
    return age > STALE


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _take_over(path: Path) -> bool:
    """Of several workers that see a stale claim, the one whose rename succeeds goes on."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.stale")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return False
    aside.unlink(missing_ok=True)
    return _create(path)
