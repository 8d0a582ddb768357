"""What a step in ESANet costs: the counters against hand counts, DGL at the floor, one graph in memory."""

from __future__ import annotations

import pytest
import torch
from bench.counters import floor, graph_bytes, operations
from models.test_esanet import pictures, tiny
from torch import nn

from dgl_core.data.tasks.label_maps import Segmentation
from dgl_core.methods.dense_dgl import DenseObjective
from dgl_core.paper import costs


@pytest.mark.parametrize("groups", [1, 4])
def test_operations_of_a_convolution_by_hand(groups):
    layer = nn.Conv2d(8, 8, 3, padding=1, groups=groups, bias=False)
    x = torch.randn(2, 8, 5, 6, requires_grad=True)
    forward = 2 * (2 * 8 * 5 * 6) * (8 // groups) * 9
    assert operations(lambda: layer(x)) == forward
    assert operations(lambda: layer(x).sum().backward()) == 3 * forward
    assert operations(lambda: layer(x.detach()).sum().backward()) == 2 * forward


def test_bytes_are_those_of_the_saved_tensors_and_a_finished_graph_frees_them():
    def passes():
        for _ in range(2):
            x = torch.randn(1000, requires_grad=True)
            (x.exp() + 1).sum().backward()  # exp keeps its result, + and sum keep nothing

    assert graph_bytes(passes) == 4000
    assert graph_bytes(lambda: torch.randn(10)) == 0


def objective(model, alpha: float, gate: float) -> DenseObjective:
    return DenseObjective(model, alpha, encoder_gate=gate, criterion=Segmentation(5).criterion)


def test_dgl_needs_the_operations_of_the_floor_and_one_graph():
    model = tiny().train()
    inputs, target = pictures(3)
    vanilla, dgl = objective(model, 0.0, 1.0), objective(model, 1.0, 0.0)

    def step():
        vanilla(inputs, target).total.backward()

    def sequential():
        dgl.sequential(inputs, target, torch.Tensor.backward)

    def at_once():
        dgl(inputs, target).total.backward()

    ratio = operations(sequential) / operations(step)
    assert operations(at_once) == operations(sequential)
    assert ratio == pytest.approx(floor(model, inputs)["floor"], rel=0.02)
    assert ratio < 0.9 * floor(model, inputs)["three plain passes"]
    assert graph_bytes(sequential) <= 1.1 * graph_bytes(step) < 0.7 * graph_bytes(at_once)


def test_the_table_shows_what_was_kept_or_says_how_to_measure(tmp_path):
    rows = costs.segmentation_table()
    assert rows.loc["vanilla", "operations"] == "1.00" and "floor" in rows.index
    with pytest.raises(FileNotFoundError, match="bench_segmentation.py --write"):
        costs.segmentation_table(tmp_path / "none.json")
