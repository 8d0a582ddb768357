"""The framework files end at the weights of the plain loop, and log the multimodal loss, not the sum.

Lightning, transformers and accelerate are not in the lock; the workflow's job "frameworks" installs them.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest
import torch

from dgl_core.utils import ROOT, importable

FOLDER = ROOT / "examples"
PACKAGES = {"with_lightning": "lightning", "with_transformers": "transformers", "with_accelerate": "accelerate"}
FILES = ("plain_loop", *PACKAGES)


@pytest.fixture(autouse=True)
def examples(monkeypatch):
    """What a reader does: the files lie side by side, and the folder of the script comes first."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in FILES:
        sys.modules.pop(name, None)


def module(name: str):
    if name in PACKAGES and not importable(PACKAGES[name]):
        pytest.skip(f"{PACKAGES[name]} is not here: pip install {PACKAGES[name]}")
    return importlib.import_module(name)


def command(name: str, *words: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    words = [sys.executable, FOLDER / f"{name}.py", *words]
    return subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300)


def largest_difference(one, other) -> float:
    return max((a - other[name]).abs().max().item() for name, a in one.items())


@pytest.mark.parametrize("name", FILES)
def test_an_example_can_be_taken_in_at_a_glance(name):
    lines = (FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60 and lines[0].startswith('"""Train your own model by DGL')


def test_the_plain_loop_learns():
    plain = module("plain_loop")
    model, curve = plain.train()
    assert len(curve) == plain.EPOCHS and curve[-1] < 0.5 * torch.tensor(plain.CLASSES).log().item()
    inputs, target = torch.utils.data.default_collate(plain.make_data())
    assert (model(inputs).argmax(1) == target).double().mean() > 0.9


def test_accumulated_batches_are_one_batch(monkeypatch):
    """Two halves a step give the weights of the whole batch, so the comparison below is of the same thing."""
    plain = module("plain_loop")
    whole, _ = plain.train()
    monkeypatch.setattr(plain, "BATCH", plain.BATCH // 2)
    halves, _ = plain.train(accumulate=2)
    start = plain.make_model().state_dict()
    assert largest_difference(whole.state_dict(), halves.state_dict()) < 1e-5
    assert largest_difference(whole.state_dict(), start) > 0.1


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", PACKAGES)
def test_a_framework_ends_at_the_weights_of_the_plain_loop(name, accumulate):
    theirs, logged = module(name).train(accumulate)
    plain, curve = module("plain_loop").train(accumulate)
    assert largest_difference(plain.state_dict(), theirs.state_dict()) <= 1e-6
    assert logged == pytest.approx(curve, abs=1e-5), "what is logged is the multimodal loss, not the sum"


class Shuffled(torch.utils.data.DataLoader):
    """The batches of Lightning's processes put together: every process takes each second sample of a common order."""

    epoch = 0

    def __iter__(self):
        order = torch.randperm(len(self.dataset), generator=torch.Generator().manual_seed(self.epoch)).tolist()
        self.epoch += 1
        return iter(torch.utils.data.DataLoader([self.dataset[i] for i in order], self.batch_size))


def test_two_processes_of_lightning_end_at_the_weights_of_one(tmp_path, monkeypatch):
    module("with_lightning")
    monkeypatch.setattr(module("plain_loop"), "DataLoader", Shuffled)
    plain = module("plain_loop").train(2)[0].state_dict()
    run = command("with_lightning", "--devices", "2", "--accumulate", "2", "--save", str(tmp_path / "weights.pt"))
    assert run.returncode == 0, run.stderr
    assert largest_difference(plain, torch.load(tmp_path / "weights.pt", weights_only=True)) <= 1e-5


def test_lightning_in_bf16_keeps_fp32_weights_near_those_of_the_plain_loop():
    theirs, logged = module("with_lightning").train(precision="bf16-mixed")
    plain, curve = module("plain_loop").train()
    assert {p.dtype for p in theirs.parameters()} == {torch.float32}
    assert 1e-6 < largest_difference(plain.state_dict(), theirs.state_dict()) < 0.1
    assert logged == pytest.approx(curve, abs=0.1)


@pytest.mark.parametrize("name", FILES)
def test_an_example_runs_from_the_command_line(name):
    module(name)
    run = command(name, "--accumulate", "2")
    assert run.returncode == 0, run.stderr
    assert "multimodal" in run.stdout
