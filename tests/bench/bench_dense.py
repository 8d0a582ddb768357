"""What a DGL step costs in a network that mixes modalities inside (MMTM), against the least it can cost.

    PYTHONPATH=. python tests/bench/bench_dense.py [--quick]

The floor. A step needs three passes (M + 1): the multimodal one and one per modality. What lies before the first
exchange, the stems, no mask can change, so it has to run once, forward and backward. A masked pass runs the tail of its
own modality forward, and backward to its input; it needs no gradient of the tail's weights (stem split: the tail is
fusion, which the unimodal loss does not train; parameter split: it needs them, but then the multimodal pass does not).
With s and t forward operations in the stems and behind them, vanilla is 3 s + 3 t and the floor 3 s + 5 t. It is
measured twice: counted in floating-point operations, and in time, as vanilla plus the masked tails run alone.

Everything in one process and one thread, in processor time; the forms of a step take turns. What counts is the ratio of
the lower quartiles, the median over three parts of the measurement, which also stand in brackets.
Exit status 1 if the promise is broken: the stem split within 10 % of its floor. The parameter split has no ``encode``,
so every pass runs its stems again: its own floor is 4 s + 5 t.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from dgl_core import models
from dgl_core.gradients import DisentangledObjective, frozen

ALPHA, BATCH, CLASSES = 4.0, 16, 6
PROMISE = 1.10  # measured step / floor
SMALL = {"audio": (1, 64, 47), "visual": (3, 48, 48)}
LARGE = {"audio": (1, 129, 94), "visual": (3, 112, 112)}
Step = Callable[[], None]


def flops(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def forms(shapes: dict[str, tuple[int, ...]], **options) -> tuple[dict[str, Step], dict[str, float]]:
    """Steps to be timed, and the floors of both splits as ratios of operations."""
    torch.manual_seed(0)
    inputs = {m: torch.randn(BATCH, *shape) for m, shape in shapes.items()}
    target = torch.randint(CLASSES, (BATCH,))
    built = {split: models.build("mmtm", shapes, CLASSES, 0, split=split, **options) for split in ("stem", "parameter")}
    stem = built["stem"].to(memory_format=torch.channels_last)
    maps = {m: z.detach().requires_grad_() for m, z in stem.encode(inputs).items()}

    def training(model, alpha: float, gate: float) -> Step:
        objective = DisentangledObjective(model, alpha, encoder_gate=gate)
        optimizer = torch.optim.SGD(model.parameters(), 2e-3, 0.9, weight_decay=1e-4, fused=True)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            objective(inputs, target).total.backward()
            optimizer.step()

        return step

    def masked_tails() -> None:
        for m in maps:
            logits = functional_call(stem.fusion, frozen(stem.fusion), (maps,), {"keep": (m,)})
            torch.autograd.grad(torch.nn.functional.cross_entropy(logits, target), maps[m])

    steps = {
        "vanilla": training(stem, 0.0, 1.0),
        "masked tails": masked_tails,
        "stem split": training(stem, ALPHA, 0.0),
        "parameter split": training(built["parameter"].to(memory_format=torch.channels_last), ALPHA, 0.0),
    }
    s, t = flops(lambda: stem.encode(inputs)), flops(lambda: stem.fuse(maps))
    vanilla = flops(steps["vanilla"])
    counted = {"floor": (vanilla + 2 * t) / vanilla, "again": (vanilla + s + 2 * t) / vanilla}
    return steps, counted | {name: flops(steps[name]) / vanilla for name in ("stem split", "parameter split")}


def measure(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of every step of every form; the first round left out (warm-up)."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = time.process_time()
            steps[name]()
            if turn:
                seconds[name].append(time.process_time() - started)
    return seconds


def quick_quarter(seconds: list[float], part: int) -> float:
    third = len(seconds) // 3
    return statistics.quantiles(seconds[part * third : (part + 1) * third], n=4)[0]


def compare(seconds: dict[str, list[float]], name: str, extra: str = "") -> tuple[float, str]:
    """(``name`` + ``extra``) / vanilla: the median over three parts, and a text with all three."""
    names = [name, *filter(None, [extra])]
    parts = [
        sum(quick_quarter(seconds[n], part) for n in names) / quick_quarter(seconds["vanilla"], part)
        for part in range(3)
    ]
    low, middle, high = sorted(parts)
    return middle, f"{middle:.2f} ({low:.2f}-{high:.2f})"


def main(arguments: list[str]) -> int:
    torch.set_num_threads(1)
    cases = [
        ("width 8, one block a layer", SMALL, {"width": 8, "blocks": 1}, 90),
        ("ResNet-18", LARGE, {"width": 64, "blocks": 2}, 15),
    ]
    broken = False
    for title, shapes, options, rounds in cases:
        steps, counted = forms(shapes, **options)
        seconds = measure(steps, max(6, rounds // 6) if "--quick" in arguments else rounds)
        floor, floor_text = compare(seconds, "vanilla", "masked tails")
        vanilla = 1000 * statistics.median(seconds["vanilla"])
        print(f"{title}, batch {BATCH}: vanilla {vanilla:.1f} ms; DGL / vanilla")
        print(f"  {'':18s}{'operations':>12s}{'time':>22s}{'time / floor':>15s}")
        print(f"  {'floor':18s}{counted['floor']:12.2f}{floor_text:>22s}")
        for name in ("stem split", "parameter split"):
            ratio, text = compare(seconds, name)
            print(f"  {name:18s}{counted[name]:12.2f}{text:>22s}{ratio / floor:15.2f}")
            broken |= name == "stem split" and ratio / floor > PROMISE
        print(f"  (parameter split with stems in every pass: floor {counted['again']:.2f} operations)")
    print(
        "broken: the stem split costs more than promised" if broken else f"kept: within {PROMISE - 1:.0%} of the floor"
    )
    return int(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
