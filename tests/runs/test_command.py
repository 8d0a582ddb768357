"""One run from the command line, and one run on two processes (gloo): the same update as on one."""

from __future__ import annotations

import contextlib
import io
import json
import os

import pytest
import tiny
import torch
import torch.distributed as dist
import torch.nn.functional as F
from tiny import arrays, images, pictures

from dgl_core import __main__ as dgl
from dgl_core import methods
from dgl_core.methods import METHODS
from dgl_core.runs import command as train
from dgl_core.runs import keys
from dgl_core.runs import run as runs
from dgl_core.training.distributed import Team
from dgl_core.training.loop import Trainer
from dgl_core.training.machine import Machine
from dgl_core.training.records import RunSpec

tiny.register()
CPU = torch.device("cpu")
WORLD = 2
EXACT = {"dgl": 1, "vanilla": 2, "reconboost": 1}  # without batch statistics the whole batch; batches per update
TRAIN = ["dataset=tiny", "model=small", "model_options.width=2", "epochs=2", "batch_size=4", "lr=0.05"]
OPTIONS = {"unimodal": {"modality": "sound"}}


def trainer(method: str, model, dataset, team: Team = Team(), **fields) -> Trainer:  # noqa: B008
    spec = RunSpec("tiny", method, "custom", precision="fp64", **{"epochs": 2, "batch_size": 6, "lr": 0.05} | fields)
    built = methods.build(method, OPTIONS.get(method))
    return Trainer(spec, built, model, dataset, CPU, Machine(), team)


def exact(method: str, team: Team = Team()) -> Trainer:  # noqa: B008
    run = trainer(method, equal_widths(), arrays(2), team, accumulate=EXACT[method], clip=1.0)
    run.fit()
    return run


def equal_widths():
    """Features of one width, as heads that are shared need them."""
    model = pictures(2).double()
    torch.manual_seed(0)
    encoders = {}
    for i, m in enumerate(model.encoders):
        encoders[m] = torch.nn.Sequential(torch.nn.Linear(3 + i, 6), torch.nn.Tanh())
        encoders[m].width = 6
    return type(model)(encoders, model.fusion).double()


def one_step(team: Team = Team(), model=None) -> Trainer:  # noqa: B008
    """A single update of DGL on a network with batch-norm: 12 training samples are one batch."""
    run = trainer("dgl", model or pictures(2), images(2), team, epochs=1, batch_size=12, momentum=0.0, clip=0.0)
    run.fit()
    return run


def state(run: Trainer) -> dict[str, torch.Tensor]:
    return dict(run.model.state_dict()) | {f"heads.{n}": x for n, x in run.heads.state_dict().items()}


def command(arguments: list[str]) -> tuple[int, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = dgl.main(["train", *arguments])
    return status, out.getvalue()


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["DGL_RESULTS"] = f"{folder}/store"
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    try:
        tiny.register()
        team = Team(rank, WORLD)
        found = {f"exact {m}": state(exact(m, team)) for m in EXACT}
        found["losses"] = {"dgl": torch.tensor(exact("dgl", team).curves["loss/multimodal"])}
        found["one step"] = state(one_step(team))
        for method in METHODS:
            if method != "dgl_dense":
                model = pictures(1 if method == "unimodal" else 2)
                run = trainer(method, model, images(2, samples=48), team)
                run.fit()
                found[f"any {method}"] = state(run)
        torch.save(found, f"{folder}/{rank}.pt")
        said = [command(TRAIN), command(TRAIN), command([*TRAIN, "batch_size=5"])]
        with open(f"{folder}/{rank}.json", "w") as file:
            json.dump(said, file)
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes left behind; one start for all tests."""
    folder = tmp_path_factory.mktemp("team")
    torch.multiprocessing.spawn(worker, (str(folder),), nprocs=WORLD)
    return folder


@pytest.fixture(scope="module")
def found(folder) -> list[dict[str, dict[str, torch.Tensor]]]:
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


def error(found, expected) -> float:
    assert found.keys() == expected.keys()
    return max((x.double() - expected[n]).abs().max().item() for n, x in found.items())


@pytest.mark.parametrize("method", EXACT)
def test_two_processes_end_where_one_does(found, method):
    """Wrapped by DDP (dgl), with accumulation (vanilla), with heads whose gradients are averaged later (reconboost)."""
    expected = state(exact(method))
    assert all(error(rank[f"exact {method}"], expected) < 1e-6 for rank in found)


def test_curves_are_of_the_whole_batch(found):
    expected = torch.tensor(exact("dgl").curves["loss/multimodal"])
    assert all(torch.allclose(rank["losses"]["dgl"], expected, rtol=1e-5) for rank in found)


def test_with_batch_norm_the_update_is_the_mean_over_the_parts(found):
    """Each process normalises its own half; running statistics are the mean of both."""
    run = trainer("dgl", pictures(2), images(2), epochs=1, batch_size=12)
    order = run.train_index[torch.randperm(12, generator=run.generator("train"))]
    halves, model = [], run.model
    start = {n: x.clone() for n, x in model.state_dict().items()}
    for rows in order.chunk(WORLD):
        model.load_state_dict(start)
        model.zero_grad()
        batch = run.batch(rows)
        run.objective(batch.inputs, batch.target).total.backward()
        halves.append({n: p.grad.clone() for n, p in model.named_parameters()} | dict(model.named_buffers()))
        halves[-1] = {n: x.clone().double() for n, x in halves[-1].items()}
    for name, x in found[0]["one step"].items():
        mean = sum(half[name] for half in halves) / WORLD
        parameter = name in dict(model.named_parameters())
        expected = start[name] - 0.05 * (mean + 1e-4 * start[name]) if parameter else mean
        assert (x - expected).abs().max() < 1e-6, name
    whole = state(one_step())
    assert error(found[0]["one step"], whole) > 1e-3, "the whole batch gives something else"


@pytest.mark.parametrize("method", [m for m in METHODS if m != "dgl_dense"])
def test_processes_stay_together(found, method):
    """Also where each steers its gradients by scores of its own part."""
    assert error(found[0][f"any {method}"], found[1][f"any {method}"]) == 0.0


def test_one_record_and_one_voice(folder, monkeypatch):
    (first, again, uneven), others = (json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD))
    monkeypatch.setenv("DGL_RESULTS", str(folder / "store"))
    assert [status for status, _ in (first, again, uneven)] == [0, 0, 2]
    lines = first[1].splitlines()
    assert lines[0] == "vanilla on tiny, 2 epochs, seed 0, fp32, 2 processes on cpu"
    assert [line[:11] for line in lines[1:3]] == ["epoch   1/2", "epoch   2/2"] and " left" in lines[1]
    assert "Recorded in" in lines[3] and "last (2): fused" in lines[4] and "best_test" in lines[4]
    assert again[1].startswith("Recorded already in")
    assert "batch_size 5 cannot be cut into 2 equal parts" in uneven[1] and "batch_size=4" in uneven[1]
    assert [said for _, said in others[:2]] == ["", ""]
    assert runs.find(train.read_spec(TRAIN)) is None, "a run on two processes is no run on one"
    wanted = keys.resolve(train.read_spec(TRAIN))
    record = runs.here(processes=2).load(wanted.spec, wanted.key)
    assert record.environment["processes"] == 2 and record.data["counts"]["train"] == 12
    assert [path.suffix for path in (folder / "store").iterdir()] == [".json"]


def test_batch_norm_sees_the_whole_batch_on_gpus():
    model = Team(0, 2).prepare(pictures(2), torch.device("cuda"))
    kinds = {type(module) for module in model.modules()}
    assert torch.nn.SyncBatchNorm in kinds and torch.nn.BatchNorm2d not in kinds
    assert torch.nn.SyncBatchNorm not in {type(m) for m in Team().prepare(pictures(2), torch.device("cuda")).modules()}


def test_a_specification_is_a_file_pairs_or_both(tmp_path):
    words = ["dataset=emotions", "method=dgl", "method_options.alpha=2", "milestones=[3]", "lr=0.01", "seed=4"]
    spec = RunSpec("emotions", "dgl", method_options={"alpha": 2}, milestones=(3,), lr=0.01, seed=4)
    assert train.read_spec(words) == spec
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec.plain()))
    assert train.read_spec([str(path)]) == spec
    assert train.read_spec([str(path), "seed=5", "method_options.alpha=3"]) == spec.but(
        seed=5, method_options={"alpha": 3}
    )


@pytest.mark.parametrize(
    "words, message",
    [
        (["nothing.json"], "there is no file 'nothing.json'"),
        (["method=dgl"], "names no data set"),
        (["dataset=tiny", "seed"], "'seed' is neither field=value"),
        (["dataset=tiny", "sed=1"], "'sed': did you mean 'seed'"),
        (["dataset=tiny", "epochs=many"], "epochs is 'many'"),
        (["dataset=tinny"], "data set 'tinny': did you mean 'tiny'"),
        ([*TRAIN, "--device", "cuda:99"], "device 'cuda:99' is not here; choose one of: cpu"),
        ([*TRAIN, "--device", "abacus"], "device 'abacus' is not here; choose one of: cpu"),
        (["dataset=tiny", "epochs=1000000000000000000000000000000"], "it must be at most 1,000,000"),
        (["dataset=tiny", "momentum=5"], "momentum is 5.0; it must be at most 1"),
        (["dataset=tiny", "momentum=1"], "momentum is 1; it must be below 1"),
        (["dataset=tiny", "milestones=[-3]"], "milestones is (-3,); it must be at least 0"),
        (["dataset=tiny", "decay=10"], "decay is 10.0; it must be at most 1"),
        (["dataset=tiny", "lr=Infinity"], "lr is inf; it must be at most 1,000,000"),
        (["dataset=tiny", "weight_decay=NaN"], "weight_decay is nan; it must be at least 0"),
        (["dataset=tiny", "seed=-1"], "seed is -1; it must be at least 0"),
        (['dataset=["tiny"]'], "dataset is ['tiny']; it must be one registered name"),
        (["dataset=tiny", "precision=tf32", "epochs=1", "batch_size=4"], "NVIDIA GPUs only"),
        ([__file__], "is no JSON"),
        ([""], "there is no file ''"),
        (["dataset=tiny", "epochs=3", "epochs.x=3"], "'epochs.x=3' sets an option, but epochs is 3"),
    ],
)
def test_wrong_requests_are_one_line(words, message, tmp_path, monkeypatch):
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path))
    status, said = command(words)
    assert status == 2 and message in said and said.count("\n") == 1


def test_a_run_that_diverges_is_one_line_too(tmp_path, monkeypatch):
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path))
    monkeypatch.setattr(F, "cross_entropy", lambda *a, **k: torch.tensor(float("nan"), requires_grad=True) * 1)
    status, said = command(TRAIN)
    assert status == 1 and "TrainingDiverged: vanilla on tiny, seed 0: the multimodal loss is nan" in said
