"""One rewriting line in a terminal, plain lines in a log."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable

TERMINAL_INTERVAL = 0.5  # seconds between rewritings of the line
LOG_INTERVAL = 30.0  # seconds between status lines in a log


def duration(seconds: float) -> str:
    """Time for people: "8 s", "3 min", "2 h 05 min"."""
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
