"""A cheaper recipe: half the resolution where that is asked for, counted operations, a proof that can fail."""

from __future__ import annotations

import pytest
import tiny
import torch
from tiny import arrays, images, pictures

from dgl_core import methods
from dgl_core.data.dense import DenseDataset
from dgl_core.data.transforms import halved
from dgl_core.paper.experiments import late_fusion
from dgl_core.runs import command, estimates
from dgl_core.runs.recipes import cheaper
from dgl_core.training.loop import Trainer, check_resolution
from dgl_core.training.machine import Machine
from dgl_core.training.records import RunSpec
from tools.cheaper import DELTA, ENOUGH, said

tiny.register()


def test_halving_takes_means_over_two_by_two_values():
    x = torch.arange(2 * 3 * 5 * 4.0).reshape(2, 3, 5, 4)
    assert torch.equal(halved(x)[:, :, 0, 1], x[:, :, :2, 2:].mean((2, 3))) and halved(x).shape == (2, 3, 2, 2)
    clip = torch.stack([x, 2 * x], 2)  # [B, C, T, H, W]
    assert torch.equal(halved(clip), torch.stack([halved(x), 2 * halved(x)], 2)), "every frame for itself"
    for other in (torch.ones(2, 7), torch.ones(2, 9, 7), torch.ones(2, 1, 9, 7).long(), torch.ones(2, 3, 1, 8)):
        assert halved(other) is other


def test_the_first_epochs_train_at_half_resolution_and_scores_are_at_full_size():
    spec = RunSpec("tiny", "dgl", "custom", epochs=4, half_resolution=0.5, batch_size=4, milestones=())
    run, seen = Trainer(spec, methods.build("dgl"), pictures(2), images(2), torch.device("cpu"), Machine()), []
    for encoder in run.model.encoders.values():
        encoder.register_forward_hook(lambda module, given, out: seen.append(
            (run.epoch, run.model.training, given[0].shape[-1])))  # fmt: skip
    run.fit()
    assert {(epoch, size) for epoch, training, size in seen if training} == {(0, 8), (1, 8), (2, 16), (3, 16)}
    assert {size for _, training, size in seen if not training} == {16}


def scenes() -> DenseDataset:
    rgb, labels = torch.zeros(6, 3, 32, 32, dtype=torch.uint8), torch.arange(6 * 1024).view(6, 32, 32) % 2
    return DenseDataset(
        {"rgb": rgb}, labels.to(torch.uint8), ["train", "val", "test"] * 2, classes=["a", "b"], name="s"
    )


@pytest.mark.parametrize("make", [arrays, scenes])
def test_where_there_is_nothing_to_halve_a_sentence_says_so(make):
    spec = RunSpec("tiny", half_resolution=0.5)
    with pytest.raises(ValueError, match="half_resolution is for pictures and spectrograms .*: leave it at 0"):
        check_resolution(spec, make(), make().modalities)
    check_resolution(spec.but(half_resolution=0.0), make(), make().modalities)


@pytest.mark.parametrize("row", ["vanilla", "G-Blending", "DGL"])
def test_the_recipe_takes_a_tenth_of_the_operations(row):
    """By the committed counts, which are those of fake tensors of the true size; scoring included."""
    full = late_fusion.table1("paper", "cremad", [0])[row][0]
    short = cheaper(full, "tenth")
    share = estimates.operations(short) / estimates.operations(full)
    assert 0.08 < share <= 0.1
    pixels = estimates.operations(full.but(half_resolution=1.0)) / estimates.operations(full)
    assert 0.25 < pixels < 0.35, "a quarter of the training, and all of the scoring"
    assert estimates.operations(short.but(method="agm", method_options={})) is None, "not counted is not guessed"
    assert short.seed == full.seed and short.method_options == full.method_options


def test_it_is_an_option_with_a_record_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path))
    words = ["dataset=tiny", "model=small", "model_options.width=2", "epochs=10", "batch_size=8", "--device", "cpu"]
    plain = command.run(command.parse(words))
    short = command.run(command.parse([*words, "--recipe", "tenth"]))
    assert plain.spec.half_resolution == 0 and short.spec.half_resolution > 0 and plain.key != short.key
    assert short.spec.epochs < plain.spec.epochs and len(list(tmp_path.glob("*.json"))) == 2
    with pytest.raises(ValueError, match="recipe .*'tenht': did you mean 'tenth'"):
        command.run(command.parse([*words, "--recipe", "tenht"]))


def test_equality_is_proven_by_enough_pairs_within_a_point_and_by_nothing_else():
    class Scored:
        def __init__(self, points):
            self.points, self.cost = points, {"seconds": 1.0}

        def score(self):
            return self.points / 100

    draw = torch.randn(2 * ENOUGH, generator=torch.Generator().manual_seed(0)).tolist()

    def pairs(count, gap):
        return [(Scored(80.0), Scored(80.0 + gap + x)) for x in draw[:count]]

    assert said(pairs(ENOUGH, 0.0))[1]
    assert not said(pairs(ENOUGH - 1, 0.0))[1], "too few"
    assert not said(pairs(ENOUGH, DELTA))[1] and not said(pairs(ENOUGH, -DELTA))[1]
    assert "not proven" in said(pairs(ENOUGH, 3.0))[0] and "equal" in said(pairs(ENOUGH, 0.0))[0]
