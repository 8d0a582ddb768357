"""What ``diagnose`` costs, as a ratio to an evaluation of the same branches on the same samples: ``make bench``.

    PYTHONPATH=. python tests/bench/bench_diagnosis.py [--quick]

One process, one thread, processor time; both take turns. An evaluation is one forward pass of all branches (fused, and
each modality with the others at zero) over all samples, and their accuracies. The ratio of the medians counts.
Exit status 1 if the promise is broken.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import sys
import time

import torch

from dgl_core import models
from dgl_core.diagnosis import diagnose

PROMISE = 3.0  # diagnose / evaluation
BATCH, CLASSES = 32, 6
SMALL = {"audio": (1, 64, 47), "visual": (3, 48, 48)}
LARGE = {"audio": (1, 129, 94), "visual": (3, 112, 112)}
CASES = {
    "small network, 256 samples": ("small", SMALL, 256, 15),
    "MMTM, 128 samples": ("mmtm", SMALL, 128, 7),
    "ResNet-18, 64 samples": ("resnet18", LARGE, 64, 3),
}


@torch.no_grad()
def evaluate(model: torch.nn.Module, loader: list) -> dict[str, int]:
    right: dict[str, int] = {}
    for inputs, target in loader:
        for branch, logits in model.all_logits(inputs).items():
            right[branch] = right.get(branch, 0) + int((logits.argmax(1) == target).sum())
    return right


def main(arguments: list[str]) -> int:
    torch.set_num_threads(1)
    broken, quick = False, "--quick" in arguments
    print(f"{'':32s}{'diagnose / evaluation':>24s}{'promise':>9s}{'evaluation':>14s}")
    for title, (network, shapes, samples, rounds) in CASES.items():
        torch.manual_seed(0)
        model = models.build(network, shapes, CLASSES, seed=0).eval()
        loader = [
            ({m: torch.randn(BATCH, *shape) for m, shape in shapes.items()}, torch.randint(CLASSES, (BATCH,)))
            for _ in range(samples // BATCH)
        ]
        seconds: dict[str, list[float]] = {"diagnose": [], "evaluation": []}
        for turn in range((2 if quick else rounds) + 1):
            for name, work in (("diagnose", diagnose), ("evaluation", evaluate)):
                started = time.process_time()
                work(model, loader)
                if turn:  # the first round warms up
                    seconds[name].append(time.process_time() - started)
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        ratio = middle["diagnose"] / middle["evaluation"]
        broken |= ratio > PROMISE
        mark = "" if ratio <= PROMISE else "  BROKEN"
        print(f"{title:32s}{ratio:24.2f}{PROMISE:9.1f}{1000 * middle['evaluation']:11.0f} ms{mark}")
    return int(broken and not quick)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
