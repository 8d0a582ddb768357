"""The lines for a cluster, word for word, on this machine: a scheduler, four workers, the command that uses them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dgl_core.utils import ROOT

pytest.importorskip("distributed")
PORT = 8786
PAGE = ROOT / "docs" / "paper_size.md"
(LINES,) = re.findall(r"```sh\n(#SBATCH.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
# What a cluster has and this machine has not: the address of the node, and the way to start a program on each node.
STANDING_IN = {
    "hostname": "echo 127.0.0.1",
    "srun": 'exec "$@"',
    "dask": f'exec "{sys.executable}" -m dask "$@"',
    ".venv/bin/python": f'exec "{sys.executable}" "$@"',
}


def free(port: int) -> bool:
    with socket.socket() as door:
        return door.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def checkout(project) -> Path:
    """The project with its Makefile and an environment that is complete, and programs in the place of a cluster's."""
    shutil.copy(ROOT / "Makefile", project.root)
    for name, line in STANDING_IN.items():
        program = project.root / ("" if "/" in name else "bin") / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    for name in ("requirements.lock", "pyproject.toml", ".venv/.complete"):
        (project.root / name).touch()
    return project.root


@pytest.mark.skipif(os.name != "posix" or not shutil.which("make"), reason="needs a POSIX shell and make")
def test_the_lines_for_a_cluster_train_on_its_workers(project, checkout):
    if not free(PORT):
        pytest.skip(f"port {PORT}, which the page names, is taken here")
    project.notebook("01_first", "print(1)", runs=4)
    programs = f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}"
    chosen = {name: value for name, value in os.environ.items() if not name.startswith(("DGL_", "MAKE", "MFLAGS"))}
    script = subprocess.Popen(
        ["bash", "-c", LINES],
        cwd=checkout,
        env=chosen | {"PATH": programs, "FAKE_SECONDS": "0.2"},
        stdout=(checkout / "said").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        status = script.wait(timeout=240)
    finally:
        os.killpg(script.pid, signal.SIGTERM)  # the scheduler and the workers, which a batch system would end
    said = (checkout / "said").read_text()
    assert status == 0, said[-3000:]
    assert said.count("Start Nanny at") == 4 and "4 to train" in said and "all 1 notebooks are good" in said, said
    assert len(list((checkout / "results" / "runs").rglob("*.json"))) == 4
