"""ReconBoost: loss, stages, what each phase moves."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny import FUSED, NAMES
from watching import Spy, equal_widths, first_batch, moved, trainer, weights

from dgl_core.methods.baselines import reconboost


def test_reconcilement_loss_and_gradient_hand_example():
    logits = torch.tensor([[0.5, 0.1, 0.1, 0.1, 0.1, 0.1]], dtype=torch.float64).log().requires_grad_()
    others = torch.tensor([[0.8, 0.04, 0.04, 0.04, 0.04, 0.04]], dtype=torch.float64, requires_grad=True)
    loss = reconboost.reconcilement_loss(logits, others, torch.tensor([0]), 5.0, 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(0.4852, abs=5e-5)
    assert logits.grad[0, 0].item() == pytest.approx(-0.35)
    assert others.grad is None


def test_stages_of_the_official_schedule():
    assert [reconboost.stage_of(e, 100, 4, 4) for e in (0, 3, 4, 7, 8, 95, 96, 99)] == [
        (0, True), (0, True), (0, False), (0, False), (1, True), (11, False), (11, False), (11, False)
    ]  # fmt: skip
    assert [reconboost.stage_of(e, 20, 1, 1) for e in (0, 1, 18, 19)] == [(0, True), (0, False), (9, True), (9, False)]
    assert reconboost.stage_of(0, 1, 1, 1) == (0, False)  # too short for a stage: the first modality's joint loss
    state = trainer("reconboost", modalities=3, epochs=20)
    seen = []
    for state.epoch in range(8):
        stage, alone = state.method.stage(state)
        seen.append((NAMES[stage % 3], alone, len(state.method.members(state))))
    assert seen[:4] == [("sound", True, 1), ("sound", False, 1), ("face", True, 2), ("face", False, 2)]
    assert seen[4:] == [("text", True, 3), ("text", False, 3), ("sound", True, 3), ("sound", False, 3)]


@pytest.mark.parametrize("epoch, moving", [(0, ["sound"]), (1, ["sound"]), (2, ["face"]), (3, ["sound", "face"])])
def test_reconboost_moves_what_the_phase_says(epoch, moving):
    state = trainer("reconboost")
    state.epoch = epoch
    before = {m: weights(e) for m, e in state.model.encoders.items()}
    fusion, rate = weights(state.model.fusion), state.heads["ensemble"].rate.item()
    state.method.step(state, first_batch(state))
    assert [m for m, encoder in state.model.encoders.items() if moved(encoder, before[m])] == moving
    assert (state.heads["ensemble"].rate.item() != rate) == (epoch % 2 == 1)
    assert not moved(state.model.fusion, fusion)


def test_reconboost_losses_of_both_phases():
    state = trainer("reconboost", equal_widths(batch_norm=False), lr=0.0)
    batch = first_batch(state)
    h = {m: state.heads["ensemble"].head(z).detach() for m, z in state.model.encode(batch.inputs).items()}
    p_y = {m: torch.softmax(v, 1).gather(1, batch.target[:, None]) for m, v in h.items()}
    expected = {
        0: (-(5 - 1 / 3) * p_y["sound"].log()).mean() / 3,  # nobody else yet: q is uniform
        1: F.cross_entropy(h["sound"], batch.target),
        2: ((p_y["sound"] - 5) * p_y["face"].log()).mean() / 3,
        3: F.cross_entropy(h["sound"] + h["face"], batch.target),
    }
    for state.epoch, value in expected.items():
        logged = state.method.step(state, batch)
        assert torch.allclose(logged["objective"], value, rtol=1e-9), state.epoch
        fused = sum(h[m] for m in state.method.members(state))
        assert torch.allclose(logged["multimodal"], F.cross_entropy(fused, batch.target), rtol=1e-9)


def test_alignment_pulls_the_current_modality_toward_the_one_before():
    losses, grads = [], []
    for alignment in (0.0, 0.5):
        state = trainer("reconboost", equal_widths(batch_norm=False), options={"alignment": alignment})
        state.epoch, spy, batch = 2, Spy(state), first_batch(state)
        h = {m: state.heads["ensemble"].head(z).detach() for m, z in state.model.encode(batch.inputs).items()}
        losses.append(state.method.step(state, batch)["objective"])
        grads.append(spy.grads[0])
    gap = F.mse_loss(torch.softmax(h["face"], 1), torch.softmax(h["sound"], 1))
    assert torch.allclose(losses[1] - losses[0], 0.5 * gap, rtol=1e-6)
    assert set(grads[0]) == set(grads[1]) and not any("sound" in name for name in grads[1])
    assert not torch.allclose(grads[0]["encoders.face.0.weight"], grads[1]["encoders.face.0.weight"])


def test_reconboost_scores():
    state = trainer("reconboost", modalities=3, epochs=20)
    state.model.eval()
    with torch.no_grad():
        state.heads["ensemble"].rate.fill_(2.0)
    inputs, _ = first_batch(state)
    own = state.method.official_unimodal(state, inputs)
    state.epoch = 2  # stage 1: two members
    every = state.method.all_logits(state, inputs)
    assert torch.allclose(every[FUSED], 2 * (own["sound"] + own["face"]))
    assert torch.allclose(state.method.logits(state, inputs), every[FUSED])
    assert torch.allclose(state.method.logits(state, inputs, ("face", "text")), 2 * (own["face"] + own["text"]))
    for m in NAMES[:3]:
        assert torch.allclose(every[m], 2 * own[m])
    state.epoch = 19
    assert torch.allclose(state.method.logits(state, inputs), 2 * sum(own.values()))


def test_pretraining_trains_every_modality_alone_and_shifts_the_stages():
    state = trainer("reconboost", epochs=10, options={"pretraining": 0.5, "alone": 0.1, "together": 0.1})
    batch = first_batch(state)
    h = state.heads["ensemble"](state.model.encode(batch.inputs))
    expected = sum(F.cross_entropy(values, batch.target) for values in h.values()).item()
    state.epoch = 4
    assert state.method.step(state, batch)["objective"].item() == pytest.approx(expected)
    assert state.method.members(state) == list(NAMES[:2])
    seen = []
    for state.epoch in range(5, 9):
        seen.append(state.method.stage(state))
    assert seen == [(0, True), (0, False), (1, True), (1, False)]
