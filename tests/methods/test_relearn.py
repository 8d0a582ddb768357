"""Diagnosing & Re-learning: purity, the pull, and what it leaves alone."""

from __future__ import annotations

import copy
import sys

import numpy as np
import pytest
import torch
from tiny import arrays, dense
from torch import nn
from watching import equal_widths, first_batch, trainer, weights

from dgl_core import methods
from dgl_core.methods.base import Method
from dgl_core.methods.baselines import relearn
from dgl_core.training.train import fit


def test_purity_cases():
    target = np.array([0, 0, 1, 1, 2, 2, 2])
    assert relearn.purity(target, np.array([5, 5, 0, 0, 3, 3, 3])) == 1.0
    assert relearn.purity(target, np.zeros(7, dtype=int)) == pytest.approx(3 / 7)
    assert relearn.purity(target, np.array([0, 0, 0, 1, 1, 1, 1])) == pytest.approx(5 / 7)
    assert relearn.purity(target, np.arange(7)) == 1.0


def test_pull_hand_example():
    assert relearn.pull(0.2, 3.0) == pytest.approx(0.53705, abs=5e-6) == relearn.pull(-0.2, 3.0)
    assert relearn.pull(0.0, 3.0) == 0.0


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_relearn_is_exact_at_both_ends(weight):
    torch.manual_seed(0)
    now, start = nn.Parameter(torch.randn(50)), torch.randn(50)
    before = now.detach().clone()
    relearn.relearn([now], [start], weight)
    assert torch.equal(now, {0.0: before, 1.0: start}.get(weight, now))
    assert torch.allclose(now, weight * start + (1 - weight) * before, atol=1e-6)


def test_features_are_scaled_to_minus_one_and_one():
    scaled = relearn.min_max(torch.tensor([[1.0, 7.0], [2.0, 7.0], [5.0, 7.0]]))
    assert scaled.tolist() == [[-1.0, -1.0], [-0.5, -1.0], [1.0, -1.0]]


def test_clusters_find_separate_classes_and_survive_dead_features():
    target = np.repeat(np.arange(3), 10)
    features = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)) * 0.01 + torch.tensor(target)[:, None]
    assert relearn.purity(target, relearn.cluster(features, 3)) == 1.0
    assert relearn.purity(target, relearn.cluster(torch.zeros(30, 4), 3)) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "every, epochs, after",
    [(0.2, 100, [20, 40, 60]), (20 / 90, 90, [20, 40, 60]), (0.2, 20, [4, 8, 12]), (0.2, 4, [1, 2]), (0.2, 2, [])],
)
def test_pulls_follow_the_official_epochs_and_never_the_last(every, epochs, after):
    method = methods.build("relearn", {"every": every})
    assert [epoch - 1 for epoch in range(epochs) if method.due(epoch, epochs)] == after


def test_a_pull_moves_encoder_weights_only(monkeypatch):
    state = trainer("relearn")
    initial = weights(state.model)
    for state.step in range(3):
        state.method.step(state, first_batch(state, 8 * state.step))
    state.model.encoders["face"][1].eval()  # a batch-norm layer that somebody froze
    modes = [part.training for part in state.model.modules()]
    optimizer, buffers = copy.deepcopy(state.optimizer.state_dict()), copy.deepcopy(dict(state.model.named_buffers()))
    before = weights(state.model)
    monkeypatch.setattr(Method, "step", lambda self, state, batch: {})
    measured = relearn.Relearn.gaps

    def gaps(self, state):
        assert set(measured(self, state)) == set(state.model.encoders)  # measuring must leave the model alone, too
        return {"sound": 0.2, "face": 0.0}

    monkeypatch.setattr(relearn.Relearn, "gaps", gaps)
    state.epoch, state.step = 2, 0
    state.method.step(state, first_batch(state))
    for name, now in weights(state.model).items():
        w = 0.53705 if "sound" in name else 0.0
        assert torch.allclose(now, w * initial[name] + (1 - w) * before[name], atol=1e-5), name
        assert torch.equal(now, before[name]) or "sound" in name
    assert all(torch.equal(b, buffers[name]) for name, b in state.model.named_buffers())
    assert [part.training for part in state.model.modules()] == modes
    slots = state.optimizer.state_dict()["state"]
    for i, slot in optimizer["state"].items():
        assert torch.equal(slots[i]["momentum_buffer"], slot["momentum_buffer"])


def test_gaps_are_train_minus_val_purity():
    state = trainer("relearn", modalities=3)
    gaps = state.method.gaps(state)
    state.model.eval()
    for m, gap in gaps.items():
        purities = []
        for part in ("train", "val"):
            inputs, target = state.batch(state.dataset.indices(part))
            z = state.model.encode(inputs)[m].detach().float()
            purities.append(relearn.purity(target.numpy(), relearn.cluster(z, 3)))
        assert gap == pytest.approx(purities[0] - purities[1])


def test_too_few_samples_for_the_clusters_is_an_error_at_the_start():
    data = arrays(2, samples=16)
    data.classes = tuple("abcdefghij")
    model = equal_widths(classes=10)
    with pytest.raises(ValueError, match="the train part into 10 clusters.*only 8 samples"):
        fit(model, "relearn", data, epochs=1, batch_size=4)


def test_relearn_without_scikit_learn_or_pooled_features_says_so(monkeypatch):
    with pytest.raises(ValueError, match="Dense has neither `encode` nor `pooled`"):
        trainer("relearn", dense())
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ModuleNotFoundError, match="relearn need sklearn.*pip install 'dgl-core.data.'"):
        trainer("relearn")


def test_a_dense_model_with_pooled_features_can_relearn():
    model = dense().float()
    type(model).pooled = lambda self, inputs: {m: part["first"](inputs[m]) for m, part in self.encoders.items()}
    try:
        record = fit(model, "relearn", arrays(2), epochs=3, batch_size=8)
    finally:
        del type(model).pooled
    assert np.isfinite(record.curves["loss/multimodal"]).all()
