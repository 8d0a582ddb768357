"""From specifications to records: the key of a run, making runs, finding them again."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dgl_core.runs.estimates import GUESS, Estimates
from dgl_core.runs.keys import canonical, key, revisions
from dgl_core.runs.store import Store
from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.utils import reference_root, results_root

POLL = 0.2  # seconds between looks at the workers


class RunsFailed(RuntimeError):
    """Some runs of a batch failed; all others are recorded. ``failures``: (spec, error) pairs."""

    def __init__(self, failures: list[tuple[RunSpec, Exception]]):
        self.failures = failures
        spec, error = failures[0]
        more = f" ({len(failures) - 1} more failed)" if len(failures) > 1 else ""
        run = f"{spec.method} on {spec.dataset}, seed {spec.seed}"
        super().__init__(f"{run}: {error}{more}. Finished runs are recorded.")


def find(spec: RunSpec, root: Path | None = None) -> RunRecord | None:
    """The record of a run in this machine's store (or in ``root``), or None."""
    return Store(root or results_root()).load(canonical(spec), key(spec))


def run(spec: RunSpec, recompute: bool = False, wait: bool = True) -> RunRecord | None:
    """The record of one run: found, or made here and now.

    A run that another living worker holds is waited for (``wait``), or None is returned. An interrupted run goes on
    from its last checkpoint and ends with the same record (times and memory aside).
    """
    from dgl_core.training.train import train

    spec, name, store = canonical(spec), key(spec), Store(results_root())
    while True:
        record = None if recompute else store.load(spec, name)
        if record is not None:
            return record
        with store.claim(spec, name) as mine:
            if mine:
                record = None if recompute else store.load(spec, name)
                if record is None:
                    checkpoint = store.path(spec, name).with_suffix(".checkpoint")
                    if recompute:
                        checkpoint.unlink(missing_ok=True)
                    record = train(spec, checkpoint=checkpoint, key=name, revisions=revisions(spec))
                    record = store.replace(record) if recompute else store.save(record)
                    checkpoint.unlink(missing_ok=True)
                return record
        if not wait:
            return None
        time.sleep(POLL)


def pending(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """The specifications without a record here, each once, in order."""
    seen, left = set(), []
    for spec in map(canonical, specs):
        name = key(spec)
        if name not in seen and find(spec) is None:
            left.append(spec)
        seen.add(name)
    return left


def run_all(
    specs: Iterable[RunSpec],
    client=None,
    recompute: bool = False,
    progress: Callable[[int, int, RunSpec, float], None] | None = None,
) -> list[RunRecord]:
    """Records of all specifications, in order.

    Args:
        client: None runs them one after another in this process, first those that no other runner is at. Anything with
            ``submit(function, *arguments)`` that returns futures spreads them: a ``dask.distributed.Client`` on a
            cluster, a ``ProcessPoolExecutor`` here. Workers share the store, so only the specification travels.
        recompute: make the runs again even if they are recorded.
        progress: called as ``progress(done, total, spec, seconds)`` after each run.

    Raises:
        RunsFailed: after all others have finished, if some failed.
    """
    specs = [canonical(spec) for spec in specs]
    unique = list({key(spec): spec for spec in specs}.values())
    failures: list[tuple[RunSpec, Exception]] = []
    started, done = time.perf_counter(), 0

    def finish(spec: RunSpec, result: Callable[..., RunRecord | None], *arguments: object) -> bool:
        """Count the run as done, unless another worker is still at it."""
        nonlocal done
        try:
            if result(*arguments) is None:
                return False
        except Exception as error:
            failures.append((spec, error))
        done += 1
        if progress is not None:
            progress(done, len(unique), spec, time.perf_counter() - started)
        return True

    if client is None:
        others = [spec for spec in unique if not finish(spec, run, spec, recompute, False)]
        for spec in others:
            finish(spec, run, spec, recompute)
    else:
        waiting = {client.submit(run, spec, recompute): spec for spec in unique}
        while waiting:
            for future in [f for f in waiting if f.done()]:
                finish(waiting.pop(future), future.result)
            time.sleep(POLL if waiting else 0)
    if failures:
        raise RunsFailed(failures)
    return [found for spec in specs if (found := find(spec)) is not None]


@functools.lru_cache(maxsize=256)
def _fingerprint(dataset: str, options: tuple, roots: tuple[Path, ...]) -> str:
    """Of the data below ``roots``, as they were when first asked for: loading a set takes seconds."""
    from dgl_core.training.train import _load

    return _load(dataset, None, options).fingerprint


def same_data(record: RunRecord | None) -> RunRecord | None:
    """The record, after its fingerprint was compared with the real data that are here now.

    Generated data are part of the key by their revision; where real data are absent there is nothing to compare with.

    Raises:
        ValueError: the data here are not those that the record was made from.
    """
    from dgl_core import data
    from dgl_core.utils import data_roots

    if record is None or data.DATASETS[record.spec.dataset].generated:
        return record
    if data.DATASETS[record.spec.dataset].available(None):
        spec = record.spec
        found = _fingerprint(spec.dataset, tuple(spec.dataset_options.items()), tuple(data_roots()))
        if found != record.data["fingerprint"]:
            raise ValueError(
                f"{record.spec.method} on {record.spec.dataset}, seed {record.spec.seed}, was recorded on other data "
                "than those here now: run again with recompute=True, or restore the data."
            )
    return record


def load_or_run(specs, *, recompute: bool = False):
    """Records in the shape of ``specs``: a dict of lists, or a list. What is not recorded here is trained now.

    Reads and writes this machine's store only; committed reference records never stand in for a run.
    """
    if isinstance(specs, Mapping):
        flat = [spec for group in specs.values() for spec in group]
        run_all(flat if recompute else pending(flat), recompute=recompute)
        return {name: [same_data(find(spec)) for spec in group] for name, group in specs.items()}
    return load_or_run({"": list(specs)}, recompute=recompute)[""]


def reference(specs):
    """Committed records in the shape of ``specs``; runs without one are left out."""
    if isinstance(specs, Mapping):
        return {name: reference(group) for name, group in specs.items()}
    found = (find(spec, reference_root() / spec.dataset) for spec in specs)
    return [record for record in found if record is not None]


def publish_reference(specs: Iterable[RunSpec]) -> int:
    """Copy this machine's records of ``specs`` to the committed reference folder; returns how many."""
    count = 0
    for spec in specs:
        record = find(spec)
        if record is not None:
            Store(reference_root() / spec.dataset).replace(record)
            count += 1
    return count


def rehearsal_root() -> Path:
    """Where reports of rehearsals are: beside the store, never in it."""
    return results_root().parent / "rehearsal"


def estimates(specs: Iterable[RunSpec]) -> Estimates:
    """What is known about the time of such runs, from records here and in the reference and from rehearsals."""
    sets = sorted({spec.dataset for spec in specs})
    return Estimates([results_root(), *(reference_root() / name for name in sets)], rehearsal_root())


def estimate_seconds(spec: RunSpec) -> float:
    """Rough training time of one run, a guess where nothing is known; for many runs ask ``estimates`` once."""
    known = estimates([spec]).seconds(spec)
    return spec.epochs * GUESS if known is None else known
