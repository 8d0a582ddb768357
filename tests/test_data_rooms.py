"""Generated rooms: exact geometry, the same bytes everywhere, and what happens between store and network."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from dgl_core.data.dense import DenseDataset, PictureView, jitter_colours, mean_and_deviation, nearest
from dgl_core.data.room_looks import CLASSES, LABEL, Look
from dgl_core.data.room_render import render, scatter
from dgl_core.data.room_scene import Box, Decal, Furnisher, Room
from dgl_core.data.rooms import RECIPE, VERSION, draw, split
from dgl_core.segmentation import VOID

PLAIN = Look(((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), "plain", 0.2, 0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def load(**options) -> DenseDataset:
    return RECIPE.load(None, **RECIPE.check({"images": 20, "height": 32, "width": 48, "multiple": 16} | options))


# -- geometry ------------------------------------------------------------------------------------------------------


def empty_room(**things) -> Room:
    """4 x 5 x 3 m, seen from (2, 0.5, 1.5) straight ahead."""
    return Room((4.0, 5.0, 3.0), (2.0, 0.5, 1.5), 0.0, 0.0, 1.0, (2.0, 2.0, 2.5), [PLAIN] * 6, **things)


def test_an_empty_room_has_the_depth_of_its_planes():
    _, depth, label = render(empty_room(), 30, 40, rng())
    u, v = (np.arange(40) + 0.5 - 20) / 20, (15 - 0.5 - np.arange(30)) / 20  # slopes to the right and upwards
    side, level = 2.0 / np.abs(u), 1.5 / np.abs(v)  # where a ray meets the side walls, and floor or ceiling
    expected = np.minimum(np.minimum(side[None, :], level[:, None]), 4.5)
    assert np.abs(depth - 1000 * expected).max() <= 0.5 + 1e-6
    horizontal = level[:, None] < np.minimum(side, 4.5)[None, :]
    assert np.array_equal(label == LABEL["floor"], horizontal & (v < 0)[:, None])
    assert np.array_equal(label == LABEL["ceiling"], horizontal & (v > 0)[:, None])


@pytest.mark.parametrize("turn", [(1.0, 0.0), (0.6, 0.8), (0.0, 1.0)])
def test_a_box_hides_what_is_behind_it_at_its_own_depth(turn):
    box = Box(LABEL["box"], PLAIN, (2.0, 2.5), (0.5, 0.5), (1.0, 2.0), turn)
    _, depth, label = render(empty_room(boxes=[box]), 31, 41, rng())
    c, s = turn
    front = (
        2.0 if c in (0.0, 1.0) else 2.0 - 0.5 * (c + s) + 0.5 + 0.0
    )  # square front, or the corner that comes nearest
    middle = depth[15, 20] / 1000
    assert label[15, 20] == LABEL["box"] and (depth[label == LABEL["box"]] < 3000).all()
    if c in (0.0, 1.0):
        assert middle == pytest.approx(front - 0.5, abs=1e-3)
    else:  # the ray x = 2 meets the face through the nearest corner (2 - .1, 2.5 - .7): slope 3/4 along it
        assert middle == pytest.approx(2.0 - 0.7 + 0.1 * 0.75, abs=1e-3)


def test_a_flat_thing_changes_the_label_and_not_the_depth():
    decal = Decal(LABEL["window"], PLAIN, 3, (1.0, 1.0), (3.0, 2.0))
    _, bare, _ = render(empty_room(), 31, 41, rng())
    _, depth, label = render(empty_room(decals=[decal]), 31, 41, rng())
    assert (
        np.array_equal(depth, bare)
        and label[15, 20] == LABEL["window"]
        and (depth[label == LABEL["window"]] == 4500).all()
    )


def test_rooms_hold_every_class_and_void_and_no_piece_reaches_through_a_wall():
    seen = set()
    for number in range(40):
        room = Furnisher(rng(number), 0.3).room()
        for piece in room.footprints:
            (c, s), (w, d) = piece.turn, piece.half
            reach = (abs(c) * w + abs(s) * d, abs(s) * w + abs(c) * d)
            assert all(
                -1e-6 <= p - r and p + r <= n + 1e-6 for p, r, n in zip(piece.centre, reach, room.size, strict=False)
            )
        _, depth, label = render(room, 24, 32, rng(number))
        assert depth.min() > 0
        seen |= set(np.unique(label).tolist())
    assert seen == set(range(len(CLASSES))) | {VOID}


def test_without_misleading_surfaces_colours_tell_more():
    def spread(mislead):  # how far the mean colours of the floors scatter between rooms
        means = []
        for number in range(24):
            rgb, _, label = draw(number, 0, mislead, 24, 32)
            if (label == LABEL["floor"]).any():
                means.append(rgb[label == LABEL["floor"]].mean(0))
        return np.std(means, axis=0).mean()

    assert spread(1.0) > 1.3 * spread(0.0)


# -- the same everywhere -------------------------------------------------------------------------------------------


def test_a_picture_is_the_same_bytes_on_every_processor():
    """Checked natively and under emulation of other processors; a change of the pictures must raise VERSION."""
    digest = hashlib.sha256()
    for number in range(3):
        for array in draw(number, 0, 0.3, 24, 32):
            digest.update(array.tobytes())
    assert (VERSION, digest.hexdigest()[:16]) == (1, "cd9ee8d5327caecd")


def test_picture_k_does_not_depend_on_how_many_there_are():
    few, many = load(images=8), load(images=12)
    assert torch.equal(few.inputs["depth"][:5], many.inputs["depth"][:5])
    assert not torch.equal(few.inputs["depth"][0], load(images=8, seed=1).inputs["depth"][0])


def test_lattice_numbers_are_even_and_unrelated():
    i, j = np.meshgrid(np.arange(-50, 50.0), np.arange(-50, 50.0))
    values = scatter(i, j, 7)
    assert 0 <= values.min() and values.max() < 1 and abs(values.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(values[:, 1:].ravel(), values[:, :-1].ravel())[0, 1]) < 0.05


# -- the data set --------------------------------------------------------------------------------------------------


def test_the_set_is_called_generated_and_split_in_blocks():
    data = load()
    assert (
        data.generated
        and "generated" in data.source
        and data.classes == CLASSES
        and data.modalities == ("rgb", "depth")
    )
    assert data.counts == {"train": 12, "val": 3, "test": 5} and data.split == split(20)
    assert data.shapes == {"rgb": (3, 32, 48), "depth": (1, 32, 48)} and data.task.score == "miou"


def test_the_cache_is_used_and_a_damaged_one_is_made_again(tmp_path, capsys):
    first = load()
    assert "drawing 20 rooms" in capsys.readouterr().err
    again = load()
    assert not capsys.readouterr().err and again.fingerprint == first.fingerprint
    (file,) = (tmp_path / "cache").glob("rooms-*/label.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert load().fingerprint == first.fingerprint and "wrong checksum" in capsys.readouterr().err


def test_the_fingerprint_follows_labels_split_and_settings():
    data, other = load(), load(mislead=0.5)
    assert data.fingerprint != other.fingerprint
    labels = data.target.clone()
    labels[0, 0, 0] = VOID
    pieces = {"name": "x", "classes": CLASSES, "multiple": 16}
    assert (
        DenseDataset(data.inputs, labels, data.split, **pieces).fingerprint
        != DenseDataset(data.inputs, data.target, data.split, **pieces).fingerprint
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"images": 3}, "images is 3; give 8"),
        ({"mislead": 1.5}, "mislead is 1.5"),
        ({"height": 8}, "height is 8"),
        ({"augment": "esanett"}, "did you mean 'esanet'"),
        ({"heigth": 32}, "did you mean 'height'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load(**options)


def test_a_label_that_is_neither_class_nor_void_is_refused():
    data = load()
    labels = data.target.clone()
    labels[4, 3, 2] = 13
    with pytest.raises(ValueError, match="label 13 in sample '4' is outside the 13 classes 0..12 and is not void"):
        DenseDataset(data.inputs, labels, data.split, classes=CLASSES, name="rooms")


# -- from store to network -----------------------------------------------------------------------------------------


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
    _, trained = view(stored, labels, torch.Generator())
    assert trained.shape == (2, 32, 32) and torch.equal(trained[:, :20, :24], labels[:, ::4, ::4].long())


def test_augmentation_moves_all_modalities_and_labels_together():
    """Depth and labels that are functions of the place stay those functions; RGB follows up to interpolation."""
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(48), indexing="ij")
    place = (rows // 8 * 6 + columns // 8).to(torch.uint8)  # 24 patches
    rgb = torch.stack([rows * 4, columns * 4, torch.full_like(rows, 99)]).to(torch.uint8)
    view = PictureView((32, 48), 16, {"depth": (0.0, 1.0)}, "esanet")
    view.rgb_mean, view.rgb_std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    stored = {"rgb": rgb.expand(16, -1, -1, -1), "depth": place.expand(16, -1, -1)}
    inputs, target = view(stored, place.expand(16, -1, -1), torch.Generator().manual_seed(3))
    assert torch.equal(inputs["depth"][:, 0].long(), target) and len(target.unique()) == 24
    up = inputs["rgb"][:, 0] * 255 / 4  # rows again, times the jitter of the value
    brightness = inputs["rgb"][:, 2].flatten(1).median(1).values * 255 / 99
    patch_row = (up / brightness[:, None, None] / 8).floor().clamp(0, 3)
    assert (patch_row.long() == target // 6).float().mean() > 0.75  # hue and saturation shift the channels a little
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
    import colorsys

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
