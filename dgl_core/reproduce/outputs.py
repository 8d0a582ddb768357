"""Keep the report folder: executed notebooks, their tables and figures, and what each was made from.

Only when a notebook has succeeded are its tables and figures moved to their places. Beside it lies a JSON file with the
fingerprint of everything it depends on and the checksums of everything it made; what does not match is made again.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import platform
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path

from dgl_core import utils
from dgl_core.data.files.atomic import remove_abandoned, write_atomic
from dgl_core.reproduce.execute import NOTEBOOKS, ROOT, NotebookFailed, execute, kernel_environment, text
from dgl_core.runs import keys
from dgl_core.runs.run import here
from dgl_core.training.environment import utc_now
from dgl_core.training.records import RunSpec

USUAL_SECONDS = 15.0  # of a notebook that was never executed here: a guess
PACKAGES = ("torch", "numpy", "pandas", "matplotlib")
TOGETHER = 5  # runners that may write one report at the same time
LEFT = re.compile(
    r"\.[\w.-]+\.(csv|md|png|svg|ipynb|json|html|js|css|txt)\.[\w-]+\.tmp"
)  # what ``write_atomic`` has not finished
MADE = re.compile(r"(tables|figures)/[a-z0-9_]+\.(csv|md|png|svg)")  # what ``publish`` writes


@dataclass(frozen=True)
class Result:
    """Hold how one notebook went; written beside it."""

    name: str
    fingerprint: str
    seconds: float
    executed: str  # UTC
    files: dict[str, str] = field(default_factory=dict)  # tables and figures in the report folder -> SHA-256
    notebook: str = ""  # SHA-256 of the executed notebook; "" if there is none
    where: str = ""  # of a failure
    error: str = ""
    kept: bool = False


def paths(out: Path, name: str) -> tuple[Path, Path]:
    """Name the executed notebook and its result file."""
    return out / "notebooks" / f"{name}.ipynb", out / "notebooks" / f"{name}.json"


def load(out: Path, name: str) -> Result | None:
    """Read what is known about the last execution; None if there was none, or its file is damaged."""
    try:
        found = Result(**json.loads(paths(out, name)[1].read_text()))
        datetime.datetime.fromisoformat(found.executed)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    texts = [found.fingerprint, found.notebook, found.where, found.error]
    files = found.files.items() if isinstance(found.files, dict) else [("", "")]
    texts += [digest if MADE.fullmatch(file) else None for file, digest in files]
    sound = found.name == name and isinstance(found.seconds, int | float) and math.isfinite(found.seconds)
    return found if sound and all(isinstance(text, str) for text in texts) else None


def changed(out: Path, result: Result) -> str:
    """Name the first file of a result that is not as it was made; "" if all are."""
    notebook = {f"notebooks/{result.name}.ipynb": result.notebook} if result.notebook else {}
    for file, digest in (result.files | notebook).items():
        path = out / file
        if path.is_symlink() or not path.is_file() or _sha256(path.read_bytes()) != digest:
            return file
    return ""


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def measured_seconds(out: Path, name: str) -> float | None:
    """Recall how long a notebook took here the last time; None if it never ran here to its end."""
    before = load(out, name)
    return before.seconds if before and not before.error else None


def _state(files: Iterable[Path]) -> list[str]:
    """List name, size and time of files: enough to notice that one was written, cheap enough for thousands."""
    found = [(path.name, path.stat()) for path in sorted(files) if path.is_file()]
    return [f"{name} {status.st_size} {status.st_mtime_ns}" for name, status in found]


def fingerprint(name: str, profile: str, specs: Sequence[RunSpec]) -> str:
    """Digest everything that an execution depends on: source, library, profile, versions, records, presence of data."""
    store, given = here(), Path(os.environ.get("DGL_DATA") or utils.project_root() / "data")
    present = {entry.name for entry in given.iterdir()} - {"generated"} if given.is_dir() else ()
    records = {store.path(spec, keys.key(spec)) for spec in specs}
    sources = [NOTEBOOKS / f"{name}.py", *sorted((ROOT / "dgl_core").rglob("*.py"))]
    parts = [profile, platform.python_version(), *map(metadata.version, PACKAGES)]
    parts += [_sha256(path.read_bytes()) for path in sources]
    parts += [*_state(records), *_state(utils.reference_root().rglob("*.json")), *sorted(present)]
    return _sha256(json.dumps(parts).encode())


def refresh(
    name: str, profile: str, out: Path, specs: Sequence[RunSpec], portable: bool, stop: threading.Event
) -> Result:
    """Execute a notebook unless its last result still stands; never raises for a failure of the notebook itself."""
    source = NOTEBOOKS / f"{name}.py"
    if not source.is_file():
        return record_failure(out, name, "its source", f"{source.name} is no file; restore it")
    before, fingerprint_now = load(out, name), fingerprint(name, profile, specs)
    stands = before is not None and before.fingerprint == fingerprint_now and not before.error
    if stands and before.notebook and not changed(out, before):
        return replace(before, kept=True)
    started, old = time.monotonic(), before.files if before else {}
    with tempfile.TemporaryDirectory(prefix="dgl_report_") as work:
        variables = kernel_environment(portable) | {"DGL_REPORT": work}
        try:
            notebook = execute(source, parameters={"profile": profile}, environment=variables, stop=stop, scratch=work)
        except NotebookFailed as failure:
            if failure.notebook is not None:
                write_atomic(paths(out, name)[0], text(failure.notebook))
            return record_failure(out, name, failure.where, failure.error)
        found = {path.relative_to(work).as_posix(): path for path in sorted(Path(work).rglob("*.*"))}
        made = {file: path.read_bytes() for file, path in found.items() if MADE.fullmatch(file)}
    files, written = {file: _sha256(content) for file, content in made.items()}, text(notebook).encode()
    seconds = round(time.monotonic() - started, 1)
    result = Result(name, fingerprint_now, seconds, utc_now(), files, _sha256(written))
    _remove(out, name, old.keys() - files.keys())
    _write(out, result, made | {f"notebooks/{name}.ipynb": written})
    return result


def _remove(out: Path, name: str, stale: Iterable[str]) -> None:
    """Delete files that a notebook made before and no longer makes, unless another notebook does."""
    others = [load(out, path.stem) for path in (out / "notebooks").glob("*.json") if path.stem != name]
    for file in set(stale).difference(*(other.files for other in others if other)):
        if not (out / file).parent.is_symlink():  # or a file of another folder would go
            (out / file).unlink(missing_ok=True)


def _write(out: Path, result: Result, made: Mapping[str, bytes]) -> None:
    """Write a result and what it lists, again where another runner wrote in between."""
    for _ in range(TOGETHER):
        for file, content in made.items():
            write_atomic(out / file, content)
        write_atomic(paths(out, result.name)[1], json.dumps(asdict(result), indent=1))
        if (there := load(out, result.name)) is not None and not changed(out, there):
            return


def sweep(out: Path) -> None:
    """Remove what killed runners left half-written in the report folder."""
    for folder, _, names in os.walk(out):  # which follows no links
        for name in filter(LEFT.fullmatch, names):
            remove_abandoned(Path(folder), name)  # a name of letters, digits, dots and dashes is a pattern


def record_failure(out: Path, name: str, where: str, error: str) -> Result:
    """Note that a notebook failed. Its earlier tables and figures stay, but it will be executed again."""
    before = load(out, name)
    result = Result(name, "", 0.0, utc_now(), before.files if before else {}, where=where, error=error)
    write_atomic(paths(out, name)[1], json.dumps(asdict(result), indent=1))
    return result
