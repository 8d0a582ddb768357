"""The converter from the official NYUv2 files: what it writes loads, and what is wrong with its input is said."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from dgl_core.data.files import cache
from dgl_core.data.sets.convert import nyuv2
from dgl_core.data.sets.nyuv2 import RECIPE
from dgl_core.data.tasks.label_maps import VOID

NAMES = ("wall", "floor", "bed", "otherprop")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))


def official(place: Path, **changes) -> list[str]:
    """The three official files in miniature, five pictures of 48 x 64 with 7 raw classes: their paths."""
    h5py = pytest.importorskip("h5py", reason="h5py reads the official file; it is not installed")
    from scipy.io import savemat

    rows, columns = np.mgrid[:48, :64]
    arrays = {
        "images": np.stack([np.stack([rows * 4, columns * 3, rows * 0 + 40 * n], 0) for n in range(5)]).astype(
            np.uint8
        ),
        "depths": np.stack([1.0 + (rows + columns) / 50 + n for n in range(5)]).astype(np.float32),
        "labels": np.stack([(columns // 8 + rows // 8 + n) % 8 for n in range(5)]).astype(np.uint16),
    } | {k: v for k, v in changes.items() if k in ("images", "depths", "labels")}
    with h5py.File(place / "labeled.mat", "w") as file:
        for name, array in arrays.items():
            if array is not None:
                file[name] = array.swapaxes(-1, -2)  # MATLAB stores columns first
    names = np.empty((1, 4), dtype=object)
    names[0] = NAMES
    savemat(place / "map.mat", changes.get("map", {"mapClass": np.array([[1, 2, 3, 4, 4, 3, 2]]), "className": names}))
    savemat(place / "splits.mat", changes.get("splits", {"trainNdxs": [[1], [2], [4]], "testNdxs": [[3], [5]]}))
    return [str(place / name) for name in ("labeled.mat", "map.mat", "splits.mat")]


@pytest.mark.parametrize("full", [False, True])
def test_the_official_files_become_a_folder_that_loads(tmp_path, full, capsys):
    files = official(tmp_path)
    step = 1 if full else 2
    nyuv2.main([*files, str(tmp_path / "out" / RECIPE.facts.folder), *(["--full"] if full else [])])
    assert "wrote and checked" in capsys.readouterr().out
    data = RECIPE.load(tmp_path / "out", **RECIPE.check({"height": 48 // step, "width": 64 // step, "multiple": 8}))
    rows, columns = np.mgrid[0:48:step, 0:64:step]
    lookup = np.array([VOID, 0, 1, 2, 3, 3, 2, 1])
    for n in range(5):
        assert np.array_equal(data.target[n], lookup[(columns // 8 + rows // 8 + n) % 8])
        metres = data.inputs["depth"][n].numpy() / nyuv2.METRES
        assert np.abs(metres - (1 + (rows + columns) / 50 + n)).max() <= 0.5 / nyuv2.METRES + 1e-6
        red = data.inputs["rgb"][n, 0].numpy().astype(float)
        assert np.abs(red - 4 * (rows + (step - 1) / 2))[2:-2].max() < 6
    assert [int(i) for i, p in zip(data.ids, data.split, strict=True) if p == "test"] == [
        3,
        5,
    ] and data.classes == NAMES


def test_the_same_files_give_the_same_folder(tmp_path):
    files = [Path(f) for f in official(tmp_path)]
    first, second = (nyuv2.convert(*files, tmp_path / name) for name in ("a", "b"))
    assert cache.read_manifest(first) == cache.read_manifest(second)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"depths": np.full((5, 48, 64), np.nan, np.float32)}, "picture 1 has depths outside 0..10 m"),
        ({"depths": np.full((5, 48, 64), 10.5, np.float32)}, "picture 1 has depths outside"),
        ({"labels": np.full((5, 48, 64), 8, np.uint16)}, "picture 1 has raw class 8; the mapping ends at 7"),
        ({"labels": None}, "has no 'labels'; it has depths, images"),
        ({"map": {"other": 1}}, "has no variable 'mapClass'; it has other"),
        ({"map": {"mapClass": [[0, 1]], "className": [["a"]]}}, "mapClass runs from 0 to 1"),
        ({"splits": {"trainNdxs": [[1], [2]], "testNdxs": [[3]]}}, "lists 3 pictures, .*labeled.mat holds 5"),
    ],
)
def test_wrong_official_files_are_refused_and_leave_nothing(tmp_path, changes, message):
    files = official(tmp_path, **changes)
    with pytest.raises(SystemExit, match=message):
        nyuv2.main([*files, str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_files_that_are_not_matlab_files_are_refused(tmp_path):
    files = [Path(f) for f in official(tmp_path)]
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="no MATLAB 7.3"):
        nyuv2.convert(tmp_path / "text", *files[1:], tmp_path / "out")
    with pytest.raises(ValueError, match="cannot be read as a MATLAB file"):
        nyuv2.convert(files[0], tmp_path / "text", files[2], tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="exists; remove it first"):
        nyuv2.convert(*files, tmp_path / "out")


def test_damaged_official_files_are_named_wherever_they_are_cut(tmp_path):
    files = [Path(f) for f in official(tmp_path)]
    for number, file in enumerate(files):
        whole = file.read_bytes()
        given = [*files[:number], tmp_path / f"cut {file.name}", *files[number + 1 :]]
        for share in (0.03, 0.5, 0.9):
            given[number].write_bytes(whole[: int(len(whole) * share)])
            with pytest.raises(ValueError, match=f"cut {file.name}") as error:
                nyuv2.convert(*given, tmp_path / "out")
            assert "download" in str(error.value) and "free some space" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_mapping_that_crashes_its_reader_costs_a_sentence(tmp_path, monkeypatch):
    files = [Path(f) for f in official(tmp_path)]

    def crash(path):
        os._exit(1)

    crash.__module__ = "__main__"  # so that it travels to the other process by value
    monkeypatch.setattr("scipy.io.loadmat", crash)
    with pytest.raises(
        ValueError, match="map.mat cannot be read as a MATLAB file .it crashes scipy.; download it again"
    ):
        nyuv2.convert(*files, tmp_path / "out")


def test_without_h5py_the_converter_says_what_to_install(tmp_path, monkeypatch):
    files = official(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(SystemExit, match="pip install 'dgl-core.nyuv2.'"):
        nyuv2.main([*files, str(tmp_path / "out")])
