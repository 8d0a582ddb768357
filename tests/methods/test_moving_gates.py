"""Decoupling that changes during training: at its ends it is DGL and "+UT", and it follows what it measures."""

from __future__ import annotations

import pytest
import torch
from methods.test_methods import same, trainer, weights

from dgl_core import methods
from dgl_core.gradients import FUSED
from dgl_core.methods.moving_gates import PICKS
from dgl_core.suppression import suppression_ratio


def trained(name: str, **options):
    done = trainer(name, options=options)
    done.fit()
    return done


@pytest.mark.parametrize("gate", [0.0, 1.0])
def test_a_schedule_that_stands_still_is_a_point_of_the_square(gate):
    moving = trained("schedule", alpha=2.0, start=gate, end=gate)
    fixed = trained("partial", alpha=2.0, encoder_gate=gate)
    assert same(weights(moving), weights(fixed))


def test_the_gate_goes_in_equal_steps_from_start_to_end_and_is_recorded():
    done = trained("schedule", start=0.8, end=0.2)
    assert done.curves["loss/encoder_gate"] == pytest.approx([0.8, 0.5, 0.2])


def test_the_gate_rests_after_its_share_of_the_run():
    done = trained("schedule", until=2 / 3)
    assert done.curves["loss/encoder_gate"] == pytest.approx([1.0, 0.0, 0.0])


def test_fusion_learns_from_the_multimodal_loss_alone():
    done = trainer("schedule", options={"start": 0.5})
    batch = next(done.batches("train", training=True))
    done.method.gate = lambda state: 0.5
    done.update = lambda groups=None: None  # keep the gradients
    done.method.step(done, batch)
    found = [p.grad.clone() for p in done.model.fusion.parameters()]
    loss = torch.nn.functional.cross_entropy(done.model(batch.inputs), batch.target)
    wanted = torch.autograd.grad(loss, list(done.model.fusion.parameters()))
    assert all(torch.allclose(f, w, rtol=1e-4, atol=1e-6) for f, w in zip(found, wanted, strict=True))


@pytest.mark.parametrize("pick", PICKS)
def test_the_adaptive_gate_is_the_measured_ratio(pick):
    done = trained("adaptive", pick=pick, batches=100)
    done.model.eval()
    batches = list(done.batches("train"))
    logits = [done.model.all_logits(batch.inputs) for batch in batches]
    target = torch.cat([batch.target for batch in batches])
    joined = {b: torch.cat([x[b] for x in logits]).detach() for b in logits[0]}
    ratios = {m: suppression_ratio(joined[FUSED], joined[m], target)[0].median().item() for m in done.model.encoders}
    wanted = {"most": min(ratios.values()), "least": max(ratios.values())}.get(pick)
    own = {m: min(1.0, ratio) for m, ratio in ratios.items()}
    assert done.method.gate(done) == (own if pick == "own" else min(1.0, wanted))


def test_every_modality_records_its_own_gate():
    done = trained("adaptive", pick="own")
    for m in done.model.encoders:
        assert all(0 <= value <= 1 for value in done.curves[f"loss/encoder_gate_{m}"])
    assert "loss/encoder_gate" not in done.curves


def test_measuring_changes_nothing_in_the_model():
    done = trainer("adaptive")
    done.model.train()
    before = {name: value.clone() for name, value in done.model.state_dict().items()}
    done.method.on_start(done)
    assert done.model.training
    assert all(torch.equal(value, before[name]) for name, value in done.model.state_dict().items())
    assert 0 <= done.method.gate(done) <= 1


@pytest.mark.parametrize("gate", [0.25, {"one": 0.25, "other": 1.0}])
def test_the_measured_gate_survives_an_interruption(gate):
    method = methods.build("adaptive")
    method.load_state_dict({"gate": gate})
    assert methods.build("adaptive").state_dict() != method.state_dict() and method.gate(None) == gate


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("schedule", {"start": 1.5}, "start is 1.5"),
        ("schedule", {"until": 0.0}, "until is 0"),
        ("schedule", {"alpha": 0.0}, "alpha is 0"),
        ("adaptive", {"pick": "mosst"}, "did you mean 'most'"),
        ("adaptive", {"batches": 0}, "batches is 0"),
    ],
)
def test_bad_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        methods.build(name, options)
