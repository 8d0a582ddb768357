"""The methods that rebalance one joint loss, as the loop sees them: training, windows, resuming, refusals."""

from __future__ import annotations

import math

import pytest
import torch
from stepping import A, B, assert_close, make, one_step
from tiny import NAMES, arrays, dense, images, late, pictures
from torch import nn

from dgl_core import methods
from dgl_core.models import FUSIONS, ConcatFusion, LateFusion
from dgl_core.training.loop import Trainer
from dgl_core.training.records import RunSpec
from dgl_core.training.train import fit

KEYS = ("ogm", "ogm_ge", "pmr", "agm", "mmcosine")
every = pytest.mark.parametrize("key", KEYS)


@pytest.mark.parametrize("key", ["ogm", "ogm_ge", "pmr", "agm"])
def test_after_the_window_training_is_vanilla(key):
    vanilla, _ = one_step("vanilla")
    inside, _ = one_step(key, options={"until": 0.5}, epochs=4, epoch=2)
    after, _ = one_step(key, options={"until": 0.5}, epochs=4, epoch=3)
    assert_close(after, vanilla, 0)
    assert any(not torch.equal(inside[name], vanilla[name]) for name in vanilla)


@every
@pytest.mark.parametrize("modalities", [2, 3])
def test_two_epochs_on_the_users_own_model_and_data(key, modalities):
    encoders = {m: nn.Sequential(nn.Linear(3 + i, 5), nn.BatchNorm1d(5), nn.ReLU()) for i, m in enumerate(NAMES)}
    encoders = dict(list(encoders.items())[:modalities])
    model = LateFusion(encoders, ConcatFusion(dict.fromkeys(encoders, 5), 3))
    record = fit(model, key, arrays(modalities), epochs=2, batch_size=8, lr=0.02, device="cpu")
    assert all(math.isfinite(v) for values in record.curves.values() for v in values)
    assert all(len(values) == 2 for values in record.curves.values())
    for m in encoders:
        assert f"test/{m}/accuracy" in record.curves
        assert (f"test/official_{m}/accuracy" in record.curves) == (key != "mmcosine")
    assert (f"test/official_{A}_prototype/accuracy" in record.curves) == (key == "pmr")


class _Killed(Exception):
    pass


def test_a_killed_run_with_old_prototypes_ends_as_if_nothing_had_happened(tmp_path):
    def trainer():
        spec = RunSpec("tiny", "pmr", "custom", epochs=4, batch_size=4, lr=0.05)
        method = methods.build("pmr", {"smoothing": 0.3, "form": "paper"})
        return Trainer(spec, method, pictures(), images(), torch.device("cpu"))

    def kill(line):
        if line.startswith("epoch   2"):
            raise _Killed

    whole, first, second = trainer(), trainer(), trainer()
    whole.fit()
    with pytest.raises(_Killed):
        first.fit(tmp_path / "checkpoint", every=0.0, log=kill)
    second.fit(tmp_path / "checkpoint")
    drop = ("seconds/training",)
    assert {k: v for k, v in second.curves.items() if k not in drop} == {
        k: v for k, v in whole.curves.items() if k not in drop
    }
    assert all(torch.equal(a, b) for a, b in zip(second.model.parameters(), whole.model.parameters(), strict=True))
    torch.testing.assert_close(second.method.state_dict(), whole.method.state_dict(), rtol=0, atol=0)


@every
def test_bf16_autocast_trains(key):
    record = fit(pictures(), key, images(), epochs=1, batch_size=4, lr=0.02, precision="bf16", device="cpu")
    assert all(math.isfinite(v) for values in record.curves.values() for v in values)


@pytest.mark.parametrize(
    "key, options, message",
    [
        ("ogm", {"alpha": -1}, "alpha is -1"),
        ("ogm_ge", {"until": 1.5}, "until is 1.5"),
        ("pmr", {"alpha": float("nan")}, "alpha is nan"),
        ("pmr", {"smoothing": 2}, "smoothing is 2"),
        ("pmr", {"form": "papers"}, "did you mean 'paper'"),
        ("agm", {"alpha": -0.1}, "alpha is -0.1"),
        ("agm", {"until": -1}, "until is -1"),
        ("mmcosine", {"scale": 0}, "scale is 0"),
        ("mmcosine", {"scal": 1}, "did you mean 'scale'"),
    ],
)
def test_options_out_of_range_are_refused_by_name(key, options, message):
    with pytest.raises(ValueError, match=message):
        methods.build(key, options)


def test_models_that_a_method_cannot_train_are_refused_by_name():
    with pytest.raises(ValueError, match="GatedFusion"):
        make("mmcosine", late(2, "gated"), arrays())
    with pytest.raises(ValueError, match="LateFusion"):
        make("pmr", dense(), arrays())


@pytest.mark.parametrize("key", ["ogm", "ogm_ge", "agm"])
def test_dense_targets_are_refused_with_the_methods_that_take_them(key):
    trainer = make(key, dense(), arrays())
    rows = trainer.batch(trainer.train_index[:6])
    with pytest.raises(ValueError, match="dgl"):
        trainer.method.step(trainer, methods.Batch(rows.inputs, rows.target[:, None, None].expand(6, 4, 4)))


@every
def test_a_modality_missing_from_a_batch_is_named(key):
    trainer = make(key)
    rows = trainer.batch(trainer.train_index[:6])
    with pytest.raises(ValueError, match=B):
        trainer.method.step(trainer, methods.Batch({A: rows.inputs[A]}, rows.target))


@pytest.mark.parametrize("key", ["ogm", "ogm_ge", "agm"])
@pytest.mark.parametrize("fusion", [name for name in FUSIONS if name not in ("concat", "sum")])
def test_other_fusions_train(key, fusion):
    found, trainer = one_step(key, pictures(fusion=fusion))
    assert found and all(g.isfinite().all() for g in found.values())
    trainer.model.eval()
    for m, logits in trainer.method.official_unimodal(trainer, trainer.batch(trainer.train_index).inputs).items():
        assert logits.isfinite().all(), m
