"""The fault campaign: kills, damaged files, bad inputs, full disks, wrong clocks. Nothing lost, silent or obscure.

    make torture [COUNT=1800] [SEED=0]
    python -m tests.faults.torture --seed 0 --case damage-record/17     # one case again, with all that was said

Every case is a pure function of seed, kind and number. It works in a temporary folder, in a process of its own; two
run at a time. A case fails as one of

    lost      finished work is gone, or the work never comes to its end
    silent    another answer than that of an undisturbed run, or a bad input believed, without a word
    obscure   a traceback, a raw message of a library, or a sentence that does not name the thing
    left      temporary files, claims or live processes stay behind
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dgl_core.reproduce.execute import kernel_environment

HOW = ("lost", "silent", "obscure", "left")
TOGETHER = 2  # cases at the same time, each on a core
COUNT = 1800  # cases by default: over 200 kills, over 400 damaged files, every bad input


@dataclass(frozen=True)
class Kind:
    """One way to torture the house.

    Args:
        name: in the table and in ``--case``.
        run: ``run(rng, folder, number)`` does one case and says what it did; raises ``Failed``.
        share: how many of ``COUNT`` cases are of this kind.
        size: how many different ones there are, where the kind is a list and not a lottery.
        seconds: a case that takes longer hangs.
        prepare: ``prepare(folder)`` makes in a process of the campaign what all cases of the kind start from.
    """

    name: str
    run: Callable[[random.Random, Path, int], str]
    share: int
    size: int = 0
    seconds: float = 240.0
    prepare: Callable[[Path], object] | None = None

    def numbers(self, count: int, seed: int) -> list[int]:
        """The numbers of the cases that belong to a campaign of ``count``."""
        wanted = max(1, round(self.share * count / COUNT))
        if not self.size:
            return list(range(wanted))
        if wanted >= self.size:
            return list(range(self.size))
        return sorted(random.Random(f"{seed}/{self.name}").sample(range(self.size), wanted))


@dataclass(frozen=True)
class Outcome:
    """How one case went: ``how`` is "" or one of ``HOW``, or "broken" where the instrument itself failed.

    ``seconds`` are those of the case, without what all cases of its kind start from; ``work`` are those of a core.
    """

    kind: str
    number: int
    how: str
    what: str
    seconds: float = 0.0
    work: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.number}"


def kinds() -> dict[str, Kind]:
    """All kinds by name."""
    from tests.faults import torture_claims, torture_damage, torture_disks, torture_inputs, torture_kills

    modules = (torture_kills, torture_damage, torture_claims, torture_inputs, torture_disks)
    return {kind.name: kind for module in modules for kind in module.KINDS}


class Campaign:
    """A temporary workplace, and the cases that are run in it.

    Args:
        seed: of everything random.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.root = Path(tempfile.mkdtemp(prefix="dgl_torture_")).resolve()
        self.prepared: set[str] = set()
        self.running: dict[int, tuple[Kind, int, Path, float]] = {}

    def __enter__(self) -> Campaign:
        import torch

        from tests.faults.torture_process import adopt_orphans

        adopt_orphans()
        self.threads = torch.get_num_threads()
        torch.set_num_threads(1)
        return self

    def __exit__(self, *error) -> None:
        import torch

        from tests.faults.torture_process import descendants, end

        torch.set_num_threads(self.threads)
        end(descendants(os.getpid()) if self.running else [])
        for pid in self.running:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        for folder in sorted(self.root.glob("*/disk")):  # a small disk that a killed case left mounted
            os.system(f"umount -l '{folder}' 2>/dev/null")
        shutil.rmtree(self.root, ignore_errors=True)

    def prepare(self, kind: Kind) -> None:
        """Make what all cases of a kind start from, once."""
        if kind.prepare is not None and kind.name not in self.prepared:
            kind.prepare(self.root)
        self.prepared.add(kind.name)

    def start(self, kind: Kind, number: int) -> None:
        """Fork the process of one case."""
        self.prepare(kind)
        folder = self.root / f"{kind.name}-{number}"
        folder.mkdir()
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            outcome = self._live(kind, number, folder)
            (folder / "outcome").write_bytes(pickle.dumps(outcome))
            os._exit(0)
        self.running[pid] = kind, number, folder, time.monotonic()

    def _live(self, kind: Kind, number: int, folder: Path) -> Outcome:
        from tests.faults.torture_process import Failed, adopt_orphans, nobody_left

        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_DFL)
        os.setpgid(0, 0)
        adopt_orphans()
        try:
            what = kind.run(random.Random(f"{self.seed}/{kind.name}/{number}"), folder, number)
            nobody_left()
            return Outcome(kind.name, number, "", what)
        except Failed as failed:
            return Outcome(kind.name, number, failed.how, failed.what)
        except BaseException:
            return Outcome(kind.name, number, "broken", traceback.format_exc())

    def finished(self) -> list[Outcome]:
        """Outcomes of cases that have ended since the last call; a case that hangs is ended."""
        from tests.faults.torture_process import descendants, end, patience

        outcomes = []
        for pid, (kind, number, folder, started) in list(self.running.items()):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                if time.monotonic() - started < kind.seconds * patience():
                    continue
                end([*descendants(pid), pid])
            _, _, used = os.wait4(pid, 0)
            del self.running[pid]
            try:
                outcome = pickle.loads((folder / "outcome").read_bytes())
            except OSError:
                outcome = Outcome(kind.name, number, "lost", f"still at it after {kind.seconds:.0f} s")
            took = {"seconds": time.monotonic() - started, "work": used.ru_utime + used.ru_stime}
            outcomes.append(replace(outcome, **took))
            if (folder / "disk").is_dir():
                os.system(f"umount -l '{folder / 'disk'}' 2>/dev/null")
            shutil.rmtree(folder, ignore_errors=True)
        return outcomes

    def run(self, cases: Sequence[tuple[Kind, int]], tell: Callable[[Outcome], None]) -> list[Outcome]:
        """Run all cases, two at a time; ``tell`` hears of each when it has ended."""
        waiting, outcomes = list(reversed(cases)), []
        while waiting or self.running:
            while waiting and len(self.running) < TOGETHER:
                self.start(*waiting.pop())
            for outcome in self.finished():
                outcomes.append(outcome)
                tell(outcome)
            time.sleep(0.01)
        return outcomes


def table(outcomes: Sequence[Outcome]) -> str:
    """A line a kind: how many were tried and how many failed in which way; seconds a case, and those of a core."""
    tried, took, work = Counter(outcome.kind for outcome in outcomes), Counter(), Counter()
    for outcome in outcomes:
        took[outcome.kind] += outcome.seconds
        work[outcome.kind] += outcome.work
    failed = Counter((outcome.kind, outcome.how) for outcome in outcomes)

    def row(name: str, kinds: Sequence[str]) -> list[object]:
        count = sum(tried[kind] for kind in kinds)
        times = (f"{sum(seconds[k] for k in kinds) / max(count, 1):.1f}" for seconds in (took, work))
        return [name, count, *(sum(failed[kind, how] for kind in kinds) for how in HOW), *times]

    rows = [["kind", "tried", *HOW, "seconds", "of a core"], *(row(kind, [kind]) for kind in tried)]
    for group, words in (("all kills", "kill-"), ("all damaged files", "damage-"), ("all bad inputs", "input-")):
        alike = [kind for kind in tried if kind.startswith(words)]
        if len(alike) > 1:
            rows.append(row(group, alike))
    rows.append(row("everything", list(tried)))
    return "\n".join(f"{line[0]:<22}" + "".join(f"{value:>10}" for value in line[1:]) for line in rows)


def lines(outcome: Outcome, seed: int) -> str:
    """A failing case in words, and how to repeat it."""
    again = f"python -m tests.faults.torture --seed {seed} --case {outcome.name}"
    return f"{outcome.how.upper()}  {outcome.name}: {outcome.what}\n    again: {again}"


def chosen(case: str, known: dict[str, Kind]) -> list[tuple[Kind, int]]:
    """The cases that ``--case`` names: KIND/NUMBER, or KIND/FIRST-LAST."""
    from dgl_core.utils import unknown_name

    name, _, place = case.partition("/")
    first, _, last = place.partition("-")
    if name not in known:
        raise unknown_name("kind of torture", name, known)
    if not first.isdecimal() or not (last or first).isdecimal():
        raise ValueError(f"--case is {case!r}; write KIND/NUMBER, for example {name}/3, or {name}/0-9.")
    return [(known[name], number) for number in range(int(first), int(last or first) + 1)]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 nothing was lost, silent, obscure or left; 1 something was; 2 no such case; 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.torture", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=COUNT, help=f"about so many cases ({COUNT})")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    parser.add_argument("--case", default="", metavar="KIND/NUMBER", help="only this case, or KIND/FIRST-LAST")
    parser.add_argument("--only", nargs="+", default=[], metavar="KIND", help="only kinds whose names begin so")
    options = parser.parse_args(arguments)
    os.environ.update(kernel_environment(portable=True) | {"PYTHONHASHSEED": "0"})
    for name in ("DGL_REPORT", "DGL_DATA", "DGL_RESULTS", "DGL_DATA_CACHE"):
        os.environ.pop(name, None)
    known = kinds()
    try:
        cases = chosen(options.case, known) if options.case else [
            (kind, number) for kind in known.values() for number in kind.numbers(options.count, options.seed)
            if not options.only or kind.name.startswith(tuple(options.only))
        ]  # fmt: skip
        if options.count < 1 or not cases:
            raise ValueError(f"--count is {options.count} and --only {options.only}: no case is left; the kinds are "
                             + ", ".join(known))  # fmt: skip
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    done, bad, started, terminal = [], Counter(), time.monotonic(), sys.stdout.isatty()

    def tell(outcome: Outcome) -> None:
        done.append(outcome)
        bad.update([outcome.how] if outcome.how else [])
        if outcome.how or options.case:
            end_of_line = "\r\x1b[K" if terminal else ""
            said = lines(outcome, options.seed) if outcome.how else f"ok  {outcome.name}: {outcome.what}"
            print(end_of_line + said, flush=True)
        if not terminal and len(done) % 100 == 0:
            print(f"{len(done)} of {len(cases)} cases, {sum(bad.values())} failed, {outcome.kind}", flush=True)
        if terminal:
            text = f"{len(done)} of {len(cases)} cases, {sum(bad.values())} failed, {outcome.kind}"
            print(f"\r\x1b[K{text}"[: shutil.get_terminal_size().columns], end="", flush=True)

    interrupted = False
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Campaign(options.seed) as campaign:
            campaign.run(cases, tell)
    except KeyboardInterrupt:
        interrupted = True
    print("\r\x1b[K" if terminal else "", end="")
    print(table(done))
    minutes, broken = (time.monotonic() - started) / 60, bad["broken"]
    print(f"Seed {options.seed}, {len(done)} of {len(cases)} cases in {minutes:.1f} min: {sum(bad.values())} failed"
          + (f", {broken} because the instrument broke" if broken else ""))  # fmt: skip
    return 130 if interrupted else 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
