"""Two processes under torchrun, of which one is killed: the same command goes on and ends in the same record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist

from dgl_core.utils import ROOT

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available() and Path("/proc").is_dir()), reason="needs gloo and /proc"
)

# The command of README with a checkpoint after every epoch, so that there is something to go on from.
TRAINING = """
import functools, sys, time
from dgl_core.runs import command
from dgl_core.training import train

def slow(*arguments, log=None, **options):
    def said(line):
        time.sleep({pause})
        log(line)
    return original(*arguments, log=said if log else None, every=0.0, **options)

original, train.train = train.train, slow
command.main(sys.argv[1:])
"""
WORDS = ("dataset=triplet", "model=mlp", "method=dgl", "epochs=6", "batch_size=64", "dataset_options.samples=300")


def torchrun(folder: Path, pause: float) -> subprocess.Popen:
    script = folder / "training.py"
    script.write_text(TRAINING.format(pause=pause))
    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
        *WORDS,
    ]
    environment = os.environ | {"DGL_RESULTS": str(folder / "runs"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rank_of(pid: int) -> str:
    found = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((entry[5:].decode() for entry in found if entry.startswith(b"RANK=")), "")


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def record(folder: Path) -> dict:
    (path,) = (folder / "runs").rglob("*.json")
    return json.loads(path.read_text())


def test_a_killed_rank_resumes_to_the_record_of_an_undisturbed_run(tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    undisturbed.mkdir()
    killed.mkdir()
    first = torchrun(killed, pause=2.0)
    try:
        deadline = time.monotonic() + 240
        while not list((killed / "runs").rglob("*.checkpoint")) and first.poll() is None:
            assert time.monotonic() < deadline, "no checkpoint in four minutes"
            time.sleep(0.1)
        victim = next(pid for pid in children(first.pid) if rank_of(pid) == "1")
        os.kill(victim, signal.SIGKILL)
        _, errors = first.communicate(timeout=240)
    finally:
        first.kill()
    assert first.returncode != 0 and not list((killed / "runs").rglob("*.json")), "nothing half-done is a record"
    for folder in (killed, undisturbed):
        run = torchrun(folder, pause=0.0)
        said, errors = run.communicate(timeout=240)
        assert run.returncode == 0, errors
        if folder == killed:
            assert "epoch   1/6" not in said and "epoch   6/6" in said, "it goes on where the checkpoint was"
    resumed, whole = record(killed), record(undisturbed)
    assert resumed["environment"]["processes"] == whole["environment"]["processes"] == 2
    for what in ("spec", "key", "data", "predictions", "right"):
        assert resumed[what] == whole[what], what
    times = {"seconds/training"}
    assert resumed["curves"].keys() == whole["curves"].keys()
    assert all(resumed["curves"][name] == whole["curves"][name] for name in whole["curves"].keys() - times)
