"""MMPareto: min-norm weights, enlarged directions, one step against gradients by hand."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from watching import Spy, equal_widths, first_batch, trainer

from dgl_core.methods.baselines import mmpareto


def pair(joint, own):
    return torch.tensor(joint, dtype=torch.float64), torch.tensor(own, dtype=torch.float64)


def test_min_norm_hand_example():
    joint, own = pair([1.0, 0.0], [-1.0, 1.0])
    weight = mmpareto.pareto_weight([joint], [own])
    assert weight.item() == pytest.approx(0.6)
    shortest = weight * joint + (1 - weight) * own
    assert shortest @ joint == pytest.approx(0.2) and shortest @ own == pytest.approx(0.2)
    final = mmpareto.enlarge(joint, own, weight, 1.5)
    assert final.tolist() == pytest.approx([0.6708, 1.3416], abs=5e-5)
    assert final.norm() == pytest.approx(1.5)


def test_min_norm_ends():
    v = [torch.tensor(value) for value in (1.0, 2.0, 4.0)]
    assert mmpareto.min_norm(v[0], v[0], v[2]).item() == pytest.approx(0.999)  # v12 >= v11
    assert mmpareto.min_norm(v[2], v[1], v[0]).item() == pytest.approx(0.001)  # v12 >= v22


def test_agreeing_gradients_give_exactly_gamma_times_their_sum():
    torch.manual_seed(0)
    joint = [torch.randn(3, 2), torch.randn(5)]
    own = [g + 0.3 * torch.randn_like(g) for g in joint]
    weight = mmpareto.pareto_weight(joint, own)
    for a, b in zip(joint, own, strict=True):
        assert torch.equal(mmpareto.enlarge(a, b, weight, 1.5), 1.5 * (a + b))


@pytest.mark.parametrize(
    "joint, own, expected",
    [([0.0, 0.0], [3.0, 4.0], [4.5, 6.0]), ([3.0, 4.0], [0.0, 0.0], [4.5, 6.0]), ([0.0, 0.0], [0.0, 0.0], [0.0, 0.0])],
)
def test_a_zero_gradient_counts_for_nothing(joint, own, expected):
    joint, own = pair(joint, own)
    weight = mmpareto.pareto_weight([joint], [own])
    assert mmpareto.enlarge(joint, own, weight, 1.5).tolist() == pytest.approx(expected)


def test_opposite_gradients_cancel_without_nan():
    joint, own = pair([1.0, -2.0], [-1.0, 2.0])
    final = mmpareto.enlarge(joint, own, mmpareto.pareto_weight([joint], [own]), 1.5)
    assert final.abs().max() < 1e-12
    parameter = nn.Parameter(torch.ones(2))
    assert mmpareto.integrate({parameter: (None, None)}, 1.5) == {}
    only = mmpareto.integrate({parameter: (None, torch.tensor([3.0, 4.0]))}, 1.5)[parameter]
    assert only.tolist() == pytest.approx([4.5, 6.0])


@pytest.mark.parametrize("conflict", [False, True])
@pytest.mark.parametrize("modalities", [2, 3])
def test_mmpareto_step_against_gradients_by_hand(conflict, modalities):
    state = trainer("mmpareto", modalities=modalities, clip=0.0)
    with torch.no_grad():  # own heads that want the same as the joint one, or the opposite
        blocks = state.model.fusion.head.weight.split(4, dim=1)
        for head, block in zip(state.heads.values(), blocks, strict=True):
            head.weight.copy_(-block if conflict else block)
    model, heads = copy.deepcopy((state.model, state.heads))
    spy, batch = Spy(state), first_batch(state)
    state.method.step(state, batch)
    features = model.encode(batch.inputs)
    joint = F.cross_entropy(model.fuse(features), batch.target)
    for m, encoder in model.encoders.items():
        own = F.cross_entropy(heads[m](features[m]), batch.target)
        names = [f"encoders.{m}.{n}" for n, _ in encoder.named_parameters()]
        g1 = torch.autograd.grad(joint, list(encoder.parameters()), retain_graph=True)
        g2 = torch.autograd.grad(own, list(encoder.parameters()), retain_graph=True)
        flat = [torch.cat([g.flatten() for g in grads]) for grads in (g1, g2)]
        v11, v12, v22 = flat[0] @ flat[0], flat[0] @ flat[1], flat[1] @ flat[1]
        assert (v12 < 0) == conflict  # the case is what its name says
        a = 0.5 if v12 > 0 else float(((v22 - v12) / (v11 + v22 - 2 * v12)).clamp(0.001, 0.999))
        for name, x, y in zip(names, g1, g2, strict=True):
            h = 2 * a * x + 2 * (1 - a) * y
            found, length = spy.grads[0][name], max((x + y).norm(), h.norm())
            assert torch.allclose(found.norm(), 1.5 * length, rtol=1e-8, atol=1e-14), name
            assert torch.allclose(found * h.norm(), 1.5 * length * h, rtol=1e-6, atol=1e-12), name
        assert torch.allclose(spy.grads[0][f"heads.{m}.bias"], torch.autograd.grad(own, heads[m].bias)[0])
    assert torch.allclose(spy.grads[0]["fusion.head.bias"], torch.autograd.grad(joint, model.fusion.head.bias)[0])


def test_mmpareto_accumulates_directions():
    batches = 0, 8
    separate = []
    for start in batches:
        state = trainer("mmpareto", equal_widths(batch_norm=False), clip=0.0)
        spy = Spy(state)
        state.method.step(state, first_batch(state, start))
        separate.append(spy.grads[0])
    state = trainer("mmpareto", equal_widths(batch_norm=False), clip=0.0, accumulate=2)
    spy = Spy(state)
    for state.step, start in enumerate(batches):
        state.method.step(state, first_batch(state, start))
    for name, grad in spy.grads[1].items():
        assert torch.allclose(grad, (separate[0][name] + separate[1][name]) / 2, rtol=1e-9, atol=1e-14), name


def network(seed, blocks=2):
    """Parameters of a small network, convolutions in channels_last, with gradients of two losses."""
    torch.manual_seed(seed)
    layers = [layer for _ in range(blocks) for layer in (nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))]
    module = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(3)).double()
    module(torch.zeros(2, 4, 8, 8, dtype=torch.float64))
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.to(memory_format=torch.channels_last)
    return list(module.parameters())


@pytest.mark.parametrize("agreeing", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_the_flat_form_is_the_same_integration(agreeing, seed):
    parameters = network(seed)
    joint = [torch.randn_like(p) for p in parameters]
    sign = 1.0 if agreeing else -1.0
    own = [sign * 0.7 * g + 0.2 * torch.randn_like(g) for g in joint]
    own[1], joint[2] = None, None  # a loss that does not reach a parameter
    joint[0] = joint[0].contiguous()  # a gradient in another layout than its parameter
    left = parameters[3]
    pairs = dict(zip(parameters, zip(joint, own, strict=True), strict=True)) | {left: (None, None)}
    expected, found = mmpareto.integrate(pairs, 1.5), mmpareto.integrate_flat(pairs, 1.5)
    assert found.keys() == expected.keys() and left not in found
    for p, value in expected.items():
        assert found[p].shape == p.shape and found[p].stride() == p.stride()
        assert torch.allclose(found[p], value, rtol=1e-12, atol=1e-14)


def test_the_flat_form_survives_opposite_gradients_and_none():
    parameters = network(0)
    joint = [torch.randn_like(p) for p in parameters]
    pairs = {p: (g, -g) for p, g in zip(parameters, joint, strict=True)}
    assert all(value.abs().max() < 1e-12 for value in mmpareto.integrate_flat(pairs, 1.5).values())
    assert mmpareto.integrate_flat({parameters[0]: (None, None)}, 1.5) == {}


def test_the_flat_form_takes_a_handful_of_operations_for_any_network():
    """Counted without views, which start no kernel."""

    class Count(TorchDispatchMode):
        operations = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.operations += not func.is_view
            return func(*args, **(kwargs or {}))

    found = {}
    for blocks in (1, 3):
        pairs = {p: (torch.randn_like(p), torch.randn_like(p)) for p in network(0, blocks)}
        for form in (mmpareto.integrate_flat, mmpareto.integrate):
            with Count() as count:
                form(pairs, 1.5)
            found[form, blocks] = count.operations
    assert found[mmpareto.integrate_flat, 1] == found[mmpareto.integrate_flat, 3] <= 40
    assert found[mmpareto.integrate, 3] > 3 * found[mmpareto.integrate_flat, 3]
