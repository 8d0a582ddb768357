"""T1, T5-T8: gradients at a feature, against autograd, and when their norms follow the scalar R."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from dgl_core import suppression
from dgl_core.models import ConcatFusion
from dgl_core.paper.theory import cases, feature, residual

many = settings(max_examples=250, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31)


def gaussian(seed, *shapes, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in shapes]


def norms(u, v, weight, y):
    return [feature.feature_gradient(x, weight, y).norm() for x in (u, u + v)]


@many
@given(seeds, st.integers(2, 10), st.integers(1, 16), st.integers(2, 4))
def test_p1_exact_gradient_is_that_of_autograd(seed, classes, width, modalities):
    names = [f"m{i}" for i in range(modalities)]
    *z, target = gaussian(seed, *[(3, width)] * modalities, (3, classes))
    target = target.argmax(1)
    features = {m: value.requires_grad_() for m, value in zip(names, z, strict=True)}
    fusion = ConcatFusion({m: width for m in names}, classes).double()
    blocks = dict(zip(names, fusion.head.weight.detach().split(width, dim=1), strict=True))
    for keep in (None, ("m0",)):  # Eq. 4 (fused) and Eq. 7 (zero-masked), both put right
        logits = fusion(features, keep=keep)
        loss = F.cross_entropy(logits, target, reduction="sum")
        received = torch.autograd.grad(loss, features["m0"])[0]
        exact = feature.feature_gradient(logits.detach(), blocks["m0"], target)
        assert (received - exact).abs().max() <= 1e-12
    p = logits.detach().softmax(1)[0]
    y = int(target[0])
    wrong = [k for k in range(classes) if k != y]
    rewritten = p[wrong] @ feature.class_differences(blocks["m0"], y)  # sum over k != y of p_k (W_k - W_y)
    assert (rewritten - exact[0]).abs().max() <= 1e-12


def test_what_is_printed_is_another_vector():
    case = cases.suppressed()
    printed = feature.printed_gradient(case.logits, case.weight, case.y)
    assert torch.allclose(printed, (case.p_uni[0] - 1) * case.weight[0])
    dropped = case.p_uni[1:] @ case.weight[1:]
    assert torch.allclose(printed + dropped, case.g_uni)
    assert dropped.norm() > 0.2


@many
@given(seeds, st.integers(2, 4), st.floats(-1.0, 2.0))
def test_partial_logits_for_any_number_of_modalities_and_any_bias_split(seed, modalities, share):
    names = [f"m{i}" for i in range(modalities)]
    *z, bias = gaussian(seed, *[(2, 3)] * modalities, (4,))
    features = dict(zip(names, z, strict=True))
    fusion = ConcatFusion({m: 3 for m in names}, 4).double()
    with torch.no_grad():
        fusion.head.bias.copy_(bias)
        blocks = dict(zip(names, fusion.head.weight.split(3, dim=1), strict=True))
        for m in names:
            u, v = feature.partial_logits(features, blocks, bias, m, share)
            assert (u + v - fusion(features)).abs().max() <= 1e-12
            masked, _ = feature.partial_logits(features, blocks, bias, m)
            assert (masked - fusion(features, keep=(m,))).abs().max() <= 1e-12
        ogm = [feature.partial_logits(features, blocks, bias, m, 1 / modalities)[0] for m in names]
        assert (sum(ogm) - fusion(features)).abs().max() <= 1e-12


@many
@given(seeds, st.integers(1, 8), st.sampled_from([0.1, 1.0, 3.0]))
def test_p5_two_classes_are_collinear_with_factor_r(seed, width, scale):
    u, v = gaussian(seed, (2,), (2,), scale=scale)
    (weight,) = gaussian(seed + 1, (2, width))
    y = torch.tensor(0)
    ratio, _ = suppression.suppression_ratio(u + v, u, y)
    g_uni, g_multi = (feature.feature_gradient(x, weight, y) for x in (u, u + v))
    assert torch.allclose(g_multi, ratio * g_uni, rtol=1e-7, atol=0)
    assert (g_multi.norm() < g_uni.norm()) == (v[0] > v[1])


@many
@given(seeds, st.integers(3, 8), st.floats(0.01, 3.0))
def test_p5_equal_margins_are_collinear_with_factor_r(seed, classes, s):
    u, _ = gaussian(seed, (classes,), (1,))
    (weight,) = gaussian(seed + 1, (classes, 5))
    y = torch.tensor(seed % classes)
    v = torch.full((classes,), s, dtype=torch.float64).log().scatter(0, y, 0.0)
    p = u.softmax(0)[y]
    factor = s / (p + (1 - p) * s)
    ratio, s_bar = suppression.suppression_ratio(u + v, u, y)
    assert ratio.item() == pytest.approx(factor.item(), rel=1e-7) and s_bar.item() == pytest.approx(s, rel=1e-7)
    g_uni, g_multi = (feature.feature_gradient(x, weight, y) for x in (u, u + v))
    assert torch.allclose(g_multi, factor * g_uni, rtol=1e-7, atol=1e-14)
    if abs(s - 1) > 1e-6:
        assert (factor < 1) == (s < 1)


@many
@given(seeds, st.integers(2, 5), st.integers(1, 5))
def test_p6_norm_bounds(seed, classes, width):
    u, v, weight = gaussian(seed, (classes,), (classes,), (classes, width))
    y = torch.tensor(seed % classes)
    delta, largest = feature.norm_range(weight, int(y))
    for logits in (u, u + v):
        missing = logits.softmax(0).scatter(0, y, 0.0).sum()
        norm = feature.feature_gradient(logits, weight, y).norm()
        assert missing * delta - 1e-6 <= norm <= missing * largest + 1e-6
    ratio, _ = suppression.suppression_ratio(u + v, u, y)
    g_uni, g_multi = norms(u, v, weight, y)
    assert g_multi * delta <= ratio * largest * g_uni + 1e-6
    if ratio < delta / largest:
        assert g_multi < g_uni


@many
@given(seeds, st.integers(1, 40), st.integers(1, 5))
def test_p6_nearest_point_is_in_the_hull_and_optimal(seed, count, width):
    (points,) = gaussian(seed, (count, width))
    points = points + 0.7  # the origin is inside for some draws and outside for others
    nearest = feature.nearest_in_hull(points)
    system = torch.cat([points.T, torch.ones(1, count, dtype=torch.float64)])
    _, gap = nnls(system.numpy(), torch.cat([nearest, torch.ones(1, dtype=torch.float64)]).numpy())
    assert gap <= 1e-6  # a convex combination of the points
    assert (points @ nearest).min() >= nearest.square().sum() - 1e-6  # the optimality condition


@many
@given(seeds, st.integers(2, 7), st.integers(0, 4))
def test_p7_simplex_frame(seed, classes, extra):
    rows = feature.simplex_etf(classes, classes + extra, torch.Generator().manual_seed(seed))
    products = rows @ rows.T
    expected = torch.full_like(products, -1 / (classes - 1)).fill_diagonal_(1.0)
    assert (products - expected).abs().max() <= 1e-12
    differences = feature.class_differences(rows, 0)
    expected = torch.full((classes - 1,) * 2, classes / (classes - 1), dtype=torch.float64)
    expected = expected + torch.diag(expected.diag())  # twice that for j = k
    assert (differences @ differences.T - expected).abs().max() <= 1e-12
    assert feature.acute_differences(rows, 0)


@many
@given(seeds, st.integers(2, 7), st.sampled_from(["frame", "orthonormal"]), st.sampled_from([0.3, 1.0, 3.0]))
def test_p7_acute_heads_shrink_when_suppressed_evenly(seed, classes, kind, scale):
    generator = torch.Generator().manual_seed(seed)
    square = torch.randn(classes, classes, dtype=torch.float64, generator=generator)
    weight = feature.simplex_etf(classes, classes, generator) if kind == "frame" else torch.linalg.qr(square).Q
    y = torch.tensor(seed % classes)
    assert feature.acute_differences(weight, int(y))
    u, spread = gaussian(seed + 1, (classes,), (classes,), scale=scale)
    v = 0.3 * spread
    v[y] += 1.0 * scale
    s, p = residual.partial_scores(v, y), u.softmax(0)[y]
    wrong = torch.arange(classes) != y
    even = feature.evenly_suppressed(u, v, y)
    assert even == (s[wrong] <= p + (1 - p) * residual.mean_partial_score(u, v, y)).all()
    if even:
        g_uni, g_multi = norms(u, v, weight, y)
        assert g_multi <= g_uni + 1e-12


def test_p7_the_second_condition_is_needed():
    u, v = gaussian(0, (3000, 5), (3000, 5))
    y = torch.zeros(3000, dtype=torch.long)
    weight = feature.simplex_etf(5, 8, torch.Generator().manual_seed(0))
    ratio, _ = suppression.suppression_ratio(u + v, u, y)
    g_uni, g_multi = (feature.feature_gradient(x, weight, y).norm(dim=1) for x in (u, u + v))
    even = feature.evenly_suppressed(u, v, y)
    assert even.any() and not (g_multi > g_uni + 1e-12)[even].any()
    assert (g_multi > g_uni)[(ratio < 1) & ~even].any()


def test_opposite_rows_are_not_acute():
    assert not feature.acute_differences(torch.tensor(cases.OPPOSITE_ROWS), 0)


def test_a_frame_needs_room():
    with pytest.raises(ValueError, match="width 3 and 5 classes"):
        feature.simplex_etf(5, 3)
