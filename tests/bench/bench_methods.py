"""What training with each method costs, as a ratio to vanilla training of the same network: ``make bench``.

    PYTHONPATH=. python tests/bench/bench_methods.py [--quick] [--write]

Whole trainings of the small network on random data, in one process and one thread, in processor time: the steps and
all that a method does beside them (prototypes, clustering, trial trainings), without the evaluation of the epochs. The
methods take turns epoch by epoch, so that whatever else the machine does hits all of them alike; the ratio is the
median over three trainings, which also stand in brackets.

What is expected counts forward and backward passes of all encoders, a backward pass for two forward passes. A promise
is broken by more than 15 % above it: exit status 1. ``--write`` keeps the ratios in ``results/step_costs.json``, which
notebook 04 shows.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import torch

from dgl_core import methods, models
from dgl_core.data import ArrayDataset
from dgl_core.data.files.atomic import write_atomic
from dgl_core.paper.costs import TRAINING_COSTS
from dgl_core.paper.experiments import late_fusion
from dgl_core.training.environment import describe
from dgl_core.training.loop import Trainer
from dgl_core.training.records import RunSpec

ROOM = 1.15
EPOCHS = 20  # as in the profiles for two cores; some methods act a fixed number of times in a run
SHAPES = {"audio": (1, 64, 47), "visual": (3, 48, 48)}
TRAIN, VALIDATION, CLASSES, BATCH = 192, 48, 6, 32


def passes(forward: float, backward: float) -> float:
    """Cost in units of a vanilla step: one forward and one backward pass of all encoders."""
    return (forward + 2 * backward) / 3


EXPECTED = {  # rows that are not here cost what vanilla costs
    "PMR": 1.1,  # prototypes from a tenth of the training data, with their forward passes
    "PMR (paper form)": 1.1,
    "AGM": passes(4, 3),
    "AGM (first fifth of the epochs)": 1 + 0.25 * (passes(4, 3) - 1),  # epochs 0-4 of 20
    "MMPareto": passes(1, 3),
    "D&R": 1 + 3 * passes(1 + VALIDATION / TRAIN, 0) / EPOCHS,  # three times the features of both parts
    "G-Blending (OGR weights)": 1 + 3.0,  # trial trainings of the joint and of each own loss, as many epochs again each
}


def trainer(method: str, options: dict[str, object], seed: int) -> Trainer:
    spec = RunSpec("arrays", method, "small", epochs=EPOCHS, batch_size=BATCH, lr=0.02, seed=seed)
    built = methods.build(method, options)
    shapes = {m: SHAPES[m] for m in built.modalities(list(SHAPES))}
    return Trainer(spec, built, models.build("small", shapes, CLASSES, seed), dataset(), torch.device("cpu"))


def dataset() -> ArrayDataset:
    generator = torch.Generator().manual_seed(0)
    count = TRAIN + 2 * VALIDATION
    inputs = {m: torch.randn(count, *shape, generator=generator) for m, shape in SHAPES.items()}
    split = ["train"] * TRAIN + ["val"] * VALIDATION + ["test"] * VALIDATION
    return ArrayDataset(inputs, torch.arange(count) % CLASSES, split)


def train_all(rows: dict[str, tuple[str, dict[str, object]]], seed: int, epochs: int) -> dict[str, float]:
    """Processor seconds of a whole training with every method."""
    trainers = {row: trainer(*choice, seed) for row, choice in rows.items()}
    seconds = dict.fromkeys(rows, 0.0)

    def clock(row: str, work) -> None:
        started = time.process_time()
        work()
        seconds[row] += time.process_time() - started

    for row, one in trainers.items():
        clock(row, lambda one=one: one.method.on_start(one))
    for epoch in range(epochs):
        names = list(rows)
        for row in names[epoch % len(names) :] + names[: epoch % len(names)]:
            trainers[row].epoch = epoch
            clock(row, trainers[row]._train_epoch)
    return seconds


def main(arguments: list[str]) -> int:
    torch.set_num_threads(1)
    rows = {row: choice for row, choice in late_fusion.TABLE_1.items() if " alone" not in row} | late_fusion.VARIANTS
    quick = "--quick" in arguments
    train_all({"vanilla": rows["vanilla"]}, 0, 1)  # warm-up
    seconds = [train_all(rows, seed, 2 if quick else EPOCHS) for seed in range(1 if quick else 3)]
    kept, broken = {}, False
    print(f"{'training with':34s}{'/ vanilla':>24s}{'expected':>10s}")
    for row in rows:
        ratios = sorted(once[row] / once["vanilla"] for once in seconds)
        ratio, expected = statistics.median(ratios), EXPECTED.get(row, 1.0)
        above = ratio > expected * ROOM
        broken |= above
        kept[row] = {"ratio": round(ratio, 3), "range": [round(r, 3) for r in ratios], "expected": round(expected, 3)}
        print(f"{row:34s}{ratio:12.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}){expected:10.2f}{'  BROKEN' if above else ''}")
    if "--write" in arguments:
        record = {"rows": kept, "environment": describe(torch.device("cpu"))}
        write_atomic(TRAINING_COSTS, (json.dumps(record, indent=1) + "\n").encode())
    return int(broken and not quick)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
