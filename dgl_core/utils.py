"""Serve every room: errors that name the remedy, typed options, folders of the project, atomic files, progress.

No torch and nothing of the house is imported here, so every file may use it.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import importlib
import math
import numbers
import os
import re
import reprlib
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections import UserDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp"  # end of the names of files and folders that are being written
HALF_WRITTEN = 3600.0  # seconds after which a temporary file or folder belongs to nobody, wherever it was made
REMEDIES = {
    errno.ENOSPC: "Free some space there",
    errno.EDQUOT: "Free some space there",
    errno.EROFS: "Make it writable",
    errno.EACCES: "Make it writable",
    errno.EPERM: "Make it writable",
}
STORE_REMEDY = ", or name another folder in DGL_RESULTS"
ROOT = Path(__file__).resolve().parent.parent  # of the checkout, or where the package is installed


def derive_seed(*parts: object) -> int:
    """Make a 56-bit seed of any values: random numbers depend on what they are for, not on what was drawn before."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:7], "big")


def unknown_name(kind: str, name: object, choices: Iterable[str]) -> ValueError:
    """Make the error for a name that does not exist, with the nearest one that does."""
    choices = list(choices)
    near = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(map(repr, sorted(choices)))}."
    return ValueError(f"Unknown {kind} {name!r}: {hint}")


def check_modality_names(names: Iterable[object]) -> None:
    """Refuse names of modalities that the house itself uses, or that would split a column, a path or a parameter name.

    Args:
        names: of the modalities of one data set or model.

    Raises:
        ValueError: naming the first one that will not do, and the rule.
    """
    for name in names:
        text = isinstance(name, str) and bool(name)
        taken = text and (name in {"fused", "fusion", "heads"} or name.startswith(("without_", "official_")))
        if not text or taken or name.endswith("_reestimated") or any(c in "/." or c.isspace() for c in name):
            raise ValueError(
                f"A modality cannot be called {name!r}: choose a word such as 'audio', without '/', '.' or space, "
                "other than 'fused', 'fusion' and 'heads', that does not begin with 'without_' or 'official_' or end "
                "in '_reestimated'."
            )


def brief(value: object) -> str:
    """Show a value of anyone's in an error: short, in one line."""
    text = " ".join(reprlib.repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_mapping(name: str, value: object, entries: str, empty: bool = False) -> None:
    """Refuse what is no dictionary, or an empty one; ``entries`` says of what it must be one ("modality -> width")."""
    if not (isinstance(value, Mapping) or hasattr(value, "items")) or not (empty or len(value)):
        raise ValueError(f"{name} is {brief(value)}; it must be a dictionary {entries}.")


def check_count(name: str, value: object, low: int = 1) -> None:
    """Refuse what is no whole number, or a smaller one than ``low``."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name} is {brief(value)}; it must be at least {low}, and whole.")


def coerce(name: str, value: object, default: object) -> object:
    """Convert ``value`` to the type that ``default`` declares, so that 4 and 4.0 are one option.

    Raises:
        ValueError: if the value cannot be meant as that type (text for a number, 1.5 for an integer).
    """
    try:
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise TypeError
            return value
        if isinstance(default, (int, float)):
            if isinstance(value, (str, bool)):
                raise TypeError
            number = type(default)(value)
            if isinstance(default, int) and number != value:
                raise TypeError
            return number
        if isinstance(default, tuple):
            if isinstance(value, str):
                raise TypeError
            return tuple(coerce(name, item, default[0]) if default else item for item in value)
        if isinstance(default, str) and not isinstance(value, str):
            raise TypeError
        return value
    except (TypeError, ValueError, OverflowError):
        wanted = type(default).__name__
        raise ValueError(f"{name} is {value!r}; it must be of type {wanted} (default {default!r}).") from None


def resolve_options(owner: str, given: Mapping[str, object], declared: Mapping[str, object]) -> dict[str, object]:
    """List the options in ``given`` that differ from their default, each in its declared type, sorted by name."""
    check_mapping(f"options ({owner})", given, "option -> value", empty=True)
    resolved = {}
    for name in sorted(given):
        if name not in declared:
            raise unknown_name(f"option of {owner}", name, declared)
        value = coerce(f"option {name!r} of {owner}", given[name], declared[name])
        if value != declared[name]:
            resolved[name] = value
    return resolved


@dataclass(frozen=True)
class Range:
    """What an option may be: a finite number between two ends, or one of a few words; in a tuple each item.

    Attributes:
        low, high: the smallest and the largest value. above, below: the same, left out themselves.
        choices: the words.
    """

    low: float | None = None
    above: float | None = None
    high: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        ends = {"at least": self.low, "above": self.above, "at most": self.high, "below": self.below}
        said = [f"{words} {end:g}" for words, end in ends.items() if end is not None]
        return " and ".join(said if len(said) > 1 else [*said, "finite"])

    def check(self, name: str, value: object) -> None:
        """Raise a ``ValueError`` that names option, value and range unless the value is in it (NaN is not)."""
        for item in value if isinstance(value, tuple) else (value,):
            if self.choices and item not in self.choices:
                raise unknown_name(name, item, self.choices)
            if not self.choices and not self._holds(item):
                raise ValueError(f"{name} is {value}; {'each' if isinstance(value, tuple) else 'it'} must be {self}.")

    def _holds(self, number: float) -> bool:
        return (
            isinstance(number, int | float)
            and (isinstance(number, int) or math.isfinite(number))
            and (self.low is None or number >= self.low)
            and (self.above is None or number > self.above)
            and (self.high is None or number <= self.high)
            and (self.below is None or number < self.below)
        )


class Registry(UserDict):
    """Things by name, of which one written as "module:thing" is imported when it is first asked for.

    So a list of everything costs nothing to read, and whoever asks for one entry does not load its neighbours.
    """

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        if isinstance(found, str):
            module, _, thing = found.partition(":")
            found = self[name] = getattr(importlib.import_module(module), thing)
        return found


def write_atomic(path: str | Path, content: str | bytes, remedy: str = "") -> Path:
    """Write a file atomically: a full disk or an interrupt never leaves half of it.

    Args:
        path: the file; missing folders above it are made.
        content: text (UTF-8) or bytes.
        remedy: what else helps where the disk refuses the file, as for ``explained``.

    Returns:
        The path.

    Raises:
        OSError: the disk is full, read-only, ...; the message names the folder and the remedy. The previous file, if
            any, is untouched.
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
        return True
    return True


def temporary(path: Path) -> Path:
    """Name a hidden folder beside ``path`` in which it is made; the name says which process is at it."""
    return path.with_name(f".{path.name}.{_me()}-{time.monotonic_ns():x}{TEMPORARY}")


def abandoned(path: Path) -> bool:
    """Tell whether a ``temporary``, or that of ``write_atomic``, is of a process that has ended here, or too old."""
    host = _me().partition("-")[0]
    made = re.search(rf"\.{host}-(\d+)-\w+{re.escape(TEMPORARY)}$", path.name)
    return bool(made and not alive(int(made[1]))) or time.time() - path.stat().st_mtime > HALF_WRITTEN


def remove_abandoned(folder: Path, names: str = ".*") -> None:
    """Remove what killed processes left half-made in a folder; what cannot be removed stays.

    Args:
        names: a pattern of the hidden names that may go.
    """
    for path in folder.glob(names):
        with contextlib.suppress(OSError):
            if abandoned(path):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


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


@contextlib.contextmanager
def explained(folder: Path, remedy: str = "") -> Iterator[None]:
    """Explain in one sentence why a folder cannot be written to, with the remedy.

    Args:
        remedy: what else the reader can do, for example name another folder; put behind the general advice.
    """
    try:
        yield
    except OSError as error:
        advice = REMEDIES.get(error.errno)
        if advice is None or isinstance(error, CannotWrite):
            raise
        reason = os.strerror(error.errno)
        raise CannotWrite(error.errno, f"cannot write to {folder}: {reason}. {advice}{remedy}.") from error


class CannotWrite(OSError):
    """Raised where the disk refuses a file; the message names the folder and the remedy."""


def set_aside(path: Path) -> str:
    """Move a damaged file beside itself (``.damaged``); returns a sentence that says where it is."""
    aside = path.with_name(f"{path.name}.damaged")
    try:
        path.replace(aside)
    except OSError as error:
        return f"It stays where it is ({error.strerror})."
    return f"Moved to {aside.name}."


TERMINAL_INTERVAL = 0.5  # seconds between rewritings of the line
LOG_INTERVAL = 30.0  # seconds between status lines in a log


def duration(seconds: float) -> str:
    """Write a time for people: "8 s", "3 min", "2 h 05 min"."""
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """Says what is going on while a block runs.

    ``with Progress(lambda: "3 of 8 runs") as progress:`` asks for the status text again and again: in a terminal it
    rewrites one line, elsewhere it prints a line now and then. ``progress.say(text)`` adds a line that stays.

    Args:
        status: returns the current status, without line breaks.
        stream: where to; standard output by default.
    """

    def __init__(self, status: Callable[[], str], stream=None):
        self.status, self.stream = status, stream or sys.stdout
        self.terminal = self.stream.isatty()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._stop.set()
        self._thread.join()
        if self.terminal:
            self._write("\r\x1b[K")

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._write(("\r\x1b[K" if self.terminal else "") + text + "\n")

    def _run(self) -> None:
        while True:
            if self.terminal:
                width = shutil.get_terminal_size().columns - 1
                self._write("\r\x1b[K" + self.status()[:width])
            if self._stop.wait(TERMINAL_INTERVAL if self.terminal else LOG_INTERVAL):
                return
            if not self.terminal:
                self._write(self.status() + "\n")

    def _write(self, text: str) -> None:
        with self._lock:
            self.stream.write(text)
            self.stream.flush()


class Clock:
    """Time left, from estimates that the measured pace corrects as the work goes on.

    Args:
        total: estimated seconds of all work, if done by one worker.
        workers: how many work at the same time.
        now: the clock, in seconds.
    """

    def __init__(self, total: float, workers: int = 1, now: Callable[[], float] = time.monotonic):
        self.total, self.workers, self.now = total, workers, now
        self.done, self.started = 0.0, now()
        self.last = self.started  # when a piece of work was finished last

    def finished(self, estimate: float) -> None:
        """A piece of work that was estimated at so many seconds is done."""
        self.done, self.last = self.done + estimate, self.now()

    def left(self) -> float:
        """Seconds until everything is done; the measured pace counts as much as there is work behind it."""
        if self.total <= 0:
            return 0.0
        share = min(1.0, self.done / self.total)
        expected = 1 / self.workers  # seconds of waiting per estimated second of work
        measured = (self.last - self.started) / self.done if self.done else expected
        pace = share * measured + (1 - share) * expected
        return max(0.0, (self.total - self.done) * pace - (self.now() - self.last))

    def says(self) -> str:
        """The time left in words; an estimate that was too short is called that."""
        left = self.left()
        return f"about {duration(left)} left" if left >= 1 else "longer than estimated"


def project_root() -> Path:
    """Name the folder of the checked-out project, or the current one where the package is installed elsewhere."""
    return ROOT if (ROOT / "pyproject.toml").exists() else Path.cwd()


def data_roots(root: str | os.PathLike | None = None) -> list[Path]:
    """List the folders where real data are looked for: the given one alone, else ``$DGL_DATA``, then ``data`` here."""
    if root:
        return [Path(root)]
    named = os.environ.get("DGL_DATA")
    return ([Path(named)] if named else []) + [project_root() / "data"]


def results_root() -> Path:
    """Name the folder of this machine's records: ``$DGL_RESULTS``, or ``results/runs`` of the checkout."""
    return Path(os.environ.get("DGL_RESULTS") or ROOT / "results" / "runs")


def reference_root() -> Path:
    """Name the folder of the committed records: ``results/reference``."""
    return ROOT / "results" / "reference"
