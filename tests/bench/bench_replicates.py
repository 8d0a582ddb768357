"""How much further a core-hour goes in confirming runs than it did in the exploratory ones: ``make bench``.

    PYTHONPATH=. python tests/bench/bench_replicates.py

The same trainings of small networks on generated emotions, twice, in turns, in processor time: as exploratory runs were
made (every part scored after every epoch; a modality alone loaded and augmented the other one, too), and as confirming
runs are (scored every fourth epoch; a modality alone touches nothing else). Weights at the end are equal to the last
bit, so steps an hour are all that differs. Exit status 1 if the promise is broken.
"""

from __future__ import annotations

import statistics
import sys
import time
from unittest import mock

import torch

from dgl_core.data.dataset import Dataset
from dgl_core.paper.answers.regimes import regime
from dgl_core.training.records import RunSpec
from dgl_core.training.train import train

PROMISE = 1.4
ROWS = ("DGL", "vanilla", "G-Blending", "audio alone", "visual alone")
EPOCHS = 4


def seconds(spec: RunSpec) -> float:
    started = time.process_time()
    train(spec)
    return time.process_time() - started


def measure(rounds: int = 3) -> dict[str, float]:
    """Ratio of processor times, before to now, of each row and of all together."""
    options = {"clips": 600, "test": 0.5}
    specs = {row: regime("emotions").run(row, 50, 0.03).but(dataset_options=options, epochs=EPOCHS) for row in ROWS}
    train(specs["DGL"].but(epochs=1))  # generates the clips, warms up
    before, now = {row: [] for row in ROWS}, {row: [] for row in ROWS}
    for turn in range(rounds):
        for row, spec in specs.items():
            forms = [(before, 1, True), (now, EPOCHS, False)]
            for times, every, whole in forms[:: 1 if turn % 2 else -1]:
                keep = mock.patch.object(Dataset, "only", lambda dataset, modalities: dataset) if whole else None
                with keep or mock.MagicMock():
                    times[row].append(seconds(spec.but(evaluate_every=every)))
    ratios = {row: statistics.median(before[row]) / statistics.median(now[row]) for row in ROWS}
    total = [sum(statistics.median(times[row]) for row in ROWS) for times in (before, now)]
    return ratios | {"all": total[0] / total[1]}


def main() -> int:
    torch.set_num_threads(1)
    ratios = measure()
    for row, ratio in ratios.items():
        print(f"{row:14s} {ratio:.2f} x the steps an hour")
    if ratios["all"] < PROMISE:
        print(f"broken: {ratios['all']:.2f} x, promised {PROMISE} x")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
