"""PMR: coefficients of both forms, prototypes and their gaps, and where the gradient goes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from stepping import A, B, assert_close, make, one_step, row, without_updates
from tiny import gradients

from dgl_core.methods.baselines import pmr
from dgl_core.training.loop import Trainer


def test_pmr_coefficients_on_the_hand_examples():
    assert torch.allclose(pmr.paper_coefficients(row(1.7, 1)), row(0, 0.7))
    assert torch.allclose(pmr.paper_coefficients(row(0.4, 1)), row(1, 0))
    assert torch.equal(pmr.code_coefficients(row(1.7, 1)), row(0, 1))
    assert torch.equal(pmr.code_coefficients(row(0.4, 1)), row(1, 0))
    assert torch.allclose(pmr.entropy_coefficients(row(1.7, 1)), row(0.7, 0))  # the leader is the one held back
    for scores in (row(2, 2), row(0.7, 0.7, 0.7), row(0, 0)):
        for coefficients in (pmr.code_coefficients, pmr.paper_coefficients, pmr.entropy_coefficients):
            assert (coefficients(scores) == 0).all()
    assert torch.equal(pmr.code_coefficients(row(3, 1, 2.5)), row(0, 1, 0))
    assert torch.allclose(pmr.paper_coefficients(row(3, 1.6, 2)), row(0, 2.5 / 1.6 - 1, 2.3 / 2 - 1))
    assert torch.equal(pmr.paper_coefficients(row(0, 1)), row(1, 0))


def test_class_means_leave_an_absent_class_at_zero_and_blending_leaves_it_at_its_last_value():
    features, target = torch.arange(8.0).view(4, 2), torch.tensor([0, 2, 0, 2])
    means, present = pmr.class_means(features, target, 3)
    assert torch.equal(means, torch.tensor([[2.0, 3.0], [0.0, 0.0], [4.0, 5.0]]))
    assert present.tolist() == [True, False, True]
    old, seen = torch.full((3, 2), 10.0), torch.tensor([True, True, False])
    blended = pmr.blend(means, old, present, seen, keep=0.25)
    assert torch.equal(blended, torch.tensor([[4.0, 4.75], [10.0, 10.0], [4.0, 5.0]]))


def test_prototype_softmax_at_its_own_prototype():
    prototypes = 3 / math.sqrt(2) * torch.eye(4, dtype=torch.float64)  # every pair at distance 3
    z = prototypes[:1].clone().requires_grad_()
    similarity = pmr.similarities(z, prototypes, torch.ones(4, dtype=torch.bool))
    assert similarity.softmax(1)[0, 0].item() == pytest.approx(1 / (1 + 3 * math.exp(-3)))
    pmr.prototype_loss(similarity, torch.tensor([0]), torch.ones(1)).backward()
    assert z.grad.isfinite().all()
    assert pmr.prototype_entropy(torch.zeros(2, 4)).item() == pytest.approx(math.log(4))


def test_a_class_without_prototype_is_left_out_of_loss_and_softmax():
    torch.manual_seed(0)
    z, prototypes = torch.randn(3, 2, dtype=torch.float64, requires_grad=True), torch.randn(3, 2, dtype=torch.float64)
    seen, target = torch.tensor([True, False, True]), torch.tensor([0, 1, 2])
    similarity = pmr.similarities(z, prototypes, seen)
    loss = pmr.prototype_loss(similarity, target, seen[target].double())
    kept = pmr.similarities(z[[0, 2]], prototypes[[0, 2]], seen[[0, 2]])
    assert torch.allclose(loss, F.cross_entropy(kept, torch.tensor([0, 1])))
    loss.backward()
    assert z.grad.isfinite().all() and (z.grad[1] == 0).all() and (z.grad[0] != 0).any()
    assert pmr.prototype_loss(similarity, target, torch.zeros(3)) == 0
    assert pmr.prototype_entropy(similarity).isfinite()


def leading_prototypes(trainer: Trainer) -> None:
    """Modality A knows every class, B is at the same distance from all: B is behind."""
    rows = trainer.batch(trainer.train_index[:6])
    with torch.no_grad():
        z = trainer.model.encode(rows.inputs)
    trainer.method.prototypes = {A: torch.stack([z[A][rows.target == k].mean(0) for k in range(3)]), B: 0 * z[B][:3]}


def joint_and_prototype_gradients(trainer: Trainer) -> tuple[dict, dict, list]:
    """Gradients of the joint loss and of PCE_B, each on its own, and the entropies."""
    rows = trainer.batch(trainer.train_index[:6])
    out = []
    for which in ("joint", "prototype", "entropy"):
        trainer.model.zero_grad()
        z = trainer.model.encode(rows.inputs)
        similarity = {m: pmr.similarities(z[m], trainer.method.prototypes[m], trainer.method.seen) for m in z}
        scores = torch.stack([v.softmax(1)[range(6), rows.target].sum() for v in similarity.values()]).detach()
        if which == "joint":
            F.cross_entropy(trainer.model.fuse(z), rows.target).backward()
        elif which == "prototype":
            F.cross_entropy(similarity[B], rows.target).backward()
        else:
            torch.distributions.Categorical(logits=similarity[A]).entropy().mean().backward()
        out.append(gradients(trainer.model))
    return *out, scores


@pytest.mark.parametrize("form", ["code", "paper"])
def test_pmr_adds_the_prototype_loss_of_the_modality_behind_and_none_of_it_to_the_head(form):
    options = {"alpha": 3.0, "form": form, "entropy": 0.5}
    found, trainer = one_step("pmr", options=options, prepare=leading_prototypes)
    joint, prototype, entropy, scores = joint_and_prototype_gradients(trainer)
    assert scores[0] > scores[1]
    assert all(name.startswith(f"encoders.{B}.") for name in prototype)
    gap = min(scores[0] / scores[1] - 1, 1)
    beta, gamma = (1, 0) if form == "code" else (gap, gap)
    expected = {n: g + 3 * beta * prototype.get(n, 0) - 0.5 * gamma * entropy.get(n, 0) for n, g in joint.items()}
    assert_close(found, expected)


def test_the_entropy_term_ends_before_the_prototype_term():
    common = {"form": "paper", "entropy_until": 0.25}
    with_term, without, ended = (
        one_step("pmr", options=common | {"entropy": e}, epochs=10, epoch=n, prepare=leading_prototypes)[0]
        for e, n in ((5.0, 2), (0.0, 2), (5.0, 3))
    )
    assert_close(ended, without)
    assert any(not torch.equal(with_term[n], without[n]) for n in without)


def test_prototypes_are_class_means_in_evaluation_mode_and_leave_the_model_as_it_was():
    trainer = make("pmr", options={"share": 1.0, "smoothing": 0.25})
    before = {n: b.clone() for n, b in trainer.model.named_buffers()}
    first = trainer.method.prototypes[A].clone()
    rows = trainer.batch(trainer.train_index)
    trainer.model.eval()
    with torch.no_grad():
        z = trainer.model.encode(rows.inputs)[A]
    assert torch.allclose(first, torch.stack([z[rows.target == k].mean(0) for k in range(3)]))
    trainer.model.train()
    trainer.model.encoders[A][1].eval()  # a frozen layer stays frozen
    with torch.no_grad():
        trainer.model.encoders[A][3].bias.add_(1.0)  # moves every feature of A by one
    trainer.method.on_epoch_end(trainer)
    assert torch.allclose(trainer.method.prototypes[A], first + 1)  # after the first epoch: set, not blended
    trainer.epoch = 1
    with torch.no_grad():
        trainer.model.encoders[A][3].bias.add_(1.0)
    trainer.method.on_epoch_end(trainer)
    assert torch.allclose(trainer.method.prototypes[A], first + 1.75)
    assert trainer.model.training and not trainer.model.encoders[A][1].training
    assert all(torch.equal(b, before[n]) for n, b in trainer.model.named_buffers())


def test_pmr_trains_on_when_the_sampled_batches_miss_a_class():
    trainer = without_updates(make("pmr", options={"share": 0.1}, batch_size=2))
    assert not trainer.method.seen.all() and trainer.method.seen.any()
    logged = trainer.method.step(trainer, trainer.batch(trainer.train_index))
    assert all(value.isfinite() for value in logged.values())
    scores = trainer.method.official_unimodal(trainer, trainer.batch(trainer.train_index).inputs)
    assert set(scores) == {A, B, f"{A}_prototype", f"{B}_prototype"}
    assert all(value.isfinite().all() for value in scores.values())
    assert trainer.method.seen[scores[f"{A}_prototype"].argmax(1)].all()
