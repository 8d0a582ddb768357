"""P8: the counterexamples and the silent feature, as fixed numbers."""

import pytest
import torch

from dgl_core.paper.theory import cases, residual


def close(values, expected):
    return torch.allclose(torch.as_tensor(values, dtype=torch.float64), torch.tensor(expected).double(), atol=1e-4)


def test_the_textbook_case():
    case = cases.suppressed()
    assert close(case.p_multi, [0.7143, 0.2143, 0.0714])
    assert case.s_bar == pytest.approx(0.4) and case.ratio == pytest.approx(4 / 7)


def test_eq5_fails_and_fusion_amplifies():
    case = cases.amplified()
    assert case.p_multi[0].item() == pytest.approx(0.1714, abs=1e-4)
    assert case.s[1] > 1 and case.s_bar > 1 and case.ratio > 1
    assert (case.p_uni * (case.s - 1)).sum().item() == pytest.approx(1.9167, abs=1e-4)
    assert case.g_multi.norm() > case.g_uni.norm()


def test_c1_norm_grows_although_every_score_is_below_one():
    case = cases.growing_norm()
    assert (case.s[1:] < 1).all() and case.ratio < 1
    assert close(case.p_multi, [0.7033, 0.2637, 0.0330])
    assert case.g_uni.norm() < 1e-12 and close(case.g_multi, [0.2308, 0.0])


def test_c1_gradient_vanishes_although_the_scalar_does_not():
    case = cases.vanishing_gradient()
    assert case.p_multi[0] < 0.5
    assert case.g_uni.norm() < 1e-12 and case.g_multi.norm() < 1e-12


def test_c2_exists_and_the_conditions_are_what_they_say():
    draws = cases.random_heads(4000, 6, 16, torch.Generator().manual_seed(0))
    grows = draws["norm_ratio"] > 1
    assert (draws["ratio"][draws["margins"]] < 1).all()  # T2'
    for condition in (draws["ratio"] < 1, draws["margins"]):
        assert (grows & condition).any() and (~grows & condition).any()


def test_c3_samples_shrink_and_the_batch_grows():
    before, after = cases.growing_batch()
    assert (after.abs() < before.abs()).all()
    assert before.sum() == 0 and after.sum().item() == pytest.approx(0.8)


@pytest.mark.parametrize("classes, width", [(6, 512), (3, 3)])
def test_a_silent_feature_that_is_not_zero(classes, width):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(classes, width, dtype=torch.float64, generator=generator) / width**0.5
    z = cases.silent_feature(weight, 2, generator)
    v = weight @ z
    assert z.norm().item() == pytest.approx(1.0) and v.norm() > 1e-3
    assert (residual.partial_scores(v, torch.tensor(2)) - 1).abs().max() < 1e-14
    u = torch.randn(classes, dtype=torch.float64, generator=generator)
    assert torch.allclose((u + v).softmax(0), u.softmax(0), atol=1e-14)  # it says nothing about the class
