"""G-Blending by OGR: weights, the estimate on copies, the blend."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from tiny import FUSED, arrays, dense, mlp
from torch import nn
from watching import Spy, equal_widths, first_batch, moved, trainer, weights

from dgl_core.methods.baselines import gblend
from dgl_core.models import ConcatFusion, LateFusion
from dgl_core.training.train import fit

BEFORE = {"sound": (1.8, 1.9), "face": (1.7, 1.8), FUSED: (1.75, 1.85)}
AFTER = {"sound": (1.0, 1.5), "face": (1.2, 1.4), FUSED: (0.8, 1.4)}


def test_ogr_weights_hand_example():
    points = {b: (gblend.Point(*BEFORE[b]), gblend.Point(*AFTER[b])) for b in BEFORE}
    ratios = {b: gblend.ogr_weight(*p, floor=0.01) for b, p in points.items()}
    assert [ratios[b] for b in ("sound", "face", FUSED)] == pytest.approx([2.5, 40.0, 1.8])
    found = gblend.blend(ratios)
    assert [found[b] for b in ("sound", "face", FUSED)] == pytest.approx([0.0564, 0.9029, 0.0406], abs=5e-5)


def test_ogr_without_overfitting_or_without_gain_stays_finite():
    flat = gblend.ogr_weight(gblend.Point(1.0, 1.2), gblend.Point(0.9, 1.1), floor=0.01)
    assert flat == pytest.approx(0.1 / 0.01**2)
    assert gblend.blend({"sound": 0.0, "face": 0.0}) == {"sound": 0.5, "face": 0.5}


def test_points_are_means_over_samples():
    state = trainer("gblend_ogr")
    found = gblend.points(state, (FUSED, "sound", "face"))
    assert state.model.training and state.heads.training
    state.model.eval()
    for part in ("train", "val"):
        inputs, target = state.batch(state.dataset.indices(part))
        z = state.model.encode(inputs)
        expected = {FUSED: state.model.fuse(z)} | {m: state.heads[m](z[m]) for m in z}
        for branch, logits in expected.items():
            value = F.cross_entropy(logits.float(), target).item()
            assert getattr(found[branch], part) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("model", ["late", "dense"])
def test_the_estimate_leaves_the_run_alone(model):
    dropout = nn.Sequential(mlp(3, 4, batch_norm=True), nn.Dropout(0.5), nn.Linear(4, 4))
    late = LateFusion({"sound": dropout, "face": mlp(4, 4)}, ConcatFusion({"sound": 4, "face": 4}, 3))
    state = trainer("gblend_ogr", late if model == "late" else dense())
    state.method.weights = dict.fromkeys((FUSED, "sound", "face"), 1 / 3)
    state.step = 1
    state.method.step(state, first_batch(state))  # momentum and batch statistics are not at their start
    before = copy.deepcopy((state.model.state_dict(), state.heads.state_dict(), state.optimizer.state_dict()))
    norms, clock, noise = copy.deepcopy(state._norms), (state.epoch, state.step), torch.get_rng_state()
    found = state.method.estimate(state, epochs=2)
    assert set(found) == {FUSED, "sound", "face"} and sum(found.values()) == pytest.approx(1)
    after = (state.model.state_dict(), state.heads.state_dict(), state.optimizer.state_dict())
    for old, new in zip(before[:2], after[:2], strict=True):
        assert all(torch.equal(new[name], value) for name, value in old.items())
    for i, slot in before[2]["state"].items():
        assert torch.equal(after[2]["state"][i]["momentum_buffer"], slot["momentum_buffer"])
    assert state._norms == norms and (state.epoch, state.step) == clock
    assert torch.equal(torch.get_rng_state(), noise)
    assert all(p.grad is None for p in state.model.parameters()) and state.model.training


def test_a_trial_trains_its_branch_only_and_shuffles_every_epoch():
    state = trainer("gblend_ogr")
    trial = gblend.sandbox(state)
    seen, batches = [], trial.batches

    def watched(*args, **kwargs):
        for batch in batches(*args, **kwargs):
            seen.append(batch.inputs["face"])
            yield batch

    trial.batches = watched
    gblend.train_alone(trial, "face", 2)
    assert len(seen) == 2 * state.steps_per_epoch
    assert not torch.equal(torch.cat(seen[: len(seen) // 2]), torch.cat(seen[len(seen) // 2 :]))
    for m, encoder in trial.model.encoders.items():
        assert moved(encoder, weights(state.model.encoders[m])) == (m == "face")
    assert not moved(trial.model.fusion, weights(state.model.fusion))
    assert moved(trial.heads["face"], weights(state.heads["face"]))
    assert not moved(trial.heads["sound"], weights(state.heads["sound"]))


def test_ogr_step_blends_the_losses():
    state = trainer("gblend_ogr", clip=0.0)
    state.method.weights, state.step = {FUSED: 0.2, "sound": 0.5, "face": 0.3}, 1
    model, heads = copy.deepcopy((state.model, state.heads))
    spy, batch = Spy(state), first_batch(state)
    state.method.step(state, batch)
    z = model.encode(batch.inputs)
    losses = {FUSED: F.cross_entropy(model.fuse(z), batch.target)}
    losses |= {m: F.cross_entropy(heads[m](z[m]), batch.target) for m in z}
    sum(state.method.weights[b] * loss for b, loss in losses.items()).backward()
    for name, p in [*model.named_parameters(), *heads.named_parameters("heads")]:
        assert torch.allclose(spy.grads[0][name], p.grad, rtol=1e-9, atol=1e-14), name


@pytest.mark.parametrize("online, estimates", [(True, [(0, 2), (2, 2), (4, 1)]), (False, [(0, 2)])])
def test_ogr_estimates_at_the_start_of_super_epochs(monkeypatch, online, estimates):
    calls = []

    def fake(self, state, epochs):
        calls.append((state.epoch, epochs))
        return dict.fromkeys((FUSED, "sound", "face"), 1 / 3)

    monkeypatch.setattr(gblend.GBlendOGR, "estimate", fake)
    fit(equal_widths(), "gblend_ogr", arrays(2), epochs=5, batch_size=8, super_epoch=0.4, online=online)
    assert calls == estimates
