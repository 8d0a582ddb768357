"""DGL inside a network: the three forms on ESANet, against gradients taken loss by loss; passes one at a time."""

from __future__ import annotations

import copy
import weakref

import pytest
import torch
from models.test_esanet import pictures, tiny
from tiny import dense, late
from torch import nn

from dgl_core import methods
from dgl_core.data.tasks.label_maps import Segmentation
from dgl_core.gradients import FUSED, DisentangledObjective
from dgl_core.methods.dense_dgl import FORMS, DenseObjective

ALPHA = 3.0
criterion = Segmentation(5, torch.tensor([1.0, 0.5, 2.0, 1.0, 0.25])).criterion


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def loss_gradients(model, inputs, target, **call) -> dict[str, torch.Tensor]:
    """Gradients of one loss on a copy of the model; parameters that it does not reach are left out."""
    model = copy.deepcopy(model)
    criterion(model(inputs, **call), target).backward()
    return gradients(model)


def dgl_gradients(model, inputs, target, kind=DenseObjective, alpha=ALPHA, **options) -> dict[str, torch.Tensor]:
    model = copy.deepcopy(model)
    kind(model, alpha, criterion=criterion, **options)(inputs, target).total.backward()
    return gradients(model)


def assert_equal(found, expected, tolerance=1e-12):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-9, atol=tolerance), name


def group(gradient: dict, *rooms: str) -> dict:
    return {n: g for n, g in gradient.items() if n.startswith(rooms)}


# -- option P: parameters ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [DisentangledObjective, DenseObjective])
def test_each_group_gets_its_own_loss_and_nothing_else(kind):
    model, (inputs, target) = tiny(), pictures()
    found = dgl_gradients(model, inputs, target, kind)
    for m in model.encoders:
        expected = group(loss_gradients(model, inputs, target, keep=(m,)), f"encoders.{m}.")
        assert_equal(group(found, f"encoders.{m}."), {n: ALPHA * g for n, g in expected.items()})
    fusion = group(found, "fusion.")
    assert_equal(fusion, group(loss_gradients(model, inputs, target), "fusion."))
    assert len(fusion) == len(list(model.fusion.parameters()))  # every fusion parameter learns, the first SE too
    assert found["fusion.se_layers.0.rgb.squeeze.weight"].abs().max() > 0


def test_it_is_algorithm_p_with_three_backward_passes():
    """Multimodal backward, stash the fusion, clear; unimodal backward, clear the fusion; put the stash back."""
    model, (inputs, target) = tiny(), pictures()
    official = copy.deepcopy(model)
    criterion(official(inputs), target).backward()
    stash = [p.grad for p in official.fusion.parameters()]
    official.zero_grad()
    (
        ALPHA
        * (criterion(official(inputs, keep=("rgb",)), target) + criterion(official(inputs, keep=("depth",)), target))
    ).backward()
    for parameter, gradient in zip(official.fusion.parameters(), stash, strict=True):
        parameter.grad = gradient
    assert_equal(dgl_gradients(model, inputs, target), gradients(official))


@pytest.mark.parametrize("m, other", [("rgb", "depth"), ("depth", "rgb")])
def test_an_encoder_does_not_notice_the_other_picture(m, other):
    model, (inputs, target) = tiny(), pictures()
    changed = inputs | {other: torch.randn_like(inputs[other])}
    first, second = (group(dgl_gradients(model, x, target), f"encoders.{m}.") for x in (inputs, changed))
    assert first and all(torch.equal(first[n], second[n]) for n in first)


def test_alpha_scales_the_encoders_and_leaves_the_fusion_alone():
    model, (inputs, target) = tiny(), pictures()
    one, four = (dgl_gradients(model, inputs, target, alpha=a) for a in (1.0, 4.0))
    assert all(torch.equal(one[n], four[n]) for n in group(one, "fusion."))
    assert_equal(group(four, "encoders."), {n: 4 * g for n, g in group(one, "encoders.").items()})


def test_masked_losses_train_disjoint_encoders():
    model, (inputs, target) = tiny(), pictures()
    rgb, depth = (loss_gradients(model, inputs, target, keep=(m,)) for m in ("rgb", "depth"))
    assert not group(rgb, "encoders.depth.") and group(rgb, "encoders.rgb.")
    assert not group(depth, "encoders.rgb.", "fusion.se_layers.0.") and group(depth, "encoders.depth.")


# -- options D and S ---------------------------------------------------------------------------------------------


def test_detached_activations_leave_the_first_fusion_without_any_gradient():
    model, (inputs, target) = tiny(), pictures()
    found, split = (dgl_gradients(model, inputs, target, FORMS[f]) for f in ("activations", "parameters"))
    assert not group(found, "fusion.se_layers.0.")  # the defect: its only way to the loss is through the RGB encoder
    assert group(split, "fusion.se_layers.0.")
    same = ("encoders.", "fusion.context", "fusion.decoder", "fusion.skips", "fusion.classifier", "fusion.se_layers.4")
    assert_equal(group(found, *same), group(split, *same))
    between = group(found, "fusion.se_layers.1.", "fusion.se_layers.2.", "fusion.se_layers.3.")
    assert between and not any(torch.allclose(g, split[n]) for n, g in between.items())  # lost their way through layers


def test_stems_alone_are_encoders_in_the_third_form():
    model, (inputs, target) = tiny(), pictures()
    found, multimodal = dgl_gradients(model, inputs, target, FORMS["stems"]), loss_gradients(model, inputs, target)
    stems = tuple(f"encoders.{m}.{layer}." for m in model.encoders for layer in ("conv1", "bn1"))
    assert_equal(
        {n: g for n, g in found.items() if not n.startswith(stems)},
        {n: g for n, g in multimodal.items() if not n.startswith(stems)},
    )
    for m in model.encoders:
        mine = (f"encoders.{m}.conv1.", f"encoders.{m}.bn1.")
        expected = group(loss_gradients(model, inputs, target, keep=(m,)), *mine)
        assert_equal(group(found, *mine), {n: ALPHA * g for n, g in expected.items()})


def test_the_gates_between_the_corners_hold_for_every_form():
    model, (inputs, target) = tiny(), pictures()
    multimodal, rgb = loss_gradients(model, inputs, target), loss_gradients(model, inputs, target, keep=("rgb",))
    for form in ("parameters", "stems"):
        found = dgl_gradients(model, inputs, target, FORMS[form], encoder_gate=0.25, fusion_gate=0.5)
        name = "encoders.rgb.conv1.weight"
        assert torch.allclose(found[name], ALPHA * rgb[name] + 0.25 * multimodal[name], rtol=1e-9, atol=1e-12)
        name = "fusion.se_layers.0.rgb.excite.bias"  # the depth-only loss does not reach it
        assert torch.allclose(found[name], multimodal[name] + 0.5 * ALPHA * rgb[name], rtol=1e-9, atol=1e-12)


# -- one backward or several ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_sequential_passes_leave_the_same_gradients_losses_and_statistics(form):
    model, (inputs, target) = tiny(), pictures()
    other = copy.deepcopy(model)
    summed = FORMS[form](model, ALPHA, criterion=criterion)(inputs, target)
    summed.total.backward()
    values = FORMS[form](other, ALPHA, criterion=criterion).sequential(inputs, target, torch.Tensor.backward)
    first, second = gradients(model), gradients(other)
    assert first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)
    assert values.total == summed.total and values.unimodal == summed.unimodal and not values.total.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), other.buffers(), strict=True))


class _Held:
    """A tensor that autograd keeps for the backward pass."""

    def __init__(self, tensor):
        self.tensor = tensor


def peak_graph(step) -> int:
    """Largest number of bytes that autograd kept at one time during ``step``."""
    live = peak = 0

    def forget(size):
        nonlocal live
        live -= size

    def pack(tensor):
        nonlocal live, peak
        held, size = _Held(tensor), tensor.numel() * tensor.element_size()
        weakref.finalize(held, forget, size)
        live += size
        peak = max(peak, live)
        return held

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
        step()
    return peak


def test_sequential_passes_hold_one_graph_in_memory():
    model, (inputs, target) = tiny(), pictures(4)
    vanilla = DisentangledObjective(model, 0.0, 1.0, criterion=criterion)
    dgl = DenseObjective(model, ALPHA, criterion=criterion)
    plain = peak_graph(lambda: vanilla(inputs, target).total.backward())
    together = peak_graph(lambda: dgl(inputs, target).total.backward())
    one_by_one = peak_graph(lambda: dgl.sequential(inputs, target, torch.Tensor.backward))
    assert one_by_one <= 1.1 * plain
    assert together > 1.5 * one_by_one


# -- batch-norm statistics -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_only_the_multimodal_pass_moves_batch_norm_statistics(form):
    model, (inputs, target) = tiny(), pictures()
    plain, other = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        plain(inputs)
    FORMS[form](model, ALPHA, criterion=criterion)(inputs, target)
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), plain.buffers(), strict=True))
    other(inputs, keep=("rgb",))  # a plain masked pass would have moved them once more
    assert any(not torch.equal(a, b) for a, b in zip(other.buffers(), tiny().buffers(), strict=True))


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: methods.build("dgl_dense", {"form": "stem"}), "did you mean 'stems'"),
        (lambda: FORMS["activations"](tiny(), 1.0, 1.0), "encoder_gate is 1.0"),
        (lambda: DenseObjective(late(), 1.0), "fuses its encoders at the end"),
        (lambda: FORMS["activations"](dense(), 1.0), "needs Dense.forward"),
        (lambda: FORMS["stems"](dense(), 1.0), "Dense has none"),
    ],
)
def test_forms_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_unimodal_losses_it_is_vanilla_training():
    model, (inputs, target) = tiny(), pictures()
    objective = DenseObjective(model, 0.0, 1.0, criterion=criterion)
    losses = objective(inputs, target)
    losses.total.backward()
    assert objective.branches == (FUSED,) and not losses.unimodal
    assert_equal(gradients(model), loss_gradients(tiny(), inputs, target))
