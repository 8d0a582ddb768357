"""Segmentation: loss and scores against loops over pixels, statistics under a mask, the schedule, the task protocol."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from models.test_esanet import pictures, tiny
from torch import nn

from dgl_core import suppression
from dgl_core.data.generated.rooms.pictures import RECIPE
from dgl_core.data.tasks import classes as metrics
from dgl_core.data.tasks.classes import Classification
from dgl_core.data.tasks.label_maps import VOID, Segmentation, at_size, median_frequency, miou_shares
from dgl_core.methods.dense_dgl import DenseDGL
from dgl_core.models.esanet.network import esanet
from dgl_core.training.evaluation import reestimated
from dgl_core.training.loop import Trainer
from dgl_core.training.optimizer import one_cycle
from dgl_core.training.records import RunSpec
from dgl_core.training.saving import checkpoints


def label_map(*size: int, classes: int = 4, void: float = 0.3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, size, generator=generator)
    return torch.where(torch.rand(size, generator=generator) < void, VOID, target)


# -- loss ----------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_weighted_mean_at_each_scale_added_up():
    weights = torch.tensor([0.5, 2.0, 1.0, 0.25], dtype=torch.float64)
    target = label_map(2, 16, 32)
    outputs = [torch.randn(2, 4, 16 // s, 32 // s, dtype=torch.float64) for s in (1, 2, 8, 16)]
    expected = 0.0
    for logits in outputs:
        factor = 16 // logits.shape[2]
        total, divisor = 0.0, 0.0
        for b in range(2):
            for i in range(logits.shape[2]):
                for j in range(logits.shape[3]):
                    y = int(target[b, i * factor, j * factor])
                    if y != VOID:
                        total -= weights[y] * logits[b, :, i, j].log_softmax(0)[y]
                        divisor += weights[y]
        expected += total / divisor
    assert torch.allclose(Segmentation(4, weights).criterion(outputs, target), expected, rtol=1e-12)


def test_with_equal_weights_it_is_the_mean_over_labelled_pixels():
    logits, target = torch.randn(3, 4, 8, 8), label_map(3, 8, 8)
    expected = F.cross_entropy(logits, target, ignore_index=VOID)
    assert torch.allclose(Segmentation(4).criterion(logits, target), expected, rtol=1e-6)


def test_void_has_no_gradient_and_a_batch_of_void_alone_has_loss_zero():
    logits, target = torch.randn(2, 4, 6, 6, requires_grad=True), label_map(2, 6, 6)
    Segmentation(4).criterion(logits, target).backward()
    moved = logits.grad.abs().sum(1) > 0
    assert torch.equal(moved, target != VOID)
    loss = Segmentation(4).criterion(logits, torch.full((2, 6, 6), VOID))
    assert loss == 0


def test_labels_are_thinned_out_not_mixed():
    target = label_map(2, 6, 9)
    assert torch.equal(at_size(target, (3, 3)), target[:, ::2, ::3]) and at_size(target, (6, 9)) is target
    assert at_size(target, (4, 6))[0, 1, 1] == target[0, 1, 1]  # floor(1 * 6 / 4), floor(1 * 9 / 6)


def test_median_frequency_weights_by_hand():
    target = torch.full((3, 2, 5), VOID, dtype=torch.uint8)
    target[0, 0] = 0  # 5 of 10 pixels
    target[1, 0, :2] = 0  # 2 of 10: f_0 = 7 / 20
    target[1, 1, 0] = 1  # f_1 = 1 / 10
    target[2, 0] = 2  # f_2 = 5 / 10; class 3 never occurs
    weights = median_frequency(target, 4)
    assert torch.allclose(weights, torch.tensor([0.35 / 0.35, 0.35 / 0.1, 0.35 / 0.5, 0.0]))
    assert torch.allclose(median_frequency(target[:2], 2), torch.tensor([0.225 / 0.35, 0.225 / 0.1]))  # even count


# -- scores --------------------------------------------------------------------------------------------------------


def one_hot(predicted: torch.Tensor, classes: int) -> torch.Tensor:
    return F.one_hot(predicted, classes).movedim(-1, 1).float()


def test_the_hand_example_of_intersection_over_union():
    tally = Segmentation(2).tally()
    truth = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1, 1]).view(1, 2, 5)
    predicted = torch.tensor([0, 0, 0, 1, 0, 0, 1, 1, 1, 1]).view(1, 2, 5)
    tally.update(one_hot(predicted, 2), truth)
    assert tally.confusion.tolist() == [[3, 1], [2, 4]]
    assert tally.iou().tolist() == [3 / 6, 4 / 7]
    assert tally.result()["miou"] == pytest.approx((3 / 6 + 4 / 7) / 2) and tally.result()["pixel_accuracy"] == 0.7


def test_scores_are_taken_over_the_whole_set_without_void_and_absent_classes():
    target, predicted = label_map(5, 6, 7, classes=3), label_map(5, 6, 7, classes=4, void=0, seed=1)
    tally = Segmentation(4, maps=2).tally()
    for part in (slice(0, 2), slice(2, 5)):
        tally.update(one_hot(predicted[part], 4), target[part])
    known = target != VOID
    t, p = target[known].tolist(), predicted[known].tolist()
    ious = []
    for c in range(3):  # class 3 is predicted but never true
        both = sum(a == b == c for a, b in zip(t, p, strict=True))
        ious.append(both / sum(a == c or b == c for a, b in zip(t, p, strict=True)))
    assert tally.iou()[:3].tolist() == pytest.approx(ious) and math.isnan(tally.iou()[3])
    assert tally.result()["miou"] == pytest.approx(sum(ious) / 3)
    assert tally.result()["pixel_accuracy"] == pytest.approx(np.mean(np.equal(t, p)))
    assert np.array_equal(tally.arrays()["maps"], predicted[:2].numpy())


def weighted_miou(counts: np.ndarray, weights: np.ndarray) -> float:
    """Mean IoU of a set in which picture n counts ``weights[n]`` times; counts [N, 3, K] as in ``miou_shares``."""
    hits, truth, claimed = np.einsum("n,njk->jk", weights, counts)
    return np.mean((hits / (truth + claimed - hits))[truth > 0])


def test_the_share_of_a_picture_is_what_more_of_it_adds_to_the_score():
    target, predicted = label_map(9, 6, 7, classes=3), label_map(9, 6, 7, classes=4, void=0, seed=1)
    tally = Segmentation(4).tally()
    tally.update(one_hot(predicted, 4), target)
    pairs = [[(t, p) for t, p in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True) if t != VOID]
             for a, b in zip(target, predicted, strict=True)]  # fmt: skip
    counts = np.array([[[sum(t == p == c for t, p in image) for c in range(4)],
                        [sum(t == c for t, _ in image) for c in range(4)],
                        [sum(p == c for _, p in image) for c in range(4)]] for image in pairs])  # fmt: skip
    shares, score = miou_shares(counts), weighted_miou(counts, np.ones(9))
    assert tally.arrays()["shares"] == pytest.approx(shares, rel=1e-6)
    assert shares.mean() == pytest.approx(score, rel=1e-12) and tally.result()["miou"] == pytest.approx(score)
    for n, share in enumerate(shares):  # Jaeckel: the derivative in the weight of a picture is (share - score) / N
        step = 1e-6 * np.eye(9)[n]
        slope = (weighted_miou(counts, 1 + step) - weighted_miou(counts, 1 - step)) / 2e-6
        assert slope == pytest.approx((share - score) / 9, abs=1e-8)


def test_small_logits_are_resized_bilinearly_to_the_labels():
    logits, truth = torch.randn(2, 3, 4, 6), label_map(2, 8, 18, classes=3)
    tally = Segmentation(3, maps=2).tally()
    tally.update(logits, truth)
    expected = F.interpolate(logits, (8, 18), mode="bilinear").argmax(1)
    assert np.array_equal(tally.arrays()["maps"], expected.numpy())


@pytest.mark.parametrize("split", [(4,), (1, 3)])
def test_the_loss_of_a_tally_does_not_depend_on_the_batches(split):
    task = Segmentation(3, torch.tensor([1.0, 3.0, 0.5]))
    logits, truth = torch.randn(4, 3, 4, 6), label_map(4, 4, 6, classes=3)
    tally = task.tally()
    for x, y in zip(logits.split(split), truth.split(split), strict=True):
        tally.update(x, y)
    assert tally.result()["loss"] == pytest.approx(task.criterion(logits, truth).item(), rel=1e-5)


def test_weights_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"weights have shape \[3\]; give one weight for each of 4"):
        Segmentation(4, torch.ones(3))


# -- classification through the same protocol ------------------------------------------------------------------------


def test_classification_scores_are_those_of_the_metrics():
    logits = {b: torch.randn(20, 3) for b in ("fused", "sound", "face")}
    target = torch.randint(3, (20,))
    task = Classification()
    tallies = {b: task.tally() for b in logits}
    for b, values in logits.items():
        for part in (slice(0, 7), slice(7, 20)):
            tallies[b].update(values[part], target[part])
    assert tallies["face"].result() == metrics.classification(logits["face"], target)
    own = {m: logits[m] for m in ("sound", "face")}
    compared = task.compare(tallies["fused"], {m: tallies[m] for m in own})
    assert compared == suppression.suppression_columns(logits["fused"], own, target)
    assert tallies["face"].arrays()["predicted"].tolist() == logits["face"].argmax(1).tolist()
    assert task.criterion(logits["face"], target) == F.cross_entropy(logits["face"], target)


@pytest.mark.parametrize("task", [Classification(), Segmentation(3)])
def test_a_task_selects_by_a_score_that_it_reports(task):
    tally = task.tally()
    shape = (2,) if isinstance(task, Classification) else (2, 4, 4)
    tally.update(torch.randn(2, 3, *shape[1:]), torch.randint(3, shape))
    assert task.score in tally.result() and "loss" in tally.result() and task.to("cpu").score == task.score


# -- schedule ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [11, 12, 37, 100, 500])
def test_one_cycle_is_torch_s(epochs):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.01, total_steps=epochs, div_factor=25, pct_start=0.1, anneal_strategy="cos", final_div_factor=1e4
    )
    for epoch in range(epochs):
        group = optimizer.param_groups[0]
        assert one_cycle(epoch, epochs, 0.01) == pytest.approx((group["lr"], group["momentum"]), rel=1e-9)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("epochs", [1, 2, 5, 10])
def test_a_short_one_cycle_starts_at_the_peak_and_falls(epochs):
    rates = [one_cycle(epoch, epochs, 0.5)[0] for epoch in range(epochs)]
    assert rates[0] == 0.5 and all(a > b for a, b in zip(rates, rates[1:], strict=False))


# -- batch-norm statistics under a mask ------------------------------------------------------------------------------


def test_reestimated_statistics_are_those_of_masked_passes_and_go_again():
    model = tiny().train()
    batches = [pictures(3, seed=s)[0] for s in range(3)]
    before = {n: b.clone() for n, b in model.named_buffers()}
    norm = model.encoders["rgb"].layer1[0].bn1
    seen: list[torch.Tensor] = []
    hook = norm.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        for inputs in batches:
            model(inputs, keep=("rgb",))
    hook.remove()
    for name, buffer in model.named_buffers():
        buffer.copy_(before[name])
    with reestimated(model, batches, ("rgb",)) as scored:
        assert not scored.training
        assert torch.allclose(norm.running_mean, torch.stack([x.mean((0, 2, 3)) for x in seen]).mean(0))
        assert torch.allclose(norm.running_var, torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0))
    assert model.training and norm.momentum == 0.1
    assert all(torch.equal(b, before[n]) for n, b in model.named_buffers())


def test_reestimation_puts_all_back_after_a_failure_and_needs_a_batch():
    model = tiny().train()
    before = {n: b.clone() for n, b in model.named_buffers()}
    for batches, message in (([], "No batch"), ([{"depth": torch.zeros(2, 1, 30, 30).double()}], "divisible")):
        with pytest.raises(ValueError, match=message):
            with reestimated(model, batches, ("depth",)):
                pass
    assert model.training and all(torch.equal(b, before[n]) for n, b in model.named_buffers())


# -- the whole way through the loop ----------------------------------------------------------------------------------


def trainer(method, data, seed: int = 0) -> Trainer:
    spec = RunSpec("rooms", lr=0.05, epochs=2, batch_size=4, clip=0.0, seed=seed)
    model = esanet(data.shapes, len(data.classes), seed, width=4, blocks=(1, 1, 1, 1), decoder_blocks=1)
    return Trainer(spec, method, model, data, torch.device("cpu"))


def test_rooms_go_through_the_loop_and_an_interrupted_run_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    data = RECIPE.load(None, **RECIPE.check({"images": 16, "height": 32, "width": 32}))
    whole, resumed = trainer(DenseDGL(alpha=2.0), data), trainer(DenseDGL(alpha=2.0), data)
    whole.fit()
    first = trainer(DenseDGL(alpha=2.0, sequential=False), data)  # the same gradients, one backward pass
    monkeypatch.setattr(first, "epochs", 1)
    first.fit()
    checkpoints.save(first.state_dict(), tmp_path / "checkpoint")
    resumed.fit(tmp_path / "checkpoint")
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True)
    )
    record = whole.record("", {})
    measured_again = {"rgb_reestimated", "depth_reestimated"}  # on test only
    assert record.data["score"] == "miou" and set(record.branches()) == {"fused", "rgb", "depth"} | measured_again
    assert not any(c.startswith(("train/", "val/")) and "reestimated" in c for c in record.curves)
    assert 0 <= record.score("rgb", "best_val") <= 1 and len(record.curves["test/depth/pixel_accuracy"]) == 2
    assert {c for c in record.curves if c.startswith("loss/")} == {"loss/multimodal", "loss/rgb", "loss/depth"}
