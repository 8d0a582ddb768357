"""The meter: equal to theory on linear models, leaves the model as it was, refuses what it cannot measure."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import batch, dense, late
from torch import nn

from dgl_core.diagnosis import FITTED, PARTNERS, Diagnosis, Meter, diagnose
from dgl_core.figures.diagnosis import panels
from dgl_core.figures.style import Picture
from dgl_core.gradients import FUSED, disentangled_loss
from dgl_core.models import ConcatFusion, LateFusion, MultimodalModel
from dgl_core.paper.theory import feature, residual
from dgl_core.paper.theory import toy as theory_toy
from dgl_core.reproduce.diagnose import accuracies, main
from dgl_core.suppression import suppression_columns

BUILT = [lambda: late(2), lambda: late(3), lambda: late(2, "gated"), lambda: dense(2), lambda: dense(3)]


def toy(steps: int = 60):
    """A trained model with linear encoders, and its test part in batches of unequal size."""
    data = theory_toy.toy_data(samples=80)
    model = theory_toy.toy_model(data)
    theory_toy.train_toy(model, data, alpha=0.0, encoder_gate=1.0, steps=steps, every=0)
    parts = [slice(0, 150), slice(150, 400)]
    return model, data, [({m: x[part] for m, x in data.test.items()}, data.test_target[part]) for part in parts]


def as_norm_and_cosine(joint: torch.Tensor, own: torch.Tensor) -> tuple[float, float, float]:
    return joint.norm().item(), own.norm().item(), F.cosine_similarity(joint.flatten(), own.flatten(), 0).item()


def test_gradients_on_linear_encoders_are_those_of_theory():
    model, data, loader = toy()
    found = diagnose(model, loader, share=1.0)
    inputs, target = {m: x[:400] for m, x in data.test.items()}, data.test_target[:400]
    logits, width = model.all_logits(inputs), theory_toy.WIDTH
    for i, m in enumerate(inputs):
        block = model.fusion.head.weight.detach()[:, i * width : (i + 1) * width]
        gradients = [feature.feature_gradient(logits[b], block, target).T @ inputs[m] / 400 for b in (FUSED, m)]
        branch = found.branches[m]
        assert (branch.joint, branch.own, branch.cosine) == pytest.approx(as_norm_and_cosine(*gradients), rel=1e-10)


def test_suppression_is_that_of_theory():
    model, data, loader = toy()
    found = diagnose(model, loader)
    inputs, target = {m: x[:400] for m, x in data.test.items()}, data.test_target[:400]
    logits = {b: x.detach() for b, x in model.all_logits(inputs).items()}
    wanted = suppression_columns(logits[FUSED], {m: logits[m] for m in model.encoders}, target)
    for m, branch in found.branches.items():
        assert branch.ratio == pytest.approx([wanted[f"{m}/R_q{q}"] for q in (25, 50, 75)], rel=1e-9)
        assert branch.suppressed == residual.suppressed_share(logits[FUSED], logits[m], target)
        assert branch.accuracy == (logits[m].argmax(1) == target).double().mean().item()
    assert found.accuracy == (logits[FUSED].argmax(1) == target).double().mean().item()
    assert found.samples == 400


def test_two_classes_one_sample_the_gradient_shrinks_by_exactly_the_ratio():
    """T5: with K = 2 the two gradients are collinear and their norms differ by R."""
    model = late(2, classes=2)
    inputs, target = batch(2, size=1, classes=2)
    for branch in diagnose(model, [(inputs, target)], share=1.0).branches.values():
        assert branch.joint / branch.own == pytest.approx(branch.ratio[1], rel=1e-9)
        assert branch.cosine == pytest.approx(1.0)
        assert (branch.ratio[1] < 1) == (branch.suppressed == 1.0)


@pytest.mark.parametrize("build", BUILT)
def test_gradients_are_those_of_autograd_on_any_model(build):
    model = build()
    inputs, target = batch(len(model.encoders))
    found = diagnose(model, [(inputs, target)], share=1.0)
    model.eval()
    for m, encoder in model.encoders.items():
        losses = [F.cross_entropy(model(inputs, keep=keep), target) for keep in (None, (m,))]
        gradients = [
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(encoder.parameters()))]) for loss in losses
        ]
        branch = found.branches[m]
        assert (branch.joint, branch.own, branch.cosine) == pytest.approx(as_norm_and_cosine(*gradients), rel=1e-9)


def test_batches_add_up():
    model, _, loader = toy()
    whole = [tuple(torch.cat(part) for part in zip(*[(x[m], y) for x, y in loader], strict=True)) for m in loader[0][0]]
    together = [({m: pair[0] for m, pair in zip(loader[0][0], whole, strict=True)}, whole[0][1])]
    one, many = diagnose(model, together, share=1.0), diagnose(model, loader, share=1.0)
    for m in one.branches:
        assert many.branches[m].joint == pytest.approx(one.branches[m].joint, rel=1e-10)
        assert many.branches[m].ratio == pytest.approx(one.branches[m].ratio, rel=1e-12)


def test_share_takes_evenly_spaced_samples():
    model = late(2)
    inputs, target = batch(2)
    half = diagnose(model, [(inputs, target)], share=0.5)
    by_hand = diagnose(model, [({m: x[::2] for m, x in inputs.items()}, target[::2])], share=1.0)
    assert [b.joint for b in half.branches.values()] == [b.joint for b in by_hand.branches.values()]
    assert half.samples == 8 and by_hand.samples == 4


@pytest.mark.parametrize("build", [lambda: late(2, batch_norm=True), lambda: dense(2)])
def test_the_model_is_left_as_it_was(build):
    model = build()
    inputs, target = batch(2)
    disentangled_loss(model, inputs, target, alpha=4.0).total.backward()
    model.encoders["face"].eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    random = torch.random.get_rng_state()
    with torch.no_grad():  # it turns gradients on for itself alone
        diagnose(model, torch.utils.data.DataLoader([({m: x[0] for m, x in inputs.items()}, 0)] * 4, 2, shuffle=True))
        assert not torch.is_grad_enabled()
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == gradients.keys() and all(torch.equal(g, gradients[n]) for n, g in found.items())
    assert torch.equal(torch.random.get_rng_state(), random)


def test_a_model_is_left_as_it_was_even_if_the_loader_breaks():
    model = late(2, batch_norm=True)
    with pytest.raises(ValueError, match="without labels"):
        diagnose(model, [batch(2), {"sound": torch.zeros(2, 3)}])
    assert all(module.training for module in model.modules())


class Foreign(nn.Module):
    """A network that knows nothing of this project."""

    def __init__(self, twin: LateFusion):
        super().__init__()
        self.ear, self.eye, self.top = twin.encoders["sound"], twin.encoders["face"], twin.fusion.head

    def forward(self, sound, face, use=(1.0, 1.0)):
        return self.top(torch.cat([use[0] * self.ear(sound), use[1] * self.eye(face)], dim=1))


def masked(model, inputs, keep):
    return model(inputs["sound"], inputs["face"], [float(keep is None or m in keep) for m in ("sound", "face")])


def test_a_foreign_model_needs_two_functions_and_gets_the_same_numbers():
    twin = late(2)
    loader = [batch(2)]
    foreign = Foreign(twin)
    found = diagnose(foreign, loader, encoders=lambda n: {"sound": n.ear, "face": n.eye.parameters()}, forward=masked)
    native = diagnose(twin, loader)
    for m in native.branches:
        assert found.branches[m].joint == pytest.approx(native.branches[m].joint, rel=1e-12)
        assert found.branches[m].ratio == pytest.approx(native.branches[m].ratio, rel=1e-12)


def test_frozen_encoders_receive_nothing():
    model = late(2)
    model.encoders["sound"].requires_grad_(False)
    found = diagnose(model, [batch(2)])
    assert found.branches["sound"].joint == found.branches["sound"].own == 0.0
    assert math.isnan(found.branches["sound"].cosine) and found.branches["face"].own > 0
    assert found.branches["sound"].frozen and not found.branches["face"].frozen
    assert "sound: fusion" in str(found) and str(found).count("the encoder is frozen") == 1
    table = found.table()
    assert list(table.loc["sound"])[-3:] == ["frozen"] * 3 and "frozen" not in list(table.loc["face"])


def test_an_encoder_that_no_loss_reaches_is_not_called_frozen():
    class Deaf(ConcatFusion):
        def join(self, features):
            return super().join({m: z if m == "face" else z.detach() for m, z in features.items()})

    model = LateFusion(dict(late(2).encoders), Deaf({"sound": 2, "face": 3}, 3).double())
    found = diagnose(model, [batch(2)])
    assert not found.branches["sound"].frozen and "no part of" in str(found)


class Maps(MultimodalModel):
    """One class per pixel, at half the size of the labels."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__({m: nn.Conv2d(1, 2, 2, 2) for m in ("rgb", "depth")}, nn.Conv2d(4, 3, 1))

    def forward(self, inputs, keep=None):
        maps = [e(inputs[m]) * float(keep is None or m in keep) for m, e in self.encoders.items()]
        return self.fusion(torch.cat(maps, dim=1))


def test_dense_predictions_count_labelled_pixels():
    inputs = {m: torch.randn(2, 1, 8, 8) for m in ("rgb", "depth")}
    target = torch.randint(3, (2, 8, 8))
    target[:, :4] = 255  # void
    found = diagnose(Maps(), [(inputs, target)], share=1.0)
    assert found.samples == 2 * 2 * 4  # half of 4 x 4 pixels in two pictures
    assert all(branch.own > 0 for branch in found.branches.values())


def overlapping(model):
    return {"sound": model.ear, "face": [*model.eye.parameters(), model.ear[0].weight]}


def spoiled(value):
    inputs, target = batch(2)
    inputs["face"] = inputs["face"].to(torch.complex128) if isinstance(value, complex) else inputs["face"]
    inputs["face"][3, 1] = value
    return inputs, target


def diverged():
    model = late(2)
    torch.nn.init.constant_(model.fusion.head.bias, math.nan)
    return model


def answering(change):
    """The two functions of a foreign model whose answer is changed."""
    return {"encoders": lambda model: model.encoders, "forward": lambda model, x, keep: change(model(x, keep=keep))}


REFUSED = {
    "without labels": lambda: diagnose(late(2), [batch(2)[0]]),
    "target of torch.float32": lambda: diagnose(late(2), [(batch(2)[0], torch.rand(8))]),
    "no labelled sample": lambda: diagnose(late(2), []),
    "from 3 to 3 do not fit logits of 3 classes": lambda: diagnose(late(2), [(batch(2)[0], torch.full((8,), 3))]),
    "from -1 to 0 do not": lambda: diagnose(late(2), [(batch(2)[0], torch.tensor([0, -1] * 4))]),
    "shape .5. do not fit logits": lambda: diagnose(late(2), [(batch(2)[0], torch.zeros(5, dtype=torch.long))]),
    "shape .8, 1. do not fit logits": lambda: diagnose(late(2), [(batch(2)[0], batch(2)[1][:, None])]),
    "inputs of 'face' hold NaN or infinite": lambda: diagnose(late(2), [spoiled(math.nan)]),
    "inputs of 'face' hold NaN or inf": lambda: diagnose(late(2), [spoiled(-math.inf)]),
    "inputs of 'face' hold complex": lambda: diagnose(late(2), [spoiled(1j)]),
    "inputs of type dict and": lambda: diagnose(
        late(2), [({m: x.tolist() for m, x in batch(2)[0].items()}, batch(2)[1])]
    ),
    "logits of 'fused' hold NaN": lambda: diagnose(diverged(), [batch(2)]),
    "logits of 'fused' are dict": lambda: diagnose(late(2), [batch(2)], **answering(lambda x: {"out": x})),
    "logits of 'fused' are list": lambda: diagnose(late(2), [batch(2)], **answering(lambda x: [x, x])),
    "logits of 'fused' are .8, 1.": lambda: diagnose(late(2), [batch(2)], **answering(lambda x: x[:, :1])),
    "logits of 'fused' are .8, 5, 3.": lambda: diagnose(
        late(2), [batch(2)], **answering(lambda x: x[:, None].repeat(1, 5, 1))
    ),
    "encoders.model. gave list": lambda: diagnose(
        Foreign(late(2)), [batch(2)], encoders=lambda n: [n.ear, n.eye], forward=masked
    ),
    "cannot be called 'fused'": lambda: diagnose(
        Foreign(late(2)), [batch(2)], encoders=lambda n: {"fused": n.ear, "face": n.eye}, forward=masked
    ),
    "at least two": lambda: diagnose(late(1), [batch(1)]),
    "no MultimodalModel": lambda: diagnose(Foreign(late(2)), [batch(2)]),
    "both functions": lambda: diagnose(Foreign(late(2)), [batch(2)], forward=masked),
    "'ear.0.weight' belongs": lambda: diagnose(Foreign(late(2)), [batch(2)], encoders=overlapping, forward=masked),
    "share is 0": lambda: diagnose(late(2), [batch(2)], share=0),
    "share is None": lambda: diagnose(late(2), [batch(2)], share=None),
    "loader is int": lambda: diagnose(late(2), 3),
    "encoders is 3": lambda: diagnose(late(2), [batch(2)], encoders=3, forward=masked),
    "gave str for 'sound'": lambda: diagnose(late(2), [batch(2)], encoders=lambda m: {"sound": "x"}, forward=masked),
    "logits of 'fused' are torch.int64": lambda: diagnose(late(2), [batch(2)], **answering(lambda x: x.long())),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_refused_in_one_sentence(message):
    with pytest.raises(ValueError, match=message) as error:
        REFUSED[message]()
    assert "\n" not in str(error.value)


def test_a_shared_parameter_in_a_model_of_ours_is_refused():
    model = late(2)
    model.encoders["face"] = nn.Sequential(nn.Linear(4, 3), model.encoders["sound"][0]).double()
    with pytest.raises(ValueError, match="several groups"):
        diagnose(model, [batch(2)])


def test_what_it_says_is_what_it_found():
    encoders = {m: nn.Linear(2, 2, bias=False) for m in ("loud", "soft")}
    model = LateFusion(encoders, ConcatFusion({"loud": 2, "soft": 2}, 2))
    with torch.no_grad():
        for encoder in encoders.values():
            encoder.weight.copy_(torch.eye(2))
        model.fusion.head.weight.copy_(torch.tensor([[4.0, 0, 1, 0], [0, 4.0, 0, 1]]))
        model.fusion.head.bias.zero_()
    found = diagnose(model, [({m: torch.eye(2) for m in encoders}, torch.arange(2))])
    assert "Most suppressed: soft" in str(found)  # the loud partner takes most of the soft one's residual
    table = found.table()
    assert list(table.index) == ["loud", "soft"] and table.loc["soft", "samples with s-bar < 1"] == "100 %"
    picture = panels(found)
    assert isinstance(picture, Picture) and picture.alt == str(found) and picture.png()[:4] == b"\x89PNG"


# -- the command -------------------------------------------------------------------------------------------------------

MINE = """
import torch
from torch import nn
from dgl_core.models import ConcatFusion, LateFusion

def mine():
    torch.manual_seed(0)
    model = LateFusion({"ear": nn.Linear(4, 3), "eye": nn.Linear(5, 3)}, ConcatFusion({"ear": 3, "eye": 3}, classes=3))
    return model, [({"ear": torch.randn(12, 4), "eye": torch.randn(12, 5)}, torch.arange(12) % 3)]

def other():
    return 3

def broken():
    model, loader = mine()
    return model, [({m: x[:, :2] for m, x in inputs.items()}, y) for inputs, y in loader]
"""


def test_the_command_diagnoses_a_model_of_the_reader(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    assert main([f"{tmp_path / 'mine.py'}:mine", "--share", "1"]) == 0
    out = capsys.readouterr().out
    assert "forecast" in out or "With DGL the fused model would" in out  # or why not
    assert "ear" in out and "eye" in out and "Fused accuracy" in out


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("absent.py:mine", "names no file"),
        ("mine.txt:mine", "names no file"),
        ("mine.py:yours", "no function"),
        ("mine.py:other", "must"),
        ("mine.py:broken", "The encoder of 'ear' cannot take"),
        ("syntax.py:mine", "SyntaxError"),
    ],
)
def test_the_command_names_what_is_wrong(tmp_path, capsys, monkeypatch, place, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "mine.txt").write_text(MINE)
    (tmp_path / "syntax.py").write_text("def mine(:")
    assert main([place]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and says in said and said.count("\n") == 1


# -- the additive part, and the forecast ----------------------------------------------------------------------


def test_the_additive_part_of_an_additive_head_is_everything():
    for modalities in (2, 3):
        model = late(modalities)
        inputs, target = batch(modalities, size=40)
        meter = Meter(model.eval(), dict.fromkeys(model.encoders, []), None)
        with torch.no_grad():
            torch.testing.assert_close(meter.additive(inputs), model(inputs), rtol=1e-9, atol=1e-9)
        found = diagnose(model, [(inputs, target)])
        assert found.additive == found.accuracy and found.classes == model(inputs).shape[1]


def test_the_additive_part_is_a_mean_over_partners():
    """By hand: every modality of a sample meets the other one of every sample, as many partners as samples."""
    model = late(2, "gated").eval()
    inputs, _ = batch(2, size=PARTNERS)
    meter = Meter(model, dict.fromkeys(model.encoders, []), None)
    (a, x), (b, y) = inputs.items()
    with torch.no_grad():
        table = torch.stack([torch.stack([model({a: x[i : i + 1], b: y[j : j + 1]})[0] for j in range(PARTNERS)])
                             for i in range(PARTNERS)])  # fmt: skip
        own = torch.stack([table[i, i] for i in range(PARTNERS)]).mean(dim=0)
        wanted = table.mean(dim=1) + table.mean(dim=0) - own
        torch.testing.assert_close(meter.additive(inputs), wanted, rtol=1e-9, atol=1e-9)
        foreign = Meter(model, meter.parts, lambda model, inputs, keep: model(inputs, keep=keep))
        torch.testing.assert_close(foreign.additive(inputs), wanted, rtol=1e-9, atol=1e-9)


def test_a_forecast_refuses_what_it_cannot_know():
    model = late(2)
    inputs, target = batch(2, size=40)
    with pytest.raises(ValueError, match="needs 100 labelled samples.*saw 40"):
        diagnose(model, [(inputs, target)]).forecast()
    with pytest.raises(ValueError, match="not fitted on label maps"):
        Diagnosis(500, 0.5, {}).forecast()
    for p in model.encoders.parameters():
        p.requires_grad_(False)
    with pytest.raises(ValueError, match="is frozen"):
        diagnose(model, [(inputs, target)] * 3).forecast()


def test_a_forecast_says_a_gain_with_its_interval_or_why_not():
    inputs, target = batch(2, size=120)
    report = diagnose(late(2), [(inputs, target)])
    if not FITTED.exists():
        pytest.skip("not fitted yet: python -m tools.map forecast")
    try:
        found = report.forecast()
    except ValueError as error:
        assert "the regression was fitted on" in str(error)
    else:
        for name, one in (("fused", found.fused), ("absent", found.absent)):
            assert (one is None) == found.trust[name].misleads
            assert one is None or one.low < one.mean < one.high
        assert str(found).count("networks whose data had no part in the fit") == 2


def test_overlap_is_the_smallest_correlation_of_beliefs():
    model = late(3).eval()
    inputs, target = batch(3, size=40)
    with torch.no_grad():
        belief = [model(inputs, keep=(m,)).softmax(1)[range(40), target].numpy() for m in model.encoders]
    wanted = min(np.corrcoef(belief[i], belief[j])[0, 1] for i, j in ((0, 1), (0, 2), (1, 2)))
    halves = [({m: x[part] for m, x in inputs.items()}, target[part]) for part in (slice(0, 25), slice(25, 40))]
    assert diagnose(model, halves).overlap == pytest.approx(wanted, abs=1e-9)


def test_a_forecast_from_models_of_one_modality_says_what_it_lacks():
    inputs, target = batch(2, size=120)
    report = diagnose(late(2), [(inputs, target)])
    good = {m: branch.accuracy for m, branch in report.branches.items()} | {FUSED: report.accuracy + 0.01}
    found = report.forecast(alone=good)
    assert found.fused.low < found.fused.mean < found.fused.high and found.fused.mean > 0
    assert found.absent is None or found.absent.mean == pytest.approx(0)  # as good alone as in the model
    assert "AUC" in str(found)
    for wrong in ({}, good | {"third": 0.5}, good | {FUSED: 71.0}):
        with pytest.raises(ValueError, match="alone is .*; give one accuracy in .0, 1. for each of"):
            report.forecast(alone=wrong)
    with pytest.raises(ValueError, match="alone and together differ by .* points .fused., and the regression"):
        report.forecast(alone=good | {FUSED: 1.0})


def test_the_command_reads_accuracies():
    assert accuracies(["audio=0.5", "fused=.8"]) == {"audio": 0.5, "fused": 0.8} and accuracies([]) == {}
    with pytest.raises(ValueError, match="'audio' is no NAME=ACCURACY"):
        accuracies(["audio"])
