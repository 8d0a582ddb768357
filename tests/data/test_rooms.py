"""Generated rooms: exact geometry, the same bytes everywhere, and what happens between store and network."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest
import torch

from dgl_core.data.dense import DenseDataset
from dgl_core.data.generated.rooms.looks import CLASSES, LABEL, Look
from dgl_core.data.generated.rooms.pictures import RECIPE, VERSION, draw, split
from dgl_core.data.generated.rooms.render import render, scatter
from dgl_core.data.generated.rooms.scene import Box, Decal, Furnisher, Room
from dgl_core.data.tasks.label_maps import VOID

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


def test_verify_reads_every_picture_instead_of_remembering(tmp_path):
    load()
    assert RECIPE.verify(None) == "1 generated sets, every file as its manifest says"
    (file,) = (tmp_path / "cache").glob("rooms-*/depth.npy")
    times, content = file.stat(), bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ValueError, match="depth.npy: wrong checksum; delete this folder"):
        RECIPE.verify(None)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"images": 3}, "images is 3; data set 'rooms' takes 8"),
        ({"mislead": 1.5}, "mislead is 1.5"),
        ({"height": 8}, "height is 8"),
        ({"multiple": 0}, "multiple is 0; data set 'rooms' takes 1"),
        ({"mislead": float("nan")}, "mislead is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"augment": "esanett"}, "did you mean 'esanet'"),
        ({"heigth": 32}, "did you mean 'height'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load(**options)
