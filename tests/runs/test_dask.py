"""A cluster of processes, one of which is killed: every run is recorded once, as on an undisturbed machine."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from dgl_core.runs import run
from dgl_core.training.records import RunSpec

distributed = pytest.importorskip("distributed")

SPECS = [
    RunSpec(
        "triplet",
        method,
        "mlp",
        epochs=30,
        milestones=(),
        batch_size=32,
        seed=seed,
        dataset_options={"samples": 400},
        model_options={"width": 32},
    )  # fmt: skip
    for method in ("vanilla", "dgl")
    for seed in range(3)
]


def plain(record) -> dict[str, object]:
    """A record without what may differ between two makings of one run."""
    curves = {name: values for name, values in record.curves.items() if not name.startswith("seconds/")}
    return {"key": record.key, "curves": curves, "predictions": record.predictions, "data": record.data}


def test_a_killed_worker_costs_no_run_and_no_digit(tmp_path, monkeypatch):
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path / "undisturbed"))
    expected = [plain(record) for record in run.run_all(SPECS)]
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path / "cluster"))
    killed = []

    def kill_one_at_work(pids: list[int]) -> None:
        """End a worker without a word, as soon as a run is claimed."""
        deadline = time.monotonic() + 120
        while not list((tmp_path / "cluster").rglob("*.claim")) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(pids[0], signal.SIGKILL)
        killed.append(pids[0])

    quiet = {"dashboard_address": None, "n_workers": 2, "threads_per_worker": 1, "processes": True}
    with distributed.LocalCluster(**quiet) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)
        before = list(client.run(os.getpid).values())
        killer = threading.Thread(target=kill_one_at_work, args=(before,))
        killer.start()
        found = run.run_all(SPECS, client=client)
        killer.join()
        after = set(client.run(os.getpid).values())
    assert killed and killed[0] not in after, "it was killed, and another one took its place"
    assert [plain(record) for record in found] == expected
    names = [path.suffix for path in (tmp_path / "cluster").rglob("*") if path.is_file()]
    assert names.count(".json") == len(SPECS) and ".checkpoint" not in names, names
