"""P9: what DGL guarantees (D1-D6), on the real objective with small encoders and a concatenation head, float64."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dgl_core import suppression
from dgl_core.gradients import DisentangledObjective, disentangled_loss
from dgl_core.models import ConcatFusion, LateFusion
from dgl_core.paper.theory import feature as theory_feature
from dgl_core.paper.theory import field, toy

many = settings(max_examples=200, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31)
counts = st.integers(2, 3)
alphas = st.floats(0.1, 5.0)
BATCH, CLASSES, WIDTH = 6, 4, 3


def problem(seed, modalities):
    """``(model, inputs, target)``: two-layer encoders, linear head with bias, all float64."""
    torch.manual_seed(seed % 2**32)
    names = [f"m{i}" for i in range(modalities)]
    encoders = {m: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, WIDTH)) for m in names}
    model = LateFusion(encoders, ConcatFusion({m: WIDTH for m in names}, CLASSES)).double()
    inputs = {m: torch.randn(BATCH, 5, dtype=torch.float64) for m in names}
    return model, inputs, torch.randint(CLASSES, (BATCH,))


def received(model, inputs, target, **options):
    """Gradients of one backward pass on a fresh copy, by parameter name."""
    model = copy.deepcopy(model)
    disentangled_loss(model, inputs, target, **options).total.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def block(model, m):
    """``W^m`` and ``b`` of the concatenation head."""
    index = list(model.encoders).index(m)
    return model.fusion.head.weight[:, index * WIDTH : (index + 1) * WIDTH].detach(), model.fusion.head.bias.detach()


@many
@given(seeds, counts, alphas)
def test_d1_encoder_gradient_is_that_of_its_zero_masked_classifier(seed, modalities, alpha):
    model, inputs, target = problem(seed, modalities)
    got = received(model, inputs, target, alpha=alpha)
    for m, encoder in model.encoders.items():
        weight, bias = block(model, m)
        feature = encoder(inputs[m])
        loss = alpha * F.cross_entropy(feature @ weight.T + bias, target)
        alone = torch.autograd.grad(loss, [feature, *encoder.parameters()])
        for (name, _), expected in zip(encoder.named_parameters(), alone[1:], strict=True):
            assert (got[f"encoders.{m}.{name}"] - expected).abs().max() <= 1e-12
        at_feature = alpha * theory_feature.feature_gradient(feature.detach() @ weight.T + bias, weight, target) / BATCH
        assert (alone[0] - at_feature).abs().max() <= 1e-12


def test_d1_is_not_the_gradient_of_a_separately_trained_model():
    """The classifier block is trained by the multimodal loss only, so after a step its next gradient differs."""
    model, inputs, target = problem(0, 2)
    alone = copy.deepcopy(model)
    for _ in range(3):
        for trained, objective in ((model, "dgl"), (alone, "unimodal")):
            trained.zero_grad()
            if objective == "dgl":
                disentangled_loss(trained, inputs, target, alpha=1.0).total.backward()
            else:
                F.cross_entropy(trained(inputs, keep=("m0",)), target).backward()
            with torch.no_grad():
                for parameter in trained.parameters():
                    if parameter.grad is not None:
                        parameter -= 0.5 * parameter.grad
    apart = block(model, "m0")[0] - block(alone, "m0")[0]
    assert apart.abs().max() > 1e-3


@many
@given(seeds, counts, alphas)
def test_d2_no_other_modality_matters(seed, modalities, alpha):
    model, inputs, target = problem(seed, modalities)
    before = received(model, inputs, target, alpha=alpha)
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in changed.encoders["m1"].parameters():
            parameter.mul_(-1.7)
    other = received(changed, inputs | {"m1": inputs["m1"] + 3.0}, target, alpha=alpha)
    for name in before:
        if name.startswith("encoders.m0."):
            assert torch.equal(before[name], other[name])  # bitwise
    joint = [received(x, y, target, alpha=0.0, encoder_gate=1.0) for x, y in ((model, inputs), (changed, inputs))]
    assert any(not torch.equal(joint[0][n], joint[1][n]) for n in joint[0] if n.startswith("encoders.m0."))


@many
@given(seeds, counts, alphas)
def test_d3_fusion_gradient_is_that_of_constant_features(seed, modalities, alpha):
    model, inputs, target = problem(seed, modalities)
    got = received(model, inputs, target, alpha=alpha)
    features = {m: z.detach() for m, z in model.encode(inputs).items()}
    expected = torch.autograd.grad(F.cross_entropy(model.fuse(features), target), list(model.fusion.parameters()))
    without = received(model, inputs, target, alpha=0.0)
    for (name, _), value in zip(model.fusion.named_parameters(), expected, strict=True):
        assert (got[f"fusion.{name}"] - value).abs().max() <= 1e-12
        assert (got[f"fusion.{name}"] - without[f"fusion.{name}"]).abs().max() <= 1e-12


def trained(optimizer, alpha, scale, steps, clip=None, **options):
    model, inputs, target = problem(3, 2)
    groups = [{"params": model.encoders.parameters(), "lr": 0.05 * scale}, {"params": model.fusion.parameters()}]
    update = optimizer(groups, lr=0.05, **options)
    for _ in range(steps):
        update.zero_grad()
        disentangled_loss(model, inputs, target, alpha=alpha).total.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        update.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def apart(first, second):
    return (first - second).abs().max().item()


def test_d4_under_sgd_alpha_is_the_encoder_learning_rate():
    momentum = {"momentum": 0.9, "steps": 100}
    four = trained(torch.optim.SGD, 4.0, 1.0, **momentum)
    assert apart(four, trained(torch.optim.SGD, 1.0, 4.0, **momentum)) < 1e-12
    assert apart(four, trained(torch.optim.SGD, 1.0, 1.0, **momentum)) > 1e-2


def test_d4_needs_no_decay_and_no_clipping():
    for broken in ({"weight_decay": 0.01}, {"clip": 0.05}):
        options = {"momentum": 0.9, "steps": 100} | broken
        four = trained(torch.optim.SGD, 4.0, 1.0, **options)
        assert apart(four, trained(torch.optim.SGD, 1.0, 4.0, **options)) > 1e-4


def test_d4_under_adam_alpha_is_inert():
    quiet = {"steps": 100, "eps": 1e-12}
    one = trained(torch.optim.Adam, 1.0, 1.0, **quiet)
    assert apart(one, trained(torch.optim.Adam, 4.0, 1.0, **quiet)) < 1e-6
    coupled = quiet | {"weight_decay": 0.01}
    assert apart(trained(torch.optim.Adam, 1.0, 1.0, **coupled), trained(torch.optim.Adam, 4.0, 1.0, **coupled)) > 1e-3
    one = trained(torch.optim.AdamW, 1.0, 1.0, **coupled)  # decoupled decay keeps it inert
    assert apart(one, trained(torch.optim.AdamW, 4.0, 1.0, **coupled)) < 1e-6


def test_d5_the_update_is_the_gradient_of_no_function():
    data = toy.toy_data(seed=1, samples=20)
    for alpha, encoder_gate, fusion_gate, gradient in ((0.0, 1.0, 0.0, True), (1.0, 1.0, 1.0, True),
                                                       (1.0, 0.0, 0.0, False)):  # fmt: skip
        objective = DisentangledObjective(toy.toy_model(data), alpha, encoder_gate, fusion_gate)
        start = nn.utils.parameters_to_vector(objective.parameters()).detach().clone()
        difference = field.asymmetry(field.field_jacobian(objective, data.train, data.train_target))
        assert difference < 1e-8 if gradient else difference > 1e-2
        assert torch.equal(start, nn.utils.parameters_to_vector(objective.parameters()).detach())


@pytest.mark.parametrize("seed, rises", [(2, True), (0, False)])
def test_d5_a_step_can_raise_the_multimodal_loss(seed, rises):
    """After 300 steps of DGL on the toy task: the first-order rate, and a step so small that it must follow it."""
    data = toy.toy_data(seed=seed)
    model = toy.toy_model(data, seed)
    toy.train_toy(model, data, steps=300, every=0)
    batch = (data.train, data.train_target)
    slope = field.multimodal_slope(DisentangledObjective(model, 1.0), *batch)
    assert (slope > 0) == rises
    assert field.multimodal_slope(DisentangledObjective(model, 0.0, 1.0), *batch) < 0  # vanilla always descends
    before = F.cross_entropy(model(data.train), data.train_target).item()
    model.zero_grad()
    DisentangledObjective(model, 1.0)(*batch).total.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-4 * parameter.grad
    change = F.cross_entropy(model(data.train), data.train_target).item() - before
    assert change == pytest.approx(1e-4 * slope, rel=0.01)


@many
@given(seeds, counts)
def test_d6_masked_logits_add_up(seed, modalities):
    model, inputs, _ = problem(seed, modalities)
    with torch.no_grad():
        logits = model.all_logits(inputs)
        total = sum(logits[m] for m in model.encoders) - (modalities - 1) * model.fusion.head.bias
        assert (logits["fused"] - total).abs().max() <= 1e-12


def test_the_hand_example():
    """One sample, one-dimensional features: every number can be checked with a pocket calculator."""
    encoders = {m: nn.Identity() for m in ("m0", "m1")}
    model = LateFusion(encoders, ConcatFusion({"m0": 1, "m1": 1}, 2)).double()
    with torch.no_grad():
        model.fusion.head.weight.copy_(torch.tensor([[1.0, 0.5], [-1.0, -0.5]]))
        model.fusion.head.bias.zero_()
    z = [torch.tensor([[value]], dtype=torch.float64, requires_grad=True) for value in (1.0, 2.0)]
    target = torch.tensor([0])
    inputs = dict(zip(encoders, z, strict=True))
    disentangled = disentangled_loss(model, inputs, target, alpha=4.0)
    g = torch.cat([x.flatten() for x in torch.autograd.grad(disentangled.total, z, retain_graph=True)])
    assert torch.allclose(g, torch.tensor([-0.9536, -0.4768]).double(), atol=1e-4)
    head = torch.autograd.grad(disentangled.total, list(model.fusion.parameters()))
    assert torch.allclose(head[0][0], torch.tensor([-0.0180, -0.0360]).double(), atol=1e-4)
    joint = torch.autograd.grad(disentangled_loss(model, inputs, target, alpha=0.0, encoder_gate=1.0).total, z)
    ratio, _ = suppression.suppression_ratio(disentangled.logits["fused"], disentangled.logits["m0"], target)
    assert ratio.item() == pytest.approx(0.1509, abs=1e-4)
    assert joint[0].item() == pytest.approx(ratio.item() * g[0].item() / 4.0, rel=1e-9)
