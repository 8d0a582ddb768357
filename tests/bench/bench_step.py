"""What one training step of DGL costs, as ratios to the vanilla step of the same network: ``make bench``.

    PYTHONPATH=. python tests/bench/bench_step.py [--quick]

Everything in one process and one thread, in processor time; the forms of a step take turns (A B C, B C A, ...), so that
whatever else the machine does hits all of them alike. What counts is the ratio of the lower quartiles: the quickest
quarter of the steps is the one that nothing disturbed; the median over three parts of the measurement, which also
stand in brackets.

The floor of DGL / vanilla is 1.0: the encoders run once forward and once backward in both. What DGL adds is M more
evaluations of the head and of its loss, a third of a millisecond whatever the encoders cost.
Exit status 1 if a promise is broken.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core import models
from dgl_core.gradients import DisentangledObjective

ALPHA = 4.0
PROMISE = 1.03  # DGL / vanilla on the late-fusion networks, at most


def vanilla(model: nn.Module, inputs: dict[str, Tensor], target: Tensor):
    objective = DisentangledObjective(model, alpha=0.0, encoder_gate=1.0)
    return lambda: objective(inputs, target).total.backward()


def dgl(model: nn.Module, inputs: dict[str, Tensor], target: Tensor):
    objective = DisentangledObjective(model, ALPHA)
    return lambda: objective(inputs, target).total.backward()


def official(model: nn.Module, inputs: dict[str, Tensor], target: Tensor):
    """Two backward passes, the fusion gradients cleared in between (Algorithm 1 as released)."""

    def step() -> None:
        features = model.encode(inputs)
        unimodal = [F.cross_entropy(model.fuse(features, (m,)), target) for m in features]
        fused = F.cross_entropy(model.fuse({m: z.detach() for m, z in features.items()}), target)
        (ALPHA * sum(unimodal)).backward(retain_graph=True)
        for parameter in model.fusion.parameters():
            parameter.grad = None
        fused.backward()

    return step


FORMS = {"vanilla": vanilla, "DGL": dgl, "official two-pass": official}


def measure(
    network: str, shapes: dict[str, tuple[int, ...]], batch: int, rounds: int, **options
) -> dict[str, list[float]]:
    """Seconds of every step of every form; forward, backward and update, the first round left out (warm-up)."""
    torch.manual_seed(0)
    target = torch.randint(6, (batch,))
    inputs = {m: torch.randn(batch, *shape) for m, shape in shapes.items()}
    steps, seconds = {}, {name: [] for name in FORMS}
    for name, form in FORMS.items():
        model = models.build(network, shapes, 6, seed=0, **options)
        model.to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), 2e-3, 0.9, weight_decay=1e-4, fused=True)
        steps[name] = (form(model, inputs, target), optimizer)
    names = list(FORMS)
    for turn in range(rounds + 1):
        for name in names[turn % 3 :] + names[: turn % 3]:  # nobody always runs after the same neighbour
            backward, optimizer = steps[name]
            started = time.process_time()
            optimizer.zero_grad(set_to_none=True)
            backward()
            optimizer.step()
            if turn:
                seconds[name].append(time.process_time() - started)
    return seconds


def compare(ours: list[float], theirs: list[float]) -> tuple[float, str]:
    """Ratio of the lower quartiles: the median over three parts of the measurement, and a text with all three."""
    third = len(ours) // 3
    parts = [slice(i * third, (i + 1) * third) for i in range(3)]
    quick = [[statistics.quantiles(seconds[part], n=4)[0] for part in parts] for seconds in (ours, theirs)]
    low, middle, high = sorted(a / b for a, b in zip(*quick, strict=True))
    return middle, f"{middle:.3f} ({low:.2f}-{high:.2f})"


def channels_last(shapes: dict[str, tuple[int, ...]], batch: int, rounds: int) -> dict[bool, list[float]]:
    """Seconds of vanilla steps, with the layout that the encoders choose (True) and with the default layout."""
    target = torch.randint(6, (batch,))
    seconds: dict[bool, list[float]] = {True: [], False: []}
    steps = {}
    for last in seconds:
        model = models.build("small", shapes, 6, seed=0)
        if last:
            model.to(memory_format=torch.channels_last)
        else:
            for encoder in model.encoders.values():
                encoder.forward = plain_forward(encoder)
        inputs = {m: torch.randn(batch, *shape) for m, shape in shapes.items()}
        steps[last] = vanilla(model, inputs, target)
    for turn in range(rounds + 1):
        for last in (True, False) if turn % 2 else (False, True):
            started = time.process_time()
            steps[last]()
            if turn:
                seconds[last].append(time.process_time() - started)
    return seconds


def plain_forward(encoder):
    """``ResNet.forward`` without its change of layout."""

    def forward(x: Tensor) -> Tensor:
        return encoder.layers(encoder.stem(x)).mean(dim=(2, 3))

    return forward


def main(arguments: list[str]) -> int:
    torch.set_num_threads(1)
    quick = "--quick" in arguments
    small = {"audio": (1, 64, 47), "visual": (3, 48, 48)}
    cases = [
        ("small network, batch 32", "small", small, 32, 200, {}),
        ("small network, 8 frames, batch 8", "small", small | {"visual": (3, 8, 48, 48)}, 8, 200, {}),
        ("ResNet-18, batch 16", "resnet18", {"audio": (1, 129, 94), "visual": (3, 112, 112)}, 16, 18, {}),
    ]
    broken = False
    print(f"{'':36s}{'DGL / vanilla':>22s}{'promise':>9s}{'floor':>7s}{'two-pass / vanilla':>24s}{'vanilla':>12s}")
    for title, network, shapes, batch, rounds, options in cases:
        seconds = measure(network, shapes, batch, max(6, rounds // 10) if quick else rounds, **options)
        ratio, shown = compare(seconds["DGL"], seconds["vanilla"])
        two = compare(seconds["official two-pass"], seconds["vanilla"])[1]
        broken |= ratio > PROMISE
        mark = "" if ratio <= PROMISE else "  BROKEN"
        milliseconds = 1000 * statistics.quantiles(seconds["vanilla"], n=4)[0]
        print(f"{title:36s}{shown:>22s}{PROMISE:9.2f}{1:7.1f}{two:>24s}{milliseconds:9.1f} ms{mark}")
    layout = channels_last(small, 32, 6 if quick else 60)
    print(
        f"channels_last / default layout, vanilla step of the small network: {compare(layout[True], layout[False])[1]}"
    )
    return int(broken and not quick)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
