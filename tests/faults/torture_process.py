"""Run pieces of a case in processes of their own: forked from one that has imported everything, watched, ended.

A forked process costs milliseconds where a fresh one imports torch for seconds, and it may be killed, hang, crash or
run out of memory without harm to the campaign.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import pickle
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HOUSE = str(Path(__file__).resolve().parents[2] / "dgl_core")
MEMORY = 2 * 2**30  # bytes of address space a process may take besides the libraries: more is a bad input believed
PLAIN = (ValueError, TypeError, OSError, ArithmeticError)  # what a library may raise for what it was given


class Failed(Exception):
    """A case that went wrong: ``how`` (lost, silent, obscure or left) and ``what`` was seen."""

    def __init__(self, how: str, what: str):
        super().__init__(how, what)
        self.how, self.what = how, what


@dataclass(frozen=True)
class Raised:
    """An exception that left the process: its type, its text, whether the house raised it on purpose, the place."""

    kind: str
    text: str
    own: bool
    place: str


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: exit status; minus the signal that ended it. hung: it was still running when its time was over.
        output, errors: what it wrote. value: what the work returned. raised: the exception that left it.
    """

    status: int
    hung: bool
    output: str
    errors: str
    value: object = None
    raised: Raised | None = None

    @property
    def said(self) -> str:
        """Everything that a person would have read."""
        return "\n".join(filter(None, [self.output, self.errors, self.raised.text if self.raised else ""]))


class Child:
    """A forked process that does ``work()``.

    Args:
        folder: made here; holds what the process writes.
        command: an exception is printed as Python would, and what ``work`` returns is the exit status.
    """

    def __init__(self, work: Callable[[], object], folder: Path, command: bool = False):
        folder.mkdir(parents=True)
        self.folder = folder
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            _live(work, folder, command)

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def running(self) -> bool:
        """Still there? (A process that has ended is kept for ``wait``.)"""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def wait(self, seconds: float = 60.0) -> Ended:
        """Its end, forced when the time is over."""
        give_up, hung = time.monotonic() + seconds * patience(), False
        while self.running():
            if time.monotonic() > give_up:
                hung = True
                end([*descendants(self.pid), self.pid])
            time.sleep(0.005)
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        output, errors = ((self.folder / name).read_text(errors="replace") for name in ("output", "errors"))
        try:
            value, raised = pickle.loads((self.folder / "value").read_bytes())
        except (OSError, EOFError, pickle.UnpicklingError):
            value = raised = None
        return Ended(code, hung, output, errors, value, raised)


def _live(work: Callable[[], object], folder: Path, command: bool) -> None:
    """The life of the forked process; it never returns to the code of its parent."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number, name in ((1, "output"), (2, "errors")):
        os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
    value, raised, status = None, None, 0
    try:
        resource.setrlimit(resource.RLIMIT_AS, (address_space() + MEMORY,) * 2)
        value = work()
        status = value if command and isinstance(value, int) else 0
    except SystemExit as end_of_command:
        code = end_of_command.code
        status = code if isinstance(code, int) else int(code is not None)
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException as error:
        status = 1
        raised = _described(error)
        if command:
            traceback.print_exc()
    with contextlib.suppress(BaseException):
        (folder / "value").write_bytes(pickle.dumps((value, raised)))
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status % 256)


def address_space() -> int:
    """Bytes of address space that this process has now; torch with CUDA libraries takes gigabytes of it."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _described(error: BaseException) -> Raised:
    frames = traceback.extract_tb(error.__traceback__)
    last = next((f for f in reversed(frames) if f.filename.startswith(HOUSE)), frames[-1])
    house_raised = frames[-1].filename.startswith(HOUSE)
    declared = type(error).__module__.partition(".")[0] == "dgl_core"
    own = house_raised and (declared or isinstance(error, PLAIN)) and not isinstance(error, UnicodeError)
    place = f"{os.path.relpath(last.filename, Path(HOUSE).parent)}:{last.lineno}"
    return Raised(type(error).__name__, str(error), own, place)


def call(work: Callable[[], object], folder: Path, seconds: float = 60.0, command: bool = False) -> Ended:
    """Do ``work`` in a process of its own, to its end."""
    number = len(list(folder.glob("process*"))) if folder.is_dir() else 0
    return Child(work, folder / f"process{number}", command).wait(seconds)


def dgl(*words: str) -> int:
    """``python -m dgl_core WORDS``, in this process."""
    from dgl_core.__main__ import main

    return main(list(words))


def command(words: Sequence[str], folder: Path, seconds: float = 60.0) -> Ended:
    """``python -m dgl_core WORDS`` in a process of its own."""
    return call(lambda: dgl(*words), folder, seconds, command=True)


# -- the family of a process -------------------------------------------------------------------------------------------


def adopt_orphans() -> None:
    """From now on, orphans among the descendants of this process become its children, so that it can see them."""
    with contextlib.suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def descendants(pid: int) -> list[int]:
    """All processes below ``pid`` that have not ended, parents first."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            if entry.name.isdigit():
                with open(f"/proc/{entry.name}/stat") as file:
                    state, parent = file.read().rpartition(")")[2].split()[:2]
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(entry.name))
    found = list(children.get(pid, []))
    for one in found:
        found += children.get(one, [])
    return found


def words_of(pid: int) -> str:
    """The command line of a process."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def end(pids: Sequence[int]) -> None:
    """Kill these processes, and take leave of those that are children of this one."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def reap() -> None:
    """Take leave of children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def patience() -> float:
    """How much longer than usual things take here now, because other work runs beside them."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def nobody_left(seconds: float = 15.0) -> None:
    """Everything that the case started has ended, or ends soon.

    Raises:
        Failed: naming what lives on; it is ended.
    """
    give_up = time.monotonic() + seconds * patience()
    while alive := descendants(os.getpid()):
        if time.monotonic() > give_up:
            names = sorted({words_of(pid)[:90] for pid in alive} - {""})
            end(alive)
            raise Failed("left", f"{len(alive)} live processes after {seconds:.0f} s: {'; '.join(names)}")
        reap()
        time.sleep(0.05)


# -- preparing ---------------------------------------------------------------------------------------------------------


def undisturbed(work: Callable[[], object], folder: Path, seconds: float = 300.0) -> object:
    """What ``work`` gives when nothing disturbs it; what it imports is imported here, so that later forks have it.

    Raises:
        RuntimeError: it fails even so; the campaign cannot judge anything.
    """

    def watched() -> tuple[object, list[str]]:
        return work(), sorted(sys.modules)

    ended = call(watched, folder, seconds)
    if ended.value is None:
        raise RuntimeError(f"it fails without any disturbance: {ended.said[-2000:]}")
    value, modules = ended.value
    for name in modules:
        if name not in sys.modules and not name.startswith(("tests", "__")):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    return value
