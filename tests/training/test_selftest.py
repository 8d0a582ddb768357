"""Compiled code is used only after it has trained like eager code, and one form is compiled once."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.utils import counters

from dgl_core import methods, models
from dgl_core.data import ArrayDataset
from dgl_core.training import selftest
from dgl_core.training.loop import Trainer
from dgl_core.training.machine import AUTO, Machine
from dgl_core.training.records import RunSpec

CPU, SHAPES = torch.device("cpu"), {"audio": (10,), "visual": (6,)}
NETWORK = {"fusion": "concat", "width": 16, "layers": 1, "dropout": 0.0}


def spec(**changes):
    options = {"epochs": 1, "milestones": (), "batch_size": 16, "lr": 0.05, "precision": "fp64"}
    return RunSpec("arrays", "dgl", "mlp", model_options=NETWORK, **options).but(**changes)


@pytest.fixture(scope="module")
def dataset():
    draw = torch.Generator().manual_seed(0)
    inputs = {m: torch.randn(80, *shape, generator=draw) for m, shape in SHAPES.items()}
    return ArrayDataset(inputs, torch.arange(80) % 4, ["train"] * 48 + ["val"] * 16 + ["test"] * 16)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(selftest, "_trusted", {})
    torch._dynamo.reset()


def raising(graph, inputs):
    raise RuntimeError("there is no C++ compiler")


def wrong(graph, inputs):
    """A compiler that makes losses a fifth too large."""
    larger = lambda x: 1.2 * x if isinstance(x, torch.Tensor) and x.requires_grad and x.dim() == 0 else x  # noqa: E731
    return lambda *values: tuple(larger(x) for x in graph(*values))


def test_what_the_reader_chose_stays_and_a_cpu_does_not_compile_by_itself(dataset):
    for machine in (Machine(), Machine(compile="aot_eager")):
        assert selftest.settled(machine, spec(), dataset, CPU) is machine
    assert selftest.settled(Machine(compile=AUTO), spec(), dataset, CPU) == Machine()
    assert Machine.from_environment({"DGL_COMPILE": "auto"}).compile == AUTO
    assert "compile" not in Machine(compile=AUTO).describe(CPU), "a record says what was done, not what was allowed"


def test_code_that_trains_alike_is_trusted_after_one_test_a_process(dataset, monkeypatch):
    good = Machine(compile="aot_eager")
    assert selftest.distance(spec(), dataset, CPU, Machine(), good) < 1e-9
    tested, distance = [], selftest.distance
    monkeypatch.setattr(selftest, "distance", lambda *arguments: tested.append(1) or distance(*arguments))
    for seed in range(3):
        assert selftest.trusted(spec(seed=seed), dataset, CPU, Machine(), good)
    assert len(tested) == 1
    assert selftest.trusted(spec(method="vanilla"), dataset, CPU, Machine(), good) and len(tested) == 2


@pytest.mark.parametrize("method", sorted(methods.METHODS.keys() - {"dgl_dense"}))
def test_every_method_is_prepared_before_its_steps(dataset, method):
    """As in a run: AGM has its running scores, PMR its prototypes; or the test of the compiler would fail on those."""
    options = {"modality": "audio"} if method == "unimodal" else {}
    assert selftest.distance(spec(method=method, method_options=options), dataset, CPU, Machine(), Machine()) == 0


@pytest.mark.parametrize(("backend", "words"), [(raising, "there is no C"), (wrong, "its weights differ by")])
def test_code_that_fails_or_errs_is_not_used_and_said_in_a_sentence(dataset, monkeypatch, capsys, backend, words):
    monkeypatch.setattr(Machine, "compiled", lambda self, module: torch.compile(module, backend=backend)
                        if self.compile else module)  # fmt: skip
    assert not selftest.trusted(spec(), dataset, CPU, Machine(), Machine(compile="aot_eager"))
    said = capsys.readouterr().err
    assert words in said and said.endswith("it trains eagerly.\n") and said.count("\n") == 1


def test_the_self_test_leaves_random_numbers_as_they_were(dataset):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    selftest.trusted(spec(), dataset, CPU, Machine(), Machine(compile="eager"))
    assert torch.equal(before, torch.get_rng_state())


def test_one_method_and_shape_is_compiled_once_however_many_runs(dataset):
    counters.clear()
    for method, seed in (("dgl", 0), ("dgl", 1), ("vanilla", 0), ("dgl", 2), ("vanilla", 1)):
        built = methods.build(method)
        model = models.build("mlp", SHAPES, 4, seed, **NETWORK)
        run = Trainer(spec(method=method, seed=seed), built, model, dataset, CPU, Machine(compile="eager"))
        run._train_epoch()
    assert counters["stats"]["unique_graphs"] == 2 and not counters["graph_break"]
