"""Training augmentation: exact under a generator, right in range and distribution, equal on every path."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from dgl_core.data.transforms import IMAGENET_MEAN, IMAGENET_STD, RandomResizedCrop, Standardise, resample


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(count: int, size: int = 96) -> torch.Tensor:
    """Pictures with structure at all scales, uint8 [count, size, size, 3]."""
    noise = torch.rand(count, 3, 12, 12, generator=generator())
    fine = torch.nn.functional.interpolate(noise, (size, size), mode="bicubic") * 255
    return fine.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


TRANSFORMS = {
    "shift": Standardise(0.0, 1.0, shift=(2, 3)),
    "flip": Standardise([1.0, 2.0, 3.0], [2.0, 2.0, 2.0], channels="last", shift=(1, 1), flip=True),
    "crop": RandomResizedCrop(24),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_same_generator_gives_the_same_batch(name):
    transform, x = TRANSFORMS[name], smooth(6, 32) if name != "shift" else smooth(6, 32)[..., 0]
    first, second = transform(x, generator(3)), transform(x, generator(3))
    assert torch.equal(first, second) and first.dtype == torch.float32
    assert not torch.equal(first, transform(x, generator(4)))
    assert torch.equal(transform(x), transform(x))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_number_of_draws_does_not_depend_on_the_pictures(name):
    transform = TRANSFORMS[name]
    after = []
    for x in (smooth(4, 32), torch.zeros(4, 32, 32, 3, dtype=torch.uint8)):
        source = generator()
        transform(x if name != "shift" else x[..., 0], source)
        after.append(torch.rand(1, generator=source))
    assert torch.equal(*after)


def test_evaluation_standardises_and_nothing_else():
    x = smooth(2, 16)
    transform = Standardise([1.0, 2.0, 3.0], [2.0, 4.0, 8.0], channels="last", shift=(2, 2), flip=True)
    expected = (x.float() - torch.tensor([1.0, 2.0, 3.0])) / torch.tensor([2.0, 4.0, 8.0])
    assert torch.equal(transform(x), expected.permute(0, 3, 1, 2))
    grey = x[..., 0]
    assert torch.equal(Standardise(5.0, 2.0)(grey), ((grey.float() - 5) / 2).unsqueeze(1))
    clip = torch.stack([grey, grey], 1)  # [B, T, H, W]
    assert Standardise(0.0, 1.0)(clip).shape == (2, 1, 2, 16, 16)


def test_moves_are_whole_steps_with_the_border_repeated():
    x = torch.arange(7 * 9).reshape(1, 7, 9).repeat(400, 1, 1).to(torch.uint8)
    moved = Standardise(0.0, 1.0, shift=(1, 2))(x, generator())[:, 0].long()
    seen = set()
    for picture in moved:
        options = [
            (dy, dx)
            for dy in (-1, 0, 1)
            for dx in (-2, -1, 0, 1, 2)
            if torch.equal(picture, _moved(x[0].long(), dy, dx))
        ]
        assert len(options) == 1
        seen.add(options[0])
    assert len(seen) == 15  # every move occurs


def _moved(x, dy, dx):
    rows, columns = (torch.arange(7) + dy).clamp(0, 6), (torch.arange(9) + dx).clamp(0, 8)
    return x[rows][:, columns]


def test_half_of_the_faces_are_mirrored_and_all_frames_of_a_clip_move_together():
    x = torch.arange(8).repeat(500, 1, 2, 1).reshape(500, 1, 2, 8).expand(500, 3, 2, 8).to(torch.uint8)  # [B, T, H, W]
    moved = Standardise(0.0, 1.0, shift=(0, 1), flip=True)(x, generator())[:, 0]
    assert torch.equal(moved[:, 0], moved[:, 1]) and torch.equal(moved[:, 1], moved[:, 2])
    share = float((moved[:, 0, 0, 0] > moved[:, 0, 0, -1]).float().mean())
    assert abs(share - 0.5) < 4 * math.sqrt(0.25 / 500)


@pytest.mark.parametrize("stretch", [1.0, 4 / 3])
def test_boxes_have_the_official_distribution(stretch):
    """Against a loop that is RandomResizedCrop.get_params as torchvision documents it, on the unstretched picture."""
    height, width, count = 120, 120, 20000
    boxes = RandomResizedCrop(8, stretch=stretch).boxes(count, height, width, generator()).double()
    top, left, tall, wide = boxes.T
    assert (top >= 0).all() and (left >= 0).all() and (top + tall <= height).all() and (left + wide <= width).all()
    area, aspect = _official_boxes(height, int(width * stretch), 4000)
    found_area, found_aspect = tall * wide / (height * width), stretch * wide / tall
    for found, expected in ((found_area, area), (found_aspect.log(), np.log(aspect))):
        margin = 4 * expected.std() / math.sqrt(len(expected))
        assert abs(float(found.mean()) - expected.mean()) < margin + 0.005
        for share in (0.1, 0.5, 0.9):
            assert abs(float(found.quantile(share)) - np.quantile(expected, share)) < 0.05


def _official_boxes(height: int, width: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng, areas, aspects = np.random.default_rng(1), [], []
    for _ in range(count):
        tall, wide = height, width
        for _ in range(10):
            target = height * width * rng.uniform(0.08, 1.0)
            ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
            if 0 < w <= width and 0 < h <= height:
                tall, wide = h, w
                break
        areas.append(tall * wide / (height * width))
        aspects.append(wide / tall)
    return np.array(areas), np.array(aspects)


def test_a_picture_too_narrow_for_any_box_gives_its_largest_allowed_one():
    crop = RandomResizedCrop(8, scale=(1.0, 1.0))
    assert crop.boxes(3, 100, 20, generator()).tolist() == [[36, 0, 27, 20]] * 3
    assert crop.boxes(3, 20, 100, generator()).tolist() == [[0, 36, 20, 27]] * 3


def test_crops_equal_those_of_pillow():
    x, transform = smooth(12), RandomResizedCrop(40)
    batch = transform(x, generator(2))
    boxes = transform.boxes(12, 96, 96, source := generator(2)).tolist()
    mirror = torch.rand(12, generator=source) < 0.5
    mean, std = (255 * torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    for picture, out, (top, left, tall, wide), flip in zip(x.numpy(), batch, boxes, mirror.tolist(), strict=True):
        cut = Image.fromarray(picture).crop((left, top, left + wide, top + tall)).resize((40, 40), 2)
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else cut
        difference = (out * std + mean) - torch.from_numpy(np.array(cut)).permute(2, 0, 1)
        assert difference.abs().max() < 1.01  # one step of 255


def test_the_path_of_other_devices_gives_the_same_pictures():
    x, transform = smooth(12), RandomResizedCrop(40)
    boxes, mirror = transform.boxes(12, 96, 96, generator(5)), torch.arange(12) % 2 == 0
    one_by_one = transform._one_by_one(x.permute(0, 3, 1, 2), boxes.tolist(), mirror.tolist())
    products = (resample(x.permute(0, 3, 1, 2), boxes, mirror, 40) - transform.mean) / transform.std
    assert ((one_by_one - products) * transform.std).abs().max() < 1.01


def test_evaluation_scales_the_whole_picture():
    x, transform = smooth(3), RandomResizedCrop(96)
    mean, std = (255 * torch.tensor(v) for v in (IMAGENET_MEAN, IMAGENET_STD))
    assert torch.allclose(transform(x), ((x.float() - mean) / std).permute(0, 3, 1, 2), atol=1e-6)
    assert RandomResizedCrop(32)(x).shape == (3, 3, 32, 32)


def test_statistics_travel_with_the_transform():
    assert Standardise([1.0, 2.0], [1.0, 1.0], channels="last").to("meta").mean.device.type == "meta"
    assert set(RandomResizedCrop(8).state_dict()) == {"mean", "std"}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_numbers_drawn_ahead_leave_the_generator_where_it_would_have(name):
    transform, stored = TRANSFORMS[name], smooth(6, 32) if name != "shift" else smooth(6, 32)[..., 0]
    used, skipped = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    transform(stored, used)
    transform.draw(stored.shape, skipped)
    assert torch.equal(used.get_state(), skipped.get_state())
