"""Table 5's specifications, the pictures that records are compared with, and the figures that show both."""

from __future__ import annotations

import numpy as np
import pytest

from dgl_core import data
from dgl_core.data.tasks.label_maps import VOID, class_iou
from dgl_core.figures import label_maps
from dgl_core.paper.experiments import late_fusion, table5
from dgl_core.paper.experiments.table5 import DENSE_ALPHAS, READINGS
from dgl_core.paper.scenes import scenes
from dgl_core.training.records import RunRecord, RunSpec, pack_array

SMALL = {"images": 16, "height": 32, "width": 32}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))


def test_scenes_are_the_first_pictures_of_the_part():
    dataset = data.load("rooms", **SMALL)
    rows = dataset.indices("test")[:2]
    found = scenes(RunSpec("rooms", dataset_options=SMALL), count=2)
    for row, scene in zip(rows.tolist(), found, strict=True):
        assert np.array_equal(scene.rgb, dataset.inputs["rgb"][row].permute(1, 2, 0).numpy())
        assert np.array_equal(np.rint(1000 * scene.depth), dataset.inputs["depth"][row].numpy())
        assert np.array_equal(scene.label, dataset.target[row].numpy())


# -- specifications ------------------------------------------------------------------------------------------------


def test_rows_differ_in_the_method_alone_and_the_control_has_dgl_s_rate():
    rows = table5.table5("cpu", "nyuv2", (0, 1), alpha=4.0)
    common = {"method": "vanilla", "method_options": {}, "encoder_lr_scale": 1.0, "seed": 0}
    assert len({spec.but(**common) for row in rows.values() for spec in row}) == 1
    assert [s.encoder_lr_scale for s in rows[late_fusion.RATE_CONTROL]] == [4.0, 4.0]
    assert late_fusion.RATE_CONTROL not in table5.table5("cpu", "nyuv2", alpha=1.0)


def test_the_grid_holds_the_row_of_the_table():
    for dataset in ("rooms", "nyuv2"):
        grid = table5.dense_alphas("cpu", dataset)
        assert list(grid) == [f"{alpha:g}" for alpha in DENSE_ALPHAS]
        assert grid[f"{table5.DENSE_ALPHA[dataset]:g}"] == table5.table5("cpu", dataset, (0,))["DGL"]


def test_the_paper_profile_is_the_published_schedule_and_its_readings_change_it():
    spec = table5.table5("paper", "nyuv2")["vanilla"][0]
    assert (spec.optimizer, spec.lr, spec.epochs, spec.batch_size, spec.clip) == ("sgd", 0.01, 300, 8, 0.0)
    assert (spec.schedule, spec.nesterov, spec.model_options, spec.dataset_options) == ("one_cycle", True, {}, {})
    read = {name: table5.table5("paper", "nyuv2", reading=name)["vanilla"][0] for name in READINGS}
    assert read["released"].epochs == 500 and read["as written"].optimizer == "adam"
    assert read["resnet50"].model_options == {"block": "bottleneck"} and read["imagenet"].model_options["weights"]
    with pytest.raises(ValueError, match="did you mean 'released'"):
        table5.table5("paper", "nyuv2", reading="relased")
    with pytest.raises(ValueError, match="only the paper profile"):
        table5.table5("cpu", "nyuv2", reading="released")


# -- figures -------------------------------------------------------------------------------------------------------


def test_iou_of_classes_by_hand():
    found = class_iou(np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]]))
    assert found[:2].tolist() == [3 / 6, 4 / 7] and np.isnan(found[2])


def record(row: str, seed: int, confusion: list[list[int]], maps: np.ndarray, miou: float) -> RunRecord:
    branches = ("fused", "rgb", "depth", "rgb_reestimated", "depth_reestimated")
    curves = {f"test/{b}/miou": [float("nan"), miou] for b in branches} | {"lr": [0.1, 0.1]}
    curves["val/fused/miou"] = [float("nan"), miou]
    arrays = {"confusion": pack_array(np.array(confusion)), "maps": pack_array(maps)}
    about = {"classes": ["wall", "floor"], "modalities": ["rgb", "depth"], "score": "miou"}
    spec = RunSpec("rooms", method=row, model="esanet", seed=seed)
    return RunRecord(spec, "", {}, about, curves, {}, {}, {}, "", {"last": dict.fromkeys(branches, arrays)})


@pytest.fixture
def rows() -> dict[str, list[RunRecord]]:
    right, wrong = np.zeros((1, 8, 8), np.uint8), np.ones((1, 8, 8), np.uint8)
    return {
        "vanilla": [record("vanilla", s, [[2, 2], [2, 2]], wrong, 0.2) for s in (0, 1)],
        "DGL": [record("dgl_dense", s, [[4, 0], [2, 2]], right, 0.3) for s in (1, 0)],
    }


def scene(void: int) -> list:
    label = np.zeros((6, 8), np.uint8)  # the maps were filled up to 8 x 8
    label[:void] = VOID
    from dgl_core.paper.scenes import Scene

    return [Scene(np.zeros((6, 8, 3), np.uint8), np.ones((6, 8)), label)]


def test_differences_are_paired_by_seed_and_class(rows):
    expected = {"wall": 100 * (4 / 6 - 2 / 6), "floor": 100 * (2 / 4 - 2 / 6)}
    found = label_maps.iou_differences(rows)
    assert {k: len(v) for k, v in found.items()} == {"wall": 2, "floor": 2}
    assert all(v == pytest.approx([expected[k]] * 2) for k, v in found.items())


@pytest.mark.parametrize("void", [0, 2])
def test_pictures_say_in_words_what_they_show(rows, void):
    assert "only DGL right 100 %, only vanilla right 0 %" in label_maps.agreement(scene(void), rows).alt
    alt = label_maps.predictions(scene(void), rows).alt
    assert "vanilla 0 %, DGL 100 %" in alt and "DGL, rgb only 100 %" in alt
    assert "depth up to 1.0 m" in label_maps.look(scene(void), ["wall", "floor"]).alt


def test_curves_leave_out_epochs_that_were_not_measured(rows):
    picture = label_maps.learning_curves({"rooms, this run": rows})
    assert "vanilla validation 20.0, test 20.0; DGL validation 30.0" in picture.alt
    drawn = [len(line.get_xdata()) for line in picture.figure.axes[0].lines]  # marks of the legend have no points
    assert [points for points in drawn if points] == [1, 1, 1, 1]
    assert "2 of 2 classes gain, most wall +33.3" in label_maps.class_differences({"rooms, x": rows}).alt
    assert "rgb in DGL 30.0 to 30.0" in label_maps.masked({"rooms, x": rows}).alt


def test_forty_classes_have_forty_colours():
    assert len(np.unique(label_maps.palette(40)[:40], axis=0)) == 40
