"""The report folder: executed notebooks, tables and figures, and for each notebook what they were made from.

A notebook is executed into a folder of its own; only when it has succeeded are its tables and figures moved to their
places. Beside the executed notebook lies a small JSON file with the fingerprint of everything it depends on.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from dgl_core.reproduce.execute import NOTEBOOKS, ROOT, NotebookFailed, execute, kernel_environment, text
from dgl_core.training.environment import utc_now
from dgl_core.training.records import RunSpec
from dgl_core.utils import write_atomic

USUAL_SECONDS = 15.0  # of a notebook that was never executed here
PACKAGES = ("torch", "numpy", "pandas", "matplotlib")


@dataclass(frozen=True)
class Result:
    """How one notebook went; written beside it."""

    name: str
    fingerprint: str
    seconds: float
    executed: str  # UTC
    files: list[str] = field(default_factory=list)  # tables and figures, relative to the report folder
    where: str = ""  # of a failure
    error: str = ""
    kept: bool = False


def paths(out: Path, name: str) -> tuple[Path, Path]:
    """The executed notebook and its result file."""
    return out / "notebooks" / f"{name}.ipynb", out / "notebooks" / f"{name}.json"


def load(out: Path, name: str) -> Result | None:
    """What is known about the last execution; None if there was none (or its file is damaged)."""
    try:
        return Result(**json.loads(paths(out, name)[1].read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def expected_seconds(out: Path, name: str) -> float:
    """How long the notebook took here the last time."""
    before = load(out, name)
    return before.seconds if before and not before.error else USUAL_SECONDS


def _digest(parts: Iterable[object]) -> str:
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()


def _state(files: Iterable[Path]) -> list[str]:
    """Name, size and time of files: enough to notice that one was written, cheap enough for thousands."""
    facts = []
    for path in sorted(files):
        if path.is_file():
            status = path.stat()
            facts.append(f"{path.name} {status.st_size} {status.st_mtime_ns}")
    return facts


def fingerprint(name: str, profile: str, specs: Sequence[RunSpec]) -> str:
    """Digest of everything an execution depends on: source, library, profile, versions, records, presence of data."""
    from dgl_core import utils
    from dgl_core.runs import keys
    from dgl_core.runs.run import here

    store, given = here(), Path(os.environ.get("DGL_DATA") or ROOT / "data")
    present = {entry.name for entry in given.iterdir()} - {"generated"} if given.is_dir() else ()
    records = {store.path(spec, keys.key(spec)) for spec in specs}
    sources = [NOTEBOOKS / f"{name}.py", *sorted((ROOT / "dgl_core").rglob("*.py"))]
    return _digest(
        [
            profile,
            platform.python_version(),
            *(metadata.version(package) for package in PACKAGES),
            *(hashlib.sha256(path.read_bytes()).hexdigest() for path in sources),
            *_state(records),
            *_state(utils.reference_root().rglob("*.json")),
            *sorted(present),
        ]
    )


def refresh(
    name: str, profile: str, out: Path, specs: Sequence[RunSpec], portable: bool, stop: threading.Event
) -> Result:
    """Execute a notebook unless its last result still stands; never raises for a failure of the notebook itself."""
    before, print_now = load(out, name), fingerprint(name, profile, specs)
    notebook_path, result_path = paths(out, name)
    stands = before is not None and before.fingerprint == print_now and not before.error
    if stands and notebook_path.exists() and all((out / file).exists() for file in before.files):
        return Result(**asdict(before) | {"kept": True})
    started, old = time.monotonic(), before.files if before else []
    with tempfile.TemporaryDirectory(prefix="dgl_report_") as work:
        variables = kernel_environment(portable) | {"DGL_REPORT": work}
        try:
            notebook = execute(
                NOTEBOOKS / f"{name}.py", parameters={"profile": profile}, environment=variables, stop=stop
            )
        except NotebookFailed as failure:
            if failure.notebook is not None:
                write_atomic(notebook_path, text(failure.notebook))
            return record_failure(out, name, failure.where, failure.error)
        made = sorted(path.relative_to(work) for path in Path(work).rglob("*") if path.is_file())
        for path in made:
            write_atomic(out / path, (Path(work) / path).read_bytes())
    files = [path.as_posix() for path in made]
    for stale in set(old) - set(files):
        (out / stale).unlink(missing_ok=True)
    write_atomic(notebook_path, text(notebook))
    result = Result(name, print_now, round(time.monotonic() - started, 1), utc_now(), files)
    write_atomic(result_path, json.dumps(asdict(result), indent=1))
    return result


def record_failure(out: Path, name: str, where: str, error: str) -> Result:
    """Note that a notebook failed. Its earlier tables and figures stay, but it will be executed again."""
    before = load(out, name)
    result = Result(name, "", 0.0, utc_now(), before.files if before else [], where, error)
    write_atomic(paths(out, name)[1], json.dumps(asdict(result), indent=1))
    return result
