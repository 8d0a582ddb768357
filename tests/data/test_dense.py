"""Pictures with a label for every pixel: what is checked, and every step from store to network."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from data.test_rooms import load, own_cache  # noqa: F401 (a fixture)

from dgl_core.data.dense import DenseDataset, PictureView, jitter_colours, mean_and_deviation, nearest
from dgl_core.data.generated.rooms.looks import CLASSES
from dgl_core.data.tasks.label_maps import VOID


def test_the_fingerprint_follows_labels_split_and_settings():
    data, other = load(), load(mislead=0.5)
    assert data.fingerprint != other.fingerprint
    labels = data.target.clone()
    labels[0, 0, 0] = VOID
    pieces = {"name": "x", "classes": CLASSES, "multiple": 16}
    before = DenseDataset(data.inputs, data.target, data.split, **pieces).fingerprint
    assert DenseDataset(data.inputs, labels, data.split, **pieces).fingerprint != before
    pixel = data.inputs | {"depth": data.inputs["depth"].clone()}
    pixel["depth"][7, 3, 5] += 1
    assert DenseDataset(pixel, data.target, data.split, **pieces).fingerprint != before


def test_a_label_that_is_neither_class_nor_void_is_refused():
    data = load()
    labels = data.target.clone()
    labels[4, 3, 2] = 13
    with pytest.raises(ValueError, match="label 13 in sample '4' is outside the 13 classes 0..12 and is not void"):
        DenseDataset(data.inputs, labels, data.split, classes=CLASSES, name="rooms")


@pytest.mark.parametrize(
    "change",
    [
        lambda inputs, target: ({"depth": inputs["depth"]}, target),
        lambda inputs, target: (inputs, target.float()),
        lambda inputs, target: (inputs, target[:, 0]),
    ],
)
def test_pictures_without_rgb_and_targets_that_are_no_maps_are_refused(change):
    data = load()
    inputs, target = change(data.inputs, data.target)
    with pytest.raises(ValueError, match=r"give 'rgb' among the pictures and uint8 label maps \[N, H, W\]"):
        DenseDataset(inputs, target, data.split, classes=CLASSES, name="rooms")


def test_evaluation_standardises_and_fills_up_to_the_multiple():
    data = load(height=40, width=48, multiple=32)
    rows = data.indices("val")
    inputs, target = data.batch(rows)
    assert inputs["rgb"].shape == (3, 3, 64, 64) and target.shape == (3, 64, 64) and target.dtype == torch.long
    rgb = data.inputs["rgb"][rows].float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(inputs["rgb"][..., :40, :48], (rgb - mean[:, None, None]) / std[:, None, None])
    assert (inputs["depth"][..., 40:, :] == 0).all() and (target[:, :, 48:] == VOID).all()
    assert torch.equal(target[:, :40, :48], data.target[rows].long())
    train = data.batch(data.indices("train"))[0]["depth"][..., :40, :48].double()
    assert abs(train.mean()) < 1e-5 and abs(train.std(correction=0) - 1) < 1e-5


def test_labels_of_higher_resolution_are_filled_up_alike_and_thinned_for_training():
    view = PictureView((20, 24), 16, {}, "none")
    stored, labels = (
        {"rgb": torch.zeros(2, 3, 20, 24, dtype=torch.uint8)},
        torch.randint(5, (2, 80, 96), dtype=torch.uint8),
    )
    _, scored = view(stored, labels)
    assert scored.shape == (2, 128, 128) and torch.equal(scored[:, :80, :96], labels.long())
    _, trained = view(stored, labels, view.draw(2, torch.Generator()))
    assert trained.shape == (2, 32, 32) and torch.equal(trained[:, :20, :24], labels[:, ::4, ::4].long())


def test_augmentation_moves_all_modalities_and_labels_together():
    """Depth and labels that are functions of the place stay those functions; RGB follows up to interpolation."""
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(48), indexing="ij")
    place = (rows // 8 * 6 + columns // 8).to(torch.uint8)  # 24 patches
    rgb = torch.stack([rows * 4, columns * 4, torch.full_like(rows, 99)]).to(torch.uint8)
    view = PictureView((32, 48), 16, {"depth": (0.0, 1.0)}, "esanet")
    view.rgb_mean, view.rgb_std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    stored = {"rgb": rgb.expand(16, -1, -1, -1), "depth": place.expand(16, -1, -1)}
    inputs, target = view(stored, place.expand(16, -1, -1), view.draw(16, torch.Generator().manual_seed(3)))
    assert torch.equal(inputs["depth"][:, 0].long(), target) and len(target.unique()) == 24
    bright = (inputs["rgb"][:, 2] * 255 / 99).flatten(1).median(1).values[:, None, None]  # the jitter of the value
    found_row, found_column = (
        (inputs["rgb"][:, k] * 255 / 4 / bright / 8).floor().clamp(0, m) for k, m in ((0, 3), (1, 5))
    )
    agree = [(found_row.long() == target // 6).float().mean(), (found_column.long() == target % 6).float().mean()]
    assert min(agree) > 0.75, agree  # hue and saturation shift the channels a little
    assert (target[:, 0, 0] % 6 > target[:, 0, -1] % 6).any() and (target[:, 0, 0] % 6 < target[:, 0, -1] % 6).any()


def test_augmentation_depends_on_the_generator_alone():
    data, rows = load(), torch.arange(6)
    first, second, other = (data.batch(rows, torch.Generator().manual_seed(s)) for s in (5, 5, 6))
    assert all(torch.equal(first[0][m], second[0][m]) for m in first[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[0]["rgb"], other[0]["rgb"]) and not torch.equal(first[1], other[1])
    plain = load(augment="none")
    assert torch.equal(plain.batch(rows, torch.Generator())[0]["depth"], plain.batch(rows)[0]["depth"])


def test_nearest_without_zoom_is_the_identity():
    x = torch.randint(9, (2, 3, 5, 7))
    rows, columns = ((torch.arange(n) + 0.5).expand(2, -1) / n for n in (5, 7))
    assert torch.equal(nearest(x, rows, columns), x)


def test_colour_jitter_is_the_one_of_hsv():
    rgb = torch.rand(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    rgb[0, :, 0] = 0.5  # grey
    rgb[0, :, 1] = 0.0  # black
    factors = torch.tensor([[1.0, 1.0, 1.0], [0.9, 1.1, 1.05], [1.1, 0.9, 0.9], [1.02, 1.1, 1.1]])
    found = jitter_colours(rgb, factors)
    for b in range(4):
        for i in range(5):
            for j in range(6):
                hsv = colorsys.rgb_to_hsv(*rgb[b, :, i, j].tolist())
                scaled = [min(1.0, part * factor) for part, factor in zip(hsv, factors[b].tolist(), strict=True)]
                assert found[b, :, i, j].tolist() == pytest.approx(colorsys.hsv_to_rgb(*scaled), abs=1e-5)


def test_mean_and_deviation_are_exact():
    values = torch.tensor([[1, 2], [3, 4]], dtype=torch.int16)
    assert mean_and_deviation(values) == (2.5, np.sqrt(1.25)) and mean_and_deviation(values * 0 + 7) == (7.0, 1.0)
