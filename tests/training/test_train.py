"""The one loop: what it promises to methods, to readers' own models and data, and to whoever reads a record."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import pytest
import tiny
import torch
import torch.nn.functional as F
from tiny import NAMES, arrays, dense, images, late, pictures
from torch import nn

from dgl_core import methods
from dgl_core.data import ArrayDataset
from dgl_core.methods import METHODS
from dgl_core.methods.base import Method
from dgl_core.models import ConcatFusion, LateFusion
from dgl_core.training import train as training
from dgl_core.training.loop import Trainer
from dgl_core.training.records import RunSpec
from dgl_core.training.train import fit
from dgl_core.utils import derive_seed

tiny.register()
CPU = torch.device("cpu")
EXACT = {"precision": "fp64", "clip": 0.0, "weight_decay": 0.0, "momentum": 0.0}


def trainer(model=None, method="vanilla", dataset=None, **fields) -> Trainer:
    fields = {"epochs": 2, "batch_size": 5, "lr": 0.1, "milestones": ()} | fields
    spec = RunSpec("tiny", method=method, **fields)
    return Trainer(spec, methods.build(method), model or late(2), dataset or arrays(2), CPU)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in model.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


# -- the loop against one written by hand ------------------------------------------------------------------------------


def test_the_loop_is_plain_sgd():
    """Two epochs of vanilla training, written out: order, dropped last batch, learning rate, momentum, clipping."""
    data = arrays(2, samples=46)  # 23 training samples: 4 batches of 5, 3 left over
    run = trainer(dataset=data, precision="fp64", clip=0.5, momentum=0.9, weight_decay=0.01, milestones=(1,), decay=0.5)
    model = copy.deepcopy(run.model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    norms, losses = [], []
    for epoch in range(2):
        optimizer.param_groups[0]["lr"] = 0.1 if epoch == 0 else 0.05
        generator = torch.Generator().manual_seed(derive_seed(0, epoch, 0, "train"))
        order = data.indices("train")[torch.randperm(23, generator=generator)]
        norms.append([])
        losses.append([])
        for rows in order[:20].split(5):
            inputs, target = data.batch(rows)
            loss = F.cross_entropy(model({m: x.double() for m, x in inputs.items()}), target)
            optimizer.zero_grad()
            loss.backward()
            norms[-1].append(nn.utils.clip_grad_norm_(model.parameters(), 0.5).item())
            losses[-1].append(loss.item())
            optimizer.step()
    assert max(map(max, norms)) > 0.5, "or clipping would not be tested"
    run.fit()
    for name, t in weights(run.model).items():
        assert torch.allclose(t, model.state_dict()[name], rtol=0, atol=1e-12), name
    assert run.curves["loss/multimodal"] == pytest.approx([sum(v) / 4 for v in losses])
    squares = [run.curves[f"gradient/{g}"] for g in (*NAMES[:2], "fusion")]
    assert all(math.hypot(*at) <= 1.3 * sum(v) / 4 for at, v in zip(zip(*squares, strict=True), norms, strict=True))
    assert run.curves["lr"] == [0.1, 0.05]


def test_gradient_curves_are_norms_before_clipping():
    run = trainer(epochs=1, batch_size=30, clip=1e-3, precision="fp64")
    model, data = copy.deepcopy(run.model), run.dataset
    inputs, target = data.batch(data.indices("train"))
    F.cross_entropy(model({m: x.double() for m, x in inputs.items()}), target).backward()
    run.fit()
    for group, part in [*model.encoders.items(), ("fusion", model.fusion)]:
        norm = torch.cat([p.grad.flatten() for p in part.parameters()]).norm().item()
        assert run.curves[f"gradient/{group}"] == [pytest.approx(norm, rel=1e-9)]


@pytest.mark.parametrize("samples, accumulate", [(48, 3), (48, 2), (40, 3)])
def test_accumulated_batches_are_averaged(samples, accumulate):
    """Also those of the last update of an epoch, where fewer are left: 24 samples are 6 batches of 4, 20 are 5."""
    data = arrays(2, samples=samples)
    run = trainer(dataset=data, batch_size=4, epochs=1, accumulate=accumulate, **EXACT)
    model = copy.deepcopy(run.model)
    generator = torch.Generator().manual_seed(derive_seed(0, 0, 0, "train"))
    order = data.indices("train")[torch.randperm(samples // 2, generator=generator)]
    for rows in order.split(4 * accumulate):
        inputs, target = data.batch(rows)
        model.zero_grad()
        F.cross_entropy(model({m: x.double() for m, x in inputs.items()}), target).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
    run.fit()
    assert all(torch.allclose(t, model.state_dict()[n], rtol=0, atol=1e-12) for n, t in weights(run.model).items())


@pytest.mark.parametrize("optimizer, kind", [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_other_optimisers(optimizer, kind):
    run = trainer(
        epochs=1, batch_size=30, optimizer=optimizer, momentum=0.8, weight_decay=0.1, lr=0.01, precision="fp64"
    )
    model = copy.deepcopy(run.model)
    inputs, target = run.dataset.batch(run.dataset.indices("train"))
    F.cross_entropy(model({m: x.double() for m, x in inputs.items()}), target).backward()
    kind(model.parameters(), 0.01, betas=(0.8, 0.999), weight_decay=0.1).step()
    run.fit()
    assert all(torch.allclose(t, model.state_dict()[n], rtol=0, atol=1e-9) for n, t in weights(run.model).items())


def test_encoder_learning_rate():
    """With the rate of the encoders at zero only the fusion moves, and the other way round."""
    run = trainer(encoder_lr_scale=0.0)
    before = weights(run.model)
    run.fit()
    moved = {n.split(".")[0] for n, t in weights(run.model).items() if not torch.equal(t, before[n])}
    assert moved == {"fusion"}


def test_milestones():
    run = trainer(epochs=5, milestones=(1, 3), decay=0.1, lr=1.0)
    run.fit()
    assert run.curves["lr"] == pytest.approx([1.0, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    "precision, dtype", [("fp32", torch.float32), ("fp64", torch.float64), ("bf16", torch.float32)]
)
def test_precision(precision, dtype):
    run = trainer(precision=precision, model=late(2))
    seen = []
    run.model.encoders[NAMES[0]].register_forward_hook(
        lambda module, inputs, output: seen.append((module.training, output.dtype))
    )
    run.fit()
    assert all(p.dtype == dtype for p in run.model.parameters())
    computed = torch.bfloat16 if precision == "bf16" else dtype
    assert set(seen) == {(True, computed), (False, computed)}, "evaluation too"
    assert all(math.isfinite(v) for values in run.curves.values() for v in values)


def test_bf16_learns_like_fp32():
    losses = {}
    for precision in ("fp32", "bf16"):
        run = trainer(pictures(2), "dgl", images(2, samples=48), precision=precision, epochs=5, lr=0.02)
        run.fit()
        losses[precision] = run.curves["loss/multimodal"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.1) and losses["bf16"] != losses["fp32"]


# -- what methods may ask for ------------------------------------------------------------------------------------------


@dataclass
class Probe(Method):
    """Updates one group after the other, and looks at everything that the loop offers."""

    UPDATES = 3

    def __post_init__(self):
        self.seen: dict[str, object] = {}

    def heads(self, model, classes):
        return nn.ModuleDict({"extra": nn.Linear(2, classes)})

    def on_start(self, state):
        self.seen["start"] = (state.epoch, state.step, state.epochs, state.steps_per_epoch, state.classes)

    def step(self, state, batch):
        for groups in (["sound"], ["face", "fusion"], ["heads"]):
            before = {g: [p.clone() for p in state.parameters(g)] for g in ("sound", "face", "fusion", "heads")}
            features = state.model.encode(batch.inputs)
            loss = F.cross_entropy(state.model.fuse(features), batch.target)
            loss = loss + F.cross_entropy(state.heads["extra"](features["sound"]), batch.target)
            state.backward(loss)
            state.update(groups)
            moved = {g for g, old in before.items() if not all(map(torch.equal, old, state.parameters(g)))}
            assert moved == set(groups)
            assert all(p.grad is None for g in before for p in state.parameters(g))
        draw = torch.rand(3, generator=state.generator("noise")).tolist()
        self.seen[f"noise {state.epoch} {state.step}"] = draw
        assert draw == torch.rand(3, generator=state.generator("noise")).tolist()
        assert draw != torch.rand(3, generator=state.generator("other")).tolist()
        return {"sum": loss}

    def on_epoch_end(self, state):
        order = torch.cat([b.target for b in state.batches("val")])
        assert torch.equal(order, state.dataset.target[state.dataset.indices("val")])
        train = [len(b.target) for b in state.batches("train", training=True)]
        assert sum(train) == 30 and set(train[:-1]) <= {state.spec.batch_size}
        assert sum(1 for _ in state.batches("train", training=True, limit=2)) == 2
        shuffled = torch.cat([b.inputs["sound"][:, 0] for b in state.batches("train", training=True)])
        plain = torch.cat([b.inputs["sound"][:, 0] for b in state.batches("train")])
        assert not torch.equal(shuffled, plain) and torch.equal(shuffled.sort()[0], plain.sort()[0])


def test_what_the_loop_offers(monkeypatch):
    monkeypatch.setitem(METHODS, "probe", Probe)
    run = trainer(late(2), "probe", momentum=0.9)
    run.fit()
    seen = run.method.seen
    assert seen.pop("start") == (0, 0, 2, 6, 3)
    assert len(seen) == 12 and len({tuple(v) for v in seen.values()}) == 12
    assert len(run.curves["gradient/heads"]) == 2 and len(run.curves["loss/sum"]) == 2
    with pytest.raises(ValueError, match="probe updates 3 times a batch, so accumulate must be 1"):
        trainer(late(2), "probe", accumulate=2)


def test_a_group_without_gradient_has_a_curve_too(monkeypatch):
    """One value per epoch in every column, also where a method leaves a group alone for a while."""

    @dataclass
    class Late(Method):
        def step(self, state, batch):
            losses = state.objective(batch.inputs, batch.target)
            state.backward(losses.total)
            state.update(None if state.epoch else ["sound", "face"])
            return {"multimodal": losses.multimodal}

    monkeypatch.setitem(METHODS, "late", Late)
    run = trainer(late(2), "late")
    run.fit()
    assert run.curves["gradient/fusion"][0] == 0 < run.curves["gradient/fusion"][1]
    assert {len(v) for v in run.curves.values()} == {2}


def test_dropout_is_repeated_after_a_resume(tmp_path):
    """Random numbers of layers are seeded per epoch, not drawn on from wherever the process was."""

    def model():
        made = late(2)
        made.encoders[NAMES[0]].append(nn.Dropout(0.5))
        return made

    class Stop(Exception):
        pass

    def stop(line):
        raise Stop

    whole, first, second = (trainer(model(), epochs=3) for _ in range(3))
    torch.manual_seed(1)
    whole.fit()
    torch.manual_seed(2)
    with pytest.raises(Stop):
        first.fit(tmp_path / "c", every=0, log=stop)
    torch.manual_seed(3)
    second.fit(tmp_path / "c", every=0)
    assert equal(weights(second.model), weights(whole.model))


def test_scores_are_of_the_whole_part_in_evaluation_mode():
    run = trainer(pictures(2), "dgl", images(2))
    run.fit()
    data, model = run.dataset, run.model.eval()
    for part in ("val", "test"):
        inputs, target = data.batch(data.indices(part))
        for branch, logits in model.all_logits(inputs).items():
            accuracy = (logits.argmax(1) == target).double().mean().item()
            assert run.curves[f"{part}/{branch}/accuracy"][-1] == pytest.approx(accuracy)
            loss = F.cross_entropy(logits.double(), target).item()
            assert run.curves[f"{part}/{branch}/loss"][-1] == pytest.approx(loss, rel=1e-6)


def test_seeds_differ_and_repeat():
    curves = []
    for seed in (0, 0, 1):
        run = trainer(seed=seed)
        run.fit()
        curves.append({c: v for c, v in run.curves.items() if not c.startswith("seconds/")})
    assert curves[0] == curves[1] != curves[2]


def test_the_caller_keeps_its_random_state_and_threads():
    model = late(2)
    torch.manual_seed(5)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    spec = RunSpec("tiny", model="small", model_options={"width": 2}, epochs=1, batch_size=4)
    record = training.train(spec)
    fit(model, "dgl", arrays(2), epochs=1, batch_size=5)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
    assert record.environment["threads"] == 1


# -- your own model and data -------------------------------------------------------------------------------------------


def test_fit_trains_in_place():
    model, data = late(2).float(), arrays(2, samples=120)
    before = weights(model)
    record = fit(model, "dgl", data, epochs=20, lr=0.1, alpha=2, seed=3, batch_size=10, milestones=())
    assert not equal(before, weights(model))
    assert record.spec.method_options == {"alpha": 2} and record.spec.seed == 3 and record.spec.model == "custom"
    assert record.data["source"] == "arrays given by the user" and not record.data["generated"]
    assert len(record.curves["test/fused/accuracy"]) == 20
    assert record.curves["train/fused/loss"][-1] < record.curves["train/fused/loss"][0]
    inputs, target = data.batch(data.indices("test"))
    accuracy = (model.eval()(inputs).argmax(1) == target).double().mean().item()
    assert record.score() == pytest.approx(accuracy)


def test_fit_prints_when_asked(capsys):
    fit(late(2), "vanilla", arrays(2), epochs=4, batch_size=5, log=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:10] for line in lines] == ["epoch   2/", "epoch   4/"]
    assert all(" sound " in line and " face " in line and "fused" in line for line in lines)
    fit(late(2), "vanilla", arrays(2), epochs=1, batch_size=5)
    assert capsys.readouterr().out == ""


class Says(nn.Module):
    """A model whose fusion returns whatever it is told to."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.head = answer, nn.Linear(5, 3)

    def forward(self, features):
        return self.answer(self.head(torch.cat(list(features.values()), 1)))


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"model": lambda: LateFusion(late(2).encoders, Says(lambda x: x[:, :2]))},
            "gives 2 logits a sample; data set 'tiny_arrays' has 3 classes",
        ),
        ({"model": lambda: pictures(2)}, "cannot take a sample of data set 'tiny_arrays' .sound .3., face .4.*"),
        (
            {"model": lambda: LateFusion(late(2).encoders, Says(lambda x: {"fused": x}))},
            "returns dict for one sample; it must return",
        ),
        (
            {"model": lambda: LateFusion(late(2).encoders, Says(lambda x: [x, x]))},
            "returns list for one sample; it must return",
        ),
        (
            {"model": lambda: LateFusion(late(2).encoders, Says(torch.Tensor.long))},
            "returns torch.int64 .1, 3. for one",
        ),
        ({"model": lambda: late(2).requires_grad_(False)}, "model 'custom' has no parameter to train"),
        ({"log": "often"}, "log is 'often'; it must be of type int"),
        ({"log": -1}, "log is -1; it must be at least 0"),
        ({"device": "meta"}, "device 'meta' is not here; choose one of: cpu"),
        ({"method": ["dgl"]}, "method is .'dgl'.; it must be one registered name"),
        ({"dataset": {"sound": 1}}, "dataset is of type dict; give a Dataset"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not here; choose one of: cpu"),
        ({"epochs": 10**30}, "epochs is 1000000000000000000000000000000; it must be at most 1,000,000"),
    ],
)
def test_what_does_not_fit_is_one_sentence_before_the_first_epoch(changes, message):
    given = {"model": lambda: late(2), "method": "dgl", "dataset": arrays(2)} | changes
    model = given.pop("model")()
    with pytest.raises(ValueError, match=message):
        fit(model, given.pop("method"), given.pop("dataset"), **{"epochs": 1, "batch_size": 5} | given)


def test_fit_takes_a_dense_model():
    record = fit(dense(3), "dgl", arrays(3), epochs=2, batch_size=5, alpha=1.0)
    assert [b for b in record.branches() if "_" not in b] == ["face", "fused", "sound", "text"]


def test_fit_takes_arrays_and_frames():
    """Numpy in, any input shape; volumes too (3-D convolutions have no channels-last layout of 2-D ones)."""
    x = torch.randn(16, 1, 4, 6, 6).numpy()
    data = ArrayDataset({"scan": x, "note": x[:, 0, 0, 0]}, [0, 1] * 8, (["train"] * 2 + ["val", "test"]) * 4)
    scan = nn.Sequential(nn.Conv3d(1, 2, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    model = LateFusion({"scan": scan, "note": nn.Linear(6, 2)}, ConcatFusion({"scan": 2, "note": 2}, 2))
    assert fit(model, "dgl", data, epochs=1, batch_size=4).data["classes"] == ["0", "1"]


def test_fit_takes_parameters_that_wake_up_late():
    """A parameter without a gradient in the first steps (a branch that is not taken yet) is no error."""

    class Sleepy(nn.Linear):
        steps = 0

        def forward(self, x):
            self.steps += self.training
            return F.linear(x, self.weight, self.bias if self.steps > 3 else None)

    model = LateFusion({NAMES[0]: Sleepy(3, 2), NAMES[1]: nn.Linear(4, 3)}, ConcatFusion({NAMES[0]: 2, NAMES[1]: 3}, 3))
    fit(model, "vanilla", arrays(2), epochs=2, batch_size=5)


def test_frozen_parameters_stay():
    """A pre-trained encoder that the user froze is used, not trained, by every corner."""
    for method in ("vanilla", "dgl", "gblend"):
        model = late(2).float()
        model.encoders[NAMES[0]].requires_grad_(False)
        before = weights(model)
        fit(model, method, arrays(2), epochs=1, batch_size=5)
        for name, t in weights(model).items():
            assert torch.equal(t, before[name]) is name.startswith(f"encoders.{NAMES[0]}."), (method, name)


@pytest.mark.parametrize("call, message", [
    (lambda m, d: fit(m, "dlg", d, alpha=4.0), "Unknown method 'dlg': did you mean 'dgl'"),
    (lambda m, d: fit(m, "dgl", d, alhpa=4.0), "Unknown option 'alhpa': did you mean 'alpha'"),
    (lambda m, d: fit(m, "dgl", d, epoch=4), "Unknown option 'epoch': did you mean 'epochs'"),
    (lambda m, d: fit(m, "vanilla", d, alpha=4.0), "Unknown option 'alpha'"),
    (lambda m, d: fit(m, "dgl", d, alpha="big"), "option 'alpha' of method 'dgl' is 'big'; it must be of type float"),
    (lambda m, d: fit(m, "dgl", d, alpha=-1), "alpha is -1.0"),
    (lambda m, d: fit(m, "dgl", d, batch_size=31), "batch_size 31 exceeds the 30 training samples"),
    (lambda m, d: fit(m, "dgl", arrays(3)), r"has encoders \['sound', 'face'\]; dgl here trains .*'text'"),
    (lambda m, d: fit(m, "unimodal", d), r"unimodal here trains \['sound'\]"),
    (lambda m, d: fit(m, "dgl", arrays(1)), "at least two modalities"),
    (lambda m, d: fit(nn.Linear(3, 3), "dgl", d), "Linear needs `encoders`"),
    (lambda m, d: fit(m, "dgl", d, device="gpu"), "gpu"),
])  # fmt: skip
def test_fit_refuses_clearly(call, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        call(late(2), arrays(2))
