"""Git proves that confirming runs came after their question: the registration is an ancestor of each one's commit."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REGISTRATION = "results/registration.toml"


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def commits_of_records() -> dict[str, Path]:
    """One record for each commit that confirming records name."""
    found = {}
    for path in sorted((ROOT / "results" / "confirming").glob("*/*.json")):
        found.setdefault(json.loads(path.read_text())["environment"]["commit"], path)
    return found


def test_the_registration_was_committed_before_every_confirming_run():
    registered = git("log", "-1", "--format=%H", "--", REGISTRATION)
    if not registered or git("rev-parse", "--is-shallow-repository") != "false":
        pytest.skip("needs the whole history of the project, as a git clone has it")
    for commit, path in commits_of_records().items():
        assert "+" not in commit, f"{path.name}: made from files that were not committed ({commit})"
        done = subprocess.run(["git", "merge-base", "--is-ancestor", registered, commit], cwd=ROOT, capture_output=True)
        assert done.returncode == 0, (
            f"{path.name} was made at {commit}, before {REGISTRATION} was last changed ({registered[:9]}): a changed "
            "question needs fresh replicates"
        )
