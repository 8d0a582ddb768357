"""A table of bad inputs over every command and every public name: each must be refused in a sentence that names it.

Options are asked from the house itself, so a new option is tortured without a line here.
"""

from __future__ import annotations

import functools
import os
import random
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dgl_core.data import ArrayDataset, random_split
from dgl_core.data.catalogue import DATASETS
from dgl_core.diagnosis import diagnose
from dgl_core.gradients import DisentangledObjective, disentangled_loss
from dgl_core.methods import METHODS  # noqa: I001
from dgl_core.methods import build as build_method
from dgl_core.models import MODELS, ConcatFusion, LateFusion, model_options  # noqa: I001
from dgl_core.models import build as build_model
from dgl_core.training.train import fit
from tests.faults.torture import Kind
from tests.faults.torture_damage import obscurity
from tests.faults.torture_kills import make_media, run_words, train_here
from tests.faults.torture_process import Failed, call, dgl, undisturbed

NAN, INF = float("nan"), float("inf")
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 25.0  # a bad input that is still at work then was believed


@dataclass(frozen=True)
class Bad:
    """One bad input.

    Args:
        what: in words. act: ``act(folder)`` gives it to the house. names: one of them must be in the answer.
        command: ``act`` is a command, and returns its exit status.
        said: the answer may be a line of a command that succeeds, as of ``claims --mine``.
    """

    what: str
    act: Callable[[Path], object]
    names: tuple[str, ...]
    command: bool = False


def judge(bad: Bad, folder: Path) -> str:
    """Give the input to the house; it must refuse.

    Raises:
        Failed: silent or obscure.
    """
    ended = call(lambda: bad.act(folder), folder, SECONDS, command=bad.command)
    if ended.hung:
        raise Failed("silent", f"{bad.what}: believed, and still at work after {SECONDS:.0f} s")
    if ended.raised is None and ended.status == 0:
        raise Failed("silent", f"{bad.what}: accepted; it said {ended.said[-120:]!r}")
    if bad.command and ended.status not in (1, 2):
        raise Failed("obscure", f"{bad.what}: exit status {ended.status}; {ended.said[-200:]!r}")
    wrong = obscurity(ended, bad.names)
    if wrong:
        raise Failed("obscure", f"{bad.what}: {wrong}")
    return bad.what


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


# -- arrays ------------------------------------------------------------------------------------------------------------

N = 24


def given(**changes) -> dict[str, object]:
    """Arguments of a sound ``ArrayDataset`` of vectors, with some changed."""
    generator = torch.Generator().manual_seed(0)
    inputs = {m: torch.randn(N, width, generator=generator) for m, width in (("sound", 4), ("face", 3))}
    sound = {"inputs": inputs, "target": torch.arange(N) % 3, "split": ["train", "val", "train", "test"] * (N // 4)}
    return sound | changes


def arrays(**changes) -> ArrayDataset:
    return ArrayDataset(**given(**changes))


def changed(x: torch.Tensor, value: float) -> torch.Tensor:
    x = x.clone()
    x.view(-1)[5] = value
    return x


def of_arrays() -> Iterator[Bad]:
    good = given()
    sound, face = good["inputs"].values()
    target, split = good["target"], good["split"]

    def inputs(what: str, value: object, *names: str) -> Bad:
        return Bad(
            f"ArrayDataset, input {what}", lambda _: arrays(inputs={"sound": sound, "face": value}), names or ("face",)
        )

    yield inputs("with a NaN", changed(face, NAN))
    yield inputs("with an infinite value", changed(face, -INF))
    yield inputs("complex", face.to(torch.complex64))
    yield inputs("complex with NaN", changed(face.to(torch.complex64), NAN))
    yield inputs("half precision with NaN", changed(face.half(), NAN))
    yield inputs("float64 beyond float32", face.double() * 1e300)
    yield inputs("strings", ["a"] * N)
    yield inputs("ragged lists", [[1.0]] * (N - 1) + [[1.0, 2.0]])
    yield inputs("numbers as objects", np.array([[1, 2]] * N, dtype=object))
    yield inputs("None", None)
    yield inputs("a single number", 3.0)
    yield inputs("one sample too few", face[:-1])
    yield inputs("one sample too many", torch.cat([face, face[:1]]))
    yield inputs("no samples", face[:0])
    yield inputs("vectors of width 0", face[:, :0])
    yield inputs("a dictionary", {"x": face})
    yield inputs("datetimes", np.array(["2020-01-01"] * N, dtype="datetime64[D]"))
    yield inputs("a masked array", np.ma.masked_array(face.numpy(), mask=face.numpy() > 0))
    for name in ("fused", "fusion", "heads", "a/b", "a.b", "", "x\ny", 3, None, "without_sound", "official_sound"):
        yield Bad(
            f"ArrayDataset, modality named {name!r}",
            lambda _, name=name: arrays(inputs={"sound": sound, name: face}),
            (str(name) or "''", repr(name)),
        )
    for what, value in (("a list", [sound, face]), ("None", None), ("empty", {}), ("a tensor", sound)):
        yield Bad(f"ArrayDataset, inputs {what}", lambda _, v=value: arrays(inputs=v), ("inputs", "modality"))

    def targets(what: str, value: object, *names: str, **more) -> Bad:
        return Bad(
            f"ArrayDataset, target {what}",
            lambda _: arrays(target=value, **more),
            names or ("target", "label", "class"),
        )

    yield targets("float", target.float())
    yield targets("complex", target.to(torch.complex64))
    yield targets("multi-hot floats", torch.eye(3)[target])
    yield targets("multi-hot integers", torch.eye(3, dtype=torch.long)[target])
    yield targets("negative", target - 1)
    yield targets("of one class", target * 0, "class", "label")
    yield targets("with a class of 10**7", torch.where(target == 2, 10**7, target))
    yield targets("with a class of 10**12", torch.where(target == 2, 10**12, target))
    yield targets("too short", target[:-1])
    yield targets("strings", ["yes", "no", "may"] * (N // 3))
    yield targets("None", None)
    yield targets("a single number", 1)
    yield targets("empty", target[:0])
    yield targets("booleans of one kind", target > 5)
    yield targets("with NaN", np.where(np.arange(N) == 3, NAN, 1.0))
    yield targets("uint64 beyond int64", np.array([2**63 + 5] * N, dtype=np.uint64))
    yield targets("above the classes", target, "label", classes=("one", "two"))

    def splits(what: str, value: object, *names: str) -> Bad:
        return Bad(f"ArrayDataset, split {what}", lambda _: arrays(split=value), names or ("split", "part"))

    yield splits("with an unknown part", ["tran", *split[1:]], "tran")
    yield splits("without val", ["train" if s == "val" else s for s in split])
    yield splits("without train", ["val" if s == "train" else s for s in split])
    yield splits("too short", split[:-1])
    yield splits("None", None)
    yield splits("one word", "train")
    yield splits("numbers", [0, 1, 0, 2] * (N // 4))
    yield splits("upper case", [s.upper() for s in split], "TRAIN", "part")
    yield splits("a dictionary", {"train": 0.5})

    def classes(what: str, value: object) -> Bad:
        return Bad(f"ArrayDataset, classes {what}", lambda _: arrays(classes=value), ("class", "label"))

    yield classes("of which two are equal", ("one", "two", "one"))
    yield classes("too few", ("one", "two"))
    yield classes("empty", ())
    yield classes("one string", "abc")
    yield classes("a number", 3)


def of_splits() -> Iterator[Bad]:
    target = np.arange(60) % 3
    rows = [("val", v) for v in (-0.1, 1.0, 1.5, NAN, INF, "x")]
    rows += [("test", v) for v in (-0.2, 1.0, 2, NAN, "x")] + [("seed", v) for v in (-1, 1.5, "x", None, NAN)]
    for name, value in rows:
        yield Bad(f"random_split, {name} {value!r}", lambda _, n=name, v=value: random_split(target, **{n: v}), (name,))
    for val, test in ((0.6, 0.6), (0.5, 0.5), (0.9, 0.2)):
        yield Bad(
            f"random_split, val {val} and test {test}",
            lambda _, v=val, t=test: random_split(target, v, t),
            ("val", "share"),
        )
    for what, bad in (
        ("empty", []),
        ("None", None),
        ("a number", 3),
        ("two-dimensional", target.reshape(20, 3)),
        ("floats with NaN", np.array([NAN] * 60)),
    ):
        yield Bad(
            f"random_split, target {what}", lambda _, b=bad: random_split(b), ("target", "label", "class", "sample")
        )


# -- models and objectives ---------------------------------------------------------------------------------------------


def network(
    widths: tuple[int, int] = (2, 2), classes: int = 3, names: tuple[str, str] = ("sound", "face")
) -> LateFusion:
    encoders = {m: nn.Linear(inputs, w) for m, inputs, w in zip(names, (4, 3), (2, 2), strict=True)}
    return LateFusion(encoders, ConcatFusion(dict(zip(names, widths, strict=True)), classes))


class Answering(ConcatFusion):
    """A fusion head whose logits are something else."""

    def __init__(self, answer: Callable[[torch.Tensor], object]):
        super().__init__({"sound": 2, "face": 2}, 3)
        self.answer = answer

    def join(self, features):
        return self.answer(super().join(features))


def answering(answer: Callable[[torch.Tensor], object]) -> LateFusion:
    return LateFusion({"sound": nn.Linear(4, 2), "face": nn.Linear(3, 2)}, Answering(answer))


ANSWERS = {
    "a dictionary": lambda x: {"logits": x},
    "a tuple": lambda x: (x, x),
    "a list": lambda x: [x],
    "None": lambda x: None,
    "a single number": lambda x: x.sum(),
    "of shape [B]": lambda x: x[:, 0],
    "with NaN": lambda x: x * NAN,
    "sequences [B, L, K]": lambda x: x[:, None].expand(-1, 7, -1),
    "integers": lambda x: x.long(),
    "of half the batch": lambda x: x[: len(x) // 2],
}


def of_models() -> Iterator[Bad]:
    encoders = {"sound": nn.Linear(4, 2), "face": nn.Linear(3, 2)}
    for what, value in (
        ("empty", {}),
        ("None", None),
        ("a list", list(encoders.values())),
        ("not modules", {"a": 3, "b": 4}),
    ):
        yield Bad(
            f"LateFusion, encoders {what}",
            lambda _, v=value: LateFusion(v, ConcatFusion({"a": 2}, 3)),
            ("encoder", "modalit"),
        )
    for name in ("fused", "fusion", "heads", "a/b", "a.b", ""):
        yield Bad(
            f"LateFusion, encoder named {name!r}",
            lambda _, n=name: LateFusion(
                {"sound": nn.Linear(4, 2), n: nn.Linear(3, 2)}, ConcatFusion({"sound": 2, n: 2}, 3)
            ),
            (repr(name),),
        )
    for value in (None, 3, "concat", lambda x: x):
        yield Bad(
            f"LateFusion, fusion {short(value)}", lambda _, v=value: LateFusion(encoders, v), ("fusion", "Module")
        )
    shared = nn.Linear(4, 2)
    yield Bad(
        "LateFusion, one encoder for two modalities",
        lambda _: LateFusion({"sound": shared, "face": shared}, ConcatFusion({"sound": 2, "face": 2}, 3)),
        ("sound", "face"),
    )
    for what, widths in (
        ("empty", {}),
        ("0", {"sound": 0, "face": 2}),
        ("-1", {"sound": -1, "face": 2}),
        ("1.5", {"sound": 1.5, "face": 2}),
        ("a list", [2, 2]),
        ("None", None),
        ("text", {"sound": "two", "face": 2}),
    ):
        yield Bad(f"ConcatFusion, widths {what}", lambda _, w=widths: ConcatFusion(w, 3), ("width",))
    for classes in (0, -1, 2.5, "three", None, NAN):
        yield Bad(
            f"ConcatFusion, classes {classes!r}",
            lambda _, c=classes: ConcatFusion({"sound": 2, "face": 2}, c),
            ("class",),
        )


PICTURES = {"sound": (1, 64, 64), "face": (3, 64, 64)}
SHAPES = {
    "small": PICTURES,
    "resnet18": PICTURES,
    "mmtm": PICTURES,
    "mlp": {"sound": (5,), "face": (4,)},
    "esanet": {"rgb": (3, 64, 64), "depth": (1, 64, 64)},
}


def wrong_values(default: object) -> list[object]:
    """Values that no option of this type can mean."""
    if isinstance(default, bool):
        return ["yes", 2, None]
    if isinstance(default, int):
        return ["many", 1.5, -(10**9), None]
    if isinstance(default, float):
        return ["much", NAN, INF, -1e9]
    if isinstance(default, tuple):
        return [7, "x", (NAN,) if not default or isinstance(default[0], float) else (-3,)]
    return ["no_such_value", 7]


def of_model_options() -> Iterator[Bad]:
    def build(name: str, shapes=None, classes: object = 4, **options) -> Callable[[Path], object]:
        return lambda _: build_model(name, SHAPES[name] if shapes is None else shapes, classes, 0, **options)

    for name in MODELS:
        for option, default in model_options(name).items():
            values = wrong_values(default) + ([0] if option in ("width", "layers") else [])
            values += [1.5, 1.0] if option == "dropout" else []
            for value in values if option != "weights" else ["no_such_file.pth", 7]:
                yield Bad(
                    f"models.build({name!r}), {option}={value!r}",
                    build(name, **{option: value}),
                    (option, short(value)),
                )
        for classes in (0, -2, 2.5, None):
            yield Bad(f"models.build({name!r}), {classes!r} classes", build(name, classes=classes), ("class",))
        yield Bad(f"models.build({name!r}), an unknown option", build(name, colour=3), ("colour",))
        yield Bad(f"models.build({name!r}), no modality", build(name, shapes={}), ("modalit", "shape", "encoder"))
        wrong = {"sound": (4,), "face": (3,)} if SHAPES[name] is PICTURES or name == "esanet" else PICTURES
        yield Bad(
            f"models.build({name!r}), on {list(wrong.values())}", build(name, shapes=wrong), ("sound", "shape", "rgb")
        )
        first = next(iter(SHAPES[name]))
        zero = SHAPES[name] | {first: (0, *SHAPES[name][first][1:])}
        yield Bad(f"models.build({name!r}), shape {zero[first]}", build(name, shapes=zero), (first, "shape"))
    for name in ("", "resnet", None, 3, "MLP "):
        yield Bad(f"models.build({name!r})", lambda _, n=name: build_model(n, PICTURES, 4, 0), (repr(name),))


def of_methods() -> Iterator[Bad]:
    for name, method in METHODS.items():
        for option, default in method.options().items():
            for value in wrong_values(default):
                if default != "" or not isinstance(value, str):  # which text is right depends on the data
                    yield Bad(
                        f"methods.build({name!r}), {option}={value!r}",
                        lambda _, n=name, o=option, v=value: build_method(n, {o: v}),
                        (option, repr(value)),
                    )
        yield Bad(
            f"methods.build({name!r}), an unknown option", lambda _, n=name: build_method(n, {"colour": 1}), ("colour",)
        )
    for name in ("", "vanila", None, 3, "DGL"):
        yield Bad(f"methods.build({name!r})", lambda _, n=name: build_method(n), (repr(name),))
    for value in (3, "alpha", [4.0], (("alpha", 4),)):
        yield Bad(f"methods.build('dgl'), options {value!r}", lambda _, v=value: build_method("dgl", v), ("option",))


def of_objectives() -> Iterator[Bad]:
    def made(**changes) -> Callable[[Path], object]:
        return lambda _: DisentangledObjective(**{"model": network(), "alpha": 4.0} | changes)

    for value in (-1.0, NAN, INF, "4", None, [4.0]):
        yield Bad(f"DisentangledObjective, alpha {value!r}", made(alpha=value), ("alpha",))
    for gate in ("encoder_gate", "fusion_gate"):
        for value in (-0.1, 1.1, NAN, INF, "x", None):
            yield Bad(f"DisentangledObjective, {gate} {value!r}", made(**{gate: value}), (gate,))
    for value in (
        {"sound": 0.5},
        {"sound": 0.5, "fase": 1.0},
        {"sound": 0.5, "face": 2.0},
        {"sound": "x", "face": 0.0},
        {},
    ):
        yield Bad(f"DisentangledObjective, encoder_gate {value!r}", made(encoder_gate=value), ("encoder_gate",))
    for what, value in (
        ("None", None),
        ("a plain module", nn.Linear(4, 2)),
        ("a function", len),
        ("a class", LateFusion),
    ):
        yield Bad(f"DisentangledObjective, model {what}", made(model=value), ("model", "encoders"))
    yield Bad("DisentangledObjective, criterion None", made(criterion=None), ("criterion",))

    def loss(what: str, names: tuple[str, ...], model=None, **changes) -> Bad:
        def act(_: Path) -> object:
            inputs = {m: x[:8] for m, x in given()["inputs"].items()}
            call = {"inputs": inputs, "target": torch.arange(8) % 3, "alpha": 4.0} | changes
            return disentangled_loss(model or network(), **call).total.item()

        return Bad(f"disentangled_loss, {what}", act, names)

    x = given()["inputs"]
    yield loss("a modality is missing", ("face",), inputs={"sound": x["sound"][:8]})
    yield loss("inputs a list", ("inputs", "sound"), inputs=[x["sound"][:8], x["face"][:8]])
    yield loss("inputs None", ("inputs",), inputs=None)
    yield loss(
        "batches of two lengths", ("face", "sound", "batch"), inputs={"sound": x["sound"][:8], "face": x["face"][:7]}
    )
    yield loss(
        "an input of another width",
        ("face", "width", "shape"),
        inputs={"sound": x["sound"][:8], "face": x["sound"][:8]},
    )
    yield loss("target too short", ("target", "label"), target=torch.arange(7) % 3)
    yield loss("target beyond the classes", ("target", "label", "class"), target=torch.arange(8) % 5)
    yield loss("target negative", ("target", "label", "class"), target=torch.arange(8) % 3 - 1)
    yield loss("target None", ("target", "label"), target=None)
    yield loss("target a list", ("target", "label"), target=[0, 1, 2, 0, 1, 2, 0, 1])
    for what, answer in ANSWERS.items():
        if what in ("a dictionary", "a tuple", "None", "a list"):
            yield loss(f"logits {what}", ("logits",), model=answering(answer))
    yield loss(
        "encoder widths that the fusion does not expect", ("width", "fusion", "feature"), model=network(widths=(2, 5))
    )


# -- training and diagnosing -------------------------------------------------------------------------------------------


def of_fit() -> Iterator[Bad]:
    def fitted(
        what: str, names: tuple[str, ...], make_model=network, make_data=arrays, method: object = "dgl", **options
    ) -> Bad:
        settings = {"epochs": 1, "batch_size": 4, "lr": 0.01, "device": "cpu"} | options
        return Bad(f"fit, {what}", lambda _: fit(make_model(), method, make_data(), **settings), names)

    for value in ("vanila", "", None, 3):
        yield fitted(f"method {value!r}", (repr(value),), method=value)
    for what, make in (
        ("None", lambda: None),
        ("a plain module", lambda: nn.Linear(4, 3)),
        ("a class", lambda: LateFusion),
    ):
        yield fitted(f"model {what}", ("model", "encoders", "Linear", "LateFusion"), make_model=make)
    for what, make in (
        ("None", lambda: None),
        ("a dictionary", given),
        ("a tuple", lambda: (1, 2)),
        ("a loader", lambda: [1]),
    ):
        yield fitted(f"data set {what}", ("dataset", "data set", "Dataset"), make_data=make)
    for device in ("cuda", "cuda:7", "tpu", "gpu", 3, "meta"):
        if not (torch.cuda.is_available() and device == "cuda"):
            yield fitted(f"device {device!r}", (str(device), "device", "GPU"), device=device)
    for log in (-1, "often"):
        yield fitted(f"log {log!r}", ("log",), log=log)
    yield fitted("an unknown option", ("colour",), colour=3)
    yield fitted("epochs 0", ("epochs",), epochs=0)
    yield fitted("a batch larger than the training part", ("batch_size",), batch_size=13)
    for alpha in (NAN, INF, -1, "4"):
        yield fitted(f"alpha {alpha!r}", ("alpha",), alpha=alpha)
    for name, values in FIELDS.items():
        for value in values[:3]:
            yield fitted(f"{name} {value!r}", (name,), **{name: value})
    third = torch.zeros(N, 2)
    yield fitted(
        "a modality more than encoders",
        ("extra",),
        make_data=lambda: arrays(inputs=given()["inputs"] | {"extra": third}),
    )
    yield fitted(
        "an encoder more than modalities",
        ("face", "modalities"),
        make_data=lambda: arrays(inputs={"sound": given()["inputs"]["sound"]}),
    )
    yield fitted("fewer classes than labels", ("class", "logits"), make_model=lambda: network(classes=2))
    yield fitted(
        "encoder widths that the fusion does not expect",
        ("width", "fusion", "feature"),
        make_model=lambda: network(widths=(2, 5)),
    )
    yield fitted(
        "nothing to train", ("train", "frozen", "parameter"), make_model=lambda: network().requires_grad_(False)
    )
    yield fitted("weights with NaN", ("loss", "finite"), make_model=lambda: _broken())
    for name in ("fusion", "heads", "a/b", "fused", "a.b"):
        yield fitted(
            f"a modality named {name!r}",
            (name,),
            make_model=lambda n=name: network(names=("sound", n)),
            make_data=lambda n=name: arrays(inputs={"sound": given()["inputs"]["sound"], n: given()["inputs"]["face"]}),
        )
    for what, answer in ANSWERS.items():
        if what not in ("sequences [B, L, K]",):
            yield fitted(f"logits {what}", ("logits", "loss"), make_model=lambda a=answer: answering(a))


def _broken() -> LateFusion:
    broken = network()
    with torch.no_grad():
        broken.encoders["face"].weight[0, 0] = NAN
    return broken


def batches(inputs=None, target=None) -> list[tuple]:
    x = {m: v[:8] for m, v in given()["inputs"].items()} if inputs is None else inputs
    return [(x, torch.arange(8) % 3 if target is None else target)] * 2


def of_diagnosis() -> Iterator[Bad]:
    x = {m: v[:8] for m, v in given()["inputs"].items()}

    def looked(what: str, names: tuple[str, ...], model=network, loader=batches, **options) -> Bad:
        return Bad(f"diagnose, {what}", lambda _: str(diagnose(model(), loader(), **options)), names)

    for share in (0, -0.5, 1.5, NAN, "x", None):
        yield looked(f"share {share!r}", ("share",), share=share)
    yield looked(
        "inputs with NaN", ("face", "finite", "NaN"), loader=lambda: batches(x | {"face": changed(x["face"], NAN)})
    )
    yield looked("inputs all NaN", ("finite", "NaN"), loader=lambda: batches({m: v * NAN for m, v in x.items()}))
    yield looked(
        "infinite inputs", ("finite", "NaN", "inf"), loader=lambda: batches(x | {"face": changed(x["face"], INF)})
    )
    yield looked(
        "complex inputs", ("face", "complex"), loader=lambda: batches(x | {"face": x["face"].to(torch.complex64)})
    )
    yield looked("weights with NaN", ("finite", "NaN"), model=_broken)
    for what, loader in (
        ("None", lambda: None),
        ("empty", list),
        ("a number", lambda: 3),
        ("a model", network),
        ("of numbers", lambda: [1, 2]),
        ("of strings", lambda: ["ab"]),
        ("of inputs alone", lambda: [x]),
        ("of triples", lambda: [(x, x, x)]),
        ("of pairs of None", lambda: [(None, None)]),
        ("a data set", arrays),
    ):
        yield looked(f"loader {what}", ("loader", "batch"), loader=loader)
    yield looked("inputs a tensor", ("inputs", "dictionary"), loader=lambda: batches(inputs=x["sound"]))
    yield looked(
        "inputs a list", ("inputs", "dictionary"), loader=lambda: [([x["sound"], x["face"]], torch.arange(8) % 3)]
    )
    yield looked("a modality is missing", ("face",), loader=lambda: batches({"sound": x["sound"]}))
    yield looked(
        "an input of another width", ("face", "shape", "width"), loader=lambda: batches(x | {"face": x["sound"]})
    )
    yield looked(
        "inputs of two lengths", ("face", "sound", "length"), loader=lambda: batches(x | {"face": x["face"][:7]})
    )
    for what, target in (
        ("float", torch.rand(8)),
        ("multi-hot", torch.eye(3)[torch.arange(8) % 3]),
        ("beyond the classes", torch.arange(8)),
        ("negative", torch.arange(8) % 3 - 1),
        ("too short", torch.arange(7) % 3),
        ("too long", torch.arange(9) % 3),
        ("two-dimensional", torch.zeros(8, 2, dtype=torch.long)),
        ("a list", [0] * 8),
        ("empty", torch.zeros(0, dtype=torch.long)),
    ):
        yield looked(f"target {what}", ("target", "Labels"), loader=lambda t=target: batches(target=t))
    for what, answer in ANSWERS.items():
        yield looked(f"logits {what}", ("logits", "finite"), model=lambda a=answer: answering(a))
    yield looked("model None", ("model", "MultimodalModel", "NoneType"), model=lambda: None)
    yield looked("a plain module", ("Linear", "encoders"), model=lambda: nn.Linear(4, 3))
    yield looked("encoders without forward", ("forward", "encoders"), encoders=lambda m: dict(m.encoders))
    yield looked("forward without encoders", ("forward", "encoders"), forward=lambda m, i, keep: m(i))
    yield looked("encoders that are no function", ("encoders",), encoders=3, forward=lambda m, i, keep: m(i))
    yield looked(
        "encoders that share",
        ("weight", "both"),
        encoders=lambda m: {"a": m.encoders["sound"], "b": m.encoders["sound"]},
        forward=lambda m, i, keep: m(i),
    )
    yield looked(
        "one encoder",
        ("two", "modalit"),
        encoders=lambda m: {"sound": m.encoders["sound"]},
        forward=lambda m, i, keep: m(i),
    )
    yield looked(
        "encoders of strings",
        ("encoders", "parameters"),
        encoders=lambda m: {"a": "x", "b": "y"},
        forward=lambda m, i, keep: m(i),
    )


# Commands, and after each the words of which one must be in the answer. FOLDER stands for the folder of the case.
COMMANDS = """\
train no_such.json | no_such.json
train seed=1 | data set
train dataset=triplet seed | seed
train FOLDER | FOLDER | /
train '' | ''
train | SPEC
train --device cpu | SPEC
train dataset=triplet --colour | colour
trian | trian
'' | ''
--help-me | --help-me
diagnose no_such.py:f | no_such.py
diagnose f | f
diagnose :f | :f
diagnose | FILE
diagnose '' | ''
claims 9.9 | 9.9
claims '' | ''
claims --mine no_such_folder | no_such_folder
claims --mine FOLDER | /
claims --mine '' | '' | --mine | records
claims --mine /dev/null | /dev/null
claims --mine FOLDER --rerun | --mine
claims --rerun --seeds -1 | --seeds | seeds
claims --rerun --seeds x | --seeds
claims --rerun --seeds 1.5 | --seeds
claims --seeds 3 | --seeds | --rerun
claims --colour | --colour
data | command
data colour | colour
data status emotion | emotion
data fetch | names
data fetch triplet | triplet
data fetch emotion | emotion
data verify | names
data verify emotion | emotion
data verify cremad | cremad
data verify mosi | mosi
data verify nyuv2 | nyuv2
data verify ks | ks
data verify vggsound | vggsound
data verify grid_words | grid
data verify folder | folder
data prepare triplet | triplet
data prepare emotion | emotion
data prepare folder | folder
data prepare folder folder=../x | ../x
data prepare folder folder=/etc | /etc
data prepare folder folder=no_such | no_such
data prepare folder my_set | my_set
data prepare folder colour=3 | colour
data prepare folder frames=x | frames
data prepare cremad | cremad
data prepare grid | --raw
data prepare grid --raw no_such | no_such
data prepare grid --raw FOLDER | /
data --root no_such_root verify mosi | no_such_root
data --root /dev/null verify mosi | /dev/null
data --root '' verify mosi | root | mosi
reproduce --profile smokee | smokee
reproduce --profile '' | ''
reproduce --only 99 | 99
reproduce --only '' | --only | ''
reproduce --only , | --only | ','
reproduce --only 3 | 3
reproduce --only | --only
reproduce --only '02; touch x' | 02;
reproduce --workers 0 | --workers
reproduce --workers -2 | --workers
reproduce --workers x | --workers
reproduce --workers 1.5 | --workers
reproduce --per-gpu 0 | --per-gpu
reproduce --out /dev/null/x | /dev/null/x
reproduce --out /proc/x | /proc/x
reproduce --rehearse | --rehearse
reproduce --profile paper --rehearse -1 | -1
reproduce --profile paper --rehearse big | big
reproduce --profile paper --rehearse nan | nan
reproduce --profile paper --rehearse 0 | size | '0'
reproduce --colour | --colour
rehearse | dataset
rehearse cremat | cremat
rehearse cremad --size -1 | size
rehearse cremad --size x | 'x'
rehearse cremad --size nan | nan
rehearse cremad --size inf | inf
rehearse cremad --size small --methods vanila | vanila
rehearse cremad --size small --precision fp8 | fp8
rehearse cremad --size small --steps 0 | steps
rehearse cremad --size small --steps -3 | steps
rehearse cremad --size small --steps x | steps
audit -1 | -1 | count
audit 0 | count | 0
audit x | x
audit 1.5 | 1.5
"""
# Fields of a run, as words of ``dgl train``.
CHANGES = """\
dataset=emotion | emotion
dataset= | data set
dataset=5 | 5
dataset=null | dataset is None
method=vanila | vanila
method= | method
'method=[1]' | method
model=mpl | mpl
model= | model
dataset_options=5 | dataset_options
'dataset_options=[1]' | dataset_options
dataset_options=x | dataset_options
dataset_options.samples=-1 | samples
dataset_options.samples=59 | samples
dataset_options.samples=1e30 | samples
dataset_options.samples=many | samples
dataset_options.modalities=1 | modalities
dataset_options.modalities=2.5 | modalities
dataset_options.colour=3 | colour
dataset_options.=3 | '' | option
method_options.alpha=-1 | alpha
method_options.alpha=NaN | alpha
method_options.alpha=Infinity | alpha
method_options.alpha=big | alpha
method_options.alpha=null | alpha
'method_options.alpha=[4]' | alpha
method_options.beta=1 | beta
model_options.width=0 | width
model_options.width=-8 | width
model_options.width=wide | width
model_options.dropout=1.5 | dropout
model_options.dropout=NaN | dropout
model_options.fusion=glue | glue
colour=red | colour
=5 | '' | field
model=resnet18 'model_options={}' | strong | resnet18
model=mmtm 'model_options={}' | strong | mmtm
model=esanet 'model_options={}' | esanet | rgb
spec.epochs=3 | spec
epochs.x=3 | epochs
"""
OPTIONS = """\
--device cuda | cuda | GPU
--device tpu | tpu
--device cuda:99 | cuda:99
--device meta | meta
--compile no_such | no_such
--data-on mars | mars
"""


def table(text: str) -> Iterator[list]:
    """Rows of such a table: the words of the command, then the words of the answer."""
    for line in text.splitlines():
        command, *names = line.split(" | ")
        yield [shlex.split(command), *names]


# -- specifications, on the command line -------------------------------------------------------------------------------

FIELDS: dict[str, list[object]] = {
    "epochs": [0, -1, 10**30, 1.5, "ten", True, NAN],
    "batch_size": [0, -4, 10**12, 1.5, "all", None],
    "lr": [-1, NAN, INF, "fast", None, [0.1], True],
    "encoder_lr_scale": [-1, NAN, INF, "x"],
    "momentum": [5, -0.1, NAN, "x", 1.5],
    "weight_decay": [-1, NAN, INF, "x"],
    "milestones": [-3, [-3], ["x"], [1.5], 7, "70", [3, 3, None]],
    "decay": [-1, NAN, INF, "x"],
    "accumulate": [0, -1, 1.5, "x"],
    "clip": [-1, NAN, "x", None],
    "seed": [1.5, "x", NAN, True, [1]],
    "precision": ["fp8", 16, "", None],
    "optimizer": ["sgdd", "", 3, None],
    "schedule": ["cosine", "", 3],
    "nesterov": ["yes", 1, None],
    "evaluate_every": [0, -1, 1.5, "x"],
    "half_resolution": [-0.1, 1.5, NAN, "x"],
}


def _json(value: object) -> str:
    import json

    return json.dumps(value)


def _training(*changes: str, words: tuple[str, ...] = ()) -> Callable[[Path], object]:
    """``dgl train`` of a tiny run with some fields changed."""
    fields = {word.partition("=")[0] for word in changes}
    plain = [word for word in run_words("dgl")[1:] if word.partition("=")[0] not in fields]
    plain = ["epochs=1" if word.startswith("epochs=") else word for word in plain]
    return lambda folder: train_here(["train", *plain, *changes], folder / "store", ("--device", "cpu", *words))


def of_specifications() -> Iterator[Bad]:
    for name, values in FIELDS.items():
        for value in values:
            change = f"{name}={_json(value)}"
            yield Bad(f"dgl train {change}", _training(change), (name, short(value)), command=True)
    for changes, *names in table(CHANGES):
        yield Bad(f"dgl train {' '.join(changes)}", _training(*changes), tuple(names), command=True)


def _file(name: str, content: str | bytes, *words: str) -> Callable[[Path], object]:
    """A command that is given a file: FILE in its words stands for it."""

    def act(folder: Path) -> object:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return here(*(str(path) if w == "FILE" else w.replace("FILE", str(path)) for w in words))(folder)

    return act


def here(*words: str) -> Callable[[Path], object]:
    """A command with folders of its own; FOLDER in its words stands for that of the case."""

    def act(folder: Path) -> object:
        os.environ |= {
            "DGL_RESULTS": str(folder / "store"),
            "DGL_DATA_CACHE": str(folder / "cache"),
            "DGL_DATA": str(folder / "data"),
        }
        os.chdir(folder)
        return dgl(*(word.replace("FOLDER", str(folder)) for word in words))

    return act


def of_training_commands() -> Iterator[Bad]:
    for what, content in (
        ("a list", "[1]"),
        ("a number", "3"),
        ("half a file", '{"dataset": "tri'),
        ("empty", ""),
        ("no text", b"\xff\xfe\x00"),
        ("an unknown field", '{"dataset": "triplet", "colour": 1}'),
        ("options that are text", '{"dataset": "triplet", "dataset_options": "x"}'),
        ("no data set", '{"seed": 1}'),
        ("a spec that is a list", '{"spec": [1]}'),
        ("deep nesting", "[" * 100_000),
        ("two of one field", '{"dataset": "triplet", "epochs": 1, "epochs": 2}'),
        ("null", "null"),
    ):
        yield Bad(
            f"dgl train spec.json with {what}",
            _file("spec.json", content, "train", "FILE"),
            ("spec.json", "colour", "dataset_options", "data set", "epochs"),
            command=True,
        )
    for words, *names in table(OPTIONS):
        if "cuda" not in words or not torch.cuda.is_available():
            yield Bad(f"dgl train ... {' '.join(words)}", _training(words=words), tuple(names), command=True)


SCRIPT = """
import torch
from torch import nn
from dgl_core import ConcatFusion, LateFusion

def model():
    return LateFusion({"a": nn.Linear(4, 2), "b": nn.Linear(3, 2)}, ConcatFusion({"a": 2, "b": 2}, 3))

def right():
    return model(), [({"a": torch.randn(8, 4), "b": torch.randn(8, 3)}, torch.arange(8) % 3)]

"""


def of_commands() -> Iterator[Bad]:
    scripts = {
        "no_such": ("", "no_such"),
        "three": ("three = 3", "three"),
        "nothing": ("def nothing(): pass", "NoneType"),
        "pair": ("def pair(): return 1, 2", "int", "model"),
        "triple": ("def triple(): return model(), 1, 2", "tuple"),
        "fails": ("def fails(): raise KeyError('boom')", "boom"),
        "divides": ("def divides(): return 1 / 0", "zero"),
        "asks": ("def asks(x): return model(), []", "asks"),
        "empty": ("def empty(): return model(), []", "loader"),
        "nan": (
            "def nan(): m, l = right(); return m, [({k: v * float('nan') for k, v in l[0][0].items()}, l[0][1])]",
            "NaN",
            "finite",
        ),
        "bare": ("def bare(): return nn.Linear(4, 3), right()[1]", "Linear"),
        "quits": ("def quits(): raise SystemExit('bye')", "bye", "quits"),
    }
    for name, (text, *names) in scripts.items():
        yield Bad(
            f"dgl diagnose script.py:{name}",
            _file("script.py", SCRIPT + text, "diagnose", f"FILE:{name}"),
            tuple(names),
            command=True,
        )
    for text, *names in (
        ("def f(:", "script.py"),
        ("import no_such_module", "no_such_module"),
        ("\x00", "script.py"),
        (b"\xff", "script.py"),
    ):
        yield Bad(
            f"dgl diagnose of {text!r}", _file("script.py", text, "diagnose", "FILE:f"), tuple(names), command=True
        )
    for share in ("0", "-1", "2", "nan", "x"):
        yield Bad(
            f"dgl diagnose --share {share}",
            _file("script.py", SCRIPT, "diagnose", "FILE:right", "--share", share),
            ("share",),
            command=True,
        )

    for words, *names in table(COMMANDS):
        yield Bad(f"dgl {shlex.join(words)}", here(*words), tuple(names), command=True)


def of_data() -> Iterator[Bad]:
    def load(name: object, *names: str, **options) -> Bad:
        def act(folder: Path) -> object:
            os.environ |= {"DGL_DATA_CACHE": str(folder / "cache"), "DGL_DATA": str(folder.parent / "media")}
            from dgl_core import data

            return repr(data.load(name, **options))

        words = ", ".join(f"{k}={v!r}" for k, v in options.items())
        return Bad(f"data.load({name!r}{', ' if words else ''}{words})", act, names or (repr(name),))

    small = {
        "emotions": {"clips": 18, "frame_size": 16},
        "triplet": {"samples": 60},
        "rooms": {"images": 8, "height": 32, "width": 32},
        "folder": {"folder": "my_set", "frame_size": 16, "spectrogram": "compact"},
    }
    for name, base in small.items():
        for option, default in DATASETS[name].options.items():
            values = wrong_values(default) + (
                [10**30] if type(default) is int else [2.0] if isinstance(default, float) else []
            )
            for value in values:
                if not (option == "seed" and value == 10**30) and option != "folder":
                    yield load(name, option, **base | {option: value})
    for value in ("", "../my_set", "/etc", "no_such", "my_set/..", 3, None, "a\nb", "a\0b", "."):
        yield load("folder", "folder", folder=value)
    for name in ("", "emotion", None, 3, "EMOTIONS", "triplet "):
        yield load(name)
    yield load("triplet", "colour", colour=3)
    for name in ("cremad", "ks", "vggsound", "mosi", "nyuv2", "grid_words", "grid_letters", "grid_digits"):
        yield load(name, name.split("_")[0], "CREMA-D", "Kinetics", "VGGSound", "MOSI", "NYU", "GRID")
    for root in ("no_such_root", "/dev/null"):
        yield load("mosi", root, root=root)


def _make(folder: Path) -> int:
    """``make reproduce ONLY='02; touch victim'`` with an interpreter that only looks: 0 if more than that was run."""
    tools = folder / "bin"
    tools.mkdir()
    (tools / "python").write_text("#!/bin/sh\nexit 2\n")
    (tools / "python").chmod(0o755)
    done = subprocess.run(
        [
            "make",
            "-f",
            str(ROOT / "Makefile"),
            "-n",
            "-o",
            str(folder / "v/.complete"),
            f"VENV={folder / 'v'}",
            f"BIN={tools}",
            "reproduce",
            f"ONLY=02; touch {folder / 'victim'}",
        ],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    subprocess.run(["sh", "-c", done.stdout], cwd=folder, capture_output=True)
    if (folder / "victim").exists():
        return 0
    print("only the notebooks that ONLY names are asked for", file=__import__("sys").stderr)
    return 2


def of_make() -> Iterator[Bad]:
    yield Bad("make ONLY='02; touch victim'", _make, ("ONLY",), command=True)


# -- the kinds ---------------------------------------------------------------------------------------------------------


def prepare(root: Path) -> None:
    """Import everything that bad inputs reach, once; make the media of a user's folder."""
    if (root / "media").exists():
        return

    def everything() -> bool:
        make_media(root / "media", 12)
        fit(network(), "dgl", arrays(), epochs=1, batch_size=4, lr=0.01, device="cpu")
        str(diagnose(network(), batches()))
        here("data", "status", "emotions")(root / "media")
        from dgl_core.paper.claims import command  # noqa: F401
        from dgl_core.reproduce import rehearse  # noqa: F401

        for name in MODELS:
            if name != "esanet":
                build_model(name, SHAPES[name], 4, 0)
        return True

    undisturbed(everything, root / "media-work")


def _kind(name: str, make: Callable[[], Iterator[Bad]]) -> Kind:
    @functools.cache
    def rows() -> tuple[Bad, ...]:
        return tuple(make())

    def run(rng: random.Random, folder: Path, number: int) -> str:
        return judge(rows()[number], folder)

    size = len(rows())
    return Kind(f"input-{name}", run, size, size=size, prepare=prepare)


TABLE = {
    "arrays": of_arrays,
    "splits": of_splits,
    "models": of_models,
    "model-options": of_model_options,
    "methods": of_methods,
    "objectives": of_objectives,
    "fit": of_fit,
    "diagnosis": of_diagnosis,
    "specifications": of_specifications,
    "training": of_training_commands,
    "commands": of_commands,
    "data": of_data,
    "make": of_make,
}
KINDS = [_kind(name, make) for name, make in TABLE.items()]
