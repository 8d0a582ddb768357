"""The contract of a data set: what it accepts, what it refuses, what it serves; names, options and folders."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import torch

from dgl_core import data
from dgl_core.data import ArrayDataset, Dataset, random_split
from dgl_core.data.recipe import Facts, Recipe
from dgl_core.data.transforms import Standardise
from dgl_core.utils import data_roots

N = 60


def arrays(**changes):
    """A good two-modality set, with the arguments in ``changes`` replaced."""
    target = torch.arange(N) % 3
    given = {
        "inputs": {"audio": torch.randn(N, 5), "face": np.random.default_rng(0).random((N, 2, 4))},
        "target": target,
        "split": random_split(target),
    }
    return ArrayDataset(**given | changes)


def test_batches_are_float_in_the_given_order_with_the_asked_rows():
    x = torch.arange(N * 2, dtype=torch.uint8).reshape(N, 2)
    dataset = arrays(inputs={"b": x, "a": torch.randn(N, 3)})
    inputs, target = dataset.batch(torch.tensor([7, 3, 7]))
    assert list(inputs) == list(dataset.modalities) == ["b", "a"]
    assert inputs["b"].dtype == torch.float32 and torch.equal(inputs["b"], x[[7, 3, 7]].float())
    assert target.dtype == torch.int64 and target.tolist() == [1, 0, 1]
    assert dataset.shapes == {"b": (2,), "a": (3,)}


@pytest.mark.parametrize("size", [5, 120])
def test_half_precision_rows_are_copied_exactly(size):
    x = torch.randn(N, size, size).half()
    dataset, index = arrays(inputs={"sound": x}), torch.tensor([59, 0, 0, 31])
    served = dataset.batch(index)[0]["sound"]
    assert served.dtype == torch.float32 and torch.equal(served, x[index].float())
    served.zero_()
    assert torch.equal(dataset.batch(index)[0]["sound"], x[index].float())


def test_parts_partition_the_rows():
    dataset = arrays()
    rows = torch.cat([dataset.indices(part) for part in data.PARTS])
    assert sorted(rows.tolist()) == list(range(N))
    assert dataset.counts == {part: dataset.split.count(part) for part in data.PARTS}
    with pytest.raises(ValueError, match="'valid'.*did you mean 'val'"):
        dataset.indices("valid")


def test_a_double_array_becomes_single_and_numpy_is_accepted():
    assert arrays().inputs["face"].dtype == torch.float32


def test_moving_copies_the_set_and_leaves_the_first_alone():
    dataset = arrays()
    moved = dataset.to("meta")
    assert moved.target.device.type == "meta" and moved.inputs["audio"].device.type == "meta"
    assert dataset.target.device.type == "cpu" and len(moved) == len(dataset)


def test_fingerprint_follows_values_names_labels_and_split():
    inputs, target = {"audio": torch.randn(N, 5), "face": torch.randn(N, 2, 4)}, torch.arange(N) % 3
    first = arrays(inputs=inputs)
    assert arrays(inputs={m: x.clone() for m, x in inputs.items()}).fingerprint == first.fingerprint
    others = [
        {m: x.clone() for m, x in inputs.items()},
        inputs | {"face": inputs["face"].flatten(1)},
        inputs | {"face": inputs["face"].half()},
        {"sound": inputs["audio"], "face": inputs["face"]},
        dict(reversed(inputs.items())),
    ]
    others[0]["face"][N - 1, 1, 3] += 1e-6  # one number
    prints = {arrays(inputs=other).fingerprint for other in others}
    assert len(prints | {first.fingerprint}) == 6
    swapped = target.clone()
    swapped[0], swapped[1] = target[1], target[0]
    assert arrays(inputs=inputs, target=swapped).fingerprint != first.fingerprint
    assert arrays(inputs=inputs, split=random_split(target, seed=1)).fingerprint != first.fingerprint


def test_ids_that_hold_separators_cannot_stand_for_others():
    def named(*ids):
        x, y = {"x": torch.zeros(3, 1)}, torch.tensor([0, 1, 0])
        return data.Dataset(x, y, data.PARTS, name="n", ids=ids).fingerprint

    assert named("a\t0\ttrain\nb", "c", "d") != named("a", "b\t0\ttrain\nc", "d")
    assert named("a\udcff", "c", "d") != named("a", "c", "d")  # a file name that is no UTF-8


def test_tables_and_results_of_a_network_are_taken_as_their_numbers():
    table = pandas.DataFrame({"a": range(2 * N), "b": 1.5}).iloc[::2]  # its index has gaps
    features = torch.randn(N, 4, requires_grad=True)
    dataset = arrays(inputs={"table": table, "features": features}, target=pandas.Series(np.arange(N) % 3)[::1])
    assert dataset.inputs["table"][3].tolist() == [6.0, 1.5] and not dataset.inputs["features"].requires_grad
    assert len(dataset.fingerprint) == 64


def bad_value(value: float, dtype=torch.float32):
    x = torch.zeros(N, 4, dtype=dtype)
    x[41, 2] = value
    return {"inputs": {"audio": x}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (bad_value(float("nan")), "'audio' of sample '41'.*not finite"),
        (bad_value(float("inf"), torch.float16), "'audio' of sample '41'.*not finite"),
        ({"inputs": {"audio": torch.zeros(N - 1, 4)}}, "target has 60 samples, but audio 59"),
        ({"inputs": {}}, "no modality"),
        ({"inputs": torch.zeros(N, 4)}, "inputs is a Tensor; give one array per modality"),
        ({"inputs": {"audio": torch.zeros(N, 4, dtype=torch.complex64)}}, "'audio' is complex; give real numbers"),
        ({"inputs": {"audio": torch.zeros(N, 0)}}, r"'audio' has shape \[60, 0\], so no value"),
        ({"target": torch.zeros(N).long()}, "has 1 class; a classifier needs two"),
        ({"classes": ()}, "has 0 classes; a classifier needs two"),
        ({"classes": ("x", "y", "x")}, "class name 'x' occurs twice"),
        ({"classes": "abc"}, "classes is 'abc'; give the class names as a list"),
        ({"classes": 3}, "classes is 3; give the class names as a list"),
        ({"target": torch.arange(N) % 3 * 10**7}, "label 20000000 with 60 samples; number the classes 0, 1, 2"),
        ({"target": torch.arange(N) % 3 * 10**12}, "label 2000000000000 with 60 samples"),
        (
            {"target": torch.rand(N, 3).round()},
            r"target is float32 \[60, 3\]; give .*task='multi_label'",
        ),
        ({"inputs": {"audio": torch.tensor(1.0)}}, "'audio' is a single number"),
        ({"inputs": {"audio": [["a"]] * N}}, "'audio' is no array of numbers"),
        ({"target": torch.arange(N) % 3 - 1}, "label -1 of sample '0' is outside the 2 classes"),
        ({"target": torch.arange(N) % 3, "classes": ("x", "y")}, "label 2 of sample '2' is outside the 2 classes 0..1"),
        ({"target": torch.rand(N)}, r"target is float32 \[60\]; give one integer class.*task='regression'"),
        ({"target": torch.zeros(N, 2, dtype=torch.long)}, r"target is int64 \[60, 2\]"),
        ({"target": torch.zeros(0, dtype=torch.long)}, "empty"),
        ({"split": ["train"] * (N - 1) + ["dev"]}, "part in the split.*'dev'"),
        ({"split": ["train"] * 30 + ["test"] * 30}, "part 'val' is empty.*random_split"),
        ({"split": ["train", "val", "test"]}, "split 3"),
        ({"split": None}, "split is None; give 'train', 'val' or 'test' for each sample"),
        ({"split": "train"}, "split is 'train'; give"),
        ({"name": None}, "the name of a data set is None"),
        ({"inputs": {"audio": np.ma.masked_less(np.arange(N), 3)}}, "'audio' has masked values; fill them"),
    ],
)
def test_bad_arrays_are_refused_with_the_place(changes, message):
    with pytest.raises(ValueError, match=message):
        arrays(**changes)


TAKEN = ("fused", "fusion", "heads", "without_audio", "official_face", "face_reestimated", "keys", "training", "type")


@pytest.mark.parametrize("name", [*TAKEN, "a/b", "a.b", "", " ", "1st", "my face", "line\nbreak", 3, None])
def test_names_that_the_house_uses_are_refused(name):
    with pytest.raises(ValueError, match="modality .* (use themselves|no word).*name it otherwise"):
        arrays(inputs={"audio": torch.randn(N, 5), name: torch.randn(N, 4)})


@pytest.mark.parametrize("name", ["audio", "weak_1", "ton_höhe", "text", "rgb", "X"])
def test_other_words_are_names(name):
    assert arrays(inputs={name: torch.randn(N, 4)}).modalities == (name,)


def test_a_transform_without_its_modality_is_refused():
    with pytest.raises(ValueError, match="'vidoe'.*did you mean 'video'"):
        x, y = {"video": torch.zeros(3, 1)}, torch.tensor([0, 1, 0])
        data.Dataset(x, y, data.PARTS, name="n", transforms={"vidoe": torch.nn.Identity()})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"val": 0.6, "test": 0.5}, "val=0.6 and test=0.5 leave nothing to train on"),
        ({"val": -0.1}, "val=-0.1"),
        ({"test": float("nan")}, "test=nan"),
        ({"test": 1.0, "val": 0.0}, "test=1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.5}, "seed is 1.5; it must be of type int"),
        ({"val": "x"}, "val is 'x'; it must be of type float"),
    ],
)
def test_a_split_that_cannot_be_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        random_split(torch.arange(N) % 3, **given)


@pytest.mark.parametrize("target", [[], 3])
def test_a_split_needs_one_label_per_sample(target):
    with pytest.raises(ValueError, match="give one label per sample"):
        random_split(target)


@pytest.mark.parametrize("label", [float("nan"), None])
def test_a_split_needs_every_label(label):
    with pytest.raises(ValueError, match="target has no label for sample 2"):
        random_split(np.array([0, 1, label, 1]))


def test_duplicate_ids_are_refused():
    with pytest.raises(ValueError, match="id 'b' occurs twice"):
        data.Dataset({"x": torch.zeros(3, 1)}, torch.tensor([0, 1, 0]), data.PARTS, name="n", ids=["a", "b", "b"])


def test_random_split_keeps_the_proportions_of_every_class():
    target = np.repeat([0, 1, 2], [100, 200, 40])
    parts = np.array(random_split(target, val=0.15, test=0.2, seed=3))
    for label, size in enumerate((100, 200, 40)):
        counts = {part: int((parts[target == label] == part).sum()) for part in data.PARTS}
        assert counts["test"] == round(0.2 * size) and counts["val"] == round(0.15 * size)
    assert random_split(target, seed=3) == parts.tolist() != random_split(target, seed=4)


def test_a_part_that_is_not_wanted_stays_empty():
    assert set(random_split(np.arange(40) % 4, test=0.0)) == {"train", "val"}


RECIPE = Recipe(
    name="things",
    load=lambda root, **options: options,
    options={"count": 5, "share": 0.5, "kind": "plain"},
    generated=True,
    facts=Facts("things"),
    choices={"kind": ("plain", "fancy")},
)


def test_options_take_their_declared_type():
    assert RECIPE.check({"share": 1, "count": 7.0}) == {"count": 7, "share": 1.0, "kind": "plain"}
    assert isinstance(RECIPE.check({"share": 1})["share"], float)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": 0.1}, "'shares'.*did you mean 'share'"),
        ({"count": "5"}, "'count'.*'5'"),
        ({"count": 1.5}, "'count'.*1.5"),
        ({"kind": "fanzy"}, "'fanzy'.*did you mean 'fancy'"),
    ],
)
def test_wrong_options_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        RECIPE.check(options)


def test_an_unknown_set_names_the_nearest():
    with pytest.raises(ValueError, match="'emotion'.*did you mean 'emotions'"):
        data.load("emotion")


def test_a_given_root_is_the_only_one(monkeypatch, tmp_path):
    monkeypatch.setenv("DGL_DATA", str(tmp_path / "env"))
    assert data_roots(tmp_path) == [tmp_path]
    assert data_roots()[0] == tmp_path / "env"
    monkeypatch.delenv("DGL_DATA")
    assert [root.name for root in data_roots()] == ["data"]


def test_the_example_in_the_documentation_runs(capsys):
    import textwrap

    from dgl_core import data

    example = data.__doc__.partition("::\n")[2].partition("\nImporting")[0]
    exec(textwrap.dedent(example), {})
    shown = capsys.readouterr().out
    assert "3 classes, sound + face" in shown and "'face': (3, 32, 32)" in shown


class Noisy(torch.nn.Module):
    """A reader's transform that draws, and cannot draw without working."""

    def forward(self, x, generator=None):
        return x.float() if generator is None else x.float() + torch.rand(x.shape, generator=generator)


def test_a_modality_alone_is_augmented_as_it_is_among_others():
    """``only`` saves the work of the others, never a random number."""
    generator = torch.Generator().manual_seed(0)
    inputs = {m: torch.randint(0, 255, (12, 8, 8), generator=generator, dtype=torch.uint8) for m in ("a", "b", "c")}
    move = {"shift": (2, 3), "flip": True}
    transforms = {"a": Standardise(1.0, 2.0, **move), "b": Noisy(), "c": Standardise(0.0, 1.0, **move)}
    three = Dataset(inputs, torch.arange(12) % 2, ["train"] * 8 + ["val"] * 2 + ["test"] * 2, name="three",
                   transforms=transforms)  # fmt: skip
    together, alone = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    for rows in torch.arange(8).split(4):  # the second batch goes on where the first one left
        whole, _ = three.batch(rows, together)
        part, _ = three.only(["c"]).batch(rows, alone)
        assert list(part) == ["c"] and torch.equal(part["c"], whole["c"])
    assert three.only(["c"]).fingerprint == three.fingerprint and three.kept == ("a", "b", "c")
