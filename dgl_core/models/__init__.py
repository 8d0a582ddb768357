"""Models: the contract, encoders, fusion heads, and a registry of whole models for run specifications."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from dgl_core.models.fusion import FUSIONS, ConcatFusion, Fusion, SumFusion
from dgl_core.models.multimodal import LateFusion, MultimodalModel
from dgl_core.models.resnet import ResNet, ResNet18, initialise
from dgl_core.records import unknown_name

__all__ = [
    "FUSIONS", "MODELS", "ConcatFusion", "Fusion", "LateFusion", "MultimodalModel", "ResNet", "ResNet18", "SumFusion",
    "build", "model_options",
]  # fmt: skip

Shapes = Mapping[str, tuple[int, ...]]  # modality -> shape of one sample, channels first


@contextmanager
def seeded(seed: int, part: str):
    """Initial weights of ``part`` depend on ``seed`` and its name alone.

    So the audio encoder of a unimodal run starts where the audio encoder of the joint run with the same seed starts,
    which makes runs of one seed a pair.
    """
    with torch.random.fork_rng(devices=[]):
        digest = hashlib.sha256(f"{seed}/{part}".encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:7], "big"))
        yield


def _late(shapes: Shapes, classes: int, seed: int, fusion: str, encoder: Callable[[int], ResNet]) -> LateFusion:
    if fusion not in FUSIONS:
        raise unknown_name("fusion", fusion, FUSIONS)
    encoders: dict[str, nn.Module] = {}
    for m, shape in shapes.items():
        with seeded(seed, f"encoder/{m}"):
            encoders[m] = encoder(shape[0])
    with seeded(seed, "fusion"):
        head = FUSIONS[fusion]({m: e.width for m, e in encoders.items()}, classes)
        head.apply(initialise)
    return LateFusion(encoders, head)


def small(shapes: Shapes, classes: int, seed: int, *, fusion: str = "concat", width: int = 8) -> LateFusion:
    """Narrow ResNet encoders (widths w, 2w, 4w, 8w, one block a stage) and a late-fusion head: a CPU-sized model."""
    widths = (width, 2 * width, 4 * width, 8 * width)
    return _late(shapes, classes, seed, fusion, lambda channels: ResNet(channels, widths, (1, 1, 1, 1), stem="small"))


def resnet18(shapes: Shapes, classes: int, seed: int, *, fusion: str = "concat") -> LateFusion:
    """The network of Tables 1, 3 and 4: one ResNet-18 per modality, concatenation, one linear classifier."""
    return _late(shapes, classes, seed, fusion, ResNet18)


MODELS: dict[str, Callable[..., MultimodalModel]] = {"small": small, "resnet18": resnet18}
REVISIONS: dict[str, int] = {"small": 1, "resnet18": 1}  # raise one when the numbers of that model change


def model_options(name: str) -> dict[str, object]:
    """Option names of a registered model with their defaults (which declare their types)."""
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    parameters = inspect.signature(MODELS[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def build(name: str, shapes: Shapes, classes: int, seed: int, **options) -> MultimodalModel:
    """A fresh model. ``shapes``: modality -> shape of one sample, in fusion order; ``options`` as ``model_options``."""
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    return MODELS[name](shapes, classes, seed, **options)
