"""The heart: which loss trains which parameters (Eq. 9-15, Table 3), against gradients written out by hand."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from tiny import FUSED, NAMES, batch, by_hand, chain, dense, gradients, late, mlp
from torch import nn

from dgl_core.gradients import DisentangledObjective, disentangled_logits, disentangled_loss, frozen, gate
from dgl_core.models import ConcatFusion, LateFusion, SumFusion

CORNERS = {"vanilla": (1.0, 0.0), "g-blending": (1.0, 1.0), "+MT": (0.0, 1.0), "+UT": (1.0, 0.0), "dgl": (0.0, 0.0)}
shapes = pytest.mark.parametrize(
    "modalities, fusion", [(2, "concat"), (2, "sum"), (3, "concat"), (3, "sum"), (5, "concat")]
)


def official_step(model: LateFusion, inputs, target, alpha: float) -> None:
    """Algorithm 1 as the official code writes it: two backward passes with the fusion gradients cleared in between."""
    features = model.encode(inputs)
    unimodal = [F.cross_entropy(model.fuse(features, keep=(m,)), target) for m in features]
    (alpha * sum(unimodal)).backward(retain_graph=True)
    for parameter in model.fusion.parameters():
        parameter.grad = None
    F.cross_entropy(model.fuse({m: z.detach() for m, z in features.items()}), target).backward()


def assert_same(found: dict, expected: dict, tolerance: float) -> None:
    """Equal up to ``tolerance``; a parameter without gradient counts as zero."""
    assert set(found) <= set(expected)
    for name, value in expected.items():
        grad = found.get(name, torch.zeros_like(value))
        assert torch.allclose(grad, value, rtol=0, atol=tolerance), f"{name}: off by {(grad - value).abs().max():.2e}"


# -- one step ---------------------------------------------------------------------------------------------------------


@shapes
def test_dgl_is_the_official_two_pass_step_to_the_last_bit(modalities, fusion):
    ours, official = late(modalities, fusion), late(modalities, fusion)
    inputs, target = batch(modalities)
    for _ in range(3):  # over several updates, so that a small error could not stay small
        disentangled_loss(ours, inputs, target, alpha=4.0).total.backward()
        official_step(official, inputs, target, alpha=4.0)
        assert gradients(ours).keys() == gradients(official).keys()
        for model in (ours, official):
            torch.optim.SGD(model.parameters(), 0.5, momentum=0.9).step()
            model.zero_grad()
    for (name, a), b in zip(ours.named_parameters(), official.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_dgl_moves_batch_norm_statistics_like_the_official_step():
    ours, official = late(batch_norm=True), late(batch_norm=True)
    inputs, target = batch()
    disentangled_loss(ours, inputs, target, alpha=4.0).total.backward()
    official_step(official, inputs, target, alpha=4.0)
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), official.buffers(), strict=True))
    assert all(torch.equal(gradients(ours)[n], g) for n, g in gradients(official).items())


@shapes
@pytest.mark.parametrize("corner", CORNERS)
def test_every_corner_of_table_3(modalities, fusion, corner):
    model, (inputs, target) = late(modalities, fusion), batch(modalities)
    alpha = 0.0 if corner == "vanilla" else 4.0
    expected = by_hand(model, inputs, target, alpha, *CORNERS[corner])
    losses = disentangled_loss(
        model, inputs, target, alpha=alpha, encoder_gate=CORNERS[corner][0], fusion_gate=CORNERS[corner][1]
    )
    losses.total.backward()
    assert_same(gradients(model), expected, 1e-12)


def test_the_corners_differ():
    """The comparison above would pass for anything if the corners were one point."""
    model, (inputs, target) = late(), batch()
    found = [by_hand(model, inputs, target, 4.0, *CORNERS[c]) for c in ("g-blending", "+MT", "+UT", "dgl")]
    for i, a in enumerate(found):
        for b in found[:i]:
            assert max((a[n] - b[n]).abs().max() for n in a) > 1e-3


@pytest.mark.parametrize("gates", [(0.25, 0.5), (0.9, 0.0), (0.0, 0.1)])
@pytest.mark.parametrize("build", [late, dense])
def test_fractional_gates(gates, build):
    model, (inputs, target) = build(3), batch(3)
    model.eval()  # so that the reference may run the passes in any order
    expected = by_hand(model, inputs, target, 2.0, *gates)
    disentangled_loss(model, inputs, target, alpha=2.0, encoder_gate=gates[0], fusion_gate=gates[1]).total.backward()
    assert_same(gradients(model), expected, 1e-12)


@pytest.mark.parametrize("build", [late, dense])
def test_a_gate_of_its_own_for_each_modality(build):
    model, (inputs, target) = build(3), batch(3)
    model.eval()
    shares = dict(zip(model.encoders, (0.0, 0.25, 1.0), strict=True))
    expected = by_hand(model, inputs, target, 2.0, 0.0, 0.5)
    for m, share in shares.items():
        own = by_hand(model, inputs, target, 2.0, share, 0.5)
        expected |= {name: g for name, g in own.items() if name.startswith(f"encoders.{m}.")}
    disentangled_loss(model, inputs, target, alpha=2.0, encoder_gate=shares, fusion_gate=0.5).total.backward()
    assert_same(gradients(model), expected, 1e-12)


@pytest.mark.parametrize("build", [late, dense, chain])
@pytest.mark.parametrize("corner", [c for c in CORNERS if c != "vanilla"])
def test_unimodal_loss_reaches_only_its_own_encoder(build, corner):
    """In every corner, and in a dense network whose masked passes run through the other encoders' layers."""
    model, (inputs, target) = build(3), batch(3)
    losses = DisentangledObjective(model, 1.0, *CORNERS[corner])(inputs, target)
    for m in model.encoders:
        model.zero_grad()
        losses.unimodal[m].backward(retain_graph=True)
        reached = {
            name.split(".")[1] for name, g in gradients(model).items() if name.startswith("encoders") and g.any()
        }
        assert reached == {m}


def test_a_unimodal_score_that_looks_at_the_others_teaches_only_its_own_encoder():
    """A fusion whose own unimodal score is not a zero mask (METHODS 1.5) must not let L_m out to encoder j."""

    class Leaky(ConcatFusion):
        def unimodal(self, features, modality):
            return self.join(features)

    torch.manual_seed(0)
    model = LateFusion({NAMES[0]: mlp(3, 2), NAMES[1]: mlp(4, 3)}, Leaky({NAMES[0]: 2, NAMES[1]: 3}, 3)).double()
    inputs, target = batch(2)
    losses = DisentangledObjective(model, 1.0)(inputs, target)
    losses.unimodal[NAMES[0]].backward()
    assert {name.split(".")[1] for name in gradients(model)} == {NAMES[0]}


def test_masking_alone_would_not_do():
    """In ``chain`` the plain masked loss does reach the other encoder: the gates, not the mask, keep it out above."""
    model, (inputs, target) = chain(2), batch(2)
    F.cross_entropy(model(inputs, keep=NAMES[1:2]), target).backward()
    assert {name.split(".")[1] for name, g in gradients(model).items() if "encoders" in name and g.any()} == set(
        NAMES[:2]
    )


def test_multimodal_loss_reaches_no_encoder_under_truncation():
    for model in (late(3), dense(3), chain(3)):
        inputs, target = batch(3)
        DisentangledObjective(model, 1.0)(inputs, target).multimodal.backward()
        assert {name.split(".")[0] for name in gradients(model)} == {"fusion"}


def test_hand_example():
    """METHODS 2.10: K = 2, one-dimensional features, W = [[1, .5], [-1, -.5]], b = 0, z = (1, 2), y = 0, alpha = 4."""
    model = LateFusion({m: nn.Linear(1, 1, bias=False) for m in "ab"}, ConcatFusion({"a": 1, "b": 1}, 2)).double()
    with torch.no_grad():
        for encoder in model.encoders.values():
            encoder.weight.fill_(1.0)
        model.fusion.head.weight.copy_(torch.tensor([[1.0, 0.5], [-1.0, -0.5]]))
        model.fusion.head.bias.zero_()
    inputs = {"a": torch.tensor([[1.0]]).double(), "b": torch.tensor([[2.0]]).double()}
    target = torch.tensor([0])

    def feature_gradients(**gates):
        model.zero_grad()
        disentangled_loss(model, inputs, target, **gates).total.backward()
        return [model.encoders[m].weight.grad.item() / inputs[m].item() for m in "ab"]

    dgl = feature_gradients(alpha=4.0)
    assert dgl == pytest.approx([-0.9536, -0.4768], abs=5e-5)
    assert dgl == pytest.approx([4 * -0.2384, 4 * -0.1192], abs=2e-4)
    head = model.fusion.head
    assert head.weight.grad.tolist() == pytest.approx(
        [pytest.approx([-0.0180, -0.0360], abs=5e-5), pytest.approx([0.0180, 0.0360], abs=5e-5)]
    )
    assert head.bias.grad.tolist() == pytest.approx([-0.0180, 0.0180], abs=5e-5)
    joint = feature_gradients(alpha=0.0, encoder_gate=1.0)
    assert joint == pytest.approx([-0.0360, -0.0180], abs=5e-5)
    assert [4 * j / d for j, d in zip(joint, dgl, strict=True)] == pytest.approx([0.1509, 0.1509], abs=5e-5)


# -- on plain tensors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modalities", [2, 3, 5])
@pytest.mark.parametrize("bias", [True, False])
def test_plain_tensors_get_the_gradients_of_the_objective_to_the_last_bit(modalities, bias):
    """Logits, encoder gradients and head gradients of ``disentangled_logits`` in anyone's loop, float64."""
    whole, (inputs, target) = late(modalities), batch(modalities)
    if not bias:
        whole.fusion.head.register_parameter("bias", None)
    plain = copy.deepcopy(whole)
    losses = disentangled_loss(whole, inputs, target, alpha=4.0)
    losses.total.backward()
    logits = disentangled_logits(plain.encode(inputs), plain.fusion.head)
    assert list(logits) == [FUSED, *plain.encoders] and all(torch.equal(logits[b], losses.logits[b]) for b in logits)
    loss = {branch: F.cross_entropy(values, target) for branch, values in logits.items()}
    (loss.pop(FUSED) + 4.0 * sum(loss.values())).backward()
    found, expected = gradients(plain), gradients(whole)
    assert found.keys() == expected.keys() == dict(plain.named_parameters()).keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_plain_logits_never_mix():
    """No path from the fused logits to a feature, and none from a unimodal entry to the head or to another feature."""
    head = nn.Linear(5, 3)
    features = {"a": torch.randn(4, 2, requires_grad=True), "b": torch.randn(4, 3, requires_grad=True)}
    logits = disentangled_logits(features, head)
    everything = [*features.values(), *head.parameters()]
    reached = {
        branch: [g is not None and bool(g.any()) for g in torch.autograd.grad(x.sum(), everything, allow_unused=True)]
        for branch, x in logits.items()
    }
    assert reached == {FUSED: [False, False, True, True], "a": [True] + 3 * [False], "b": [False, True, False, False]}


@pytest.mark.parametrize(
    "features, message",
    [
        ({"a": torch.zeros(4, 2), "b": torch.zeros(4, 4)}, r"head takes 5 features, but these are .*'b': \(4, 4\)"),
        ({"a": torch.zeros(4, 5, 1)}, r"give \[B, D_m\] of every modality"),
        ({"a": torch.zeros(4, 2), "fused": torch.zeros(4, 3)}, "'fused' names the multimodal logits"),
    ],
)
def test_plain_features_that_do_not_fit_the_head(features, message):
    with pytest.raises(ValueError, match=message):
        disentangled_logits(features, nn.Linear(5, 3))


# -- what DGL guarantees (METHODS 6.3) ---------------------------------------------------------------------------------


def test_encoder_gradient_is_alpha_times_the_branch_alone():
    """D1: alpha x the gradient of CE(W_m z_m + b, y), with the slice W_m written out."""
    model, (inputs, target) = late(2), batch(2)
    disentangled_loss(model, inputs, target, alpha=3.0).total.backward()
    weight, bias = model.fusion.head.weight.detach(), model.fusion.head.bias.detach()
    columns = {NAMES[0]: slice(0, 2), NAMES[1]: slice(2, 5)}
    for m, encoder in model.encoders.items():
        loss = F.cross_entropy(encoder(inputs[m]) @ weight[:, columns[m]].T + bias, target)
        alone = torch.autograd.grad(3.0 * loss, list(encoder.parameters()))
        for parameter, expected in zip(encoder.parameters(), alone, strict=True):
            assert torch.allclose(parameter.grad, expected, rtol=1e-12, atol=1e-15)


def test_fusion_gradient_does_not_depend_on_alpha():
    """D3, to the last bit, alpha 0 included."""
    inputs, target = batch(3)
    found = []
    for alpha in (0.0, 1.0, 4.0, 1e3):
        model = late(3)
        disentangled_loss(model, inputs, target, alpha=alpha).total.backward()
        found.append([p.grad for p in model.fusion.parameters()])
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_encoder_gradient_does_not_depend_on_the_other_modality():
    """D2, to the last bit; under joint training it does depend on it."""
    inputs, target = batch(2)
    changed = inputs | {NAMES[1]: torch.randn_like(inputs[NAMES[1]])}

    def first_encoder(data, **gates):
        model = late(2)
        disentangled_loss(model, data, target, **gates).total.backward()
        return [p.grad for p in model.encoders[NAMES[0]].parameters()]

    def same(**gates):
        return all(map(torch.equal, first_encoder(inputs, **gates), first_encoder(changed, **gates)))

    assert same(alpha=4.0)
    assert not same(alpha=4.0, encoder_gate=1.0)


def test_masked_logits_add_up():
    """D6: l = sum_m l^m - (M - 1) b for concatenation, and the same with the summed bias for sum fusion."""
    for fusion in ("concat", "sum"):
        model, (inputs, target) = late(3, fusion), batch(3)
        logits = disentangled_loss(model, inputs, target, alpha=1.0).logits
        head = model.fusion
        bias = head.head.bias if fusion == "concat" else sum(h.bias for h in head.heads.values())
        total = sum(logits[m] for m in model.encoders) - 2 * bias
        assert torch.allclose(logits[FUSED], total, rtol=0, atol=1e-12)


def test_losses_are_what_they_are_called():
    for model in (late(3), dense(3).eval()):
        inputs, target = batch(3)
        losses = disentangled_loss(model, inputs, target, alpha=2.5)
        assert list(losses.unimodal) == list(model.encoders) and list(losses.logits) == [FUSED, *model.encoders]
        assert torch.equal(losses.multimodal, F.cross_entropy(model(inputs), target))
        for m, loss in losses.unimodal.items():
            assert torch.equal(losses.logits[m], model(inputs, keep=(m,)))
            assert torch.equal(loss, F.cross_entropy(losses.logits[m], target))
        assert losses.total.item() == pytest.approx(
            losses.multimodal.item() + 2.5 * sum(v.item() for v in losses.unimodal.values())
        )


def test_alpha_zero_skips_the_masked_passes():
    model, (inputs, target) = late(2), batch(2)
    calls = []
    model.fusion.register_forward_hook(lambda *_: calls.append(1))
    losses = disentangled_loss(model, inputs, target, alpha=0.0, encoder_gate=1.0)
    assert len(calls) == 1 and losses.unimodal == {} and torch.equal(losses.total, losses.multimodal)


def test_encoders_run_once_a_step():
    model, (inputs, target) = late(3), batch(3)
    calls = []
    for m, encoder in model.encoders.items():
        encoder.register_forward_hook(lambda *_, m=m: calls.append(m))
    disentangled_loss(model, inputs, target, alpha=4.0).total.backward()
    assert calls == list(model.encoders)


def test_own_criterion():
    """Per-element targets with a criterion of the user's; nothing assumes cross-entropy."""
    model, (inputs, target) = late(2), batch(2)
    wanted = F.one_hot(target, 3).double()
    losses = disentangled_loss(model, inputs, wanted, alpha=1.0, criterion=F.mse_loss)
    assert torch.equal(losses.unimodal[NAMES[0]], F.mse_loss(model(inputs, keep=NAMES[:1]), wanted))


# -- dense fusion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [dense, chain])
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("corner", CORNERS)
def test_dense_corners(build, modalities, corner):
    """Modalities mix inside: the split is by parameter; batch-norm in train mode, in encoders and in the fusion."""
    model, (inputs, target) = build(modalities), batch(modalities)
    alpha = 0.0 if corner == "vanilla" else 2.0
    expected = by_hand(copy.deepcopy(model), inputs, target, alpha, *CORNERS[corner])
    encoder_gate, fusion_gate = CORNERS[corner]
    disentangled_loss(
        model, inputs, target, alpha=alpha, encoder_gate=encoder_gate, fusion_gate=fusion_gate
    ).total.backward()
    assert_same(gradients(model), expected, 1e-12)


@pytest.mark.parametrize("build", [dense, chain])
@pytest.mark.parametrize("gates", [(0.0, 0.0), (1.0, 1.0), (0.3, 0.7)])
def test_dense_statistics_move_in_the_multimodal_pass_only(gates, build):
    model, (inputs, target) = build(3), batch(3)
    plain = copy.deepcopy(model)
    plain(inputs)
    before = {n: b.clone() for n, b in model.named_buffers()}
    disentangled_loss(model, inputs, target, alpha=2.0, encoder_gate=gates[0], fusion_gate=gates[1]).total.backward()
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, dict(plain.named_buffers())[name]), name
        assert not torch.equal(buffer, before[name]), f"{name} did not move at all"


def test_fusion_statistics_move_in_the_multimodal_pass_only_in_late_fusion():
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = head

        def forward(self, features):
            return self.layers(torch.cat(list(features.values()), 1))

    model = LateFusion({NAMES[0]: mlp(3, 2), NAMES[1]: mlp(4, 3)}, Head()).double()
    inputs, target = batch(2)
    plain = copy.deepcopy(model)
    plain(inputs)
    disentangled_loss(model, inputs, target, alpha=2.0).total.backward()
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), plain.buffers(), strict=True))


def test_nothing_is_left_behind():
    """Parameters and buffers are the module's own again after a step, and still require gradients."""
    for model in (late(batch_norm=True), dense()):
        inputs, target = batch(2)
        tensors = {n: id(t) for n, t in [*model.named_parameters(), *model.named_buffers()]}
        disentangled_loss(model, inputs, target, alpha=1.0, fusion_gate=0.5).total.backward()
        assert {n: id(t) for n, t in [*model.named_parameters(), *model.named_buffers()]} == tensors
        assert all(p.requires_grad and p.is_leaf for p in model.parameters())


def test_frozen_pass_gives_the_input_its_full_gradient():
    layer = nn.Linear(3, 2).double()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    torch.func.functional_call(layer, frozen(layer), (x,)).square().sum().backward()
    held, x.grad = x.grad, None
    assert layer.weight.grad is None and layer.bias.grad is None
    layer(x).square().sum().backward()
    assert torch.equal(held, x.grad)


@pytest.mark.parametrize("openness", [0.0, 0.3, 1.0])
def test_gate(openness):
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    y = gate(x, openness)
    assert torch.equal(y, x)
    if openness == 0.0:
        assert not y.requires_grad
    else:
        (y**2).sum().backward()
        assert torch.allclose(x.grad, openness * 2 * x, rtol=1e-15, atol=0)


# -- accumulation, autocast ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corner", ["dgl", "g-blending"])
@pytest.mark.parametrize("build", [late, lambda m: dense(m, batch_norm=False)])
def test_accumulated_small_batches_are_one_big_batch(corner, build):
    inputs, target = batch(2, size=12)
    whole, parts = build(2).eval(), build(2).eval()
    objective = DisentangledObjective(whole, 4.0, *CORNERS[corner])
    objective(inputs, target).total.backward()
    objective = DisentangledObjective(parts, 4.0, *CORNERS[corner])
    for rows in torch.arange(12).split(4):
        (objective({m: x[rows] for m, x in inputs.items()}, target[rows]).total / 3).backward()
    assert_same(gradients(parts), gradients(whole), 1e-13)


@pytest.mark.parametrize("build", [late, dense])
def test_bf16_autocast(build):
    """Losses and gradients keep float32; directions stay those of full precision in every group."""
    inputs, target = batch(2, size=32)
    inputs = {m: x.float() for m, x in inputs.items()}
    found = {}
    for bf16 in (False, True):
        model = build(2).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = DisentangledObjective(model, 4.0)(inputs, target)
        losses.total.backward()
        assert losses.total.dtype == torch.float32
        assert losses.logits[FUSED].dtype == (torch.bfloat16 if bf16 else torch.float32)
        found[bf16] = gradients(model)
    assert found[True].keys() == found[False].keys()
    assert all(g.dtype == torch.float32 for g in found[True].values())
    for prefix in ("encoders.sound.", "encoders.face.", "fusion."):
        full, half = (
            torch.cat([g.flatten() for n, g in found[bf16].items() if n.startswith(prefix)]) for bf16 in (False, True)
        )
        assert F.cosine_similarity(full, half, dim=0) > 0.99, prefix
        assert half.norm() / full.norm() == pytest.approx(1, abs=0.1)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad, message", [
    ({"alpha": -1.0}, "alpha is -1.0"),
    ({"alpha": float("nan")}, "alpha is nan"),
    ({"alpha": float("inf")}, "alpha is inf.*finite"),
    ({"alpha": "4"}, "alpha is '4'"),
    ({"alpha": 1.0, "encoder_gate": None}, "encoder_gate is None"),
    ({"alpha": 1.0, "criterion": None}, "criterion is None; give a function"),
    ({"alpha": 1.0, "encoder_gate": 1.5}, "encoder_gate is 1.5"),
    ({"alpha": 1.0, "fusion_gate": -0.1}, "fusion_gate is -0.1"),
    ({"alpha": 1.0, "encoder_gate": {NAMES[0]: 0.5}}, "encoder_gate names"),
    ({"alpha": 1.0, "encoder_gate": {NAMES[0]: 0.5, NAMES[1]: 2.0}}, "encoder_gate is 2.0"),
])  # fmt: skip
def test_values_out_of_range(bad, message):
    inputs, target = batch()
    with pytest.raises(ValueError, match=message):
        disentangled_loss(late(), inputs, target, **bad)


@pytest.mark.parametrize(
    "target, message",
    [
        (lambda y: F.one_hot(y, 3).double(), "target is torch.float64.*criterion=F.binary_cross_entropy_with_logits"),
        (lambda y: y + 2, "has class 4, but the model tells 3 classes apart.*classes=5"),
        (lambda y: y - 3, "has class -[123]; number the classes from 0"),
        (lambda y: y[:-1], r"target has shape \[\d+\], but logits"),
        (lambda y: y.int(), "target is torch.int32.*class indices"),
        (lambda y: y.tolist(), "target is list"),
    ],
)
def test_targets_that_cross_entropy_would_misread(target, message):
    inputs, classes = batch()
    with pytest.raises(ValueError, match=message):
        disentangled_loss(late(), inputs, target(classes), alpha=1.0)


def test_logits_that_are_no_tensor_are_named():
    class Dictionary(ConcatFusion):
        def join(self, features):
            return {"out": super().join(features)}

    model = LateFusion({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}, Dictionary({"a": 2, "b": 2}, 3))
    with pytest.raises(ValueError, match="logits are dict; cross-entropy needs"):
        disentangled_loss(model, {m: torch.zeros(4, 2) for m in "ab"}, torch.zeros(4).long(), alpha=1.0)


def test_what_cross_entropy_shall_leave_out_may_stay():
    inputs, target = batch()
    target[0] = -100
    assert disentangled_loss(late(), inputs, target, alpha=1.0).total.isfinite()


def test_labels_that_may_hold_together_train_with_their_own_criterion():
    inputs, classes = batch()
    several = F.one_hot(classes, 3).double()
    losses = disentangled_loss(late(), inputs, several, alpha=1.0, criterion=F.binary_cross_entropy_with_logits)
    assert losses.total.isfinite()


class Parts(nn.Module):
    """A model put together by hand."""

    def __init__(self, encoders=None, fusion=None, orphan=None):
        super().__init__()
        if encoders is not None:
            self.encoders = nn.ModuleDict(encoders)
        if fusion is not None:
            self.fusion = fusion
        if orphan is not None:
            self.scale = orphan


def test_every_parameter_is_in_exactly_one_group():
    encoder, other, head = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(2, 2)
    shared, norm = nn.Linear(3, 2), nn.BatchNorm1d(2, affine=False)  # no parameter tells that the norm is shared
    shared.weight = encoder.weight
    for model, message in [
        (Parts({"a": encoder, "b": shared}, head), r"'encoders.a.weight' is in several groups \['a', 'b'\]"),
        (Parts({"a": encoder, "b": encoder}, head), r"in several groups \['a', 'b'\]"),
        (Parts({"a": encoder, "b": head}, head), r"in several groups \['b', 'fusion'\]"),
        (Parts({"a": encoder, "b": other}, head, nn.Parameter(torch.ones(1))), "'scale' is in no encoder"),
        (Parts({"a": encoder, "b": other}), "needs `encoders`.*and `fusion`"),
        (Parts(None, head), "needs `encoders`"),
        (Parts({}, head), "needs `encoders`"),
        (Parts({"fused": encoder}, head), "'fused' names the multimodal logits"),
        (Parts({"a": encoder, "fusion": other}, head), "'fusion' names the fusion module"),
        (Parts({"heads": encoder}, head), "'heads' names the heads of a method"),
        (
            Parts({"a": nn.Sequential(encoder, norm), "b": nn.Sequential(other, norm)}, head),
            r"'encoders.a.1.running_mean' is in several groups \['a', 'b'\].*statistics",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            DisentangledObjective(model, 1.0)
    DisentangledObjective(Parts({"a": encoder, "b": other}, head), 1.0)


def test_a_wrapped_model_is_refused():
    """Calling the parts of a DataParallel-wrapped model would give silently wrong gradients."""
    inputs, target = batch()
    with pytest.raises(ValueError, match="DataParallel needs `encoders`"):
        disentangled_loss(nn.DataParallel(late()), inputs, target, alpha=1.0)


def test_groups_of_a_model_are_complete_and_disjoint():
    for model in (late(5), late(2, "sum"), dense(3)):
        groups = [
            *(set(map(id, e.parameters())) for e in model.encoders.values()),
            set(map(id, model.fusion.parameters())),
        ]
        assert sum(map(len, groups)) == len(set.union(*groups)) == len(list(model.parameters()))


def test_a_plain_module_is_enough():
    """Anyone's nn.Module with ``encoders``, ``fusion`` and ``forward(inputs, keep)`` works, without our classes."""

    class Mine(Parts):
        def forward(self, inputs, keep=None):
            total = 0
            for m, encoder in self.encoders.items():
                z = encoder(inputs[m])
                total = total + (z if keep is None or m in keep else torch.zeros_like(z))
            return self.fusion(total)

    torch.manual_seed(0)
    model = Mine({NAMES[0]: nn.Linear(3, 4), NAMES[1]: nn.Linear(4, 4)}, nn.Linear(4, 3)).double()
    inputs, target = batch()
    expected = by_hand(model, inputs, target, 4.0, 0.0, 0.0)
    disentangled_loss(model, inputs, target, alpha=4.0).total.backward()
    assert_same(gradients(model), expected, 1e-14)


def test_sum_fusion_keeps_the_bias_of_masked_modalities():
    """Eq. 12 with zero features; the official code drops the other bias, so this is a stated difference."""
    head = SumFusion({"a": 1, "b": 1}, 2).double()
    zero = {m: torch.zeros(1, 1, dtype=torch.float64) for m in "ab"}
    assert torch.equal(head(zero, keep=("a",)), (head.heads["a"].bias + head.heads["b"].bias)[None])
