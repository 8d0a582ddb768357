"""Serve every room: errors that name the remedy, typed options, folders of the project, progress.

No torch and nothing of the house is imported here, so every file may use it.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import math
import multiprocessing
import numbers
import operator
import os
import reprlib
import shutil
import signal
import sys
import threading
import time
from collections import UserDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent  # of the checkout, or where the package is installed


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
    """Name the folder of this machine's records: ``$DGL_RESULTS``, or ``results/runs`` of ``project_root``."""
    return Path(os.environ.get("DGL_RESULTS") or project_root() / "results" / "runs")


def reference_root() -> Path:
    """Name the folder of the committed records: ``results/reference`` of ``project_root``."""
    return project_root() / "results" / "reference"


def derive_seed(*parts: object) -> int:
    """Make a 56-bit seed of any values: random numbers depend on what they are for, not on what was drawn before."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:7], "big")


EXTRA_OF = {  # what is imported -> the extra of pyproject.toml that brings it; the core is torch and numpy
    **dict.fromkeys(
        ("PIL", "filelock", "joblib", "matplotlib", "pandas", "scipy", "sklearn", "soundfile", "threadpoolctl"), "data"
    ),
    **dict.fromkeys(("av", "librosa", "pooch", "requests"), "media"),
    **dict.fromkeys(
        (
            "docutils",
            "furo",
            "ipywidgets",
            "jinja2",
            "jupytext",
            "latex2mathml",
            "myst_parser",
            "nbclient",
            "nbformat",
            "papermill",
            "pygments",
            "sphinx",
        ),
        "notebooks",
    ),
    **dict.fromkeys(("dask", "distributed"), "cluster"),
    "h5py": "nyuv2",
    **dict.fromkeys(("onnx", "onnxscript"), "export"),
}


class MissingPackage(ModuleNotFoundError):
    """Say in one sentence which package is missing and what to type; a command prints it and ends with status 2."""


def needs(what: str, *packages: str) -> None:
    """Refuse to go on unless the packages can be imported; nothing is imported.

    Args:
        what: who needs them, as the subject of a sentence in the plural: "Figures".
        packages: what is imported, each a key of ``EXTRA_OF``.

    Raises:
        MissingPackage: names the first one that is missing and the extra to install.
    """
    for package in packages:
        if not importable(package):
            install = f"pip install 'dgl-core[{EXTRA_OF[package]}]'"
            raise MissingPackage(f"{what} need {package}, which is not installed: {install}", name=package)


def importable(package: str) -> bool:
    """Tell whether a package can be imported; nothing is imported."""
    try:
        return sys.modules.get(package) is not None or importlib.util.find_spec(package) is not None
    except ImportError:
        return False


def unknown_name(kind: str, name: object, choices: Iterable[str]) -> ValueError:
    """Make the error for a name that does not exist, with the nearest one that does."""
    choices = list(choices)
    near = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(map(repr, sorted(choices)))}."
    return ValueError(f"Unknown {kind} {name!r}: {hint}")


def check_modality_names(names: Iterable[object]) -> None:
    """Refuse a modality's name that the house itself uses, or that would split a column, a path or a parameter name."""
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
    kind = type(default)
    try:
        if isinstance(default, bool | str):
            if not isinstance(value, kind):
                raise TypeError
        elif isinstance(default, int | float):
            number = kind(value)
            if isinstance(value, str | bool) or isinstance(default, int) and number != value:
                raise TypeError
            return number
        elif isinstance(default, tuple):
            if isinstance(value, str):
                raise TypeError
            return tuple(coerce(name, item, default[0]) if default else item for item in value)
        return value
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} is {value!r}; it must be of type {kind.__name__} (default {default!r}).") from None


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


ENDS = {  # of a range: words and comparison
    "low": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "high": ("at most", operator.le),
    "below": ("below", operator.lt),
}


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
        said = [f"{ENDS[name][0]} {end:g}" for name, end in self._ends()]
        return " and ".join(said if len(said) > 1 else [*said, "finite"])

    def check(self, name: str, value: object) -> None:
        """Raise a ``ValueError`` that names option, value and range unless the value is in it (NaN is not)."""
        for item in value if isinstance(value, tuple) else (value,):
            if self.choices and item not in self.choices:
                raise unknown_name(name, item, self.choices)
            if not self.choices and not self._holds(item):
                raise ValueError(f"{name} is {value}; {'each' if isinstance(value, tuple) else 'it'} must be {self}.")

    def _holds(self, number: object) -> bool:
        finite = isinstance(number, int) or isinstance(number, float) and math.isfinite(number)
        return finite and all(ENDS[name][1](number, end) for name, end in self._ends())

    def _ends(self) -> list[tuple[str, float]]:
        return [(name, end) for name in ENDS if (end := getattr(self, name)) is not None]


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C for a moment; a process that is started meanwhile ignores it for good, and its parent ends it."""
    if threading.current_thread() is not threading.main_thread():  # only that one may set signals
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def end_with_parent() -> None:
    """Let this process end as soon as the one that started it has, however that one did."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Registry(UserDict):
    """Things by name; one written as "module:thing" is imported when it is first asked for, alone."""

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        if isinstance(found, str):
            module, _, thing = found.partition(":")
            found = self[name] = getattr(importlib.import_module(module), thing)
        return found


TERMINAL_INTERVAL = 0.5  # seconds between rewritings of the line
LOG_INTERVAL = 30.0  # seconds between status lines in a log
NOTEBOOK_WIDTH = 100  # characters of a line below a cell


def duration(seconds: float) -> str:
    """Write a time for people: "8 s", "3 min", "2 h 05 min"."""
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def in_notebook(stream) -> bool:
    """Tell whether what is written to ``stream`` appears below the cell of a notebook."""
    jupyter = sys.modules.get("ipykernel.iostream")
    return jupyter is not None and isinstance(stream, jupyter.OutStream)


class Progress:
    """Says what is going on while a block runs: in a terminal or a notebook it rewrites one line, else it prints some.

    Args:
        status: returns the current status, without line breaks.
        stream: where to; standard output by default.
    """

    def __init__(self, status: Callable[[], str], stream=None):
        self.status, self.stream = status, stream or sys.stdout
        notebook = in_notebook(self.stream)
        self.terminal = self.stream.isatty() or notebook
        self.clear = f"\r{' ' * NOTEBOOK_WIDTH}\r" if notebook else "\r\x1b[K"  # notebooks know no such escape
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._stop.set()
        self._thread.join()
        if self.terminal:
            self._write(self.clear)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._write((self.clear if self.terminal else "") + text + "\n")

    def _run(self) -> None:
        shown = None
        while True:
            if self.terminal:
                line = self.status()[: shutil.get_terminal_size().columns - 1]
                if line != shown:
                    self._write(self.clear + line)
                shown = line
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
        workers: how many work at the same time. now: the clock, in seconds.
    """

    def __init__(self, total: float, workers: int = 1, now: Callable[[], float] = time.monotonic):
        self.total, self.workers, self.now, self.done = total, workers, now, 0.0
        self.started = self.last = now()  # last: when a piece of work was finished

    def finished(self, estimate: float) -> None:
        """Count a piece of work as done that was estimated at so many seconds."""
        self.done, self.last = self.done + estimate, self.now()

    def left(self) -> float:
        """Estimate the seconds left; the measured pace counts as much as there is work behind it."""
        if self.total <= 0:
            return 0.0
        share = min(1.0, self.done / self.total)
        expected = 1 / self.workers  # seconds of waiting per estimated second of work
        measured = (self.last - self.started) / self.done if self.done else expected
        pace = share * measured + (1 - share) * expected
        return max(0.0, (self.total - self.done) * pace - (self.now() - self.last))

    def says(self) -> str:
        """Write the time left in words; an estimate that was too short is called that."""
        left = self.left()
        return f"about {duration(left)} left" if left >= 1 else "longer than estimated"
