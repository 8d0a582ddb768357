"""Weights that need nothing else: written, read, used for predictions; a sentence says what is wrong with a file."""

from __future__ import annotations

import json
import pickle
import re
import struct
import sys
import types

import pytest
import tiny
import torch
from tiny import FUSED, NAMES, arrays, images, late, pictures
from torch import nn

from dgl_core import models
from dgl_core.data import ArrayDataset
from dgl_core.data.dense import DenseDataset
from dgl_core.data.files import tensors as files
from dgl_core.models import ConcatFusion, LateFusion
from dgl_core.models.description import Undescribable, build, describe, tensors_of
from dgl_core.runs import command
from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.training.saving.weights import load_model
from dgl_core.training.train import fit, train
from dgl_core.utils import MissingPackage

tiny.register()
QUICK = {"epochs": 3, "batch_size": 5, "lr": 0.05}
BRANCHES = (None, NAMES[:1], NAMES[1:2])


def test_data(dataset: ArrayDataset):
    rows = dataset.indices("test")
    return {m: x[rows] for m, x in dataset.inputs.items()}, dataset.target[rows]


test_data.__test__ = False


# -- the format of the files -------------------------------------------------------------------------------------------

# What safetensors 0.8 writes for {"w": float32 [[1, 2], [3, 4]]} with the text {"k": "v"}.
FOREIGN = (
    struct.pack("<Q", 88)
    + b'{"__metadata__":{"k":"v"},"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'.ljust(88)
    + struct.pack("<4f", 1, 2, 3, 4)
)


def test_files_of_the_safetensors_package_are_read(tmp_path):
    (tmp_path / "w").write_bytes(FOREIGN)
    found, texts = files.read(tmp_path / "w")
    assert torch.equal(found["w"], torch.tensor([[1.0, 2], [3, 4]])) and texts == {"k": "v"}


@pytest.mark.parametrize("dtype", files.NAMES, ids=str)
def test_tensors_come_back_as_they_were(dtype, tmp_path):
    given = {"none": torch.zeros(0, 3, dtype=dtype), "one": torch.tensor(1, dtype=dtype),
             "many": torch.arange(24).reshape(2, 3, 4).to(dtype).transpose(0, 2)}  # fmt: skip
    found, texts = files.read(files.write(tmp_path / "x", given, {"a": "b"}))
    assert texts == {"a": "b"} and found.keys() == given.keys()
    for name, tensor in given.items():
        assert found[name].dtype == dtype and torch.equal(found[name], tensor)


# -- descriptions ------------------------------------------------------------------------------------------------------


class Last(nn.Module):
    """A class of the reader's own."""

    def forward(self, x):
        return x[0][:, -1]


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 4, 3, padding="same", padding_mode="circular"), nn.GELU(), nn.Flatten()),
            (3, 5, 5),
        ),
        (nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2, bias=False), nn.Softplus()), (6,)),
        (nn.LSTM(4, 3, num_layers=2, bidirectional=True, batch_first=True), (5, 4)),
        (nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2), (5, 8)),
    ],
    ids=["convolution", "batch norm", "recurrent", "attention"],
)
def test_a_network_of_layers_is_built_again_without_its_code(network, shape):
    network(torch.randn(3, *shape))  # moves batch statistics
    network.eval()
    again = build(json.loads(json.dumps(describe(network))), tensors_of(network))
    x = torch.randn(2, *shape)
    with torch.no_grad():
        expected, found = network(x), again(x)
    if isinstance(expected, tuple):
        expected, found = expected[0], found[0]
    assert torch.equal(expected, found) and not again.training


SHAPES = {"audio": (1, 32, 32), "visual": (3, 32, 32)}
VECTORS = {"text": (7,), "audio": (4,), "face": (3,)}
ROOMS = {"rgb": (3, 64, 64), "depth": (1, 64, 64)}


@pytest.mark.parametrize(
    ("name", "shapes", "options"),
    [("small", SHAPES, {"width": 2}), ("mlp", VECTORS, {}), ("mmtm", SHAPES, {}), ("esanet", ROOMS, {})],
)
def test_every_registered_model_can_be_described(name, shapes, options):
    model = models.build(name, shapes, 3, 0, **options).eval()
    again = build(json.loads(json.dumps(describe(model))), tensors_of(model))
    inputs = {m: torch.randn(1, *shape) for m, shape in shapes.items()}
    keep = tuple(shapes)[:1]
    with torch.no_grad():
        assert torch.equal(model(inputs), again(inputs)) and torch.equal(model(inputs, keep), again(inputs, keep))


@pytest.mark.parametrize("fusion", sorted(models.FUSIONS))
def test_every_fusion_head_can_be_described(fusion):
    widths = dict.fromkeys(NAMES[:2], 4)
    head = models.FUSIONS[fusion](widths, 3).eval()
    features = {m: torch.randn(2, 4) for m in widths}
    assert torch.equal(head(features), build(describe(head), tensors_of(head))(features))


def test_what_no_plain_value_describes_is_named():
    with pytest.raises(Undescribable, match="Last is a class of your own"):
        describe(nn.Sequential(Last()))
    hooked = nn.Linear(2, 2)
    hooked.register_forward_hook(lambda *_: None)
    with pytest.raises(Undescribable, match="a Linear has hooks"):
        describe(hooked)


# -- a run and its files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["vanilla", "dgl", "ensemble", "frozen_encoders", "mla", "reconboost", "mmcosine"])
@pytest.mark.parametrize("protocol", ["last", "best_val"])
def test_a_loaded_model_scores_as_the_record_says(method, protocol, tmp_path):
    """Fused and with every modality alone, at the epoch of each protocol, by whatever heads the method answers with."""
    dataset = images(samples=48)
    record = fit(pictures(), method, dataset, save=tmp_path, epochs=4, batch_size=4, lr=0.02)
    assert record.weights == {"last": "last.safetensors", "best_val": "best_val.safetensors"}
    assert RunRecord.from_json((tmp_path / "record.json").read_text()).weights == record.weights
    found = load_model(tmp_path / record.weights[protocol])
    assert found.epoch == record.epoch(protocol) and found.modalities == dataset.modalities
    inputs, target = test_data(dataset)
    for branch, keep in zip((FUSED, *NAMES[:2]), BRANCHES, strict=True):
        predicted = found.predict(inputs, keep)
        right = sum(name == dataset.classes[k] for name, k in zip(predicted.labels, target.tolist(), strict=True))
        assert right / len(target) == pytest.approx(record.score(branch, protocol), rel=1e-5)
        assert found.score(dataset, keep=keep)["loss"] == pytest.approx(
            record.score(branch, protocol, metric="loss"), rel=1e-4
        )


def test_best_weights_are_those_of_the_best_epoch(tmp_path):
    """The rate is so high that the last epoch is not the best one, or the test says that it shows nothing."""
    dataset = arrays(2, samples=120)
    record = fit(late(2), "vanilla", dataset, save=tmp_path, epochs=12, batch_size=10, lr=2.0, milestones=(), seed=1)
    assert record.epoch("best_val") < record.epoch("last"), "this run does not tell best from last"
    inputs, target = test_data(dataset)
    last, best = (load_model(tmp_path / record.weights[p]).outputs(inputs) for p in ("last", "best_val"))
    assert not torch.equal(last, best)
    assert (best.argmax(1) == target).double().mean().item() == pytest.approx(
        record.score(protocol="best_val"), rel=1e-5
    )


def test_a_modality_that_is_not_kept_may_be_left_out(tmp_path):
    dataset = arrays(2)
    fit(late(2), "dgl", dataset, save=tmp_path, **QUICK)
    found, (inputs, _) = load_model(tmp_path), test_data(dataset)
    alone = found.predict({NAMES[0]: inputs[NAMES[0]].numpy()}, keep=NAMES[:1])
    assert torch.equal(alone.scores, found.predict(inputs, keep=NAMES[:1]).scores)
    assert torch.allclose(alone.scores.sum(1), torch.ones(len(alone.labels), dtype=alone.scores.dtype))
    assert torch.equal(alone.of("1"), alone.scores[:, 1])


def test_transforms_travel_with_the_weights(tmp_path):
    """Standardised pictures of rooms: what is predicted from stored values is what the run was scored on."""
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 255, (9, 3, 64, 64), dtype=torch.uint8, generator=generator)
    depth = torch.randint(0, 5000, (9, 64, 64), dtype=torch.int32, generator=generator)
    target = torch.randint(0, 3, (9, 64, 64), dtype=torch.uint8, generator=generator)
    split = ["train"] * 4 + ["val"] * 2 + ["test"] * 3
    dataset = DenseDataset({"rgb": rgb, "depth": depth}, target, split, classes=("a", "b", "c"), name="rooms")
    model = models.build("esanet", dataset.shapes, 3, 0)
    record = fit(model, "vanilla", dataset, save=tmp_path, epochs=1, batch_size=2, lr=0.01)
    found = load_model(tmp_path / "last.safetensors")
    assert found.predict({"rgb": rgb[:1], "depth": depth[:1]}).labels.shape == (1, 64, 64)
    assert found.score(dataset)["miou"] == pytest.approx(record.score(), abs=1e-6)
    assert found.predict({"depth": depth[:2]}, keep=("depth",)).scores.shape[:2] == (2, 3)


def own_model() -> LateFusion:
    encoders = {"sound": nn.Sequential(nn.GRU(3, 4, batch_first=True), Last()), "face": nn.Linear(4, 4)}
    return LateFusion(encoders, ConcatFusion(dict.fromkeys(encoders, 4), 3))


def test_a_model_of_ones_own_class_is_given_when_its_weights_are_read(tmp_path):
    data = arrays(2)
    inputs = {"sound": torch.randn(60, 5, 3), "face": data.inputs["face"]}
    dataset = ArrayDataset(inputs, data.target, data.split)
    model = own_model()
    fit(model, "vanilla", dataset, save=tmp_path, **QUICK)
    with pytest.raises(ValueError, match=r"Last is a class of your own, .* no code; give it: load_model\(path, model"):
        load_model(tmp_path)
    found = load_model(tmp_path / "last.safetensors", own_model)
    assert torch.equal(found.outputs(inputs), model.eval()(inputs).detach())


def test_the_command_keeps_weights_and_makes_those_of_a_record(tmp_path, capsys):
    words = ["dataset=tiny", "model=small", "model_options.width=2", "epochs=2", "batch_size=4", "device=cpu"]
    assert command.main([*words[:-1], "--device", "cpu"]) == 0
    store = capsys.readouterr().out.splitlines()[-2].split(" in ")[1]
    assert not RunRecord.from_json(open(store).read()).weights
    assert command.main([store, "--device", "cpu", "--weights", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("Weights in ") == 2
    record = RunRecord.from_json(open(store).read())
    found = load_model(tmp_path / record.weights["last"])
    assert found.score(images())["accuracy"] == pytest.approx(record.score(), rel=1e-5)
    assert command.main([store, "--device", "cpu", "--weights", str(tmp_path)]) == 0
    assert "Recorded already" in capsys.readouterr().out


def test_weights_of_a_registered_run(tmp_path):
    spec = RunSpec("tiny", model="small", model_options={"width": 2}, epochs=1, batch_size=4)
    record = train(spec, keep=(tmp_path, "stem"))
    assert record.weights["last"] == "stem.last.safetensors" and (tmp_path / record.weights["best_val"]).is_file()


# -- going on ----------------------------------------------------------------------------------------------------------


class Stop(Exception):
    pass


def test_fit_goes_on_with_the_same_end(tmp_path):
    def stop(numbers):
        if numbers["epoch"] == 4:
            raise Stop

    def run(place, **more):
        return fit(lambda: late(2), "dgl", arrays(2), save=tmp_path / place, **QUICK | {"epochs": 6}, **more)

    whole = run("whole")
    state = tmp_path / "state"
    with pytest.raises(Stop):
        run("cut", checkpoint=state, every=0, on_epoch=stop)
    assert state.is_file()
    with pytest.raises(ValueError, match="is of another run"):
        fit(lambda: late(2), "dgl", arrays(2), checkpoint=state, **QUICK | {"epochs": 6, "lr": 0.3})
    seen = []
    resumed = run("cut", checkpoint=state, every=0, on_epoch=lambda numbers: seen.append(numbers["epoch"]))
    assert seen == [5, 6] or seen == [4, 5, 6]
    assert not state.exists() and resumed.curves["val/fused/loss"] == whole.curves["val/fused/loss"]
    for name in ("last", "best_val"):
        one, other = (files.read(tmp_path / place / f"{name}.safetensors")[0] for place in ("whole", "cut"))
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_each_epoch_tells_its_numbers():
    seen = []
    record = fit(late(2), "dgl", arrays(2), on_epoch=seen.append, **QUICK | {"evaluate_every": 2})
    assert [numbers["epoch"] for numbers in seen] == [1, 2, 3] and all(n["epochs"] == 3 for n in seen)
    assert "val/fused/accuracy" not in seen[0] and "loss/multimodal" in seen[0]
    for number in (1, 2):
        for name, values in record.curves.items():
            assert seen[number][name] == pytest.approx(values[number], rel=1e-5)
    assert all(isinstance(value, int | float) for numbers in seen for value in numbers.values())


# -- bad files, bad inputs ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    fit(late(2), "dgl", arrays(2), save=folder, **QUICK)
    return folder / "last.safetensors"


def rewritten(path, change):
    """A copy of a weights file whose description was changed, with a checksum that fits."""
    tensors, texts = files.read(path)
    about = json.loads(texts["dgl"])
    change(about)
    return files.write(path.with_name("changed.safetensors"), tensors, texts | {"dgl": json.dumps(about)})


def names_code(about):
    about["networks"]["model"]["description"]["class"] = "os:system"


def names_no_layer(about):
    about["networks"]["model"]["description"]["class"] = "dgl_core.utils:Progress"


def loses_a_part(about):
    del about["networks"]["model"]["description"]["modules"]


def is_older(about):
    about["version"] = 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (names_code, "'os:system', which is no layer of torch or of this project"),
        (names_no_layer, "'dgl_core.utils:Progress', which this version does not have as a layer"),
        (loses_a_part, "the description of its network cannot be read"),
        (is_older, "another version of this project wrote it"),
        (lambda about: about.pop("classes"), "its description lacks 'classes'"),
        (lambda about: about["spec"].update(method="dlg"), "Unknown method 'dlg'"),
    ],
)
def test_a_file_that_says_something_else_is_refused(change, message, weights):
    with pytest.raises(ValueError, match=message):
        load_model(rewritten(weights, change))


def test_a_damaged_file_is_refused(weights, tmp_path):
    content = weights.read_bytes()
    copy = tmp_path / "w.safetensors"
    for position in (3, 20, len(content) // 2, len(content) - 1):
        copy.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(ValueError, match="is not used: it is"):
            load_model(copy)
    for length in (0, 5, 100, len(content) - 1):
        copy.write_bytes(content[:length])
        with pytest.raises(ValueError, match="is not used: it is"):
            load_model(copy)


class Payload:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code in a weights file was run')",))


def test_a_file_with_code_in_it_is_not_opened(tmp_path):
    path = tmp_path / "w.safetensors"
    for write in (lambda: path.write_bytes(pickle.dumps(Payload())), lambda: torch.save(Payload(), path)):
        write()
        with pytest.raises(ValueError, match="may hold code, so it is not opened"):
            load_model(path)
    (tmp_path / "other").write_bytes(FOREIGN)
    with pytest.raises(ValueError, match="holds tensors, but not what they belong to"):
        load_model(tmp_path / "other")


def test_weights_of_another_model_are_refused(weights):
    with pytest.raises(ValueError, match=r"of another model: they have the modalities \['sound', 'face'\]"):
        load_model(weights, late(3))
    with pytest.raises(
        ValueError, match="of another model: 'encoders.face.1.bias', the model has it, the file has not"
    ):
        load_model(weights, late(2, batch_norm=True))
    with pytest.raises(ValueError, match=r"of another model: 'fusion.head.weight' has shape \[3, 5\] .* \[7, 5\]"):
        load_model(weights, late(2, classes=7))
    with pytest.raises(FileNotFoundError, match="there is no weights file"):
        load_model(weights.with_name("nothing"))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda p, x: p.predict(x | {"txet": x["face"]}), "Unknown modality of this model 'txet'"),
        (lambda p, x: p.predict(x, keep=("smell",)), "Unknown modality of this model 'smell'"),
        (lambda p, x: p.predict(x, keep="face"), r"keep is 'face'; give a collection .* keep=\('face',\)"),
        (lambda p, x: p.predict(x, keep=()), "keep is empty"),
        (lambda p, x: p.predict({"face": x["face"]}), r"no 'sound': give it, or .* keep=\('face',\)"),
        (lambda p, x: p.predict(x | {"face": x["face"][:3]}), r"'face' has shape \[3, 4\], but the model takes 15"),
        (lambda p, x: p.predict(x | {"face": x["face"][0]}), r"'face' has shape \[4\], but"),
        (lambda p, x: p.predict({m: v[:0] for m, v in x.items()}), "'sound' has no sample"),
        (lambda p, x: p.predict(x | {"face": x["face"] * float("nan")}), "'face' has values that are not finite"),
        (lambda p, x: p.predict(x).of("angry"), "Unknown class of this model 'angry'"),
        (lambda p, x: p.score(arrays(2, classes=4)), "Unknown class of data set 'tiny_arrays' for this model '3'"),
    ],
)
def test_what_the_model_does_not_know_is_named(ask, message, weights):
    with pytest.raises(ValueError, match=message):
        ask(load_model(weights), test_data(arrays(2))[0])


def test_a_file_in_the_place_of_the_folder_is_named_before_training(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match="which is a file; name a folder for the weights"):
        fit(late(2), "dgl", arrays(2), save=tmp_path / "out", **QUICK)


# -- other programs ----------------------------------------------------------------------------------------------------


def saved(tmp_path, kind):
    dataset = images() if kind == "pictures" else arrays(2)
    method = "ensemble" if kind == "heads" else "dgl"
    fit(
        pictures() if kind == "pictures" else late(2).float(),
        method,
        dataset,
        save=tmp_path,
        **QUICK | {"batch_size": 4},
    )
    return load_model(tmp_path / "last.safetensors"), test_data(dataset)[0]


@pytest.mark.parametrize("kind", ["vectors", "pictures", "heads"])
def test_an_exported_program_gives_the_same_outputs(kind, tmp_path):
    predictor, inputs = saved(tmp_path, kind)
    for keep in BRANCHES[:2]:
        path = predictor.export(tmp_path / "model.pt2", keep)
        found = torch.export.load(path).module()(inputs)
        assert torch.allclose(found, predictor.outputs(inputs, keep), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["vectors", "pictures", "heads"])
def test_an_onnx_file_gives_the_same_outputs_to_its_runtime(kind, tmp_path):
    """For each way to keep modalities, and for another number of samples than the file was written with."""
    pytest.importorskip("onnxscript", reason="torch writes ONNX by onnxscript: pip install 'dgl-core[export]'")
    runtime = pytest.importorskip("onnxruntime", reason="pip install 'dgl-core[export]'")
    predictor, inputs = saved(tmp_path, kind)
    for keep in BRANCHES[:2]:
        session = runtime.InferenceSession(predictor.export(tmp_path / "model.onnx", keep))
        taken = {node.name for node in session.get_inputs()}
        for count in (1, len(next(iter(inputs.values())))):
            some = {m: x[:count] for m, x in inputs.items()}
            found = session.run(None, {m: x.numpy() for m, x in some.items() if m in taken})[0]
            assert torch.allclose(torch.from_numpy(found), predictor.outputs(some, keep), rtol=0, atol=1e-5)


def test_an_export_names_what_it_lacks(weights, monkeypatch):
    predictor = load_model(weights)
    with pytest.raises(ValueError, match="end it in '.pt2'"):
        predictor.export("model.bin")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "onnx", raising=False)
    with pytest.raises(MissingPackage, match=r"ONNX files need onnx, .* pip install 'dgl-core\[export\]'"):
        predictor.export("model.onnx")


# -- loggers -----------------------------------------------------------------------------------------------------------


class Anything:
    """Stands in for a package of loggers: every name is a function that keeps what it is called with."""

    def __init__(self):
        self.calls: list[tuple] = []

    def __getattr__(self, name):
        def called(*arguments, **named):
            self.calls.append((name, arguments, named))
            return self

        return called


def test_the_recipes_for_loggers_run_as_they_are_written():
    """TensorBoard, W&B and MLflow: the lines of the docstring, with stand-ins for the packages."""
    recipes = re.findall(r"^ {16}(\S.*)\n {16}on_epoch=(.*),?$", fit.__doc__, flags=re.MULTILINE)
    assert len(recipes) == 3
    for first, listener in recipes:
        wandb, mlflow, writer = Anything(), Anything(), Anything()
        tensorboard = types.SimpleNamespace(SummaryWriter=lambda writer=writer: writer)
        utils = types.SimpleNamespace(tensorboard=tensorboard)
        scope = {"torch": types.SimpleNamespace(utils=utils), "wandb": wandb, "mlflow": mlflow}
        exec(first, scope)
        fit(late(2), "dgl", arrays(2), on_epoch=eval(listener, scope), **QUICK)
        (package,) = (one for one in (wandb, mlflow, writer) if len(one.calls) > 2)
        told = [call for call in package.calls if call[0] in ("add_scalar", "log", "log_metrics")]
        assert len(told) >= QUICK["epochs"] and "val/fused/accuracy" in str(told)
