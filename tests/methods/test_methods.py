"""What every training method keeps: whoever adds one line to METHODS gets these tests.

The last part holds the numbers: two short epochs in float64 leave weights whose fingerprint is kept in digests.json
beside the REVISION of the method and of the loop. If the numbers change, records that were made before are no longer
what the code computes, so REVISION must be raised; then, from the root of the repository,

    PYTHONPATH=tests:. python tests/methods/test_methods.py

writes the new fingerprints. It refuses to while a REVISION that should have been raised was not (for a method that has
no records yet, delete its line first).
"""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny import FUSED, NAMES, arrays, batch, by_hand, dense, gradients, images, late, pictures

from dgl_core import methods
from dgl_core.methods import METHODS, Method
from dgl_core.training import loop
from dgl_core.training.loop import Trainer
from dgl_core.training.records import RunSpec, unpack

every_method = pytest.mark.parametrize("name", METHODS)
ALONE = {"unimodal", "vanilla"}  # methods that need no second modality
EPOCHS = 3
DENSE = {"dgl_dense"}  # methods for models that fuse inside, which refuse late fusion
COMMON = {"epochs": EPOCHS, "batch_size": 4, "lr": 0.05, "milestones": (2,), "optimizer": "sgd"}


def trainer(name: str, modalities: int = 2, dataset=None, options=None, **fields) -> Trainer:
    """A trainer for pictures of ``modalities`` channels; skips where the method says that it cannot use them.

    Methods for models that fuse inside get such a model, and vectors.
    """
    method = methods.build(name, options or {})
    dataset = dataset or data_for(name, modalities)
    try:
        chosen = method.modalities(dataset.modalities)
    except ValueError as error:
        pytest.skip(str(error))
    model = dense(modalities) if name in DENSE else pictures(modalities)
    for m in set(model.encoders) - set(chosen):
        del model.encoders[m]
    if len(chosen) < modalities:
        model.fusion = type(model.fusion)(dict.fromkeys(chosen, 6), 3)
        torch.nn.init.constant_(model.fusion.head.weight, 0.25)
        torch.nn.init.zeros_(model.fusion.head.bias)
    spec = RunSpec("tiny", method=name, method_options=options or {}, **COMMON | fields)
    return Trainer(spec, method, model, dataset, torch.device("cpu"))


def data_for(name: str, modalities: int):
    return arrays(modalities) if name in DENSE else images(modalities)


def outcome(done: Trainer) -> dict[str, object]:
    """All that a run leaves behind, times, memory and origin aside."""
    record = done.record("", {})
    curves = {column: values for column, values in record.curves.items() if not column.startswith("seconds/")}
    return {"curves": curves, "predictions": record.predictions, "data": record.data, "spec": record.spec}


def weights(done: Trainer) -> dict[str, torch.Tensor]:
    return {**done.model.state_dict(), **{f"heads.{n}": t for n, t in done.heads.state_dict().items()}}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


# -- the protocol ----------------------------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("modalities", [2, 3])
def test_trains_and_records(name, modalities):
    run = trainer(name, modalities)
    before = {n: t.clone() for n, t in weights(run).items()}
    run.fit()
    record = run.record("", {})
    assert {column: len(values) for column, values in record.curves.items()} == dict.fromkeys(record.curves, EPOCHS)
    assert all(math.isfinite(v) for values in record.curves.values() for v in values)
    for part in ("train", "val", "test"):
        for branch in (FUSED, *run.model.encoders):
            for metric in ("accuracy", "macro_f1", "loss"):
                assert f"{part}/{branch}/{metric}" in record.curves
    for m in run.model.encoders:
        assert f"gradient/{m}" in record.curves
        if len(run.model.encoders) > 1:
            assert f"suppression/{m}/R_mean" in record.curves
    assert any(column.startswith("loss/") for column in record.curves)
    assert record.curves["lr"] == [0.05, 0.05, 0.005]
    moved = {n for n, t in weights(run).items() if not torch.equal(t, before[n])}
    groups = {f"encoders.{m}.": m for m in run.model.encoders} | {"fusion.": "fusion"}
    for prefix, group in groups.items():  # a method may leave a part alone, but then its gradient curve says so
        assert any(n.startswith(prefix) for n in moved) == any(record.curves[f"gradient/{group}"]), group
    assert any(n.startswith("encoders.") for n in moved)


@every_method
def test_predictions_are_those_that_were_scored(name):
    """The packed labels of every protocol give back the accuracy of the epoch that the protocol selects."""
    run = trainer(name)
    run.fit()
    record = run.record("", {})
    target = run.dataset.target[run.dataset.indices("test")]
    for protocol in ("last", "best_val", "best_test"):
        for branch in record.branches():
            predicted = torch.from_numpy(unpack(record.predictions[protocol][branch]))
            accuracy = (predicted == target).double().mean().item()
            assert accuracy == pytest.approx(record.score(branch, protocol), abs=1e-6)


@every_method
def test_every_parameter_is_in_the_optimiser_once(name):
    run = trainer(name)
    held = [id(p) for group in run.optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in [*run.model.parameters(), *run.heads.parameters()])


class Killed(BaseException):
    """Not an Exception, like KeyboardInterrupt."""


@every_method
@pytest.mark.parametrize("modalities", [2, 3])
def test_killed_and_resumed_is_uninterrupted(name, modalities, tmp_path):
    """After the first epoch, and in the middle of the third; in new objects, with another global random state."""
    torch.manual_seed(1)
    whole = trainer(name, modalities)
    whole.fit()

    def between_epochs(line: str) -> None:
        raise Killed

    checkpoint = tmp_path / "run.checkpoint"
    torch.manual_seed(2)
    with pytest.raises(Killed):
        trainer(name, modalities).fit(checkpoint, every=0, log=between_epochs)

    torch.manual_seed(3)
    second = trainer(name, modalities)
    step = second.method.step

    def within_an_epoch(state, batch):
        if state.epoch == EPOCHS - 1 and state.step == 1:
            raise Killed
        return step(state, batch)

    second.method.step = within_an_epoch
    with pytest.raises(Killed):
        second.fit(checkpoint, every=0)
    assert len(second.curves["val/fused/accuracy"]) == EPOCHS - 1

    torch.manual_seed(4)
    third = trainer(name, modalities)
    third.fit(checkpoint, every=0)
    assert outcome(third) == outcome(whole)
    assert same(weights(third), weights(whole))


@every_method
def test_memory_is_plain(name):
    """``state_dict`` holds tensors and plain values only, and ``load_state_dict`` brings it back."""
    run = trainer(name)
    run.fit()
    buffer = io.BytesIO()
    torch.save(run.method.state_dict(), buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=True)
    fresh = trainer(name)
    fresh.method.load_state_dict(loaded)
    again = io.BytesIO()
    torch.save(fresh.method.state_dict(), again)
    assert again.getvalue() == buffer.getvalue()


@every_method
def test_the_test_part_never_influences_training(name):
    """Other test inputs and labels: the same weights, the same train and validation curves."""
    ours, other = data_for(name, 2), data_for(name, 2)
    rows = other.indices("test")
    other.target[rows] = (other.target[rows] + 1) % 3
    for x in other.inputs.values():
        x[rows] = -3 * x[rows].flip(0)
    runs = [trainer(name, dataset=data) for data in (ours, other)]
    for run in runs:
        run.fit()
    assert same(*map(weights, runs))
    curves = [outcome(run)["curves"] for run in runs]
    assert {c: v for c, v in curves[0].items() if not c.startswith("test/")} == {
        c: v for c, v in curves[1].items() if not c.startswith("test/")
    }
    assert curves[0]["test/fused/loss"] != curves[1]["test/fused/loss"]


@every_method
def test_one_modality(name):
    """A method that balances modalities says that there is nothing to balance."""
    method = methods.build(name)
    if name in ALONE:
        assert method.modalities(("touch",)) == ("touch",)
    else:
        with pytest.raises(ValueError, match="at least two.*'touch'"):
            method.modalities(("touch",))


@every_method
def test_options(name):
    """Declared by the dataclass with a default of the right type; anything else is refused with the nearest name."""
    method = METHODS[name]
    declared = method.options()
    assert methods.build(name, declared) == method()
    assert all(isinstance(v, (bool, int, float, str, tuple)) for v in declared.values()), "options must be plain values"
    with pytest.raises(ValueError, match=f"Unknown option of method '{name}' 'zzz'"):
        methods.build(name, {"zzz": 1})
    for option, default in declared.items():
        with pytest.raises(ValueError, match=f"did you mean '{option}'"):
            methods.build(name, {option + "s": default})
        if isinstance(default, (bool, int, float)):
            with pytest.raises(ValueError, match=f"option '{option}' .* must be of type {type(default).__name__}"):
                methods.build(name, {option: "much"})


@every_method
def test_has_a_title_a_source_and_a_revision(name):
    method = METHODS[name]
    assert method.TITLE and method.REVISION >= 1 and method.UPDATES >= 1
    assert method.__doc__ and "**Source.**" in method.__doc__


def test_a_method_for_dense_fusion_refuses_late_fusion():
    with pytest.raises(ValueError, match="LateFusion fuses its encoders at the end.*use the method 'dgl'"):
        Trainer(RunSpec("tiny", **COMMON), methods.build("dgl_dense"), pictures(2), images(2), torch.device("cpu"))


def test_unknown_method():
    with pytest.raises(ValueError, match="Unknown method 'dlg': did you mean 'dgl'"):
        methods.build("dlg")


# -- invariants of the first methods (METHODS 2.0, 2.1, 2.10) ----------------------------------------------------------

GATES = {"vanilla": (0.0, 1.0, 0.0), "gblend": (4.0, 1.0, 1.0), "dgl": (4.0, 0.0, 0.0)}


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("modalities", [2, 3])
def test_corners_by_name(name, modalities):
    """METHODS 2.1: encoder gradient of constant G-Blending = grad L_multi + alpha grad L_m; and the other corners."""
    model, (inputs, target) = late(modalities), batch(modalities)
    expected = by_hand(model, inputs, target, *GATES[name])
    methods.build(name).objective(model, F.cross_entropy)(inputs, target).total.backward()
    for parameter, grad in gradients(model).items():
        assert torch.allclose(grad, expected[parameter], rtol=0, atol=1e-12)


def test_partial_reaches_every_corner():
    for options in ({"encoder_gate": 1.0}, {"fusion_gate": 1.0}, {"encoder_gate": 0.3, "fusion_gate": 0.7}):
        model, (inputs, target) = late(2), batch(2)
        gates = options.get("encoder_gate", 0.0), options.get("fusion_gate", 0.0)
        expected = by_hand(model, inputs, target, 4.0, *gates)
        methods.build("partial", options).objective(model, F.cross_entropy)(inputs, target).total.backward()
        assert all(torch.allclose(g, expected[n], rtol=0, atol=1e-12) for n, g in gradients(model).items())
    assert methods.build("partial") == methods.METHODS["partial"](alpha=4.0, encoder_gate=0.0, fusion_gate=0.0)


def test_joint_gradient_at_the_feature():
    """METHODS 2.0 (a): W_m^T (p - e_y) / B."""
    model, (inputs, target) = late(2), batch(2)
    features = {m: z.detach().requires_grad_() for m, z in model.encode(inputs).items()}
    logits = model.fuse(features)
    F.cross_entropy(logits, target).backward()
    residual = (logits.softmax(1) - F.one_hot(target, 3)).detach() / len(target)
    weight = model.fusion.head.weight.detach()
    for m, columns in zip(features, (slice(0, 2), slice(2, 5)), strict=True):
        assert torch.allclose(features[m].grad, residual @ weight[:, columns], rtol=0, atol=1e-14)


def test_the_unimodal_model_is_the_masked_branch():
    """METHODS 2.0 (b): with W_m and b copied, the unimodal run and the branch inside DGL take the same encoder step."""
    joint, (inputs, target) = late(2), batch(2)
    modality = NAMES[1]
    alone = late(2)
    del alone.encoders[NAMES[0]]
    alone.fusion = type(joint.fusion)({modality: 3}, 3).double()
    with torch.no_grad():
        alone.fusion.head.weight.copy_(joint.fusion.head.weight[:, 2:])
        alone.fusion.head.bias.copy_(joint.fusion.head.bias)
    assert torch.allclose(alone(inputs), joint(inputs, keep=(modality,)), rtol=0, atol=1e-14)
    methods.build("dgl", {"alpha": 1.0}).objective(joint, F.cross_entropy)(inputs, target).total.backward()
    methods.build("unimodal").objective(alone, F.cross_entropy)(inputs, target).total.backward()
    pairs = zip(joint.encoders[modality].parameters(), alone.encoders[modality].parameters(), strict=True)
    assert all(torch.allclose(a.grad, b.grad, rtol=0, atol=1e-14) for a, b in pairs)


def test_unimodal_modality():
    available = ("sound", "face")
    assert methods.build("unimodal").modalities(available) == ("sound",)
    assert methods.build("unimodal", {"modality": "face"}).modalities(available) == ("face",)
    with pytest.raises(ValueError, match="Unknown modality 'fase': did you mean 'face'"):
        methods.build("unimodal", {"modality": "fase"}).modalities(available)


@pytest.mark.parametrize("name", ["dgl", "gblend", "partial"])
@pytest.mark.parametrize("alpha", [0, -1.0, float("nan"), float("inf")])
def test_alpha_must_be_positive(name, alpha):
    with pytest.raises(ValueError, match="alpha is .* must be above 0"):
        methods.build(name, {"alpha": alpha})


# -- what alpha is (METHODS 2.10, D4) ----------------------------------------------------------------------------------


def train(alpha: float, scale: float = 1.0, name: str = "dgl", **fields) -> dict[str, torch.Tensor]:
    """Weights after two epochs of vectors, in float64, without clipping and decay unless asked for."""
    options = {} if name == "vanilla" else {"alpha": alpha}
    plain = {"precision": "fp64", "clip": 0.0, "weight_decay": 0.0, "encoder_lr_scale": scale}
    spec = RunSpec("tiny", method=name, method_options=options, **COMMON | plain | fields)
    run = Trainer(spec, methods.build(name, options), late(2), arrays(2), torch.device("cpu"))
    run.fit()
    return weights(run)


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max((a[n] - b[n]).abs().max().item() for n in a)


def test_alpha_is_an_encoder_learning_rate_under_sgd():
    """Alpha 4 is alpha 1 with four times the encoder rate: to the last bit (4 is a power of two), momentum included."""
    assert same(train(4.0), train(1.0, scale=4.0))
    assert distance(train(3.0), train(1.0, scale=3.0)) < 1e-12
    assert distance(train(4.0), train(1.0)) > 1e-3


@pytest.mark.parametrize("broken", [{"clip": 0.05}, {"weight_decay": 0.1}])
def test_clipping_and_decay_break_that(broken):
    assert distance(train(4.0, **broken), train(1.0, scale=4.0, **broken)) > 1e-6


def test_alpha_is_inert_under_adamw():
    """Up to Adam's epsilon, also with decoupled decay; not under Adam with coupled decay."""
    small = {"lr": 0.01, "optimizer": "adamw"}
    for decay in (0.0, 0.1):
        assert distance(train(1.0, **small, weight_decay=decay), train(4.0, **small, weight_decay=decay)) < 1e-4
    coupled = {"lr": 0.01, "optimizer": "adam", "weight_decay": 0.1}
    assert distance(train(1.0, **coupled), train(4.0, **coupled)) > 1e-3


# -- the numbers -------------------------------------------------------------------------------------------------------

DIGESTS = Path(__file__).with_name("digests.json")
UNLIKE_DEFAULT = {"partial": {"encoder_gate": 0.3, "fusion_gate": 0.7}}  # by default it is DGL
RELATIVE = 1e-6  # far below any change of an algorithm, far above what processors differ by in float64


def digest(name: str) -> dict[str, object]:
    """Revisions, and two projections of the weights of every group after two epochs in float64."""
    run = trainer(name, options=UNLIKE_DEFAULT.get(name), precision="fp64", epochs=2, milestones=(1,))
    run.fit()
    found = {}
    for group in run.optimizer.param_groups:
        flat = torch.cat([p.detach().flatten() for p in group["params"]])
        phase = torch.arange(len(flat), dtype=torch.float64)
        found[group["name"]] = [float(f"{(flat * wave).sum().item():.8g}") for wave in (phase.cos(), (2 * phase).sin())]
    return {"revisions": [METHODS[name].REVISION, loop.REVISION], "weights": found}


def changed(a: dict[str, object], b: dict[str, object]) -> bool:
    if a["weights"].keys() != b["weights"].keys():
        return True
    pairs = [pair for group in a["weights"] for pair in zip(a["weights"][group], b["weights"][group], strict=True)]
    return any(not math.isclose(x, y, rel_tol=RELATIVE, abs_tol=RELATIVE) for x, y in pairs)


@every_method
def test_numbers_change_only_with_the_revision(name):
    kept = json.loads(DIGESTS.read_text()).get(name)
    command = "write it with: PYTHONPATH=tests:. python tests/methods/test_methods.py"
    assert kept, f"{name} has no fingerprint yet; {command}"
    found = digest(name)
    if found["revisions"] == kept["revisions"]:
        assert not changed(found, kept), (
            f"{name} computes other numbers than its records hold. If that is meant, raise METHODS[{name!r}].REVISION "
            f"(or loop.REVISION, if all methods changed); then {command}"
        )
    else:
        raise AssertionError(f"{name} has a new revision: its fingerprint is out of date; {command}")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_scores_modalities_in_its_own_way_says_how(name):
    method = METHODS[name]
    assert bool(method.OFFICIAL) == (method.official_unimodal is not Method.official_unimodal)
    assert "bias" in method.ZERO_MASK and (not method.OFFICIAL or "b" in method.OFFICIAL)


def update() -> int:
    """Write the fingerprints; refuse where numbers changed and no revision was raised."""
    kept = json.loads(DIGESTS.read_text()) if DIGESTS.exists() else {}
    found = {name: digest(name) for name in METHODS}
    for name in found.keys() & kept.keys():
        if found[name]["revisions"] == kept[name]["revisions"] and changed(found[name], kept[name]):
            print(f"{name} computes other numbers: raise its REVISION, or that of the loop, first", file=sys.stderr)
            return 1
    lines = [f" {json.dumps(name)}: {json.dumps(found[name], sort_keys=True)}" for name in sorted(found)]
    DIGESTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(update())
