"""Git proves that confirming runs came after their question: the registration is an ancestor of each one's commit."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REGISTRATION = "results/registration.toml"
FOLLOWUP = "results/confirming/followup.toml"


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def commits_of_records() -> dict[tuple[str, str], Path]:
    """One record for each commit that confirming records name, and for the file that registered it."""
    first = tomllib.loads((ROOT / FOLLOWUP).read_text())["first"]
    found = {}
    for path in sorted((ROOT / "results" / "confirming").glob("*/*.json")):
        body = json.loads(path.read_text())
        registered = FOLLOWUP if body["spec"]["seed"] >= first else REGISTRATION
        found.setdefault((body["environment"]["commit"], registered), path)
    return found


def test_what_is_asked_was_committed_before_every_confirming_run():
    known = git("log", "-1", "--format=%H", "--", REGISTRATION)
    if not known or git("rev-parse", "--is-shallow-repository") != "false":
        pytest.skip("needs the whole history of the project, as a git clone has it")
    for (commit, registered), path in commits_of_records().items():
        since = git("log", "-1", "--format=%H", "--", registered)
        assert "+" not in commit, f"{path.name}: made from files that were not committed ({commit})"
        done = subprocess.run(["git", "merge-base", "--is-ancestor", since, commit], cwd=ROOT, capture_output=True)
        assert done.returncode == 0, (
            f"{path.name} was made at {commit}, before {registered} was last changed ({since[:9]}): a changed "
            "question needs fresh replicates"
        )
