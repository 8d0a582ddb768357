"""OGM and OGM-GE: coefficients, noise, which tensors are touched, and when."""

from __future__ import annotations

import math

import pytest
import torch
from stepping import A, B, assert_close, make, one_step, row, without_updates
from tiny import NAMES, arrays, batch, dense, gradients, late, pictures
from torch import nn

from dgl_core.methods import scores
from dgl_core.methods.baselines import ogm


@pytest.mark.parametrize("alpha, damped", [(0.3, 0.46295), (0.8, 0.07833), (0.1, 0.80262)])
def test_ogm_coefficients_are_those_of_the_table(alpha, damped):
    found = ogm.coefficients(row(1.7, 0.85), alpha)
    assert found[0].item() == pytest.approx(damped, abs=5e-6)
    assert found[1] == 1
    assert torch.equal(found.flip(0), ogm.coefficients(row(0.85, 1.7), alpha))


def test_ogm_damps_nobody_at_a_tie_and_jumps_just_above_it():
    assert torch.equal(ogm.coefficients(row(2, 2), 0.3), row(1, 1))
    assert torch.equal(ogm.coefficients(row(0.1, 0.1, 0.1), 0.3), row(1, 1, 1))
    assert ogm.coefficients(row(1 + 1e-9, 1), 0.3)[0].item() == pytest.approx(0.70869, abs=5e-6)


def test_ogm_ratio_of_three_is_the_mean_over_the_other_two_and_stays_finite():
    assert torch.allclose(ogm.ratios(row(3, 1, 2)), row((3 + 3 / 2) / 2, (1 / 3 + 1 / 2) / 2, (2 / 3 + 2) / 2))
    assert ogm.coefficients(row(3, 0, 0), 0.8).isfinite().all()


@pytest.mark.parametrize("modalities", [2, 3])
def test_ogm_scales_convolutions_by_k_and_nothing_else(modalities):
    vanilla, trainer = one_step("vanilla", modalities=modalities)
    found, _ = one_step("ogm", modalities=modalities)
    rows = trainer.batch(trainer.train_index[:6])
    model = pictures(modalities).double().train()
    split = scores.split_logits(model.fusion, model.encode(rows.inputs))
    k = ogm.coefficients(torch.stack([v.softmax(1)[range(6), rows.target].sum() for v in split.values()]).detach(), 0.8)
    assert (k < 1).any()
    assert any("1.weight" in name for name in vanilla)  # batch-norm is there to be left alone
    for i, m in enumerate(NAMES[:modalities]):
        for name in (f"encoders.{m}.0.weight", f"encoders.{m}.3.weight"):
            vanilla[name] *= k[i]
    assert_close(found, vanilla)


def test_ogm_modulates_the_matrices_of_an_encoder_without_convolutions():
    vanilla, _ = one_step("vanilla", late(), dataset=arrays())
    found, _ = one_step("ogm", late(), dataset=arrays())
    changed = {name for name in vanilla if not torch.equal(found[name], vanilla[name])}
    assert changed in ({f"encoders.{m}.0.weight", f"encoders.{m}.2.weight"} for m in (A, B))


def test_ge_noise_has_the_spread_of_each_unscaled_gradient():
    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 10.0):
        gradient = size * torch.randn(40, 50, 5, 5, generator=generator)
        for k in (1.0, 0.25):
            after = gradient.clone()
            ogm.modulate(after, torch.tensor(k), generator)
            noise = after - k * gradient
            assert noise.std().item() == pytest.approx(gradient.std().item(), rel=0.02)
            assert abs(noise.mean()) < 5 * gradient.std() / math.sqrt(noise.numel())


def test_ge_noise_of_a_single_number_is_finite():
    gradient = torch.full((1, 1, 1, 1), 3.0)
    ogm.modulate(gradient, torch.tensor(0.5), torch.Generator().manual_seed(0))
    assert gradient.item() == pytest.approx(1.5, abs=1e-6)


def test_ge_adds_noise_to_every_modality_also_where_k_is_one_and_only_to_convolutions():
    plain, trainer = one_step("ogm")
    noisy, _ = one_step("ogm_ge")
    again, _ = one_step("ogm_ge")
    changed = {name for name in plain if not torch.equal(noisy[name], plain[name])}
    assert changed == {f"encoders.{m}.{layer}.weight" for m in (A, B) for layer in (0, 3)}
    assert_close(again, noisy, 0)


def test_windows_are_the_official_ones_and_scale_with_the_run():
    for epochs, last in ((100, 50), (20, 10), (1, 0)):
        assert [e for e in range(epochs) if scores.active(e, epochs, 0.5)] == list(range(last + 1))
    assert sum(scores.active(e, 100, 0.29) for e in range(100)) == 30  # 0.29 * 100 is a little less than 29
    assert all(scores.active(e, 7, 1.0) for e in range(7))


def test_ogm_modulates_each_accumulated_part_by_its_own_ratio():
    parts = [one_step("ogm", rows=rows)[0] for rows in (slice(0, 6), slice(6, 12))]
    trainer = without_updates(make("ogm", accumulate=2))
    for rows in (slice(0, 6), slice(6, 12)):
        trainer.method.step(trainer, trainer.batch(trainer.train_index[rows]))
    assert_close(gradients(trainer.model), {n: (parts[0][n] + parts[1][n]) / 2 for n in parts[0]})


@pytest.mark.parametrize("modalities, fusion", [(2, "concat"), (3, "concat"), (2, "sum"), (3, "sum")])
def test_split_logits_add_up_to_the_fused_logits(modalities, fusion):
    model, (inputs, _) = late(modalities, fusion), batch(modalities)
    for parameter in model.fusion.parameters():
        nn.init.normal_(parameter)
    assert torch.allclose(sum(scores.split_logits(model.fusion, model.encode(inputs)).values()), model(inputs))


def test_ogm_official_score_of_a_modality_takes_its_share_of_the_bias():
    for fusion in ("concat", "sum"):
        trainer = make("ogm", late(2, fusion), arrays())
        inputs, _ = batch()
        features, head = trainer.model.encode(inputs), trainer.model.fusion
        bias = head.head.bias if fusion == "concat" else head.heads[A].bias
        weight = head.head.weight[:, :2] if fusion == "concat" else head.heads[A].weight
        expected = features[A] @ weight.T + bias / 2
        assert torch.allclose(trainer.method.official_unimodal(trainer, inputs)[A], expected)
    trainer = make("ogm", late(2, "gated"), arrays())
    assert trainer.method.official_unimodal(trainer, inputs) == {}


def test_scores_without_a_linear_fusion_are_the_zero_mask_and_move_no_statistics():
    inputs, _ = batch()
    for model in (late(2, "gated", batch_norm=True), dense()):
        features = model.encode(inputs) if hasattr(model, "encode") else {}
        before = {n: b.clone() for n, b in model.named_buffers()}
        found = scores.unimodal_logits(model, inputs, features)
        assert all(torch.equal(b, before[n]) for n, b in model.named_buffers())
        for m in model.encoders:
            assert torch.allclose(found[m], model(inputs, keep=(m,)))
            assert not found[m].requires_grad
