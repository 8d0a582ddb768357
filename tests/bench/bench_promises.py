"""The promises that need no GPU, for each method of Table 1 beside its floor: ``make bench``.

    PYTHONPATH=. python tests/bench/bench_promises.py [METHOD ...]

Operations of a step over those of joint training, at the paper's size (``results/operations.json``), beside the least
that the method can do; breaks in the graph that ``torch.compile`` makes of its objective; operations for whose result
the host would have to wait for a GPU; how far compiled training ends from eager training, as a share of the way that
eager training went (float64, 20 steps); how far runs that are trained many at a time end from each alone (float64; for
methods whose step is the plain one); and whether data streamed from host memory give the weights of data in memory, to
the last bit. Exit status 1 if a promise is broken.
"""

from __future__ import annotations

import copy
import sys
from collections import defaultdict
from unittest import mock

import torch
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

from dgl_core import methods, models
from dgl_core.data import ArrayDataset
from dgl_core.methods.base import Method
from dgl_core.paper.experiments import late_fusion
from dgl_core.runs.estimates import step_work
from dgl_core.training import many, selftest
from dgl_core.training.loop import Trainer
from dgl_core.training.machine import Machine
from dgl_core.training.memory import streaming
from dgl_core.training.records import RunSpec

ROOM = 1.02  # over the floor of the operations
NEAR = 1e-9
SEEDS = (0, 1)
FLOOR = {  # passes of all encoders over those of joint training: forward 1, backward 2; other methods need no more
    "unimodal": 1 / 2,
    "agm": 2.0,  # its masked pass is in evaluation mode, with other batch-norm statistics, so it is a pass of its own
    "mmpareto": (1 + 2 + 2) / 3,  # the gradients of the joint and of the own losses apart, so two backward passes
    "relearn": 1.05,  # three times in a run the features of two parts, spread over its steps
    "reconboost": 2 / 3,  # four epochs of one modality each for four of both
}
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "is_nonzero", "bincount"}
SHAPES = {"audio": (10,), "visual": (6,)}
CPU, EAGER, COMPILED = torch.device("cpu"), Machine(), Machine(compile="aot_eager")


class Waits(TorchDispatchMode):
    """Count operations whose result the host must wait for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.count += function.overloadpacket.__name__ in WAITING
        return function(*arguments, **options or {})


def dataset() -> ArrayDataset:
    draw = torch.Generator().manual_seed(0)
    inputs = {m: torch.randn(160, *shape, generator=draw) for m, shape in SHAPES.items()}
    return ArrayDataset(inputs, torch.arange(160) % 4, ["train"] * 96 + ["val"] * 32 + ["test"] * 32)


def spec(method: str, options: dict[str, object]) -> RunSpec:
    network = {"fusion": "concat", "width": 16, "layers": 1, "dropout": 0.0}
    settings = {"epochs": 1, "milestones": (), "batch_size": 16, "lr": 0.05, "precision": "fp64"}
    return RunSpec("arrays", method, "mlp", model_options=network, method_options=options, **settings)


def trainer(run: RunSpec, data: ArrayDataset) -> Trainer:
    """A run before its first epoch, always from the same weights."""
    torch.manual_seed(0)
    method = methods.build(run.method, run.method_options)
    shapes = {m: SHAPES[m] for m in method.modalities(list(SHAPES))}
    model = models.build(run.model, shapes, 4, run.seed, **run.model_options)
    made = Trainer(run, method, model, data, CPU, EAGER)
    made.method.on_start(made)
    return made


def compiled(run: RunSpec, data: ArrayDataset) -> tuple[int, int, float]:
    """Graphs of the objective, breaks in them, and how far compiled training ends from eager.

    There is no graph for methods that train without the objective (MLA, MMPareto, ReconBoost).
    """
    torch._dynamo.reset()
    counters.clear()
    distance = selftest.distance(run, data, CPU, EAGER, COMPILED)
    return counters["stats"]["unique_graphs"], sum(counters["graph_break"].values()), distance


def waits(run: RunSpec, data: ArrayDataset) -> int:
    """Operations to wait for in the steps of an epoch after the first one."""
    made, plain, mode = trainer(run, data), streaming.batches, Waits()

    def watched(*arguments):
        found = plain(*arguments)
        yield next(found)
        with mode:
            yield from found

    with mock.patch.object(streaming, "batches", watched):
        made._train_epoch()
    return mode.count


def streamed_alike(run: RunSpec, data: ArrayDataset) -> bool:
    """Whether an epoch on streamed data ends with the weights of one on data in memory."""
    resident = trainer(run, data)
    with mock.patch.object(streaming, "place", lambda given, device, how: (streaming.Streamed(given, device), "host")):
        streamed = trainer(run, data)
    for made in (resident, streamed):
        made._train_epoch()
    pairs = zip(resident.model.parameters(), streamed.model.parameters(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def together(run: RunSpec, data: ArrayDataset) -> float | None:
    """Largest difference of a weight between runs of two seeds trained at once and each alone; None: cannot be."""
    method, run = methods.build(run.method, run.method_options), run.but(clip=0.0)
    if type(method).step is not Method.step or len(method.modalities(list(SHAPES))) < 2:
        return None
    alone = [trainer(run.but(seed=seed), data) for seed in SEEDS]
    networks = [copy.deepcopy(made.model) for made in alone]
    weights = many.initial(networks)
    objective = method.objective(networks[0], many.criterion)
    many.train_many(objective, weights, many.stack([data] * len(SEEDS), torch.float64), run, SEEDS)
    for made in alone:
        made._train_epoch()
    pairs = ((many.slice_of(weights, i), dict(made.model.named_parameters())) for i, made in enumerate(alone))
    return max((x - own[name]).abs().max().item() for found, own in pairs for name, x in found.items())


def rows() -> dict[str, RunSpec]:
    """One run of every method of Table 1 on CREMA-D, by the method's name."""
    found = (specs[0] for specs in late_fusion.table1("paper", "cremad", [0]).values())
    return {run.method: run for run in reversed(list(found)) if hasattr(methods.METHODS[run.method], "step")}


def main(arguments: list[str]) -> int:
    data, broken, vanilla = dataset(), defaultdict(list), step_work(rows()["vanilla"])
    print("method        operations   floor   graphs   breaks   waits   compiled   together   streamed")
    for method, paper in rows().items():
        if (arguments and method not in arguments) or step_work(paper) is None:
            continue
        own, floor = step_work(paper)[0] / vanilla[0], FLOOR.get(method, 1.0)
        run = spec(method, dict(paper.method_options))
        graphs, breaks, distance = compiled(run, data)
        waiting, alike, apart = waits(run, data), streamed_alike(run, data), together(run, data)
        kept = {"operations": own <= ROOM * floor, "breaks": not breaks, "waits": not waiting,
                "compiled": distance <= NEAR, "together": (apart or 0.0) <= NEAR, "streamed": alike}  # fmt: skip
        for what in (what for what, good in kept.items() if not good):
            broken[method].append(what)
        beside = "-" if apart is None else f"{apart:.1e}"
        print(f"{method:13s} {own:9.3f} {floor:7.3f} {graphs:8d} {breaks:8d} {waiting:7d}   {distance:8.1e} {beside:>9}"
              f"   {'equal' if alike else 'DIFFERENT'}", flush=True)  # fmt: skip
    for method, what in broken.items():
        print(f"BROKEN  {method}: {', '.join(what)}")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
