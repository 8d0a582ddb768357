"""The official training step and the single changes to it, for ``bench_gpu.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from dgl_core.models.resnet import ResNet


@dataclass(frozen=True)
class Way:
    """How a step is made. The defaults are the official step."""

    passes: int = 2  # backward passes: 2 official, 1 ours
    logging: bool = True
    precision: str = "fp32"
    channels_last: bool = False
    compile: bool = False
    resident: bool = False


def gains(precisions: list[str]) -> dict[str, Way]:
    """The official step, each change to it alone, and all of them, in every precision."""
    official = Way()
    ways = {
        "official step": official,
        "one backward pass": replace(official, passes=1),
        "no logging": replace(official, logging=False),
        "channels_last": replace(official, channels_last=True),
        "compiled": replace(official, compile=True),
        "data on the device": replace(official, resident=True),
    }
    ways |= {precision: replace(official, precision=precision) for precision in precisions if precision != "fp32"}
    for precision in precisions:
        ways[f"all changes, {precision}"] = Way(1, False, precision, True, True, True)
    return ways


def plain_forward(encoder: ResNet) -> Callable[[Tensor], Tensor]:
    """``ResNet.forward`` without its change of layout."""

    def forward(x: Tensor) -> Tensor:
        frames = x.shape[2] if x.dim() == 5 else 1
        x = x.transpose(1, 2).flatten(0, 1) if x.dim() == 5 else x
        pooled = encoder.layers(encoder.stem(x)).mean(dim=(2, 3))
        return pooled.unflatten(0, (-1, frames)).mean(dim=1)

    return forward


def log_gradients(model: nn.Module, writer) -> None:
    """Mean size of each gradient, summed by part and written: one wait for the device per parameter, as officially."""
    row = dict.fromkeys((*model.encoders, "fusion"), 0.0)
    for name, parameter in model.named_parameters():
        part = name.split(".")[1] if name.startswith("encoders") else "fusion"
        row[part] += parameter.grad.abs().mean().item()
    writer.writerow(row.values())
