"""The one-file example is the library: same data, weights and order give the same curves and weights, bit for bit."""

from __future__ import annotations

import importlib.util
import math

import pytest
import torch

from dgl_core.data import ArrayDataset
from dgl_core.models import ConcatFusion, LateFusion
from dgl_core.training.train import fit
from dgl_core.utils import ROOT

PATH = ROOT / "examples" / "dgl_in_one_file.py"
NAMES = {"vanilla": "vanilla", "G-Blending": "gblend", "DGL": "dgl"}


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("dgl_in_one_file", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def library(example, method: str, seed: int, data) -> tuple[LateFusion, dict[str, list[float]]]:
    """The same training by ``fit``: the initial weights of the example, its data, its settings."""
    inputs, target, split = data
    start = example.Model(seed)
    head = ConcatFusion(dict.fromkeys(example.MODALITIES, example.WIDTH), example.CLASSES)
    head.head.load_state_dict(start.head.state_dict())
    model = LateFusion(dict(start.encoders.items()), head)
    alpha = example.METHODS[method][2]
    record = fit(
        model, NAMES[method], ArrayDataset(inputs, target, split), device="cpu", seed=seed, clip=0.0,
        epochs=example.EPOCHS, batch_size=example.BATCH, lr=example.RATE, momentum=example.MOMENTUM,
        weight_decay=example.DECAY, milestones=(example.MILESTONE,), **({"alpha": alpha} if alpha else {}),
    )  # fmt: skip
    return model, record.curves


@pytest.mark.parametrize("method", NAMES)
def test_the_example_is_the_library(example, method):
    data = example.generate()
    mine, curves = example.train(method, 3, data)
    theirs, wanted = library(example, method, 3, data)
    pairs = zip(mine.encoders.parameters(), theirs.encoders.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(mine.head.weight, theirs.fusion.head.weight)
    assert torch.equal(mine.head.bias, theirs.fusion.head.bias)
    for branch in ("fused", *example.MODALITIES):
        assert [float(f"{v:.6g}") for v in curves[branch]] == wanted[f"test/{branch}/accuracy"]
    assert [float(f"{v:.6g}") for v in curves["loss"]] == wanted["loss/multimodal"]
    assert len(curves["loss"]) == example.EPOCHS and curves["loss"][-1] < curves["loss"][0]


def test_methods_differ(example, monkeypatch):
    """Or the equality above could hold because the gates do nothing."""
    monkeypatch.setattr(example, "EPOCHS", 2)
    data = example.generate()
    heads = [example.train(method, 0, data)[0].head.weight for method in NAMES]
    assert not any(torch.equal(a, b) for a, b in zip(heads, heads[1:] + heads[:1], strict=True))


def test_dgl_truncates_both_ways(example):
    """The fused loss leaves the encoders alone; the unimodal losses leave the head alone."""
    inputs, target, _ = example.generate()
    model = example.Model(0)
    total, multimodal = example.losses(model, inputs, target, "DGL")
    encoder = model.encoders["audio"][0].weight
    assert torch.autograd.grad(multimodal, encoder, retain_graph=True, allow_unused=True) == (None,)
    whole = torch.autograd.grad(total, model.head.weight, retain_graph=True)[0]
    fused = torch.autograd.grad(multimodal, model.head.weight)[0]
    assert torch.equal(whole, fused) and not math.isclose(whole.norm().item(), 0.0)


def test_the_example_needs_torch_alone_and_is_short():
    text = PATH.read_text()
    assert len(text.splitlines()) <= 250 and "import dgl_core" not in text and "from dgl_core" not in text
