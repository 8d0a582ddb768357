"""MMCosine: bounds, invariance, and the same logits in training and at test."""

from __future__ import annotations

import pytest
import torch
from stepping import A, C, assert_close, one_step, row
from tiny import FUSED, NAMES, arrays, late

from dgl_core.methods.baselines import mmcosine


def test_cosine_logits_hand_example_bounds_and_scale_invariance():
    found = mmcosine.cosine_logits(row(3, 4)[None], torch.stack([row(1, 0), row(0, 2)]), 10.0)
    assert torch.allclose(found, row(6, 8)[None])
    torch.manual_seed(0)
    z, w = torch.randn(50, 4, dtype=torch.float64), torch.randn(7, 4, dtype=torch.float64)
    logits = mmcosine.cosine_logits(z, w, 10.0)
    assert (logits.abs() <= 10 + 1e-12).all()
    row_scale = torch.rand(7, 1, dtype=torch.float64) + 0.1
    assert torch.allclose(mmcosine.cosine_logits(1e3 * z, row_scale * w, 10.0), logits, rtol=0, atol=1e-12)
    assert torch.allclose(mmcosine.cosine_logits(w[:1], w, 10.0)[0, 0], torch.tensor(10.0, dtype=torch.float64))


def test_a_zero_feature_has_zero_logits_and_no_gradient():
    z = torch.zeros(1, 3, requires_grad=True)
    logits = mmcosine.cosine_logits(z, torch.ones(2, 3), 10.0)
    (logits * torch.tensor([1.0, 2.0])).sum().backward()
    assert (logits == 0).all() and (z.grad == 0).all()


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_mmcosine_uses_cosines_in_training_and_at_test_and_never_the_bias(fusion):
    found, trainer = one_step("mmcosine", late(3, fusion), dataset=arrays(3))
    assert not any(name.startswith("fusion") and name.endswith("bias") for name in found)
    inputs = trainer.batch(trainer.train_index).inputs
    scores = trainer.method.all_logits(trainer, inputs)
    with torch.no_grad():
        for parameter in trainer.model.fusion.parameters():
            parameter.mul_(7.0)  # cosines do not see it, raw linear logits would
    assert_close(trainer.method.all_logits(trainer, inputs), scores)
    assert torch.allclose(trainer.method.logits(trainer, inputs), scores[FUSED])
    assert torch.allclose(sum(scores[m] for m in NAMES[:3]), scores[FUSED])
    assert torch.allclose(trainer.method.logits(trainer, inputs, keep=(A, C)), scores[A] + scores[C])
    with pytest.raises(ValueError, match="smell"):
        trainer.method.logits(trainer, inputs, keep=("smell",))
