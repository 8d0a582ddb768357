"""What a DGL step costs in ESANet against vanilla: operations, memory, time, and the floor: ``make bench``.

    PYTHONPATH=. python tests/bench/bench_segmentation.py [--quick] [--write]

The network of the ``cpu`` profile on NYUv2 (width 16, one block a stage, 64 x 96, batch 8), one process, one thread.
Operations and bytes are counted (``counters``); time is processor time, the forms of a step take turns, and
the ratio of the lower quartiles counts, the median over three parts of the measurement, which also stand in brackets.
Exit status 1 if a promise is broken: passes one after another hold at most 10 % more memory than vanilla, and no form
needs more operations than the floor (1 % for small things). ``--write`` keeps the numbers for notebook 07.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import statistics
import sys
import time

import torch
from counters import floor, graph_bytes, operations

from dgl_core import models
from dgl_core.data.files.atomic import write_atomic
from dgl_core.data.tasks.label_maps import Segmentation
from dgl_core.methods.dense_dgl import DenseObjective
from dgl_core.paper.costs import SEGMENTATION_COSTS
from dgl_core.training.environment import describe

CLASSES, BATCH, SIZE = 40, 8, (64, 96)
MEMORY, OPERATIONS = 1.10, 1.01  # promises: times vanilla, times the floor


def steps():
    """The model, its inputs, and the forms of a step."""
    torch.manual_seed(0)
    shapes = {"rgb": (3, *SIZE), "depth": (1, *SIZE)}
    inputs = {m: torch.randn(BATCH, *shape) for m, shape in shapes.items()}
    target = torch.randint(CLASSES, (BATCH, *SIZE))
    model = models.build("esanet", shapes, CLASSES, 0, width=16, blocks=(1, 1, 1, 1), decoder_blocks=1)
    model = model.to(memory_format=torch.channels_last).train()
    criterion = Segmentation(CLASSES).criterion

    def form(alpha: float, gate: float, sequential: bool):
        objective = DenseObjective(model, alpha, encoder_gate=gate, criterion=criterion)

        def step() -> None:
            model.zero_grad(set_to_none=True)
            if sequential:
                objective.sequential(inputs, target, torch.Tensor.backward)
            else:
                objective(inputs, target).total.backward()

        return step

    forms = {
        "vanilla": form(0.0, 1.0, False),
        "DGL, one pass after another": form(1.0, 0.0, True),
        "DGL, one backward pass": form(1.0, 0.0, False),
    }
    return model, inputs, forms


def measure(forms, rounds: int) -> dict[str, list[float]]:
    """Processor seconds of every step; the first round is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for turn in range(rounds + 1):
        for name, step in forms.items():
            started = time.process_time()
            step()
            if turn:
                seconds[name].append(time.process_time() - started)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str) -> str:
    third = len(seconds[name]) // 3

    def quartile(values: list[float], part: int) -> float:
        return statistics.quantiles(values[part * third : (part + 1) * third], n=4)[0]

    low, middle, high = sorted(quartile(seconds[name], p) / quartile(seconds["vanilla"], p) for p in range(3))
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def main(arguments: list[str]) -> int:
    torch.set_num_threads(1)
    model, inputs, forms = steps()
    counted = {name: (operations(step), graph_bytes(step)) for name, step in forms.items()}
    seconds = measure(forms, 9 if "--quick" in arguments else 18)
    least = floor(model, inputs)
    base = counted["vanilla"]
    rows = {
        name: {"operations": f"{o / base[0]:.2f}", "memory": f"{b / base[1]:.2f}", "time": ratio(seconds, name)}
        for name, (o, b) in counted.items()
    }
    for name in ("floor", "three plain passes"):
        rows[name] = {"operations": f"{least[name]:.2f}", "memory": "1.00" if name == "floor" else "", "time": ""}
    print(f"vanilla: {1000 * statistics.median(seconds['vanilla']):.0f} ms a step, {base[1] / 2**20:.0f} MiB held")
    for name, values in rows.items():
        print(f"  {name:28s}" + "".join(f"{text:>22s}" for text in values.values()))
    broken = counted["DGL, one pass after another"][1] > MEMORY * base[1]
    broken |= any(o / base[0] > OPERATIONS * least["floor"] for name, (o, _) in counted.items() if name != "vanilla")
    print("a promise is broken" if broken else "kept: memory of one graph, operations at the floor")
    if "--write" in arguments:
        text = json.dumps({"rows": rows, "environment": describe(torch.device("cpu"))}, indent=1)
        write_atomic(SEGMENTATION_COSTS, text + "\n")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
