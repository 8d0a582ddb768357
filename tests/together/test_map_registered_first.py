"""Git proves that the runs of the map came after their predictions."""

from __future__ import annotations

import subprocess

import pytest

from dgl_core.paper.map import records
from dgl_core.paper.map.design import PATH, RESULTS
from dgl_core.utils import ROOT

FILES = sorted(RESULTS.glob("*.npz"))


def git(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_predictions_were_committed_before_the_runs(path):
    registered = git("log", "-1", "--format=%H", "--", str(PATH.relative_to(ROOT))).stdout.strip()
    if not registered or git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        pytest.skip("needs the whole history of the project, as a git clone has it")
    for environment in records.load(path)[1]["environments"]:
        commit = environment["commit"]
        assert "+" not in commit, f"{path.name}: made from files that were not committed ({commit})"
        descends = git("merge-base", "--is-ancestor", registered, commit).returncode == 0
        assert descends, f"{path.name} was made at {commit}, before {PATH.name} was last changed: make it again"


def test_the_records_stay_small():
    assert sum(path.stat().st_size for path in FILES) < 3_000_000
