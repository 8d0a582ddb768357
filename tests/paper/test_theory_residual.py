"""T2, T3, T4: what fusion does to the residual at the logits, for any logits at all."""

from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dgl_core import suppression
from dgl_core.paper.theory import residual

many = settings(max_examples=300, deadline=None, derandomize=True)


@st.composite
def samples(draw):
    """``(u, v, y)`` of one sample, float64, at three scales of logits."""
    k, scale = draw(st.integers(2, 8)), draw(st.sampled_from([0.1, 1.0, 3.0]))
    logits = st.lists(st.floats(-4.0, 4.0), min_size=k, max_size=k)
    u, v = (scale * torch.tensor(draw(logits), dtype=torch.float64) for _ in range(2))
    return u, v, torch.tensor(draw(st.integers(0, k - 1)))


def probability(logits, target):
    return logits.softmax(0)[target].item()


def rest(logits, target):
    """``1 - p_y`` as a sum of the others, so that it keeps its digits."""
    return logits.softmax(0).scatter(0, target, 0.0).sum().item()


@many
@given(samples())
def test_p2_target_gains_exactly_when_s_bar_is_below_one(sample):
    u, v, y = sample
    s_bar = residual.mean_partial_score(u, v, y).item()
    assume(abs(s_bar - 1) > 1e-9)
    assert (rest(u + v, y) < rest(u, y)) == (s_bar < 1)
    # The sum in the proof: sum_k e^{u_k} (s_k - 1) has the same sign.
    assert ((u.exp() * (residual.partial_scores(v, y) - 1)).sum().item() < 0) == (s_bar < 1)


@many
@given(samples())
def test_p2_all_margins_positive_is_sufficient(sample):
    u, v, y = sample
    v = v.clone()
    v[y] = v.max() + 0.1  # Eq. 5 holds now
    s = residual.partial_scores(v, y)
    assert s[y] == 1 and (s.scatter(0, y, 0.0) < 1).all()
    assert residual.mean_partial_score(u, v, y) < 1
    assert suppression.suppression_ratio(u + v, u, y)[0] < 1


def test_p2_equality_at_constant_v():
    u, y = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64), torch.tensor(1)
    ratio, s_bar = suppression.suppression_ratio(u + 5.0, u, y)
    assert abs(s_bar - 1) < 1e-12 and abs(ratio - 1) < 1e-12


@many
@given(samples())
def test_p3_ratio_of_residuals_is_the_closed_form(sample):
    u, v, y = sample
    ratio, s_bar = suppression.suppression_ratio(u + v, u, y)
    assert ratio.item() == pytest.approx(rest(u + v, y) / rest(u, y), rel=1e-9)
    assert s_bar.item() == pytest.approx(residual.mean_partial_score(u, v, y).item(), rel=1e-9)
    closed = residual.closed_form_ratio(torch.tensor(probability(u, y), dtype=torch.float64), s_bar)
    assert ratio.item() == pytest.approx(closed.item(), rel=1e-9)


@many
@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999), st.floats(0.001, 50.0), st.floats(0.001, 50.0))
def test_p3_monotone_in_both_arguments(p, other_p, s_bar, other_s_bar):
    assume(abs(p - other_p) > 1e-6 and abs(s_bar - other_s_bar) > 1e-6 and abs(s_bar - 1) > 1e-3)
    p, other_p = sorted((p, other_p))
    s_bar, other_s_bar = sorted((s_bar, other_s_bar))
    assert residual.closed_form_ratio(p, s_bar) < residual.closed_form_ratio(p, other_s_bar)
    falls = residual.closed_form_ratio(p, s_bar) > residual.closed_form_ratio(other_p, s_bar)
    assert falls == (s_bar < 1)
    low, high = sorted((1.0, s_bar))
    assert low <= residual.closed_form_ratio(p, s_bar) <= high


@many
@given(samples(), st.floats(0.05, 3.0))
def test_p3_a_larger_margin_suppresses_more(sample, gain):
    u, v, y = sample
    assume((u + v).max() - (u + v).min() < 20)  # a change of one part in e^20 is still visible in float64
    ratio, s_bar = suppression.suppression_ratio(u + v, u, y)
    for k in range(len(v)):
        moved = v.clone()
        moved[k] += gain if k == y else -gain
        new_ratio, new_s_bar = suppression.suppression_ratio(u + moved, u, y)
        assert new_s_bar < s_bar and new_ratio <= ratio


@many
@given(samples())
def test_p4_norms_at_the_logits(sample):
    u, _, y = sample
    r = residual.residual(u, y)
    missing = rest(u, y)
    assert abs(r.sum().item()) <= 1e-12
    assert abs(r.abs().sum().item() - 2 * missing) <= 1e-12
    assert abs(r.abs().max().item() - missing) <= 1e-12
    low, high = residual.residual_norm_bounds(len(u))
    assert low * missing - 1e-12 <= r.norm().item() <= high * missing + 1e-12


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_p4_both_bounds_of_the_2_norm_are_attained(classes):
    low, high = residual.residual_norm_bounds(classes)
    even = torch.zeros(classes, dtype=torch.float64)
    r = residual.residual(even, torch.tensor(0))
    assert r.norm() / r.abs().max() == pytest.approx(low, rel=1e-12)
    even[2:] = -60.0  # all the wrong belief on one class
    r = residual.residual(even, torch.tensor(0))
    assert r.norm() / r.abs().max() == pytest.approx(high, rel=1e-12)


@pytest.mark.parametrize("u, v", [((60, 0, 1), (40, 0, 2)), ((300, 1, 0), (-20, 3, 0)), ((-50, 2, 0), (-100, 0, 1))])
def test_no_digit_is_lost_by_confident_models(u, v):
    with localcontext() as context:
        context.prec = 400
        beliefs = [[Decimal(x).exp() for x in logits] for logits in (u, [a + b for a, b in zip(u, v, strict=True)])]
        alone, fused = ((sum(e) - e[0]) / sum(e) for e in beliefs)
        exact = float(fused / alone)
    fused_logits = torch.tensor([u], dtype=torch.float32) + torch.tensor([v], dtype=torch.float32)
    ratio, _ = suppression.suppression_ratio(fused_logits, torch.tensor([u], dtype=torch.float32), torch.tensor([0]))
    assert ratio.item() == pytest.approx(exact, rel=1e-12)


def test_batches_and_share():
    u = torch.tensor([[0.5, 0.3, 0.2]] * 2, dtype=torch.float64).log()
    v = torch.tensor([[1.0, 0.5, 0.25], [1.0, 7.4, 1.0]], dtype=torch.float64).log()
    ratio, s_bar = suppression.suppression_ratio(u + v, u, torch.tensor([0, 0]))
    assert ratio.shape == s_bar.shape == (2,) and ratio.dtype == torch.float64
    assert residual.suppressed_share(u + v, u, torch.tensor([0, 0])) == 0.5


def test_wrong_shapes_are_named():
    scores = torch.zeros(4, 3)
    with pytest.raises(ValueError, match=r"\(4, 3\).*\(4, 2\).*same samples and classes"):
        suppression.suppression_ratio(scores, torch.zeros(4, 2), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"\(4, 3\) and target \(3,\)"):
        suppression.suppression_ratio(scores, scores, torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="K >= 2"):
        suppression.log_odds(torch.zeros(4, 1), torch.zeros(4, dtype=torch.long))
