"""What MLA, MMPareto, Diagnosing & Re-learning, ReconBoost and G-Blending by OGR have in common; whole runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny import FUSED, NAMES, arrays, dense, images, mlp
from torch import nn
from watching import equal_widths, first_batch, moved, trainer, weights

from dgl_core import methods, models
from dgl_core.methods import heads
from dgl_core.methods.base import Batch
from dgl_core.models import ConcatFusion, Fusion, LateFusion
from dgl_core.training.loop import Trainer
from dgl_core.training.records import RunSpec
from dgl_core.training.train import fit

MINE = ("mla", "mmpareto", "relearn", "reconboost", "gblend_ogr")
all_methods = pytest.mark.parametrize("name", MINE)


def test_a_share_of_the_run_is_the_official_number_at_its_length_and_never_nothing():
    assert [heads.whole_epochs(0.2, epochs) for epochs in (100, 20, 4, 1)] == [20, 4, 1, 1]
    assert heads.whole_epochs(20 / 90, 90) == 20
    assert [heads.whole_epochs(0.04, epochs) for epochs in (100, 20)] == [4, 1]


def test_widths_come_from_the_encoder_the_fusion_or_the_last_linear_layer():
    model = LateFusion({"sound": mlp(3, 5), "face": nn.Conv1d(3, 2, 1)}, ConcatFusion({"sound": 5, "face": 2}, 3))
    assert heads.feature_widths(model, "X") == {"sound": 5, "face": 2}, "a fusion head knows what it takes"
    model.fusion.widths = None
    with pytest.raises(ValueError, match="encoder 'face' .Conv1d.* `width`"):
        heads.feature_widths(model, "X")
    model.encoders["face"].width = 2
    assert heads.feature_widths(model, "X") == {"sound": 5, "face": 2}


@pytest.mark.parametrize("name", ["mla", "mmpareto", "reconboost", "gblend_ogr"])
def test_heads_depend_on_the_seed_of_the_run_and_nothing_else(name):
    first = trainer(name, seed=1)
    torch.manual_seed(77)
    again, other = trainer(name, seed=1), trainer(name, seed=2)
    assert not moved(again.heads, weights(first.heads))
    assert moved(other.heads, weights(first.heads))


def test_heads_start_xavier_normal():
    wide = {m: mlp(3 + i, 400) for i, m in enumerate(NAMES[:2])}
    state = trainer("mmpareto", LateFusion(wide, ConcatFusion(dict.fromkeys(wide, 400), 3)))
    for head in state.heads.values():
        assert head.weight.std().item() == pytest.approx(math.sqrt(2 / (400 + 3)), rel=0.1)
        assert not head.bias.any()


@pytest.mark.parametrize("name", ["mla", "reconboost"])
def test_a_shared_head_needs_late_fusion_and_one_feature_width(name):
    with pytest.raises(ValueError, match="Dense mixes modalities.*LateFusion"):
        trainer(name, dense())
    encoders = {"sound": mlp(3, 4), "face": mlp(4, 5)}
    with pytest.raises(ValueError, match="'sound': 4, 'face': 5.*same output width"):
        trainer(name, LateFusion(encoders, ConcatFusion({"sound": 4, "face": 5}, 3)))


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("mla", {"weights": (0.55, -0.45)}, "each must be above 0"),
        ("mmpareto", {"gamma": -1.0}, "gamma is -1"),
        ("mmpareto", {"gama": 1.0}, "did you mean 'gamma'"),
        ("relearn", {"strength": float("nan")}, "strength is nan"),
        ("relearn", {"every": 20.0}, "every is 20.0; it must be at least 0 and at most 1"),
        ("reconboost", {"w1": 1.0, "w2": 2.0}, "w1 must be larger"),
        ("reconboost", {"alone": 0.6, "together": 0.6}, "must not exceed 1 in sum"),
        ("mmpareto", {"gamma": float("inf")}, "gamma is inf; it must be at least 0 and finite"),
        ("gblend_ogr", {"floor": 0.0}, "floor is 0"),
    ],
)
def test_options_out_of_range_are_refused(name, options, words):
    with pytest.raises(ValueError, match=words):
        methods.build(name, options)


# -- whole runs -------------------------------------------------------------------------------------------------------


@all_methods
@pytest.mark.parametrize("modalities", [2, 3])
def test_two_epochs_end_with_a_record(name, modalities):
    record = fit(equal_widths(modalities), name, arrays(modalities), epochs=2, batch_size=8, lr=0.02)
    official = set() if name == "relearn" else {f"official_{m}" for m in NAMES[:modalities]}
    missing = {f"without_{m}" for m in NAMES[:modalities]} if modalities > 2 else set()
    assert set(record.branches()) == {FUSED, *NAMES[:modalities]} | official | missing
    for column, values in record.curves.items():
        assert np.isfinite(values).all(), column
    assert len(record.curves["loss/multimodal"]) == 2


@pytest.mark.parametrize("name", ["mmpareto", "gblend_ogr", "relearn"])
@pytest.mark.parametrize("split", ["stem", "parameter"])
def test_models_that_mix_early_take_unimodal_logits_from_the_mask(name, split):
    model = models.build(
        "mmtm", {m: (1 + i, 16, 16) for i, m in enumerate(NAMES[:2])}, 3, 0, split=split, width=4, blocks=1
    )
    record = fit(model, name, images(2), epochs=3, batch_size=4)
    assert set(record.branches()) == {FUSED, *NAMES[:2]}
    assert all(np.isfinite(values).all() for values in record.curves.values())


class Sequences(nn.Module):
    """[B, D] -> three steps of features, [B, 3, 4]."""

    width = 4

    def __init__(self, inputs: int):
        super().__init__()
        self.project = nn.Linear(inputs, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.project(x).unflatten(1, (3, 4))


class Reader(Fusion):
    """A classifier of the sequences of all modalities."""

    def __init__(self, modalities: int):
        super().__init__()
        self.head = nn.Linear(12 * modalities, 3)

    def join(self, features):
        return self.head(torch.cat([z.flatten(1) for z in features.values()], dim=1))


@all_methods
def test_features_may_be_sequences(name):
    model = LateFusion({m: Sequences(3 + i) for i, m in enumerate(NAMES[:3])}, Reader(3))
    record = fit(model, name, arrays(3), epochs=3, batch_size=8)
    assert all(np.isfinite(values).all() for values in record.curves.values())


def test_one_vector_per_sample():
    x = torch.randn(2, 3, 4, 5)  # [B, D, H, W]
    assert torch.allclose(heads.vector(x), x.mean(dim=(2, 3)))
    assert torch.equal(heads.vector(x[0]), x[0].mean(dim=1))  # [B, L, D]
    assert torch.equal(heads.vector(x[0, 0]), x[0, 0])


@all_methods
def test_dense_targets_are_refused_by_name(name):
    state, (inputs, target) = trainer(name), first_batch(trainer(name))
    if name == "relearn":
        state.batches = lambda part: iter([Batch(inputs, target[:, None])])
        with pytest.raises(ValueError, match="shape .8, 1.*dense prediction"):
            state.method.on_start(state)
    else:
        with pytest.raises(ValueError, match="shape .8, 1.*dense prediction"):
            state.method.step(state, Batch(inputs, target[:, None]))


class Killed(Exception):
    pass


def test_a_run_killed_inside_a_super_epoch_resumes_to_the_same_record(tmp_path):
    options = {"super_epoch": 0.4}

    def run(checkpoint=None, stop=None):
        spec = RunSpec("tiny_arrays", "gblend_ogr", "custom", epochs=5, batch_size=8, lr=0.02, method_options=options)
        made = Trainer(spec, methods.build("gblend_ogr", options), equal_widths(), arrays(2), torch.device("cpu"))

        def log(line):
            if made.epoch == stop:
                raise Killed

        made.fit(checkpoint, every=0.0, log=log)
        record = made.record("", {})
        return {c: v for c, v in record.curves.items() if not c.startswith("seconds")}, record.predictions

    whole = run()
    with pytest.raises(Killed):
        run(tmp_path / "c.pt", stop=2)
    torch.manual_seed(123)  # another process
    assert run(tmp_path / "c.pt") == whole
