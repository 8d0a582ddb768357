"""``torch.compile`` of the objective: one graph, the same gradients."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch
from tiny import batch, dense, gradients, late

from dgl_core.gradients import DisentangledObjective

GATES = {"dgl": (4.0, 0.0, 0.0), "g-blending": (4.0, 1.0, 1.0), "inside": (4.0, 0.3, 0.6), "vanilla": (0.0, 1.0, 0.0)}


def step(objective, model, inputs, target) -> dict[str, torch.Tensor]:
    """Gradients of a step, and the batch-norm statistics after it."""
    model.zero_grad()
    objective(inputs, target).total.backward()
    return gradients(model) | {name: b.clone().double() for name, b in model.named_buffers()}


def compare(model, backend: str, modalities: int, gates, tolerance: float) -> None:
    torch._dynamo.reset()
    inputs, target = batch(modalities)
    inputs = {m: x.to(next(model.parameters()).dtype) for m, x in inputs.items()}
    twin = copy.deepcopy(model)
    expected = step(DisentangledObjective(twin, *gates), twin, inputs, target)
    compiled = torch.compile(DisentangledObjective(model, *gates), backend=backend, fullgraph=True)
    found = step(compiled, model, inputs, target)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=0, atol=tolerance), name


@pytest.mark.parametrize(
    "modalities, gates", [(2, "dgl"), (2, "inside"), (3, "dgl"), (3, "g-blending"), (3, "vanilla")]
)
def test_one_graph_equals_eager_in_late_fusion(modalities, gates):
    compare(late(modalities, batch_norm=True), "aot_eager", modalities, GATES[gates], 1e-12)


def test_one_graph_equals_eager_in_dense_fusion():
    compare(dense(2), "aot_eager", 2, GATES["inside"], 1e-12)


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="inductor needs a C++ compiler")
def test_inductor_equals_eager(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # a cold cache, or nothing would be compiled
    compare(late(2).float(), "inductor", 2, GATES["dgl"], 1e-5)
