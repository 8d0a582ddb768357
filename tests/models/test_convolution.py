"""Strided 1x1 convolutions: the sums of torch's own, and a process that stays alive on large pictures."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dgl_core.models.convolution import StridedPointwise, make_safe
from dgl_core.training.environment import PORTABLE_NUMERICS
from dgl_core.utils import ROOT

LAYER = """
import torch
from torch import nn
from dgl_core.models.resnet import BasicBlock
torch.set_num_threads(1)
block = BasicBlock(8, 16, stride=2).to(memory_format=torch.channels_last)
x = torch.randn(8, 8, 56, 56).contiguous(memory_format=torch.channels_last).requires_grad_()
block(x).sum().backward()
assert x.grad.isfinite().all() and all(p.grad.isfinite().all() for p in block.parameters())
"""
OWN_MODEL = """
import torch
from torch import nn
from dgl_core import ArrayDataset, ConcatFusion, LateFusion, fit
def encoder():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 1, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
x = torch.randn(24, 3, 56, 56)
data = ArrayDataset({"rgb": x, "depth": x}, torch.arange(24) % 2, ["train"] * 16 + ["val", "test"] * 4)
model = LateFusion({m: encoder() for m in ("rgb", "depth")}, ConcatFusion({"rgb": 16, "depth": 16}, 2))
fit(model, "dgl", data, epochs=1, batch_size=8, device="cpu")
"""


@pytest.mark.parametrize("code", [LAYER, OWN_MODEL], ids=["our block", "a model of one's own"])
def test_large_pictures_do_not_end_the_process(code):
    """Native numerics, as readers run; with AVX512 torch's own layer dies here of a segmentation fault."""
    native = {name: value for name, value in os.environ.items() if name not in PORTABLE_NUMERICS}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=native, capture_output=True, text=True)
    assert run.returncode == 0, f"status {run.returncode}: {run.stderr[-500:]}"


@pytest.mark.parametrize("channels, size", [(8, 57), (8, 20), (20, 57)], ids=["picked", "small", "wide"])
def test_values_and_gradients_are_those_of_torch(channels, size):
    layer = StridedPointwise(channels, 5, 1, (2, 3)).double()
    x = torch.randn(2, channels, size, size, dtype=torch.float64, requires_grad=True)
    found = layer(x)
    wanted = F.conv2d(x, layer.weight, layer.bias, stride=(2, 3))
    assert found.shape == wanted.shape and torch.allclose(found, wanted, rtol=0, atol=1e-12)
    weight = torch.randn_like(wanted)
    parts = [x, layer.weight, layer.bias]
    pairs = zip(*(torch.autograd.grad((y * weight).sum(), parts) for y in (found, wanted)), strict=True)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-10) for a, b in pairs)


def test_only_strided_pointwise_convolutions_change():
    kept = [nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, 2), nn.Conv2d(8, 8, 1, 2, groups=2), nn.Conv2d(8, 8, 1, 2, 1)]
    for layer in kept:
        make_safe(layer)
        assert type(layer) is nn.Conv2d
    changed = nn.Conv2d(8, 8, 1, 2)
    make_safe(changed)
    assert type(changed) is StridedPointwise
