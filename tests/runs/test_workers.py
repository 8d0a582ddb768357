"""Processes that train: where they run, and that Ctrl-C is not theirs to answer."""

from __future__ import annotations

import signal

from dgl_core.runs.workers import local_workers


def test_ctrl_c_is_for_the_runner_and_not_for_its_workers():
    """From their first moment: a worker that is still importing would answer with a traceback and break the pool."""
    with local_workers(2) as pool:
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
        pids = list(pool._processes)
        assert len(pids) == 2, "all of them start while Ctrl-C is ignored"
    assert signal.getsignal(signal.SIGINT) != signal.SIG_IGN
