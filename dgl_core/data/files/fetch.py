"""Fetch files that are known by their SHA-256, and unpack archives whole and inside their folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import stat
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from dgl_core.data.files import cache
from dgl_core.utils import needs

AGAIN = 2  # further tries of an address
TIMEOUT = 30.0  # seconds without a byte
MOST_RATIO = 200  # unpacked over packed size


@dataclass(frozen=True)
class Remote:
    """Name a file on the web; a text may come with either kind of line ends and is kept with plain ones."""

    path: str  # where it belongs, below a data root
    urls: tuple[str, ...]  # addresses of the same content, tried in order
    sha256: str
    size: int  # bytes
    lines: int = 0  # of a text; 0: no text

    def right(self, path: Path) -> bool:
        """Tell whether a file is the one that is meant."""
        return (hashlib.sha256(_plain(path)).hexdigest() if self.lines else cache.sha256(path)) == self.sha256


def _plain(path: Path) -> bytes:
    """Read a text with plain line ends."""
    return path.read_bytes().replace(b"\r\n", b"\n")


def fetch(remote: Remote, root: Path) -> Path:
    """Download a file below ``root``, if it is not there or not right.

    Raises:
        ValueError: no address gave the right content; says what each gave. Nothing half-written is left.
        MissingPackage: pooch is not installed.
    """
    target = root / remote.path
    if target.is_file() and remote.right(target):
        return target
    needs("Downloads", "pooch", "requests")
    import pooch

    def download(url: str, file: str, caller: pooch.Pooch) -> None:
        pooch.HTTPDownloader(timeout=TIMEOUT)(url, file, caller)
        if remote.lines:
            Path(file).write_bytes(_plain(Path(file)))

    pooch.get_logger().setLevel("WARNING")
    reasons = []
    for url in remote.urls:
        known = {"registry": {remote.path: remote.sha256}, "urls": {remote.path: url}}
        try:
            return Path(pooch.create(root, "", **known, retry_if_failed=AGAIN).fetch(remote.path, downloader=download))
        except (ValueError, OSError) as error:
            reasons.append(f"{url}: {_why(error)}")
    raise ValueError(
        f"{remote.path} could not be fetched ({'; '.join(reasons)}). Try again, or put the file at {target} yourself; "
        f"its SHA-256 is {remote.sha256}"
    )


def _why(error: Exception) -> str:
    """Say in a few words why an address gave no file."""
    import requests

    if isinstance(error, requests.HTTPError):
        return f"HTTP {error.response.status_code}"
    words = {
        requests.Timeout: f"no answer in {TIMEOUT:.0f} s",
        requests.exceptions.ChunkedEncodingError: "cut off",
        requests.ConnectionError: "no connection",
        ValueError: "other content than expected (SHA-256 differs)",
    }
    return next((said for kind, said in words.items() if isinstance(error, kind)), str(error))


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a zip or tar file into ``folder``, which appears whole or not at all; the number of files.

    Raises:
        ValueError: a member outside the folder, a link or device, two members of one name, more than 200 times the
            archive's size, or an archive that is damaged or encrypted; nothing is written then.
    """

    def write(fresh: Path) -> None:
        with _opened(archive) as content:
            if isinstance(content, zipfile.ZipFile):
                members = [m for m in content.infolist() if not m.is_dir()]
                _vet(archive, [(m.filename, m.file_size) for m in members])
                special = [m.filename for m in members if stat.S_IFMT(m.external_attr >> 16) not in (0, stat.S_IFREG)]
                if special:  # zipfile would write its target as text
                    raise ValueError(f"{archive}: member {special[0]!r} is a link or a special file; not unpacked")
                content.extractall(fresh)
            else:
                _vet(archive, [(m.name, m.size) for m in content if not m.isdir()])
                content.extractall(fresh, filter="data")
                while content.fileobj.read(1 << 20):  # to the checksum, which comes after the last member
                    pass

    cache.ensure(folder, write, lambda _: "renewed", f"the content of {archive.name}")
    return sum(path.is_file() for path in folder.rglob("*"))


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    try:
        with zipfile.ZipFile(archive) if zipfile.is_zipfile(archive) else tarfile.open(archive) as content:
            yield content
    except tarfile.FilterError as error:
        raise ValueError(f"{archive}: not unpacked ({error}); download it from another place") from error
    except RuntimeError as error:  # zipfile's word for a password
        reason = "encrypted, or packed in a way that Python does not know"
        raise ValueError(f"{archive}: {reason}; unpack it yourself") from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # of the disk, not the content
            raise
        reason = " ".join(str(error).split())
        raise ValueError(f"{archive}: damaged ({reason}); download it again") from error


def _vet(archive: Path, members: Sequence[tuple[str, int]]) -> None:
    """Refuse what unpacking would change or what fills the disk; ``tarfile`` refuses links and devices itself."""
    places = [PurePosixPath(name.replace("\\", "/")) for name, _ in members]
    for path in places:
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise ValueError(f"{archive}: member {str(path)!r} would land outside its folder; not unpacked")
    for path, times in Counter(places).items():
        if times > 1:
            raise ValueError(f"{archive}: member {str(path)!r} occurs twice; download it again from another place")
    most = max(1 << 20, archive.stat().st_size * MOST_RATIO)
    if sum(size for _, size in members) > most:
        raise ValueError(f"{archive}: unpacks to more than {most} bytes; not unpacked")
