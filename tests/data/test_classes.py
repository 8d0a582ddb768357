"""Accuracy, macro-F1, suppression and gradient norms, by hand and against scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dgl_core.data.tasks.classes import classification
from dgl_core.suppression import suppression_columns
from dgl_core.training.optimizer import gradient_norms


def logits_of(predicted: list[int], classes: int) -> torch.Tensor:
    return 3.0 * F.one_hot(torch.tensor(predicted), classes)


def test_classification_by_hand():
    """Truth 0 0 0 1 1 2, predicted 0 0 1 1 2 2: F1 = 4/5, 1/2, 2/3."""
    found = classification(logits_of([0, 0, 1, 1, 2, 2], 3), torch.tensor([0, 0, 0, 1, 1, 2]))
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["macro_f1"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    right, wrong = (math.log(math.exp(3) + 2) - at for at in (3, 0))
    assert found["loss"] == pytest.approx((4 * right + 2 * wrong) / 6)


def test_classes_that_do_not_occur():
    """Macro-F1 averages the classes of the target; a class that is only predicted counts as a miss elsewhere."""
    found = classification(logits_of([0, 0, 3, 1], 5), torch.tensor([0, 0, 0, 1]))
    assert found["macro_f1"] == pytest.approx((4 / 5 + 1) / 2)
    assert classification(logits_of([1], 3), torch.tensor([2]))["macro_f1"] == 0.0


def test_classification_agrees_with_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    for classes in (2, 5, 30):
        logits = torch.randn(200, classes, generator=generator)
        target = torch.randint(classes, (200,), generator=generator)
        predicted, present = logits.argmax(1).numpy(), sorted(set(target.tolist()))
        found = classification(logits, target)
        assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(target, predicted))
        expected = sklearn.f1_score(target, predicted, labels=present, average="macro", zero_division=0)
        assert found["macro_f1"] == pytest.approx(expected)
        assert found["loss"] == pytest.approx(F.cross_entropy(logits.double(), target).item())


def test_suppression_by_hand():
    """Two classes, target 0. METHODS 2.10: fused margin 4, branches 2 and 2: R = .1509 for both."""
    fused, own = torch.tensor([[2.0, -2.0]]), torch.tensor([[1.0, -1.0]])
    found = suppression_columns(fused, {"a": own, "b": own}, torch.tensor([0]))
    expected = (1 / (1 + math.exp(4))) / (1 / (1 + math.exp(2)))
    for m in ("a", "b"):
        assert found[f"{m}/R_mean"] == pytest.approx(expected) == pytest.approx(0.1509, abs=5e-5)
        assert found[f"{m}/s_bar_q50"] == pytest.approx(math.exp(-2))
        assert found[f"{m}/suppressed"] == found[f"{m}/all_margins"] == 1.0


def test_suppression_is_a_ratio_of_residuals():
    """Means, quartiles and shares, against probabilities written out."""
    generator = torch.Generator().manual_seed(1)
    own = torch.randn(400, 4, generator=generator, dtype=torch.float64)
    fused = own + torch.randn(400, 4, generator=generator, dtype=torch.float64)
    target = torch.randint(4, (400,), generator=generator)
    found = suppression_columns(fused, {"m": own}, target)
    p_fused, p_own = (x.softmax(1).gather(1, target[:, None])[:, 0] for x in (fused, own))
    ratio = (1 - p_fused) / (1 - p_own)
    assert found["m/R_mean"] == pytest.approx(ratio.mean().item())
    for name, at in (("q25", 0.25), ("q50", 0.5), ("q75", 0.75)):
        assert found[f"m/R_{name}"] == pytest.approx(ratio.quantile(at).item())
    assert found["m/suppressed"] == pytest.approx((ratio < 1).double().mean().item())
    partner = fused - own
    wrong = F.one_hot(target, 4) == 0
    every = ((partner < partner.gather(1, target[:, None])) | ~wrong).all(1)
    assert found["m/all_margins"] == pytest.approx(every.double().mean().item())
    assert 0 < found["m/all_margins"] < found["m/suppressed"] < 1, "Eq. 5 is sufficient, not necessary"


def test_suppression_of_confident_models_keeps_its_digits():
    fused, own = torch.tensor([[80.0, 0.0]]), torch.tensor([[60.0, 0.0]])
    found = suppression_columns(fused, {"a": own}, torch.tensor([0]))
    assert found["a/R_mean"] == pytest.approx(math.exp(-20), rel=1e-9)


def test_no_partner_no_suppression():
    """A partner that adds nothing leaves R at 1, and no margin is below."""
    own = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    found = suppression_columns(own, {"m": own.clone()}, torch.arange(10) % 3)
    assert found["m/R_mean"] == 1.0 and found["m/suppressed"] == 0.0 and found["m/all_margins"] == 0.0


def test_gradient_norm():
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.SGD([{"params": list(layer.parameters()), "name": "layer"}], lr=0.1)
    assert gradient_norms(optimizer) == {}
    layer.weight.grad = torch.full((2, 3), 2.0)
    assert gradient_norms(optimizer)["layer"].item() == pytest.approx(math.sqrt(24))
    layer.bias.grad = torch.full((2,), 1.0)
    assert gradient_norms(optimizer)["layer"].item() == pytest.approx(math.sqrt(26))
