"""Null models of DGL: encoders that never see another modality, and what joins them afterwards."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from stepping import make
from tiny import FUSED, NAMES, arrays
from torch import nn
from watching import equal_widths, first_batch, trainer

from dgl_core.data.tasks.classes import Classification
from dgl_core.methods.baselines.alone import fit_fusion


@pytest.mark.parametrize("modalities", [2, 3])
def test_an_encoder_of_the_ensemble_learns_as_if_it_were_alone(modalities):
    """Its gradient is that of its own loss through its own head, whatever the other inputs are."""
    found = []
    for noise in (0.0, 5.0):
        state = trainer("ensemble", equal_widths(modalities), modalities)
        batch, first = first_batch(state), NAMES[0]
        inputs = {m: x if m == first else x + noise for m, x in batch.inputs.items()}
        loss = F.cross_entropy(state.heads[first](state.model.encoders[first](inputs[first])), batch.target)
        expected = torch.autograd.grad(loss, list(state.model.encoders[first].parameters()))
        state.update = lambda groups=None: None
        state.method.step(state, batch._replace(inputs=inputs))
        for parameter, gradient in zip(state.model.encoders[first].parameters(), expected, strict=True):
            assert torch.allclose(parameter.grad, gradient, rtol=0, atol=1e-12)
        assert all(parameter.grad is None for parameter in state.model.fusion.parameters())
        found.append([parameter.grad for parameter in state.model.encoders[first].parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_ensemble_averages_log_probabilities_of_those_that_are_there():
    state = trainer("ensemble", modalities=3)
    state.model.eval()
    inputs = first_batch(state).inputs
    alone = {m: state.method.logits(state, inputs, (m,)) for m in NAMES[:3]}
    kept = state.method.logits(state, inputs, NAMES[:2])
    assert torch.allclose(kept, (alone[NAMES[0]] + alone[NAMES[1]]) / 2)
    assert torch.allclose(kept.detach().exp().log(), Classification().pool({m: alone[m] for m in NAMES[:2]}).detach())
    together = state.method.all_logits(state, inputs)
    assert torch.equal(together[FUSED], state.method.logits(state, inputs)) and set(together) == {FUSED, *NAMES[:3]}


def test_the_fitted_head_is_at_the_minimum_of_its_penalised_loss():
    generator = torch.Generator().manual_seed(0)
    model = equal_widths(2).double()
    features = {m: torch.randn(60, 4, dtype=torch.float64, generator=generator) for m in NAMES[:2]}
    target = torch.randint(3, (60,), generator=generator)
    fit_fusion(model.fusion, features, target, decay=0.1)
    parts = list(model.fusion.parameters())
    loss = F.cross_entropy(model.fuse(features), target) + 0.05 * sum(p.square().sum() for p in parts)
    assert max(g.abs().max() for g in torch.autograd.grad(loss, parts)) < 1e-4


def test_frozen_encoders_are_those_of_the_ensemble_and_only_the_head_is_new():
    runs = {name: make(name, equal_widths(2).double(), arrays(2), epochs=2, batch_size=8, milestones=(1,))
            for name in ("ensemble", "frozen_encoders")}  # fmt: skip
    for state in runs.values():
        state.fit()
    one, other = (state.model for state in runs.values())
    for a, b in zip(one.encoders.parameters(), other.encoders.parameters(), strict=True):
        assert torch.equal(a, b)
    state = runs["frozen_encoders"]
    state.model.eval()
    inputs = first_batch(state).inputs
    fitted = state.heads["joined"](state.model.encode(inputs))
    assert torch.equal(state.method.logits(state, inputs), fitted), "the fitted head answers"
    alone = state.method.logits(state, inputs, NAMES[:1])
    assert torch.allclose(alone, state.heads[NAMES[0]](state.model.encoders[NAMES[0]](inputs[NAMES[0]])).log_softmax(1))


def test_a_model_without_one_vector_a_modality_is_refused():
    class Picture(nn.Module):
        def forward(self, x):
            return x

    model = equal_widths(2)
    model.encoders[NAMES[0]], model.fusion.widths = Picture(), None
    with pytest.raises(ValueError, match="feature width"):
        make("ensemble", model, arrays(2))
