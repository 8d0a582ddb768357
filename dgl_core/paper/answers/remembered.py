"""Keep results that take seconds between processes: ten notebooks show the same answers, one of them works them out."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from dgl_core.data.files.atomic import sealed, unsealed, write_atomic
from dgl_core.data.files.cache import cache_root
from dgl_core.paper.answers.followup import NAME
from dgl_core.paper.answers.regimes import PILOTS, confirming_root
from dgl_core.utils import ROOT
from dgl_core.verdicts.registration import PATH

Result = TypeVar("Result")
VERSIONS = ("numpy", "scipy")


def remembered(name: str, make: Callable[[], Result]) -> Result:
    """Return what ``make`` returns, from disk where nothing that it could rest on has changed since.

    The file is named by a digest of the committed records, of registration and pilots, and of this library's own
    source, so one changed byte in any of them means that it is made again. A damaged file is made again, too; where
    none can be written, nothing is kept. It is a pickle in the user's own cache, and is read from nowhere else.

    Args:
        name: of the result, as a file's. make: takes no argument; its result can be pickled.
    """
    path = cache_root() / "answers" / f"{name}-{state()[:16]}.pickle"
    with contextlib.suppress(OSError):
        content = unsealed(path.read_bytes())
        if content is not None:
            return pickle.loads(content)
    found = make()
    with contextlib.suppress(OSError):
        write_atomic(path, sealed(pickle.dumps(found)))
        for old in path.parent.glob(f"{name}-*.pickle"):
            if old != path:
                old.unlink(missing_ok=True)
    return found


def state() -> str:
    """Digest what the answers rest on: the content of records, registration, pilots and source, and versions."""
    digest = hashlib.sha256(" ".join([sys.version, *map(metadata.version, VERSIONS)]).encode())
    records, source = confirming_root(), ROOT / "dgl_core"
    for path in [PATH, PILOTS, records / NAME, *_files(records, "*.json"), *_files(source, "*.py", "*.toml")]:
        digest.update(f"{path}\0".encode())
        with contextlib.suppress(OSError):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _files(folder: Path, *patterns: str) -> Iterable[Path]:
    return sorted(path for pattern in patterns for path in folder.rglob(pattern))
