"""MLA: projector, entropy weights, one modality after the other."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from tiny import FUSED, NAMES
from watching import Spy, first_batch, moved, trainer, weights

from dgl_core import methods
from dgl_core.methods.baselines import mla


def test_projector_hand_example():
    mean = torch.tensor([1.0, 2.0], dtype=torch.float64)
    updated = mla.projector_update(torch.eye(2, dtype=torch.float64), mean, 0.1)
    assert torch.allclose(updated, torch.tensor([[0.8039, -0.3922], [-0.3922, 0.2157]]).double(), atol=5e-5)
    assert torch.allclose(updated @ mean, 0.1 / (0.1 + 5) * mean, rtol=1e-12)  # = .0196 (1, 2)


def test_entropy_weights_hand_example_and_sum():
    logits = {"sound": torch.tensor([[0.7, 0.2, 0.1]]).log(), "face": torch.tensor([[0.4, 0.3, 0.3]]).log()}
    found = mla.entropy_weights(logits)
    assert found["sound"].item() == pytest.approx(0.5713, abs=5e-5)
    assert found["face"].item() == pytest.approx(0.4287, abs=5e-5)
    certain = mla.entropy_weights({"sound": torch.tensor([[900.0, 0, 0]]), "face": torch.zeros(1, 3)})
    assert certain["sound"].item() == pytest.approx(1 / (1 + 1 / 3))  # H = 0 and log 3; no NaN from 0 log 0


def test_entropy_weights_are_per_sample():
    rows = torch.tensor([[5.0, 0, 0], [0, 0, 0]])
    found = mla.entropy_weights({"sound": rows, "face": rows.flip(0)})
    assert found["sound"][0] > 0.5 > found["sound"][1]
    assert torch.allclose(found["sound"] + found["face"], torch.ones(2, 1))


def test_forgetting_runs_from_a_tenth_to_a_hundredth():
    assert mla.forgetting(0, 10) == pytest.approx(0.1)
    assert mla.forgetting(5, 10) == pytest.approx(0.1**1.5)
    assert mla.forgetting(10, 10) == pytest.approx(0.01)


@pytest.mark.parametrize("precision", ["fp64", "bf16"])
def test_mla_updates_one_modality_and_the_next_sees_the_new_head(precision):
    state = trainer("mla", precision=precision, options={"projection": False}, lr=1.0)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with autocast:
        state.method.step(state, first_batch(state, 8))  # momentum is there from now on
        before, spy, batch = weights(state.model), Spy(state), first_batch(state)
        head = copy.deepcopy(state.heads["shared"])
        features = copy.deepcopy(state.model).encode(batch.inputs)
        logged = state.method.step(state, batch)
    assert len(spy.after) == 2
    model, heads = spy.after[0]
    assert moved(model.encoders["sound"], {n.removeprefix("encoders.sound."): p for n, p in before.items()})
    assert not moved(model.encoders["face"], {n.removeprefix("encoders.face."): p for n, p in before.items()})
    assert set(spy.grads[1]) == {n for n in before if "face" in n} | {"heads.shared.weight", "heads.shared.bias"}
    with autocast:
        seen = F.cross_entropy(heads["shared"](features["face"]), batch.target)
        old = F.cross_entropy(head(features["face"]), batch.target)
    assert torch.allclose(logged["face"], seen, rtol=1e-6)
    assert not torch.allclose(logged["face"], old, rtol=1e-3)
    assert not moved(state.model.fusion, {n.removeprefix("fusion."): p for n, p in before.items()})


def test_mla_projects_the_head_gradient_from_the_second_update_on():
    plain, projected = (trainer("mla", options={"projection": p}) for p in (False, True))
    spies = [Spy(plain), Spy(projected)]
    batch = first_batch(plain)
    mean = copy.deepcopy(plain.model).encode(batch.inputs)["face"].mean(0)
    for state in (plain, projected):
        state.method.step(state, batch)
    first, second = zip(spies[0].grads, spies[1].grads, strict=True)
    assert all(torch.equal(first[0][n], first[1][n]) for n in first[0])  # the very first one is left alone
    p = torch.eye(4, dtype=torch.float64) - torch.outer(mean, mean) / (0.1 + mean @ mean)
    p = p / p.norm()
    for name in second[0]:
        expected = second[0][name] @ p if name == "heads.shared.weight" else second[0][name]
        assert torch.allclose(second[1][name], expected, rtol=1e-10), name
    assert not torch.allclose(second[0]["heads.shared.weight"], second[1]["heads.shared.weight"])


def test_mla_fuses_what_is_kept():
    state = trainer("mla", modalities=3)
    state.model.eval()
    inputs, _ = first_batch(state)
    branch = {m: state.heads["shared"](z) for m, z in state.model.encode(inputs).items()}
    w = mla.entropy_weights(branch)
    every = state.method.all_logits(state, inputs)
    assert torch.allclose(every[FUSED], sum(w[m] * branch[m] for m in branch))
    assert torch.allclose(state.method.logits(state, inputs), every[FUSED])
    w = mla.entropy_weights({m: branch[m] for m in ("sound", "text")})
    two = state.method.logits(state, {m: inputs[m] for m in ("sound", "text")}, keep=("sound", "text"))
    assert torch.allclose(two, w["sound"] * branch["sound"] + w["text"] * branch["text"])
    for m in branch:
        assert torch.allclose(every[m], branch[m])
        assert torch.allclose(state.method.logits(state, inputs, keep=(m,)), branch[m])
        assert torch.allclose(state.method.official_unimodal(state, inputs)[m], branch[m])
    with pytest.raises(ValueError, match="Unknown modality 'fac': did you mean 'face'"):
        state.method.logits(state, inputs, keep=("fac",))
    with pytest.raises(ValueError, match="batch has no 'face'"):
        state.method.logits(state, {"sound": inputs["sound"]}, keep=("face",))
    with pytest.raises(ValueError, match="keep at least one"):
        state.method.logits(state, inputs, keep=())


def test_mla_fixed_weights():
    state = trainer("mla", options={"weights": (0.55, 0.45)})
    inputs, _ = first_batch(state)
    every = state.method.all_logits(state, inputs)
    assert torch.allclose(every[FUSED], 0.55 * every["sound"] + 0.45 * every["face"])
    with pytest.raises(ValueError, match="2 weights for the 3 modalities"):
        methods.build("mla", {"weights": (0.55, 0.45)}).modalities(NAMES[:3])


def test_mla_excludes_accumulation():
    with pytest.raises(ValueError, match="accumulate must be 1"):
        trainer("mla", accumulate=2)
