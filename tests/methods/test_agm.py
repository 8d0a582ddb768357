"""AGM: Shapley shares, factors, and the same gradient as the official hooks."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from stepping import A, B, assert_close, make, one_step, row, without_updates
from tiny import NAMES, arrays, batch, dense, gradients, images, late, pictures
from torch import nn

from dgl_core.methods.baselines import agm


def test_agm_hand_example():
    scores, running = row(1.2, 0.4), row(1.0, 0.5)
    assert torch.allclose(agm.discrepancies(scores), row(0.4493, 2.2255), atol=5e-5)
    assert torch.allclose(agm.discrepancies(running), row(0.6065, 1.6487), atol=5e-5)
    assert torch.allclose(agm.coefficients(scores, running, 1.0), row(1.1702, 0.5617), atol=5e-5)
    assert torch.equal(agm.discrepancies(torch.zeros(2)), torch.ones(2))  # first batch: tau = 1
    assert torch.equal(agm.discrepancies(row(0.3, 0.3, 0.3)), row(1, 1, 1))
    extreme = agm.coefficients(row(18, 0), row(0, 18), 1.0)
    assert torch.allclose(extreme, row(math.exp(10), 0)) and extreme.isfinite().all()


def test_agm_scores_are_cross_entropies_that_never_become_infinite():
    sure, target = torch.tensor([[0.0, 2000.0], [1.0, 2.0]], dtype=torch.float64), torch.tensor([0, 0])
    usual = math.log(1 + math.e)
    assert torch.allclose(
        agm.surprise([sure, sure[1:].expand(2, 2)], target), row((8 * math.log(10) + usual) / 2, usual)
    )


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_shapley_shares_add_up_to_the_full_output(modalities):
    names = NAMES[:modalities]
    values = {s: torch.randn(5, 3, dtype=torch.float64) for s in agm.coalitions(names, full=True)}
    assert len(values) == 2**modalities - 1
    shares = agm.shapley(values, names)
    assert torch.allclose(sum(shares.values()), values[names], rtol=0, atol=1e-12)
    v = {"".join(m[0] for m in s): value for s, value in values.items()}  # sound s, face f, text t
    if modalities == 2:
        assert torch.allclose(shares[A], (v["sf"] - v["f"] + v["s"]) / 2)
        assert torch.allclose(shares[B], (v["sf"] - v["s"] + v["f"]) / 2)
    if modalities == 3:
        cyclic = (v["sft"] - v["ft"]) / 3 + (v["sf"] - v["f"] + v["st"] - v["t"]) / 6 + v["s"] / 3
        assert torch.allclose(shares[A], cyclic)


def hooked(model, inputs, target, running, alpha) -> dict:
    """AGM as the official code writes it: whole passes on zeroed inputs, hooks on the shares, and the clip."""
    names = tuple(model.encoders)
    passes = {names: model(inputs)}
    model.eval()
    for s in agm.coalitions(names, full=False):
        passes[s] = model({m: inputs[m] if m in s else torch.zeros_like(inputs[m]) for m in names})
    model.train()
    shares = [share * 1.0 for share in agm.shapley(passes, names).values()]
    scores = torch.stack([F.cross_entropy(share, target) for share in shares]).detach()
    for share, k in zip(shares, agm.coefficients(scores, running, alpha), strict=True):
        share.register_hook(lambda g, k=k: k * g)
    F.cross_entropy(sum(shares), target).backward()
    if any(p.grad.max() > 1 or p.grad.min() < -1 for p in model.fusion.parameters() if p.dim() > 1):
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    return gradients(model)


@pytest.mark.parametrize(
    "build, modalities", [("concat", 2), ("concat", 3), ("sum", 3), ("gated", 2), ("pictures", 3), ("dense", 3)]
)
def test_agm_leaves_the_gradient_of_the_official_hooks(build, modalities):
    def fresh():
        if build in ("pictures", "dense"):
            return (pictures if build == "pictures" else dense)(modalities).double()
        return late(modalities, build, batch_norm=True)

    dataset = images(modalities) if build == "pictures" else arrays(modalities)
    running = torch.linspace(0.2, 1.4, modalities, dtype=torch.float64)

    def prepare(trainer):
        trainer.method.running, trainer.method.batches = running, 4

    found, trainer = one_step("agm", fresh(), dataset=dataset, options={"alpha": 0.7}, prepare=prepare)
    reference, rows = fresh().train(), trainer.batch(trainer.train_index[:6])
    expected = hooked(reference, *rows, running, 0.7)
    vanilla, _ = one_step("vanilla", fresh(), dataset=dataset)
    assert_close(found, expected)
    assert any((found[n] - vanilla[n]).abs().max() > 1e-3 for n in vanilla)
    for (name, buffer), other in zip(trainer.model.named_buffers(), reference.buffers(), strict=True):
        assert torch.allclose(buffer, other), name  # one pass, the joint one, moved the batch statistics
    assert all(module.training for module in trainer.model.modules())


def test_agm_running_scores_are_the_mean_of_all_batches_before():
    seen, trainer = [], without_updates(make("agm"))
    inner = trainer.objective

    class Spy(nn.Module):  # also: a wrapper, as DDP is one, must be enough for the method
        def forward(self, *arguments):
            out = inner(*arguments)
            seen.append((arguments[2].clone(), out[1]))
            return out

    trainer.objective = Spy()
    for start in (0, 3, 6):
        trainer.method.step(trainer, trainer.batch(trainer.train_index[start : start + 6]))
    assert (seen[0][0] == 0).all()
    for t in (1, 2):
        assert torch.allclose(seen[t][0], torch.stack([scores for _, scores in seen[:t]]).mean(0))


def test_agm_clips_everything_only_when_a_fusion_weight_gradient_exceeds_one():
    weights, bias, other = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))
    for largest, clipped in ((0.9, False), (-1.5, True)):
        weights.grad, bias.grad, other.grad = torch.zeros(2, 2), torch.full((2,), 5.0), torch.full((3,), 4.0)
        weights.grad[0, 1] = largest
        before = torch.cat([g.grad.flatten() for g in (weights, bias, other)])
        agm.clip_by_fusion([weights, bias, other], [weights, bias])
        after = torch.cat([g.grad.flatten() for g in (weights, bias, other)])
        assert torch.allclose(after, before / before.norm() if clipped else before, atol=1e-5)
    agm.clip_by_fusion([other], [])  # a fusion without weights: nothing to watch


def test_agm_official_scores_are_the_shares_in_evaluation_mode():
    trainer = make("agm", late(2, batch_norm=True), arrays())
    trainer.model.eval()
    inputs, _ = batch()
    zero = {m: torch.zeros_like(x) for m, x in inputs.items()}
    model = trainer.model
    both, a, b = model(inputs), model({A: inputs[A], B: zero[B]}), model({A: zero[A], B: inputs[B]})
    found = trainer.method.official_unimodal(trainer, inputs)
    assert torch.allclose(found[A], (both - b + a) / 2) and torch.allclose(found[B], (both - a + b) / 2)


@pytest.mark.parametrize("make_model", [lambda: pictures(2), lambda: dense(2)], ids=["late", "dense"])
def test_batch_statistics_of_masked_passes_leave_the_running_ones_alone(make_model):
    """The masked passes normalise by their own batch; only the full pass moves the running statistics, once."""
    data = images(2) if make_model().__class__.__name__ == "LateFusion" else arrays(2)
    running = []
    for masked in (True, False):
        state = without_updates(make("agm", make_model(), data, options={"masked": "batch"}))
        inputs = state.batch(state.train_index[:6])
        if masked:
            state.method.step(state, inputs)
        else:
            state.model(inputs.inputs)
        running.append({n: b.clone() for n, b in state.model.named_buffers() if "running" in n})
    assert running[0] and all(torch.equal(running[0][n], running[1][n]) for n in running[0])


def test_masked_passes_in_training_mode_are_whole_passes_on_zeroed_inputs():
    model = pictures(2).double().train()
    data = images(2)
    inputs = {m: x[:6].double() for m, x in data.inputs.items()}
    with agm.batch_statistics(model):
        found = agm.coalition_logits(model, inputs)
        for s, logits in found.items():
            blank = {m: inputs[m] if m in s else torch.zeros_like(inputs[m]) for m in inputs}
            assert torch.allclose(logits, model(blank), rtol=0, atol=1e-10)
