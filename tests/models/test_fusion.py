"""Fusion heads: their formulas, the mask of Eq. 12, the official masks, and who gets a gradient (METHODS 1.5)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny import NAMES, batch, by_hand, gradients
from torch import Tensor, nn

from dgl_core import models
from dgl_core.gradients import DisentangledObjective, disentangled_loss
from dgl_core.models import FUSIONS, LateFusion
from dgl_core.models.fusion import AttentionFusion, make_fusion
from dgl_core.models.initial import initialise
from dgl_core.runs import keys
from dgl_core.training.records import RunSpec

ALPHA = 4.0
OFFICIAL = ("sum", "bilinear", "gated")
LITERAL = "gated_literal"  # has official masks only, and projections without gradient: tests of its own
HEADS = [(name, False) for name in FUSIONS if name != LITERAL] + [(name, True) for name in OFFICIAL]
COUNTS = {"bilinear": (2,), "film": (2, 3, 5), "gated": (2, 3, 5)}  # number of modalities; others: one as well
CASES = [(name, official, m) for name, official in HEADS for m in COUNTS.get(name, (1, 2, 3, 5))]
every_case = pytest.mark.parametrize("name, official, modalities", CASES)


def head(name: str, modalities: int = 2, official: bool = False, width: int = 4) -> nn.Module:
    """A head at its real initialisation (biases zero), float64, without dropout."""
    torch.manual_seed(0)
    made = make_fusion(name, dict.fromkeys(NAMES[:modalities], width), 3, official=official)
    return made.apply(initialise).double().eval()


def jiggled(module: nn.Module) -> nn.Module:
    """The same with every parameter, biases included, away from its special initial value."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator)
    return module


def features(modalities: int = 2, width: int = 4, size: int = 6, seed: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        m: torch.randn(size, width, dtype=torch.float64, generator=generator).requires_grad_()
        for m in NAMES[:modalities]
    }


def unimodal_gradient(fusion: nn.Module, z: dict[str, Tensor], modality: str) -> Tensor:
    """d sum(l^m ** 2) / d z^m, zeros where there is no path."""
    loss = fusion(z, keep=(modality,)).square().sum()
    return torch.autograd.grad(loss, z[modality], materialize_grads=True)[0]


# -- formulas, written out with loops ---------------------------------------------------------------------------------


def test_bilinear_multiplies_every_pair():
    fusion, z = jiggled(head("bilinear")), features()
    x, y = (z[m][0] for m in NAMES[:2])
    products = torch.stack([x[i] * y[j] for i in range(4) for j in range(4)])
    hidden = fusion.hidden.weight @ products + fusion.hidden.bias
    torch.testing.assert_close(fusion(z)[0], fusion.head.weight @ hidden + fusion.head.bias)


def test_film_scales_and_shifts_the_last_modality():
    fusion, z = jiggled(head("film", 3)), features(3)
    condition = torch.cat([z[NAMES[0]][0], z[NAMES[1]][0]])
    film = fusion.film.weight @ condition + fusion.film.bias
    modulated = film[:4] * z[NAMES[2]][0] + film[4:]
    torch.testing.assert_close(fusion(z)[0], fusion.head.weight @ modulated + fusion.head.bias)


def test_gate_opens_the_last_modality():
    fusion, z = jiggled(head("gated", 3)), features(3)
    u = {m: fusion.projections[m].weight @ z[m][0] + fusion.projections[m].bias for m in z}
    gated = u[NAMES[2]] / (1 + torch.exp(-(u[NAMES[0]] + u[NAMES[1]])))
    torch.testing.assert_close(fusion(z)[0], fusion.head.weight @ gated + fusion.head.bias)


def test_attention_agrees_with_torch():
    fusion, z = jiggled(head("attention", 3, width=8)), features(3, width=8)
    tokens = torch.stack([fusion.projections[m](z[m]) + fusion.kinds[m] for m in z], dim=1)
    reference = nn.MultiheadAttention(8, 8, batch_first=True).double()
    reference.in_proj_weight = fusion.attention.queries_keys_values.weight
    reference.in_proj_bias = fusion.attention.queries_keys_values.bias
    reference.out_proj = fusion.attention.out
    normed = fusion.norms[0](tokens)
    tokens = tokens + reference(normed, normed, normed, need_weights=False)[0]
    tokens = tokens + fusion.mlp(fusion.norms[1](tokens))
    torch.testing.assert_close(fusion(z), fusion.head(tokens.mean(dim=1)))


def test_attention_has_no_order():
    fusion, z = jiggled(head("attention", 5)), features(5)
    assert fusion.attention.heads == 8
    torch.testing.assert_close(fusion(z), fusion(dict(reversed(z.items()))))


@pytest.mark.parametrize("name", ["concat", "sum"])
@pytest.mark.parametrize("modalities", [2, 3, 5])
def test_masked_logits_add_up_to_the_fused_ones(name, modalities):
    """D6: l = sum_m l^m - (M - 1) b, with b the sum of all biases."""
    fusion, z = jiggled(head(name, modalities)), features(modalities)
    bias = fusion({m: torch.zeros_like(v) for m, v in z.items()})
    masked = sum(fusion(z, keep=(m,)) for m in z)
    torch.testing.assert_close(fusion(z), masked - (modalities - 1) * bias)


# -- masks ------------------------------------------------------------------------------------------------------------


@every_case
def test_a_masked_modality_does_not_matter(name, official, modalities):
    fusion, z, other = jiggled(head(name, modalities, official)), features(modalities), features(modalities, seed=9)
    for m in z:
        changed = {j: z[j] if j == m else other[j] for j in z}
        assert torch.equal(fusion(z, keep=(m,)), fusion(changed, keep=(m,)))
        if modalities > 1:
            assert not torch.allclose(fusion(z), fusion(changed))


@pytest.mark.parametrize("name, modalities", [(n, m) for n, official, m in CASES if not official])
def test_mask_is_zero_features(name, modalities):
    fusion, z = jiggled(head(name, modalities)), features(modalities)
    for keep in [(m,) for m in z] + [tuple(z)[1:], ()]:
        zeroed = {m: v if m in keep else 0 * v for m, v in z.items()}
        torch.testing.assert_close(fusion(z, keep=keep), fusion(zeroed))


def test_official_sum_leaves_the_partners_bias_out():
    plain, official = jiggled(head("sum", 3)), jiggled(head("sum", 3, official=True))
    z = features(3)
    for m in z:
        torch.testing.assert_close(official(z, keep=(m,)), official.heads[m](z[m]))
        partners = sum(plain.heads[j].bias for j in z if j != m)
        torch.testing.assert_close(plain(z, keep=(m,)), official(z, keep=(m,)) + partners)


def test_official_bilinear_multiplies_a_modality_with_itself():
    fusion, z = jiggled(head("bilinear", official=True)), features()
    for m in z:
        torch.testing.assert_close(fusion(z, keep=(m,)), fusion(dict.fromkeys(NAMES[:2], z[m])))


def test_official_gate_gates_itself():
    fusion, z = jiggled(head("gated", 3, official=True)), features(3)
    for m in z:
        torch.testing.assert_close(fusion(z, keep=(m,)), fusion.head(F.silu(fusion.projections[m](z[m]))))


def test_hidden_tokens_are_the_head_of_fewer_modalities():
    torch.manual_seed(0)
    fusion = jiggled(AttentionFusion(dict.fromkeys(NAMES[:3], 8), 3, hide=True).double())
    z, keep = features(3, width=8), (NAMES[0], NAMES[2])
    fewer = AttentionFusion(dict.fromkeys(keep, 8), 3).double()
    fewer.load_state_dict({k: v for k, v in fusion.state_dict().items() if NAMES[1] not in k})
    torch.testing.assert_close(fusion(z, keep=keep), fewer({m: z[m] for m in keep}))
    with pytest.raises(ValueError, match="keep is empty; name at least one of"):
        fusion(z, keep=())


# -- who gets a gradient ----------------------------------------------------------------------------------------------


def test_bilinear_mask_gives_no_gradient_ever():
    z = features()
    for fusion in (head("bilinear"), jiggled(head("bilinear"))):
        for m in z:
            assert unimodal_gradient(fusion, z, m).count_nonzero() == 0


def test_gate_gets_no_gradient_at_initialisation():
    fusion, z = head("gated", 3), features(3)
    for m in NAMES[:2]:
        assert unimodal_gradient(fusion, z, m).count_nonzero() == 0
    assert unimodal_gradient(fusion, z, NAMES[2]).count_nonzero() > 0  # sigmoid(0) = 1/2 lets the value through
    assert unimodal_gradient(jiggled(fusion), z, NAMES[0]).count_nonzero() > 0  # once the value's bias has moved


def test_modulated_gets_no_gradient_at_initialisation():
    fusion, z = head("film", 3), features(3)
    assert unimodal_gradient(fusion, z, NAMES[2]).count_nonzero() == 0  # gamma is a bias that starts at zero
    for m in NAMES[:2]:
        assert unimodal_gradient(fusion, z, m).count_nonzero() > 0
    assert unimodal_gradient(jiggled(fusion), z, NAMES[2]).count_nonzero() > 0


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_masks_give_every_modality_a_gradient_at_initialisation(name):
    z = features()
    for m in z:
        assert unimodal_gradient(head(name, official=True), z, m).count_nonzero() > 0


def late(name: str, modalities: int, official: bool) -> LateFusion:
    torch.manual_seed(1)
    encoders = {m: nn.Linear(3 + i, 4) for i, m in enumerate(NAMES[:modalities])}
    return LateFusion(encoders, jiggled(head(name, modalities, official))).double()


@pytest.mark.parametrize("name, official, modalities", [case for case in CASES if case[2] > 1])
def test_one_backward_gives_each_part_its_own_gradient(name, official, modalities):
    """g(theta_m) = alpha grad L_m, g(tau) = grad L_multi on constant features (Algorithm 1), for every head."""
    model = late(name, modalities, official)
    inputs, target = batch(modalities)
    disentangled_loss(model, inputs, target, alpha=ALPHA).total.backward()
    torch.testing.assert_close(gradients(model), by_hand(model, inputs, target, ALPHA, 0.0, 0.0))


def test_gated_projections_train_here_and_not_in_the_official_code():
    model = late("gated", 2, official=True)
    inputs, target = batch(2)
    disentangled_loss(model, inputs, target, alpha=ALPHA).total.backward()
    assert all(p.grad.count_nonzero() > 0 for p in model.fusion.projections.parameters())

    model.zero_grad()
    u = {m: model.fusion.projections[m](z) for m, z in model.encode(inputs).items()}  # official: detach these, not z
    unimodal = sum(F.cross_entropy(model.fusion.head(F.silu(v)), target) for v in u.values())
    (ALPHA * unimodal).backward(retain_graph=True)
    for parameter in model.fusion.parameters():
        parameter.grad = None
    x, y = (v.detach() for v in u.values())
    F.cross_entropy(model.fusion.head(torch.sigmoid(x) * y), target).backward()
    assert model.fusion.head.weight.grad is not None
    assert all(p.grad is None for p in model.fusion.projections.parameters())


def test_literal_gates_are_the_official_ones_with_projections_that_never_move():
    literal, official, z = head(LITERAL, 3), head("gated", 3, official=True), features(3)
    literal.load_state_dict(official.state_dict())
    for keep in [tuple(z), *((m,) for m in z)]:
        assert torch.equal(literal(z, keep=keep), official(z, keep=keep))
    assert {n.split(".")[0] for n, p in literal.named_parameters() if not p.requires_grad} == {"projections"}
    assert models.build("small", SHAPES, 6, 0, width=2, fusion=LITERAL).fusion.official


@pytest.mark.parametrize(
    "name, learns", [("bilinear", False), ("bilinear official", True), ("gated", True), ("film", True)]
)
def test_which_encoders_dgl_moves(name, learns):
    """Five steps from the real initialisation: with strict masks bilinear encoders never move; the silent side of the
    gate and of FiLM starts to move as soon as the multimodal loss has moved the biases."""
    torch.manual_seed(1)
    fusion = head(name.split()[0], official="official" in name)
    model = LateFusion({m: nn.Linear(3 + i, 4) for i, m in enumerate(NAMES[:2])}, fusion).double()
    objective = DisentangledObjective(model, ALPHA)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {m: e.weight.clone() for m, e in model.encoders.items()}
    inputs, target = batch(2)
    for _ in range(5):
        optimizer.zero_grad()
        objective(inputs, target).total.backward()
        optimizer.step()
    moved = {m: not torch.equal(e.weight, before[m]) for m, e in model.encoders.items()}
    assert moved == dict.fromkeys(moved, learns)


@every_case
def test_every_head_learns(name, official, modalities):
    """Joint training drives the loss of a few random samples down by half, so nothing in the head is cut off."""
    fusion, z = head(name, modalities, official), features(modalities, size=8)
    target = torch.arange(8) % 3
    optimizer = torch.optim.Adam([*fusion.parameters(), *z.values()], lr=0.05)
    first = F.cross_entropy(fusion(z), target).item()
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(fusion(z), target).backward()
        optimizer.step()
    assert F.cross_entropy(fusion(z), target).item() < first / 2


# -- names, options, errors -------------------------------------------------------------------------------------------

SHAPES = {"audio": (1, 16, 16), "visual": (3, 16, 16)}


@pytest.mark.parametrize("name, official", HEADS)
def test_model_builders_take_every_head(name, official):
    inputs = {m: torch.randn(2, *s) for m, s in SHAPES.items()}
    model = models.build("small", SHAPES, 6, 0, width=2, fusion=name, official=official)
    assert type(model.fusion) is FUSIONS[name] and getattr(model.fusion, "official", False) is official
    assert {b: tuple(v.shape) for b, v in model.all_logits(inputs).items()} == dict.fromkeys(("fused", *SHAPES), (2, 6))
    plain = models.build("small", SHAPES, 6, 0, width=2)
    for a, b in zip(plain.encoders.parameters(), model.encoders.parameters(), strict=True):
        assert torch.equal(a, b)  # the head does not decide where encoders start: runs of one seed are a pair


def test_official_variant_is_another_run():
    spec = RunSpec("emotions", model="small", model_options={"fusion": "gated"})
    assert keys.key(spec) == keys.key(spec.but(model_options={"fusion": "gated", "official": False}))
    assert keys.key(spec) != keys.key(spec.but(model_options={"fusion": "gated", "official": True}))


@pytest.mark.parametrize(
    "name, modalities, official, message",
    [
        ("gatd", 2, False, "did you mean 'gated'"),
        ("concat", 2, True, "'concat' has no official variant.*'sum', 'gated', 'bilinear'"),
        ("film", 2, True, "'film' has no official variant"),
        ("bilinear", 3, False, "exactly two modalities.*text"),
        ("bilinear", 1, False, "exactly two modalities"),
        ("gated", 1, False, "needs at least two"),
        ("film", 1, False, "needs at least two"),
    ],
)
def test_clear_errors(name, modalities, official, message):
    with pytest.raises(ValueError, match=message):
        make_fusion(name, dict.fromkeys(NAMES[:modalities], 4), 3, official=official)


def test_official_bilinear_needs_equal_widths():
    make_fusion("bilinear", {"sound": 4, "face": 5}, 3)
    with pytest.raises(ValueError, match="equal feature widths.*'face': 5"):
        make_fusion("bilinear", {"sound": 4, "face": 5}, 3, official=True)


def test_attention_width_must_fit_its_heads():
    assert AttentionFusion({"sound": 73, "face": 100}, 3).head.in_features == 104
    with pytest.raises(ValueError, match="12 is not a multiple of the 8"):
        AttentionFusion({"sound": 4}, 3, width=12)


@pytest.mark.parametrize("name", FUSIONS)
def test_unknown_modality_in_keep(name):
    with pytest.raises(ValueError, match="keep names 'smell'"):
        head(name)(features(), keep=("smell",))
