"""Downloads that can be trusted: they go on where they were cut off, and nothing is kept whose SHA-256 is not right.

And archives that cannot write outside their folder: no absolute paths, no "..", no links, no devices, no bombs.
"""

from __future__ import annotations

import hashlib
import http.client
import lzma
import os
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from dgl_core.data.files import cache
from dgl_core.utils import write_atomic

TRIES = 5  # of one address, as long as it sends anything new
WAIT = 1.0  # seconds before the second try, doubled each time
TIMEOUT = 30.0  # seconds without a byte
BLOCK = 1 << 18
MOST_FILES = 1_000_000
MOST_RATIO = 200  # unpacked over packed size


@dataclass(frozen=True)
class Remote:
    """A file on the web.

    Args:
        path: where it belongs, below a data root.
        urls: addresses of the same bytes, tried in order.
        sha256: of its content; nothing else is accepted.
        size: in bytes.
        lines: of a text, which may come with either kind of line ends and is kept with plain ones; 0: no text.
    """

    path: str
    urls: tuple[str, ...]
    sha256: str
    size: int
    lines: int = 0

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes that a download may have, smallest first."""
        return (self.size, self.size + self.lines) if self.lines else (self.size,)

    def right(self, path: Path) -> bool:
        """Whether a file is the one that is meant."""
        if path.stat().st_size not in self.sizes:
            return False
        return (hashlib.sha256(_plain(path)).hexdigest() if self.lines else cache.sha256(path)) == self.sha256


def _plain(path: Path) -> bytes:
    """A text with plain line ends."""
    return path.read_bytes().replace(b"\r\n", b"\n")


class Wrong(ValueError):
    """An address that gave something else than the file."""


def fetch(remote: Remote, root: Path, pause: Callable[[float], None] = time.sleep) -> Path:
    """The file below ``root``, downloaded if it is not there or not right.

    Raises:
        ValueError: no address gave the right bytes; says what each gave. What came so far is kept for the next call.
    """
    target = root / remote.path
    if target.is_file() and remote.right(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    reasons = []
    for url in remote.urls:
        try:
            _download(url, part, remote, pause)
        except (Wrong, OSError, http.client.HTTPException) as error:
            reasons.append(f"{url}: {_why(error)}")
            continue
        if remote.lines:
            write_atomic(part, _plain(part))
        os.replace(part, target)
        return target
    raise ValueError(
        f"{remote.path} could not be fetched ({'; '.join(reasons)}). Try again (it goes on where it was), or put the "
        f"file at {target} yourself; its SHA-256 is {remote.sha256}"
    )


def _download(url: str, part: Path, remote: Remote, pause: Callable[[float], None]) -> None:
    """Fill ``part`` from one address; what is there already is not asked for again."""
    fresh = not part.exists()  # nothing of an older download in it
    for attempt in range(TRIES):
        try:
            if not part.exists() or part.stat().st_size < remote.size:
                _receive(url, part, remote.sizes[-1])
        except urllib.error.HTTPError as error:
            if error.code != 416 and error.code < 500:
                raise
        except (OSError, http.client.HTTPException):
            if attempt == TRIES - 1:
                raise
        size = part.stat().st_size if part.exists() else 0
        if size and remote.right(part):
            return
        if size in remote.sizes:
            part.unlink()
            if fresh:
                raise Wrong("other content than expected (SHA-256 differs)")
            fresh = True
        pause(WAIT * 2**attempt)
    size = part.stat().st_size if part.exists() else 0
    raise Wrong(f"cut off at {size} of {remote.size} bytes, {TRIES} times")


def _receive(url: str, part: Path, most: int) -> None:
    """Append what the server sends, from the end of ``part`` on if it can do that, else from the start."""
    had = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={had}-"} if had else {}
    request = urllib.request.Request(url, headers=headers | {"Accept-Encoding": "identity"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        start = _start_of(answer.headers.get("Content-Range", "")) if answer.status == 206 else 0
        if start not in (0, had):
            raise Wrong(f"it sent bytes from {start} when asked for those from {had}")
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            while block := answer.read(BLOCK):
                if file.tell() + len(block) > most:
                    file.truncate(0)
                    raise Wrong(f"it sends more than the {most} bytes of the file")
                file.write(block)


def _start_of(content_range: str) -> int:
    number = content_range.removeprefix("bytes ").partition("-")[0]
    return int(number) if number.isdecimal() else 0


def _why(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__


def unpack(archive: Path, folder: Path, most_bytes: int = 1 << 40) -> int:
    """Unpack a zip or tar file into ``folder``, which appears whole or not at all; the number of files.

    Raises:
        ValueError: a member that would land outside the folder, a link or device, too much or too many of it, two
            members of one name, or an archive that is damaged; nothing is written then.
    """
    most = min(most_bytes, max(1 << 20, archive.stat().st_size * MOST_RATIO))
    count = 0

    def write(fresh: Path) -> None:
        nonlocal count
        total, seen = 0, set()
        for name, source in _members(archive):
            place = _inside(archive, fresh, name)
            if place in seen:
                raise ValueError(f"{archive}: member {name!r} occurs twice; download it again from another place")
            seen.add(place)
            count += 1
            if count > MOST_FILES:
                raise ValueError(f"{archive}: more than {MOST_FILES} members; not unpacked")
            place.parent.mkdir(parents=True, exist_ok=True)
            with source, open(place, "xb") as file:
                while block := source.read(BLOCK):
                    total += len(block)
                    if total > most:
                        raise ValueError(f"{archive}: unpacks to more than {most} bytes; not unpacked")
                    file.write(block)

    try:
        cache.ensure(folder, write, lambda _: "renewed", f"the content of {archive.name}")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{archive}: damaged ({error}); download it again") from error
    return count


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Names and contents of the plain files of an archive; folders are skipped, everything else is refused."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            for info in file.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise ValueError(f"{archive}: member {info.filename!r} is a link or a device; not unpacked")
                if not info.is_dir():
                    yield info.filename, file.open(info)
        return
    with tarfile.open(archive, "r|*") as tar:
        for member in tar:
            if member.isdir():
                continue
            if not member.isreg():
                raise ValueError(f"{archive}: member {member.name!r} is a link or a device; not unpacked")
            yield member.name, tar.extractfile(member)


def _inside(archive: Path, folder: Path, name: str) -> Path:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in name or not path.parts:
        raise ValueError(f"{archive}: member {name!r} would land outside its folder; not unpacked")
    return folder.joinpath(*path.parts)


def fetch_all(remotes: Sequence[Remote], root: Path) -> list[str]:
    """Fetch several files; a line for each, in words."""
    lines = []
    for remote in remotes:
        cache.say(f"fetching {remote.path} ({remote.size / 1e6:.2f} MB)")
        lines.append(f"{fetch(remote, root)}: {remote.size} bytes, SHA-256 as it should be")
    return lines
