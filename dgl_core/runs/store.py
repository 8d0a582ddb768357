"""Keep run records in a folder: written once and atomically, claimed while in work, set aside when damaged."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import stat
import sys
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

from dgl_core.data.files.atomic import STORE_REMEDY, alive, explained, remove_abandoned, set_aside, write_atomic
from dgl_core.training.records import CorruptRecord, RunRecord, RunSpec

HEARTBEAT = 10.0  # seconds between signs of life of a worker
STALE = 60.0  # a claim without a sign of life for this long is taken over
LARGEST = 2**28  # bytes of a record; a larger file is none
FORGOTTEN = 30 * 86400.0  # a checkpoint this old belongs to a run that nobody goes on with
ANY = "any"  # records however they were made


class Store:
    """Keep the run records of one machine, one JSON file each, in ``root``, made when the first one is written.

    Nothing locks: a run is claimed by a file that only one worker can create; the first finished record wins.
    ``making`` says how its records must have been made (``environment.making``); by default all are one kind.
    """

    def __init__(self, root: Path, making: str = ANY):
        self.root, self.making = Path(root), making

    def path(self, spec: RunSpec, key: str) -> Path:
        options = map(str, spec.method_options.values())
        words = [spec.dataset, spec.method, *options, f"seed{spec.seed}", key[:16]]
        making = "" if self.making in (ANY, "") else f".{self.making}"
        return self.root / (re.sub(r"[^\w.+-]+", "_", "-".join(words)) + f"{making}.json")

    def load(self, spec: RunSpec, key: str) -> RunRecord | None:
        """Read a record; None if there is none. A damaged file is moved aside (``.damaged``) with a message."""
        own, plain = self.path(spec, key), Store(self.root).path(spec, key)
        for path in dict.fromkeys((own, plain)):  # earlier versions kept every record under the plain name
            record = self._checked(path, key)
            if record is not None and self.making in (ANY, record.making):
                return record
        return None

    @staticmethod
    def _checked(path: Path, key: str) -> RunRecord | None:
        try:
            record = _read(path)
            if record.key != key:
                raise CorruptRecord(f"it holds the run {record.key[:16]}")
            return record
        except FileNotFoundError:
            return None
        except CorruptRecord as error:
            print(f"Record {path.name} is not used: {error}. {set_aside(path)}", file=sys.stderr)
            return None

    def save(self, record: RunRecord) -> RunRecord:
        """Write the record unless another worker finished the same run first; returns the one that stands."""
        return self.load(record.spec, record.key) or self.replace(record)

    def replace(self, record: RunRecord) -> RunRecord:
        """Write the record over an older one (a run that was asked to be made again)."""
        path = self.path(record.spec, record.key)
        standing = None if self.making == ANY else self._checked(path, record.key)
        if standing is not None and standing.making != self.making:  # of an earlier version, under the plain name
            path.replace(Store(self.root, standing.making).path(record.spec, record.key))
        write_atomic(path, record.to_json(), STORE_REMEDY)
        return record

    def records(self) -> list[RunRecord]:
        """Read all records that can be read, sorted by file name."""
        found = []
        for path in sorted(self.root.rglob("*.json")):
            try:
                found.append(_read(path))
            except (CorruptRecord, FileNotFoundError) as error:
                reason = "it is gone" if isinstance(error, FileNotFoundError) else error
                print(f"Record {path.name} is not used: {reason}.", file=sys.stderr)
        return found

    @contextmanager
    def claim(self, spec: RunSpec, key: str):
        """Claim a run; yields True while this worker alone holds it, False if another living worker does."""
        path = self.path(spec, key).with_suffix(".claim")
        mine = _signature()
        with explained(self.root, STORE_REMEDY):
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

    def clean(self, run: str = "") -> None:
        """Remove what killed workers left behind and nobody will use: half-written files, claims, checkpoints.

        A claim goes when it is stale; a checkpoint when its record is there or it is a month old, and no claim holds
        its run. ``run`` is the stem of a record: only what belongs to that goes.
        """
        remove_abandoned(self.root, f".{run}*")
        order = {".taking": 0, ".claim": 1}  # a dead worker's attempt holds the claim, and that the checkpoint
        for path in sorted(self.root.glob(f"{run}*"), key=lambda path: order.get(path.suffix, 2)):
            with contextlib.suppress(OSError):
                age, claim = time.time() - path.stat().st_mtime, path.with_suffix(".claim")
                useless = path.suffix == ".checkpoint" and (path.with_suffix(".json").exists() or age > FORGOTTEN)
                if path.suffix == ".claim":  # by the protocol, so that no other worker's new claim is removed
                    gone = _is_stale(path) and _take_over(path, _signature())
                else:
                    gone = useless and not claim.exists() or path.suffix == ".taking" and _is_stale(path)
                if gone:
                    path.unlink()


def _read(path: Path) -> RunRecord:
    """Read a record; ``FileNotFoundError`` if there is none, ``CorruptRecord`` if it cannot be read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would wait for ever, a device never end
            raise CorruptRecord("it is no regular file")
        if status.st_size > LARGEST:
            raise CorruptRecord(f"it has {status.st_size:,} bytes, no record has so many")
        return RunRecord.from_json(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise CorruptRecord("it is no text") from None
    except FileNotFoundError:
        raise
    except OSError as error:  # a link to itself, no permission, a failing disk
        raise CorruptRecord(f"it cannot be read ({error.strerror})") from None


def _signature() -> str:
    """Write who claims: others on this host see when this process has ended."""
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex})


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
        if age < -STALE:
            os.utime(path)  # a living owner beats again; of a dead one the claim is stale in a minute
            print(
                f"Claim {path.name} is dated {-age:.0f} s in the future; from now on it counts as new.", file=sys.stderr
            )
    except FileNotFoundError:
        return False  # released at this moment
    try:
        owner = json.loads(_text(path))
        gone = owner["host"] == socket.gethostname() and not alive(owner["pid"])
    except (ValueError, KeyError, TypeError):
        gone = False  # being written at this moment, or never finished
    return gone or age > STALE


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
