"""Write files that are never there by half, remove what killed processes left, say why a disk refuses a file."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dgl_core.utils import derive_seed

TEMPORARY = ".tmp"  # end of the names of files and folders that are being written
HALF_WRITTEN = 3600.0  # seconds after which a temporary file or folder belongs to nobody, wherever it was made
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Free some space there"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "Make it writable"),
}
STORE_REMEDY = ", or name another folder in DGL_RESULTS"


DIGEST = hashlib.sha256().digest_size  # bytes of the checksum in front of what is sealed


class CannotWrite(OSError):
    """Raised where the disk refuses a file; the message names the folder and the remedy."""


@contextlib.contextmanager
def explained(folder: Path, remedy: str = "") -> Iterator[None]:
    """Explain in one sentence why a folder cannot be written to; ``remedy`` is put behind the general advice."""
    try:
        yield
    except OSError as error:
        advice = REMEDIES.get(error.errno)
        if advice is None or isinstance(error, CannotWrite):
            raise
        reason = os.strerror(error.errno)
        raise CannotWrite(error.errno, f"cannot write to {folder}: {reason}. {advice}{remedy}.") from error


def sealed(content: bytes) -> bytes:
    """Put its SHA-256 in front of a content: a flipped bit must not become another number."""
    return hashlib.sha256(content).digest() + content


def unsealed(content: bytes) -> bytes | None:
    """Return what was sealed; None if it is not as it was."""
    inner = content[DIGEST:]
    return inner if hashlib.sha256(inner).digest() == content[:DIGEST] else None


def write_atomic(path: str | Path, content: str | bytes, remedy: str = "") -> Path:
    """Write a file atomically: a full disk or an interrupt never leaves half of it.

    Args:
        path: the file, which is also returned; missing folders above it are made.
        content: text (UTF-8) or bytes. remedy: as for ``explained``.

    Raises:
        OSError: the disk is full, read-only, ...; the previous file, if any, is untouched.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    with explained(path.parent, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{_me()}-", suffix=TEMPORARY)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # or a power cut after the move leaves an empty file under the right name
            os.chmod(temporary, 0o644)  # mkstemp makes files that only their owner can read
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    return path


def _sync_folder(folder: Path) -> None:
    """Make a move in a folder durable, where the system lets a folder be opened (not on Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # network folders that know no such call
            raise
    finally:
        os.close(handle)


def set_aside(path: Path) -> str:
    """Move a damaged file beside itself (``.damaged``); returns a sentence that says where it is."""
    aside = path.with_name(f"{path.name}.damaged")
    try:
        path.replace(aside)
    except OSError as error:
        return f"It stays where it is ({error.strerror})."
    return f"Moved to {aside.name}."


def _me() -> str:
    """Name this process in a few characters: its host, in digits, and its number there."""
    return f"{derive_seed(socket.gethostname()):014x}-{os.getpid()}"


def alive(pid: int) -> bool:
    """Tell whether a process of this host has not ended."""
    if os.name == "nt":
        return True  # no way to ask there: signal 0 would interrupt the process
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def temporary(path: Path) -> Path:
    """Name a hidden folder beside ``path`` in which it is made; the name says which process is at it."""
    return path.with_name(f".{path.name}.{_me()}-{time.monotonic_ns():x}{TEMPORARY}")


def remove_abandoned(folder: Path, names: str = ".*") -> None:
    """Remove what killed processes left half-made in a folder (hidden, of the pattern ``names``), where that works."""
    for path in folder.glob(names):
        with contextlib.suppress(OSError):
            if abandoned(path):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def abandoned(path: Path) -> bool:
    """Tell whether a ``temporary``, or that of ``write_atomic``, is of a process that has ended here, or too old."""
    host = _me().partition("-")[0]
    made = re.search(rf"\.{host}-(\d+)-\w+{re.escape(TEMPORARY)}$", path.name)
    return bool(made and not alive(int(made[1]))) or time.time() - path.stat().st_mtime > HALF_WRITTEN
