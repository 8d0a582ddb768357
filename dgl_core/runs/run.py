"""Make and find runs: from specifications to records."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from dgl_core import data
from dgl_core.runs.estimates import GUESS, Estimates
from dgl_core.runs.keys import Run, resolve
from dgl_core.runs.store import Store
from dgl_core.training.environment import is_portable, making
from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.utils import Clock, Progress, data_roots, duration, in_notebook, reference_root, results_root

if TYPE_CHECKING:
    import torch

    from dgl_core.training.distributed import Team

POLL = 0.2  # seconds between looks at the workers


class RunsFailed(RuntimeError):
    """Raised after all runs of a batch if some failed; the others are recorded. ``failures``: (spec, error) pairs."""

    def __init__(self, failures: list[tuple[RunSpec, Exception]]):
        self.failures = failures
        spec, error = failures[0]
        more = f" ({len(failures) - 1} more failed)" if len(failures) > 1 else ""
        super().__init__(f"{spec}: {error}{more}. Finished runs are recorded.")


def find(spec: RunSpec | Run, root: Path | None = None) -> RunRecord | None:
    """Find the record of a run in this machine's store (or in ``root``); None if there is none."""
    wanted = resolve(spec)
    return (Store(root) if root else here()).load(wanted.spec, wanted.key)


def here(device: torch.device | None = None, processes: int = 1) -> Store:
    """Open this machine's store for the runs that this process makes: with its numerics, on so many processes."""
    portable = is_portable() and (device is None or device.type == "cpu")
    return Store(results_root(), making(portable, processes))


def find_or_make(
    wanted: Run,
    make: Callable[[Path], RunRecord],
    *,
    recompute: bool = False,
    device: torch.device | None = None,
    team: Team | None = None,
) -> tuple[str, RunRecord | None]:
    """Find a record, or claim the run, train it by ``make(checkpoint)``, keep its record and drop its checkpoint.

    ``recompute`` trains even if the run is recorded, and from the start; of a ``team`` of processes that train together
    the first one alone looks at the store.

    Returns:
        ``("recorded", record)``, ``("made", record)``, or ``("held", None)`` while another living worker is at the run;
        no record for processes after the first.
    """
    store = here(device, team.size if team else 1)
    checkpoint = store.path(wanted.spec, wanted.key).with_suffix(".checkpoint")
    record, state, first = None, None, team is None or team.rank == 0

    def look() -> RunRecord | None:
        return None if recompute else store.load(wanted.spec, wanted.key) or here(device).load(wanted.spec, wanted.key)

    with contextlib.ExitStack() as held:
        if first:
            store.clean(checkpoint.stem)
            record = look()
            mine = record is None and held.enter_context(store.claim(wanted.spec, wanted.key))
            record = look() if mine else record  # another worker may have finished it since
            state = "recorded" if record is not None else "made" if mine else "held"
        state = team.agree(state) if team else state
        if state != "made":
            return state, record
        if first and recompute:
            checkpoint.unlink(missing_ok=True)
        made = make(checkpoint)
        if first:
            kept = here(device) if made.making == here(device).making else store  # several processes, the whole batch
            record = kept.replace(made) if recompute else kept.save(made)
            checkpoint.unlink(missing_ok=True)
        return state, record


def run(spec: RunSpec | Run, recompute: bool = False, wait: bool = True) -> RunRecord | None:
    """Find or make the record of one run, here and now; None if another living worker holds it and ``wait`` is unset.

    An interrupted run goes on from its last checkpoint and ends with the same record (times and memory aside).
    """
    from dgl_core.training.train import train  # here, because the plan of a report is made without torch

    wanted = resolve(spec)

    def made(checkpoint: Path) -> RunRecord:
        return train(wanted.spec, checkpoint=checkpoint, key=wanted.key, revisions=wanted.revisions)

    while True:
        state, record = find_or_make(wanted, made, recompute=recompute)
        if state != "held" or not wait:
            return record
        time.sleep(POLL)


def pending(specs: Iterable[RunSpec | Run]) -> list[RunSpec]:
    """List the specifications without a record here, each once, in order."""
    return [wanted.spec for wanted in _missing(map(resolve, specs))]


def _missing(runs: Iterable[Run]) -> list[Run]:
    return [wanted for wanted in dict.fromkeys(runs) if find(wanted) is None]


def run_all(
    specs: Iterable[RunSpec | Run],
    client=None,
    recompute: bool = False,
    progress: Callable[[int, int, RunSpec, float], None] | None = None,
) -> list[RunRecord]:
    """Find or make the records of all specifications, in order.

    Args:
        client: None runs them one after another in this process, first those that no other runner is at. Anything with
            ``submit(function, *arguments)`` spreads them: a ``dask.distributed.Client``, a ``ProcessPoolExecutor``.
            Workers share the store, so only the specification travels.
        recompute: make the runs again even if they are recorded.
        progress: called as ``progress(done, total, spec, seconds)`` after each run.

    Raises:
        RunsFailed: after all others have finished, if some failed.
    """
    runs = [resolve(spec) for spec in specs]
    unique = list(dict.fromkeys(runs))
    if unique:
        here().clean()
    failures: list[tuple[RunSpec, Exception]] = []
    started, done = time.perf_counter(), 0

    def finish(wanted: Run, result: Callable[..., RunRecord | None], *arguments: object) -> bool:
        """Count the run as done, unless another worker is still at it."""
        nonlocal done
        try:
            if result(*arguments) is None:
                return False
        except Exception as error:
            failures.append((wanted.spec, error))
        done += 1
        if progress is not None:
            progress(done, len(unique), wanted.spec, time.perf_counter() - started)
        return True

    if client is None:
        others = [wanted for wanted in unique if not finish(wanted, run, wanted, recompute, False)]
        for wanted in others:
            finish(wanted, run, wanted, recompute)
    else:
        waiting = {client.submit(run, wanted.spec, recompute): wanted for wanted in unique}
        while waiting:
            for future in [f for f in waiting if f.done()]:
                finish(waiting.pop(future), future.result)
            time.sleep(POLL if waiting else 0)
    if failures:
        raise RunsFailed(failures)
    return [found for wanted in runs if (found := find(wanted)) is not None]


@functools.lru_cache(maxsize=256)
def _fingerprint(dataset: str, options: tuple, roots: tuple[Path, ...]) -> str:
    """Fingerprint a data set; cached, because loading takes seconds. ``roots`` tells apart where the data lie."""
    from dgl_core.training.train import load

    return load(dataset, None, options).fingerprint


def same_data(record: RunRecord | None) -> RunRecord | None:
    """Raise a ``ValueError`` if a record was made from other real data than those here now; else return it."""
    recipe = data.DATASETS[record.spec.dataset] if record is not None else None
    if recipe and not recipe.generated and recipe.available(None):  # the revision of generated data is in the key
        spec = record.spec
        found = _fingerprint(spec.dataset, tuple(spec.dataset_options.items()), tuple(data_roots()))
        if found != record.data["fingerprint"]:
            raise ValueError(f"{spec}, was recorded on other data than those here now: run again with recompute=True, "
                             "or restore the data.")  # fmt: skip
    return record


@contextlib.contextmanager
def _below_the_cell(todo: list[Run]) -> Iterator[Callable[[int, int, RunSpec, float], None] | None]:
    """Say below a notebook's cell how many runs are made and how long the others take; commands have their own lines.

    The line goes to standard error, which a comparison of outputs leaves aside; one sentence of it stays.
    """
    if not todo or not in_notebook(sys.stderr):
        yield None
        return
    known = Estimates([results_root()], rehearsal_root())
    clock, done = Clock(sum(seconds_of(wanted.spec, known) for wanted in todo)), 0

    def count(made: int, total: int, spec: RunSpec, seconds: float) -> None:
        nonlocal done
        done = made
        clock.finished(seconds_of(spec, known))

    with Progress(lambda: f"training: {done} of {len(todo)} runs made, {clock.says()}", sys.stderr):
        yield count
    print(f"{len(todo)} runs trained in {duration(clock.now() - clock.started)}.", file=sys.stderr)


@overload
def load_or_run(specs: Mapping[str, Iterable[RunSpec]], *, recompute: bool = ...) -> dict[str, list[RunRecord]]: ...


@overload
def load_or_run(specs: Iterable[RunSpec], *, recompute: bool = ...) -> list[RunRecord]: ...


def load_or_run(specs: Any, *, recompute: bool = False) -> Any:
    """Find or make records in the shape of ``specs``: a dict of lists, or a list.

    Reads and writes this machine's store only; committed reference records never stand in for a run.
    """
    if not isinstance(specs, Mapping):
        return load_or_run({"": list(specs)}, recompute=recompute)[""]
    groups = {name: [resolve(spec) for spec in group] for name, group in specs.items()}
    every = list(dict.fromkeys(wanted for group in groups.values() for wanted in group))
    todo = every if recompute else _missing(every)
    with _below_the_cell(todo) as progress:
        run_all(todo, recompute=recompute, progress=progress)
    return {name: [same_data(find(wanted)) for wanted in group] for name, group in groups.items()}


@overload
def reference(specs: Mapping[str, Iterable[RunSpec]]) -> dict[str, list[RunRecord]]: ...


@overload
def reference(specs: Iterable[RunSpec]) -> list[RunRecord]: ...


def reference(specs: Any) -> Any:
    """Find committed records in the shape of ``specs``; runs without one are left out."""
    if isinstance(specs, Mapping):
        return {name: reference(group) for name, group in specs.items()}
    return [record for spec in specs if (record := find(spec, reference_root() / spec.dataset)) is not None]


def publish_reference(specs: Iterable[RunSpec]) -> int:
    """Copy this machine's records of ``specs`` to the committed reference folder; returns how many."""
    records = [record for spec in specs if (record := find(spec)) is not None]
    for record in records:
        Store(reference_root() / record.spec.dataset).replace(record)
    return len(records)


def rehearsal_root() -> Path:
    """Name the folder of rehearsal reports: beside the store, never in it."""
    return results_root().parent / "rehearsal"


def estimates(specs: Iterable[RunSpec]) -> Estimates:
    """Collect what is known about the time of such runs: records here and in the reference, and rehearsals."""
    sets = sorted({spec.dataset for spec in specs})
    return Estimates([results_root(), *(reference_root() / name for name in sets)], rehearsal_root())


def seconds_here(specs: Iterable[RunSpec]) -> float:
    """Estimate the time of all runs together, one after another, from what this machine has recorded."""
    known = Estimates([results_root()], rehearsal_root())
    return sum(seconds_of(spec, known) for spec in specs)


def seconds_of(spec: RunSpec, known: Estimates) -> float:
    """Estimate the training time of one run, a guess where nothing is known."""
    return known.seconds(spec) or spec.epochs * GUESS


def estimate_seconds(spec: RunSpec) -> float:
    """Estimate the training time of one run from all that is known; for many runs ask ``estimates`` once."""
    return seconds_of(spec, estimates([spec]))
