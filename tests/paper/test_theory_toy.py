"""The toy training: what it records is what the theory says, and it is the real objective that trains."""

import pytest
import torch
import torch.nn.functional as F

from dgl_core.paper.theory import residual, toy
from dgl_core.paper.theory.toy import measure


@pytest.fixture(scope="module")
def data():
    return toy.toy_data(toy.THREE, samples=40)


def test_recorded_suppression_is_that_of_the_definition(data):
    model = toy.toy_model(data)
    row = measure(model, data)
    with torch.no_grad():
        logits = model.all_logits(data.train)
    y = data.train_target
    for m in toy.THREE:
        s_bar = residual.mean_partial_score(logits[m], logits["fused"] - logits[m], y)
        missing = [1 - logits[name].softmax(1).gather(1, y[:, None]) for name in ("fused", m)]
        assert row[f"suppression/{m}/share"] == pytest.approx((s_bar < 1).double().mean().item())
        assert row[f"suppression/{m}/s_bar_median"] == pytest.approx(s_bar.median().item())
        assert row[f"suppression/{m}/R_total"] == pytest.approx((missing[0].sum() / missing[1].sum()).item())
        assert row[f"suppression/{m}/R_mean"] == pytest.approx((missing[0] / missing[1]).mean().item())
        encoder = list(model.encoders[m].parameters())
        for kind, keep in (("multimodal", None), ("unimodal", (m,))):
            g = torch.autograd.grad(F.cross_entropy(model(data.train, keep=keep), y), encoder)[0]
            assert row[f"gradient/{m}/{kind}"] == pytest.approx(g.norm().item())


def test_gates_choose_what_moves(data):
    def moved(**options):
        model = toy.toy_model(data)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        toy.train_toy(model, data, steps=1, every=0, **options)
        return {n.split(".")[0]: not torch.equal(p, before[n]) for n, p in model.named_parameters()}

    assert moved(alpha=0.0, encoder_gate=1.0) == {"encoders": True, "fusion": True}
    assert moved(alpha=0.0) == {"encoders": False, "fusion": True}  # nothing is left to train the encoders
    assert moved(alpha=1.0, encoder_lr_scale=0.0) == {"encoders": False, "fusion": True}


def test_curves_have_one_value_a_measurement_and_repeat_exactly(data):
    runs = [toy.train_toy(toy.toy_model(data), data, steps=7, every=3) for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0]["step"] == [0, 3, 6, 7] and {len(values) for values in runs[0].values()} == {4}
    assert runs[0]["train/fused/loss"][-1] < runs[0]["train/fused/loss"][0]


def test_harder_modalities_are_harder():
    data = toy.toy_data({"quiet": 0.0, "loud": 6.0}, samples=100)
    curves = toy.train_toy(toy.toy_model(data), data, steps=60, every=60)
    assert curves["test/loud/accuracy"][-1] > 0.9 > 0.4 > curves["test/quiet/accuracy"][-1]
