"""MLA, MMPareto, Diagnosing & Re-learning, ReconBoost and G-Blending by OGR: hand examples, one step, whole runs."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import FUSED, NAMES, arrays, dense, mlp
from torch import nn

from dgl_core import methods
from dgl_core.loop import Trainer
from dgl_core.methods import branches, gblend_ogr, mla, mmpareto, reconboost, relearn
from dgl_core.methods.base import Batch, Method
from dgl_core.models import ConcatFusion, LateFusion
from dgl_core.records import RunSpec
from dgl_core.training import fit

MINE = ("mla", "mmpareto", "relearn", "reconboost", "gblend_ogr")
CPU = torch.device("cpu")
all_methods = pytest.mark.parametrize("name", MINE)


def equal_widths(modalities: int = 2, width: int = 4, batch_norm: bool = True, seed: int = 0) -> LateFusion:
    """Late fusion of encoders whose features have one width, as a shared head needs it."""
    torch.manual_seed(seed)
    encoders = {m: mlp(3 + i, width, batch_norm=batch_norm) for i, m in enumerate(NAMES[:modalities])}
    return LateFusion(encoders, ConcatFusion(dict.fromkeys(encoders, width), 3))


def trainer(
    name: str, model: nn.Module | None = None, modalities: int = 2, options: dict | None = None, **spec
) -> Trainer:
    """A trainer ready for ``method.step``: heads drawn, epoch 0."""
    settings = {"epochs": 4, "batch_size": 8, "lr": 0.05, "precision": "fp64", "milestones": (3,)} | spec
    spec = RunSpec("tiny_arrays", name, "custom", method_options=options or {}, **settings)
    made = Trainer(spec, methods.build(name, options), model or equal_widths(modalities), arrays(modalities), CPU)
    made.method.on_start(made)
    made.model.train()
    made._norms = {group["name"]: [] for group in made.optimizer.param_groups}
    return made


def first_batch(state: Trainer, start: int = 0) -> Batch:
    return state.batch(state.train_index[start : start + 8])


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def moved(module: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    """Whether any parameter changed."""
    return any(not torch.equal(p, before[name]) for name, p in module.named_parameters())


class Spy:
    """Stands in for ``state.update``: keeps copies of the gradients and the weights at every update."""

    def __init__(self, state: Trainer):
        self.state, self.update, self.grads, self.after = state, state.update, [], []
        state.update = self

    def __call__(self, groups=None):
        named = [*self.state.model.named_parameters(), *self.state.heads.named_parameters("heads")]
        self.grads.append({n: p.grad.clone() for n, p in named if p.grad is not None})
        self.update(groups)
        self.after.append(copy.deepcopy((self.state.model, self.state.heads)))


# -- what they share --------------------------------------------------------------------------------------------------


def test_a_share_of_the_run_is_the_official_number_at_its_length_and_never_nothing():
    assert [branches.whole_epochs(0.2, epochs) for epochs in (100, 20, 4, 1)] == [20, 4, 1, 1]
    assert branches.whole_epochs(20 / 90, 90) == 20
    assert [branches.whole_epochs(0.04, epochs) for epochs in (100, 20)] == [4, 1]


def test_widths_come_from_the_encoder_or_its_last_linear_layer():
    model = LateFusion({"sound": mlp(3, 5), "face": nn.Conv1d(3, 2, 1)}, ConcatFusion({"sound": 5, "face": 2}, 3))
    with pytest.raises(ValueError, match="encoder 'face' .Conv1d.* `width`"):
        branches.feature_widths(model, "X")
    model.encoders["face"].width = 2
    assert branches.feature_widths(model, "X") == {"sound": 5, "face": 2}


@pytest.mark.parametrize("name", ["mla", "mmpareto", "reconboost", "gblend_ogr"])
def test_heads_depend_on_the_seed_of_the_run_and_nothing_else(name):
    first = trainer(name, seed=1)
    torch.manual_seed(77)
    again, other = trainer(name, seed=1), trainer(name, seed=2)
    assert not moved(again.heads, weights(first.heads))
    assert moved(other.heads, weights(first.heads))


@all_methods
def test_one_modality_is_refused(name):
    with pytest.raises(ValueError, match=r"at least two.*\['sound'\]"):
        fit(equal_widths(1), name, arrays(1), epochs=1, batch_size=8)


@pytest.mark.parametrize("name", ["mla", "reconboost"])
def test_a_shared_head_needs_late_fusion_and_one_feature_width(name):
    with pytest.raises(ValueError, match="Dense mixes modalities.*LateFusion"):
        trainer(name, dense())
    encoders = {"sound": mlp(3, 4), "face": mlp(4, 5)}
    with pytest.raises(ValueError, match="'sound': 4, 'face': 5.*same output width"):
        trainer(name, LateFusion(encoders, ConcatFusion({"sound": 4, "face": 5}, 3)))


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("mla", {"weights": (0.55, -0.45)}, "positive number"),
        ("mmpareto", {"gamma": -1.0}, "gamma is -1"),
        ("mmpareto", {"gama": 1.0}, "did you mean 'gamma'"),
        ("relearn", {"strength": float("nan")}, "strength is nan"),
        ("relearn", {"every": 20.0}, "every is 20.0; it must be between 0 and 1"),
        ("reconboost", {"w1": 1.0, "w2": 2.0}, "w1 must be larger"),
        ("gblend_ogr", {"floor": 0.0}, "floor is 0"),
    ],
)
def test_options_out_of_range_are_refused(name, options, words):
    with pytest.raises(ValueError, match=words):
        methods.build(name, options)


# -- MLA --------------------------------------------------------------------------------------------------------------


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
        assert torch.allclose(every[m], branch[m]) and torch.allclose(
            state.method.logits(state, inputs, (m,)), branch[m]
        )
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


# -- MMPareto ---------------------------------------------------------------------------------------------------------


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


# -- Diagnosing & Re-learning -----------------------------------------------------------------------------------------


def test_purity_cases():
    target = np.array([0, 0, 1, 1, 2, 2, 2])
    assert relearn.purity(target, np.array([5, 5, 0, 0, 3, 3, 3])) == 1.0
    assert relearn.purity(target, np.zeros(7, dtype=int)) == pytest.approx(3 / 7)
    assert relearn.purity(target, np.array([0, 0, 0, 1, 1, 1, 1])) == pytest.approx(5 / 7)
    assert relearn.purity(target, np.arange(7)) == 1.0


def test_pull_hand_example():
    assert relearn.pull(0.2, 3.0) == pytest.approx(0.53705, abs=5e-6) == relearn.pull(-0.2, 3.0)
    assert relearn.pull(0.0, 3.0) == 0.0


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_relearn_is_exact_at_both_ends(weight):
    torch.manual_seed(0)
    now, start = nn.Parameter(torch.randn(50)), torch.randn(50)
    before = now.detach().clone()
    relearn.relearn([now], [start], weight)
    assert torch.equal(now, {0.0: before, 1.0: start}.get(weight, now))
    assert torch.allclose(now, weight * start + (1 - weight) * before, atol=1e-6)


def test_features_are_scaled_to_minus_one_and_one():
    scaled = relearn.min_max(torch.tensor([[1.0, 7.0], [2.0, 7.0], [5.0, 7.0]]))
    assert scaled.tolist() == [[-1.0, -1.0], [-0.5, -1.0], [1.0, -1.0]]


def test_clusters_find_separate_classes_and_survive_dead_features():
    target = np.repeat(np.arange(3), 10)
    features = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)) * 0.01 + torch.tensor(target)[:, None]
    assert relearn.purity(target, relearn.cluster(features, 3)) == 1.0
    assert relearn.purity(target, relearn.cluster(torch.zeros(30, 4), 3)) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "every, epochs, after",
    [(0.2, 100, [20, 40, 60]), (20 / 90, 90, [20, 40, 60]), (0.2, 20, [4, 8, 12]), (0.2, 4, [1, 2]), (0.2, 2, [])],
)
def test_pulls_follow_the_official_epochs_and_never_the_last(every, epochs, after):
    method = methods.build("relearn", {"every": every})
    assert [epoch - 1 for epoch in range(epochs) if method.due(epoch, epochs)] == after


def test_a_pull_moves_encoder_weights_only(monkeypatch):
    state = trainer("relearn")
    initial = weights(state.model)
    for state.step in range(3):
        state.method.step(state, first_batch(state, 8 * state.step))
    state.model.encoders["face"][1].eval()  # a batch-norm layer that somebody froze
    modes = [part.training for part in state.model.modules()]
    optimizer, buffers = copy.deepcopy(state.optimizer.state_dict()), copy.deepcopy(dict(state.model.named_buffers()))
    before = weights(state.model)
    monkeypatch.setattr(Method, "step", lambda self, state, batch: {})
    monkeypatch.setattr(
        relearn.Relearn, "gaps", lambda self, state: {"sound": 0.2, "face": 0.0} | real(self, state, {})
    )
    state.epoch, state.step = 2, 0
    state.method.step(state, first_batch(state))
    for name, now in weights(state.model).items():
        w = 0.53705 if "sound" in name else 0.0
        assert torch.allclose(now, w * initial[name] + (1 - w) * before[name], atol=1e-5), name
        assert torch.equal(now, before[name]) or "sound" in name
    assert all(torch.equal(b, buffers[name]) for name, b in state.model.named_buffers())
    assert [part.training for part in state.model.modules()] == modes
    now = state.optimizer.state_dict()
    assert all(
        torch.equal(now["state"][i]["momentum_buffer"], v["momentum_buffer"]) for i, v in optimizer["state"].items()
    )


REAL_GAPS = relearn.Relearn.gaps


def real(method, state, override):
    """Measure the gaps for real (what this does to the model is under test), then put other numbers in their place."""
    assert set(REAL_GAPS(method, state)) == set(state.model.encoders)
    return override


def test_gaps_are_train_minus_val_purity():
    state = trainer("relearn", modalities=3)
    gaps = state.method.gaps(state)
    state.model.eval()
    for m, gap in gaps.items():
        purities = []
        for part in ("train", "val"):
            inputs, target = state.batch(state.dataset.indices(part))
            z = state.model.encode(inputs)[m].detach().float()
            purities.append(relearn.purity(target.numpy(), relearn.cluster(z, 3)))
        assert gap == pytest.approx(purities[0] - purities[1])


def test_too_few_samples_for_the_clusters_is_an_error_at_the_start():
    data = arrays(2, samples=16)
    data.classes = tuple("abcdefghij")
    with pytest.raises(ValueError, match="the train part into 10 clusters.*only 8 samples"):
        fit(equal_widths(), "relearn", data, epochs=1, batch_size=4)


def test_relearn_without_scikit_learn_or_features_says_so(monkeypatch):
    with pytest.raises(ValueError, match="Dense has neither `encode` nor `features`"):
        trainer("relearn", dense())
    monkeypatch.setattr(relearn.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn"):
        trainer("relearn")


def test_a_dense_model_with_features_can_relearn():
    model = dense().float()
    type(model).features = lambda self, inputs: {m: part["first"](inputs[m]) for m, part in self.encoders.items()}
    try:
        record = fit(model, "relearn", arrays(2), epochs=3, batch_size=8)
    finally:
        del type(model).features
    assert np.isfinite(record.curves["loss/multimodal"]).all()


# -- ReconBoost -------------------------------------------------------------------------------------------------------


def test_reconcilement_loss_and_gradient_hand_example():
    logits = torch.tensor([[0.5, 0.1, 0.1, 0.1, 0.1, 0.1]], dtype=torch.float64).log().requires_grad_()
    others = torch.tensor([[0.8, 0.04, 0.04, 0.04, 0.04, 0.04]], dtype=torch.float64, requires_grad=True)
    loss = reconboost.reconcilement_loss(logits, others, torch.tensor([0]), 5.0, 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(0.4852, abs=5e-5)
    assert logits.grad[0, 0].item() == pytest.approx(-0.35)
    assert others.grad is None


def test_stages_of_the_official_schedule():
    assert [reconboost.stage_of(e, 4, 4) for e in (0, 3, 4, 7, 8, 99)] == [
        (0, True), (0, True), (0, False), (0, False), (1, True), (12, True)
    ]  # fmt: skip
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


# -- G-Blending by OGR ------------------------------------------------------------------------------------------------

BEFORE = {"sound": (1.8, 1.9), "face": (1.7, 1.8), FUSED: (1.75, 1.85)}
AFTER = {"sound": (1.0, 1.5), "face": (1.2, 1.4), FUSED: (0.8, 1.4)}


def test_ogr_weights_hand_example():
    points = {b: (gblend_ogr.Point(*BEFORE[b]), gblend_ogr.Point(*AFTER[b])) for b in BEFORE}
    ratios = {b: gblend_ogr.ogr_weight(*p, floor=0.01) for b, p in points.items()}
    assert [ratios[b] for b in ("sound", "face", FUSED)] == pytest.approx([2.5, 40.0, 1.8])
    found = gblend_ogr.blend(ratios)
    assert [found[b] for b in ("sound", "face", FUSED)] == pytest.approx([0.0564, 0.9029, 0.0406], abs=5e-5)


def test_ogr_without_overfitting_or_without_gain_stays_finite():
    flat = gblend_ogr.ogr_weight(gblend_ogr.Point(1.0, 1.2), gblend_ogr.Point(0.9, 1.1), floor=0.01)
    assert flat == pytest.approx(0.1 / 0.01**2)
    assert gblend_ogr.blend({"sound": 0.0, "face": 0.0}) == {"sound": 0.5, "face": 0.5}


def test_points_are_means_over_samples():
    state = trainer("gblend_ogr")
    found = gblend_ogr.points(state, (FUSED, "sound", "face"))
    assert state.model.training and state.heads.training
    state.model.eval()
    for part in ("train", "val"):
        inputs, target = state.batch(state.dataset.indices(part))
        z = state.model.encode(inputs)
        expected = {FUSED: state.model.fuse(z)} | {m: state.heads[m](z[m]) for m in z}
        for branch, logits in expected.items():
            value = F.cross_entropy(logits.float(), target).item()
            assert getattr(found[branch], part) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("model", ["late", "dense"])
def test_the_estimate_leaves_the_run_alone(model):
    dropout = nn.Sequential(mlp(3, 4, batch_norm=True), nn.Dropout(0.5), nn.Linear(4, 4))
    late = LateFusion({"sound": dropout, "face": mlp(4, 4)}, ConcatFusion({"sound": 4, "face": 4}, 3))
    state = trainer("gblend_ogr", late if model == "late" else dense())
    state.method.weights = dict.fromkeys((FUSED, "sound", "face"), 1 / 3)
    state.step = 1
    state.method.step(state, first_batch(state))  # momentum and batch statistics are not at their start
    before = copy.deepcopy((state.model.state_dict(), state.heads.state_dict(), state.optimizer.state_dict()))
    norms, clock, noise = copy.deepcopy(state._norms), (state.epoch, state.step), torch.get_rng_state()
    found = state.method.estimate(state, epochs=2)
    assert set(found) == {FUSED, "sound", "face"} and sum(found.values()) == pytest.approx(1)
    after = (state.model.state_dict(), state.heads.state_dict(), state.optimizer.state_dict())
    for old, new in zip(before[:2], after[:2], strict=True):
        assert all(torch.equal(new[name], value) for name, value in old.items())
    for i, slot in before[2]["state"].items():
        assert torch.equal(after[2]["state"][i]["momentum_buffer"], slot["momentum_buffer"])
    assert state._norms == norms and (state.epoch, state.step) == clock
    assert torch.equal(torch.get_rng_state(), noise)
    assert all(p.grad is None for p in state.model.parameters()) and state.model.training


def test_a_trial_trains_its_branch_only_and_shuffles_every_epoch():
    state = trainer("gblend_ogr")
    trial = gblend_ogr.sandbox(state)
    seen, batches = [], trial.batches

    def watched(*args, **kwargs):
        for batch in batches(*args, **kwargs):
            seen.append(batch.inputs["face"])
            yield batch

    trial.batches = watched
    gblend_ogr.train_alone(trial, "face", 2)
    assert len(seen) == 2 * state.steps_per_epoch
    assert not torch.equal(torch.cat(seen[: len(seen) // 2]), torch.cat(seen[len(seen) // 2 :]))
    same = {n: torch.equal(p, dict(state.model.named_parameters())[n]) for n, p in trial.model.named_parameters()}
    assert [n for n, unmoved in same.items() if not unmoved] and all(
        "face" in n for n, unmoved in same.items() if not unmoved
    )
    assert moved(trial.heads["face"], weights(state.heads["face"]))
    assert not moved(trial.heads["sound"], weights(state.heads["sound"]))


def test_ogr_step_blends_the_losses():
    state = trainer("gblend_ogr", clip=0.0)
    state.method.weights, state.step = {FUSED: 0.2, "sound": 0.5, "face": 0.3}, 1
    model, heads = copy.deepcopy((state.model, state.heads))
    spy, batch = Spy(state), first_batch(state)
    state.method.step(state, batch)
    z = model.encode(batch.inputs)
    losses = {FUSED: F.cross_entropy(model.fuse(z), batch.target)}
    losses |= {m: F.cross_entropy(heads[m](z[m]), batch.target) for m in z}
    sum(state.method.weights[b] * loss for b, loss in losses.items()).backward()
    for name, p in [*model.named_parameters(), *heads.named_parameters("heads")]:
        assert torch.allclose(spy.grads[0][name], p.grad, rtol=1e-9, atol=1e-14), name


@pytest.mark.parametrize("online, estimates", [(True, [(0, 2), (2, 2), (4, 1)]), (False, [(0, 2)])])
def test_ogr_estimates_at_the_start_of_super_epochs(monkeypatch, online, estimates):
    calls = []

    def fake(self, state, epochs):
        calls.append((state.epoch, epochs))
        return dict.fromkeys((FUSED, "sound", "face"), 1 / 3)

    monkeypatch.setattr(gblend_ogr.GBlendOGR, "estimate", fake)
    fit(equal_widths(), "gblend_ogr", arrays(2), epochs=5, batch_size=8, super_epoch=0.4, online=online)
    assert calls == estimates


# -- whole runs -------------------------------------------------------------------------------------------------------


@all_methods
@pytest.mark.parametrize("modalities", [2, 3])
def test_two_epochs_end_with_a_record(name, modalities):
    record = fit(equal_widths(modalities), name, arrays(modalities), epochs=2, batch_size=8, lr=0.02)
    official = set() if name == "relearn" else {f"official_{m}" for m in NAMES[:modalities]}
    assert set(record.branches()) == {FUSED, *NAMES[:modalities]} | official
    for column, values in record.curves.items():
        assert np.isfinite(values).all(), column
    assert len(record.curves["loss/multimodal"]) == 2


@pytest.mark.parametrize("name", ["mmpareto", "gblend_ogr"])
def test_dense_models_take_unimodal_logits_from_the_mask(name):
    record = fit(dense(3).float(), name, arrays(3), epochs=2, batch_size=8)
    assert set(record.branches()) == {FUSED, *NAMES[:3]}
    assert all(np.isfinite(values).all() for values in record.curves.values())


class Killed(Exception):
    pass


@all_methods
def test_a_killed_run_resumes_to_the_same_record(name, tmp_path):
    def run(checkpoint=None, stop=None):
        spec = RunSpec(
            "tiny_arrays", name, "custom", epochs=5, batch_size=8, lr=0.02, milestones=(4,), method_options=options
        )
        made = Trainer(spec, methods.build(name, options), equal_widths(), arrays(2), CPU)

        def log(line):
            if made.epoch == stop:
                raise Killed

        made.fit(checkpoint, every=0.0, log=log)
        record = made.record("", {})
        return {c: v for c, v in record.curves.items() if not c.startswith("seconds")}, record.predictions

    options = {"super_epoch": 0.4} if name == "gblend_ogr" else {}  # killed inside a super-epoch
    whole = run()
    with pytest.raises(Killed):
        run(tmp_path / "c.pt", stop=2)
    torch.manual_seed(123)  # another process
    assert run(tmp_path / "c.pt") == whole


def test_memory_is_plain_enough_for_a_safe_checkpoint(tmp_path):
    for name in MINE:
        state = trainer(name)
        if name == "gblend_ogr":
            state.method.weights = {FUSED: 0.2, "sound": 0.5, "face": 0.3}
            state.step = 1
        state.method.step(state, first_batch(state))
        torch.save(state.method.state_dict(), tmp_path / "m.pt")
        fresh = methods.build(name)
        fresh.load_state_dict(torch.load(tmp_path / "m.pt", weights_only=True))
        assert repr(fresh.state_dict()) == repr(state.method.state_dict())
        assert math.isfinite(sum(p.sum().item() for p in state.model.parameters()))
