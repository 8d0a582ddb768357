"""``project``: a copy of the library whose notebooks, plan and training loop belong to the test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background of a shell: children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
HEADER = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # {title}

# %% tags=["parameters"]
profile = "smoke"
"""
# Instead of training: each run takes FAKE_SECONDS and fails where the test wants it to.
TRAINING = """
import os, time
from dgl_core.training.environment import utc_now
from dgl_core.training.records import RunRecord

REVISION = 1


def train(spec, checkpoint=None, key="", revisions=None, **unused):
    if spec.seed == int(os.environ.get("FAKE_FAILURE", "-1")):
        raise FloatingPointError("the loss is NaN in step 7")
    if spec.seed == int(os.environ.get("FAKE_FULL_DISK", "-1")):
        raise OSError(28, "No space left on device", "checkpoint")
    time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
    curves = {"lr": [0.1], "test/fused/accuracy": [0.5]}
    return RunRecord(spec, key, revisions, {}, curves, {}, {"seconds": 1.0}, {"portable": True}, utc_now())
"""
PLAN = """

TABLES = {{"1": lambda profile: []}}
NOTEBOOKS = dict.fromkeys({names!r}, lambda profile, absent=None: [])


def plan(profile, notebooks=None):
    count = {runs!r}
    notebooks = list(NOTEBOOKS if notebooks is None else notebooks)
    return [RunSpec("emotions", model="small", seed=seed) for n in notebooks for seed in range(count.get(n, 0))]
"""
# In the place of the real ones, which import torch: what decides the name of a run.
ROOMS = {
    "data": "class Recipe:\n    options, revision, generated = {}, 1, True\n"
    "    check = staticmethod(lambda options: None)\n\n\n"
    "DATASETS = {'emotions': Recipe}\n",
    "methods": "class Vanilla:\n    REVISION = 1\n    options = staticmethod(dict)\n\n\n"
    "METHODS = {'vanilla': Vanilla}\n",
    "models": "REVISIONS = {'small': 1}\n\n\ndef model_options(name):\n    return {}\n",
}
# In the place of the pages that no notebook makes, which import torch.
PAGES = {
    "report/sentences.py": "def page(links, pages):\n    return ''\n",
    "play/__init__.py": "def write(folder):\n    return []\n",
}
# In the place of Sphinx, which takes seconds: pages as they are handed to it.
BUILD = """

def build(documents, work):
    return {f"{name}.html": text.encode() for name, text in documents.items()}
"""
SITE = Path("dgl_core", "reproduce", "report", "site.py")


class Project:
    """A copy of ``dgl_core`` in a temporary folder.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path):
        self.root, self.out, self.store = root, root / "out", root / "store"
        self.runs: dict[str, int] = {}
        (root / "notebooks").mkdir(parents=True)
        shutil.copytree(ROOT / "dgl_core", root / "dgl_core", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "tools", root / "tools", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "notebooks" / "jupytext.toml", root / "notebooks")
        self.plan = (root / "dgl_core" / "paper" / "experiments" / "__init__.py").read_text()
        (root / "dgl_core" / "training" / "train.py").write_text(TRAINING)
        (root / "dgl_core" / "training" / "loop.py").write_text("REVISION = 1\n")
        for room, text in ROOMS.items():
            (root / "dgl_core" / room / "__init__.py").write_text(text)
        for name, text in PAGES.items():
            (path := root / "dgl_core" / "reproduce" / name).parent.mkdir(exist_ok=True)
            path.write_text(text)
        (root / SITE).write_text((root / SITE).read_text() + BUILD)
        # jsonschema imports it for addresses that no notebook has, and it takes seconds: three times an execution.
        (root / "rfc3987_syntax.py").write_text("raise ImportError\n")

    def whole_site(self) -> None:
        """Let Sphinx build the site, as it does outside of tests."""
        shutil.copy(ROOT / SITE, self.root / SITE)

    def notebook(self, name: str, *cells: str, runs: int = 0) -> Path:
        """Write a notebook with these code cells; the plan gives it ``runs`` training runs."""
        self.runs[name] = runs
        path = self.root / "notebooks" / f"{name}.py"
        path.write_text(HEADER.format(title=name) + "".join(f"\n# %%\n{cell}\n" for cell in cells))
        plan = PLAN.format(names=sorted(self.runs), runs=self.runs)
        (self.root / "dgl_core" / "paper" / "experiments" / "__init__.py").write_text(self.plan + plan)
        return path

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen:
        """Start ``python -m dgl_core reproduce --profile smoke`` on this project."""
        command = [sys.executable, "-m", "dgl_core", "reproduce", "--profile", "smoke", *arguments]
        if "--out" not in arguments:
            command += ["--out", str(self.out)]
        environment = os.environ | {"DGL_RESULTS": str(self.store), "PYTHONPATH": str(self.root)} | variables
        return subprocess.Popen(
            command, cwd=self.root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def reproduce(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        """Run it to its end."""
        process = self.start(*arguments, **variables)
        output, errors = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def records(self) -> list[Path]:
        return sorted(self.store.rglob("*.json"))

    def interrupt_after(self, process: subprocess.Popen, records: int, number: int = signal.SIGINT):
        """Send a signal when so many runs are recorded; returns (exit status, output, errors)."""
        give_up = time.monotonic() + 60
        while len(self.records()) < records and process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.05)
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
        return process.returncode, output, errors


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path / "project")
