"""T9, T10: when the norm of the feature gradient shrinks for K > 2, and generators of samples for which it does not."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dgl_core.paper.theory import condition, toy
from dgl_core.paper.theory.cases import growing_norm
from dgl_core.paper.theory.feature import acute_differences, feature_gradient, partial_logits, simplex_etf
from dgl_core.paper.theory.residual import partial_scores

many = settings(max_examples=200, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31)
SAMPLES = 40


def gaussian(seed, *shapes, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in shapes]


def problem(seed, classes, width, scale=1.0):
    """``(u, v, W, y)`` of forty samples."""
    u, v, choice = gaussian(seed, *[(SAMPLES, classes)] * 3, scale=scale)
    return u, v, gaussian(seed + 1, (classes, width))[0], choice.argmax(1)


def norms(u, v, weight, y):
    return [feature_gradient(x, weight, y).norm(dim=-1) for x in (u, u + v)]


@many
@given(seeds, st.integers(2, 10), st.integers(1, 12), st.sampled_from([0.1, 1.0, 4.0]))
def test_t9_is_the_ratio_of_the_norms(seed, classes, width, scale):
    u, v, weight, y = problem(seed, classes, width, scale)
    alone, fused = norms(u, v, weight, y)
    assume((alone > 1e-9).all())
    terms = condition.condition_terms(u, v, weight, y)
    assert torch.allclose(terms.norm_ratio, fused / alone, rtol=1e-6)
    z = terms.confidence + (1 - terms.confidence) * terms.s_bar
    length = terms.lever.norm(dim=1)
    left = (terms.s_bar[:, None] * terms.lever + terms.covariance).norm(dim=1)
    clear = ((left - z * length).abs() > 1e-9 * left) & ((fused - alone).abs() > 1e-9 * alone)
    assert torch.equal((left < z * length)[clear], (fused < alone)[clear])  # necessary and sufficient
    shrunk = fused < alone  # necessary: the covariance is not longer than both sides together
    assert (terms.covariance.norm(dim=1) < (z + terms.s_bar) * length * (1 + 1e-9))[shrunk].all()


@many
@given(seeds, st.integers(2, 8), st.integers(1, 8), st.sampled_from([0.2, 1.0, 3.0]))
def test_the_simple_condition_is_sufficient(seed, classes, width, scale):
    u, v, weight, y = problem(seed, classes, width, scale)
    u = u.scatter_add(1, y[:, None], torch.full((SAMPLES, 1), 2.0, dtype=torch.float64))  # confident, or it is rare
    v = 0.3 * v.scatter_add(1, y[:, None], torch.full((SAMPLES, 1), 4.0, dtype=torch.float64))
    alone, fused = norms(u, v, weight, y)
    holds = condition.condition_terms(u, v, weight, y).simply_shrinks
    assert (fused < alone)[holds].all()
    assert holds.any() or scale > 1 or classes > 2  # it is not empty: for two classes it is s-bar < 1
    if classes == 2:
        assert torch.equal(holds, v.gather(1, y[:, None])[:, 0] > v.gather(1, 1 - y[:, None])[:, 0])


def test_the_simple_condition_is_not_necessary():
    u, v, weight, y = problem(0, 6, 8)
    terms = condition.condition_terms(u, v, weight, y)
    assert ((terms.norm_ratio < 1) & ~terms.simply_shrinks).any()


def under_eq5(seed, classes, count):
    """Scores of many partners that satisfy Eq. 5, many of them near a corner of the cube."""
    generator = torch.Generator().manual_seed(seed)
    power = torch.randint(0, 4, (count, classes), generator=generator)
    draws = torch.rand(count, classes, dtype=torch.float64, generator=generator).clamp(1e-12, 1 - 1e-12)
    return torch.where(draws < 0.5, (2 * draws) ** 8 / 2, 1 - (2 - 2 * draws) ** 8 / 2) ** (1 + power * 0.5)


@many
@given(seeds, st.integers(3, 6), st.integers(1, 6), st.floats(-2.0, 4.0))
def test_t10_no_partner_under_eq5_exceeds_the_largest_growth_and_one_comes_near(seed, classes, width, own):
    (u,), (weight,) = gaussian(seed, (classes,)), gaussian(seed + 1, (classes, width))
    u[0] += own
    y = torch.tensor(0)
    alone = feature_gradient(u, weight, y).norm()
    assume(alone > 1e-6)
    growth, kept = condition.largest_growth(u, weight, 0)
    s = under_eq5(seed, classes, 500).clamp(1e-30, 1 - 1e-12)
    s[:, 0] = 1.0
    fused = feature_gradient(u + s.log(), weight, y.expand(500)).norm(dim=1)
    assert (fused <= growth * alone * (1 + 1e-9)).all()
    near = torch.full((classes,), 1e-9, dtype=torch.float64)
    near[[0, *kept]] = 1.0
    corner = feature_gradient(u + near.log(), weight, y).norm() / alone
    assert corner.item() == pytest.approx(growth, rel=1e-4)


@many
@given(seeds, st.integers(2, 7), st.integers(1, 8), st.floats(-2.0, 5.0))
def test_the_generator_finds_a_counterexample_exactly_where_there_is_one(seed, classes, width, own):
    (u,), (weight,) = gaussian(seed, (classes,)), gaussian(seed + 1, (classes, width))
    y = seed % classes
    u[y] += own
    growth, _ = condition.largest_growth(u, weight, y)
    assume(abs(growth - 1) > 1e-6 or growth <= 1 + 1e-12)
    s = condition.growing_scores(u, weight, y)
    assert (s is not None) == (growth > 1 + 1e-12)
    critical = condition.critical_confidence(u, weight, y)
    if abs(critical - u.softmax(0)[y]) > 1e-6:
        assert (s is None) == (critical <= u.softmax(0)[y])  # enough exactly from the critical confidence on
    if s is None:
        return
    assert s[y] == 1 and (s.scatter(0, torch.tensor(y), 0.0) < 1).all() and (s > 0).all()  # Eq. 5
    alone, fused = norms(u, s.log(), weight, torch.tensor(y))
    assert fused > alone


@many
@given(seeds, st.integers(3, 8), st.integers(1, 8))
def test_acute_rows_have_a_critical_confidence_of_at_most_one(seed, classes, width):
    (weight,) = gaussian(seed, (classes, width))
    differences = weight[1:].abs() * weight[1:2].sign()  # one orthant around W_y = 0: all inner products >= 0
    weight = torch.cat([torch.zeros(1, width, dtype=torch.float64), differences])
    assert acute_differences(weight, 0)
    (u,) = gaussian(seed + 2, (classes,))
    assert condition.critical_confidence(u, weight, 0) <= 1 + 1e-12
    frame = simplex_etf(classes, classes)
    assert condition.critical_confidence(torch.zeros(classes), frame, 0) <= 1 + 1e-12


@many
@given(seeds, st.integers(3, 8), st.integers(1, 8))
def test_every_classifier_of_three_classes_or_more_has_a_breaking_case(seed, classes, width):
    (weight,) = gaussian(seed, (classes, width))
    case = condition.breaking_case(weight, seed % classes)
    others = case.s.scatter(0, case.y, 0.0)
    assert (others < 1).all() and case.s_bar < 1 and case.ratio < 1  # Eq. 5, and the residual shrinks
    assert case.g_multi.norm() > case.g_uni.norm()


def test_two_classes_have_none_and_neither_have_equal_rows():
    for rows in ([[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]):
        weight = torch.tensor(rows, dtype=torch.float64)
        with pytest.raises(ValueError, match="two classes"):
            condition.breaking_case(weight, 0)
        logits = torch.arange(len(rows)).double()
        assert condition.growing_scores(logits, weight, 0) is None
        assert condition.critical_confidence(logits, weight, 0) == 0.0


def test_c1_is_a_case_of_the_generator():
    case = growing_norm()
    growth, kept = condition.largest_growth(case.logits, case.weight, 0)
    assert growth > 1e9 and len(kept) == 1  # from a gradient of zero, by keeping one of the two wrong classes
    assert condition.growing_scores(case.logits, case.weight, 0) is not None


def test_too_many_classes_are_refused():
    with pytest.raises(ValueError, match="at most 16 classes"):
        condition.largest_growth(torch.zeros(17), torch.randn(17, 2), 0)


def test_shares_of_a_model_are_those_of_its_gradients():
    data = toy.toy_data(toy.THREE, samples=60)
    model = toy.toy_model(data)
    toy.train_toy(model, data, alpha=0.0, encoder_gate=1.0, steps=60, every=0)
    found = condition.condition_of(model, data.train, data.train_target)
    with torch.no_grad():
        features = model.encode(data.train)
        blocks = dict(zip(features, model.fusion.head.weight.split(toy.WIDTH, dim=1), strict=True))
        for m, shares in found.items():
            u, v = partial_logits(features, blocks, model.fusion.head.bias, m)
            alone, fused = norms(u, v, blocks[m], data.train_target)
            eq5 = partial_scores(v, data.train_target).scatter(1, data.train_target[:, None], 0.0).amax(1) < 1
            assert shares["shrinks"] == pytest.approx((fused < alone).double().mean().item())
            assert shares["eq5"] == pytest.approx(eq5.double().mean().item())
            assert shares["grows_under_eq5"] == pytest.approx((fused > alone)[eq5].double().mean().item())
            assert 0 < shares["simple"] <= shares["shrinks"]
