"""Compiled code is used only after it has trained like eager code, and one form is compiled once."""

from __future__ import annotations

import re

import pytest
import torch
from torch._dynamo.utils import counters
from torch.utils._pytree import tree_leaves

from dgl_core import methods, models
from dgl_core.data import ArrayDataset
from dgl_core.training import selftest
from dgl_core.training.loop import Trainer
from dgl_core.training.machine import AUTO, GRAPHS, Machine
from dgl_core.training.records import RunSpec
from dgl_core.training.train import fit

CUDA = torch.device("cuda")
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


# -- CUDA graphs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "passes", "found"),
    [
        (AUTO, {GRAPHS, "inductor"}, GRAPHS),
        (AUTO, {"inductor"}, "inductor"),
        (AUTO, set(), ""),
        (GRAPHS, {GRAPHS, "inductor"}, GRAPHS),
        (GRAPHS, {"inductor"}, "inductor"),
    ],
)
def test_a_gpu_replays_graphs_only_after_the_self_test(dataset, monkeypatch, asked, passes, found):
    monkeypatch.setattr(selftest, "trusted", lambda spec, data, device, plain, way: way.compile in passes)
    assert selftest.settled(Machine(compile=asked, per_gpu=2), spec(), dataset, CUDA) == Machine(found, per_gpu=2)


@pytest.mark.parametrize(
    ("device", "processes", "changes", "found", "words"),
    [
        (CPU, 1, {}, "", "they need an NVIDIA GPU, not cpu; the run is not compiled"),
        (CUDA, 2, {}, "", "several processes train one run"),
        (CUDA, 1, {"accumulate": 2}, "inductor", "accumulate=2 keeps gradients .*; the run is compiled by inductor"),
    ],
)
def test_where_graphs_cannot_be_a_sentence_says_so(
    dataset, monkeypatch, capsys, device, processes, changes, found, words
):
    monkeypatch.setattr(selftest, "trusted", lambda *arguments: True)
    machine = selftest.settled(Machine(compile=GRAPHS), spec(**changes), dataset, device, processes)
    assert machine.compile == found
    said = capsys.readouterr().err
    assert re.search(words, said) and said.startswith("No CUDA graphs: ") and said.count("\n") == 1


def test_graphs_that_fail_are_said_to_be_left_out(dataset, monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", lambda objective, **options: raising)
    assert not selftest.trusted(spec(), dataset, CPU, Machine(), Machine(compile=GRAPHS))
    assert "is not replayed from CUDA graphs" in (said := capsys.readouterr().err)
    assert said.endswith("it goes on without them.\n")


class Replayed(torch.nn.Module):
    """As a CUDA graph does: results stay where they are only until the next step, which writes there again."""

    def __init__(self, objective, lent: list):
        super().__init__()
        self.objective, self.lent, self.shapes = objective, lent, set()

    def forward(self, inputs, *rest):
        found = self.objective(inputs, *rest)
        self.lent += [x for x in tree_leaves(found) if isinstance(x, torch.Tensor)]
        self.shapes.add(tuple(x.shape for x in inputs.values()))
        assert len(self.shapes) == 1, "a graph has one shape"
        return found


@pytest.mark.parametrize("method", ["vanilla", "dgl", "gblend", "ogm_ge", "agm", "pmr", "mmcosine", "relearn"])
def test_nothing_of_a_step_is_read_after_the_next_one_has_begun(dataset, monkeypatch, method):
    """Results and gradients that a graph would overwrite are overwritten here; 48 samples leave a part of a batch."""
    lent, steps, asked = [], [], []

    def overwrite():
        steps.append(1)
        with torch.no_grad():
            for x in (*lent, *(p.grad for p in runs[-1].model.parameters() if p.grad is not None)):
                x.fill_(torch.nan) if x.is_floating_point() else x.zero_()
        lent.clear()

    def compiled(objective, **options):
        asked.append(options)
        return Replayed(objective, lent)

    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", overwrite)
    monkeypatch.setattr(torch, "compile", compiled)
    runs = []
    for machine in (Machine(), Machine(compile=GRAPHS)):
        torch.manual_seed(0)
        of = spec(method=method, batch_size=20, epochs=2)
        model = models.build("mlp", SHAPES, 4, 0, **NETWORK)
        runs.append(Trainer(of, methods.build(method), model, dataset, CPU, machine))
        runs[-1].fit()
    eager, replayed = runs
    assert asked == [{"mode": GRAPHS, "dynamic": False}] and len(steps) == 4
    drop = {"seconds/training"}
    assert {c: v for c, v in eager.curves.items() if c not in drop} == {
        c: v for c, v in replayed.curves.items() if c not in drop
    }
    assert all(torch.equal(a, b) for a, b in zip(eager.model.parameters(), replayed.model.parameters(), strict=True))


def test_a_network_of_ones_own_is_compiled_without_graphs(dataset, monkeypatch, capsys):
    monkeypatch.setenv("DGL_COMPILE", GRAPHS)
    monkeypatch.setattr(torch, "compile", lambda objective, **options: asked.append(options) or objective)
    asked = []
    fit(lambda: models.build("mlp", SHAPES, 4, 0, **NETWORK), "dgl", dataset, epochs=1, batch_size=16)
    assert asked == [{"backend": "inductor"}] and "a network of your own is not self-tested" in capsys.readouterr().err
