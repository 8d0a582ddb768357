"""Models: the contract, encoders, fusion heads, and a registry of whole models for run specifications."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from torch import nn

from dgl_core.models.esanet.network import esanet
from dgl_core.models.fusion import FUSIONS, ConcatFusion, Fusion, PlainFusion, SumFusion, make_fusion
from dgl_core.models.initial import initialise, seeded
from dgl_core.models.mmtm.network import mmtm
from dgl_core.models.multimodal import LateFusion, MultimodalModel
from dgl_core.models.resnet import ResNet, ResNet18
from dgl_core.models.vectors import cubemlp, mlp
from dgl_core.utils import unknown_name

__all__ = [
    "FUSIONS", "MODELS", "ConcatFusion", "Fusion", "LateFusion", "MultimodalModel", "PlainFusion", "ResNet", "ResNet18",
    "SumFusion", "build", "model_options",
]  # fmt: skip

Shapes = Mapping[str, tuple[int, ...]]  # modality -> shape of one sample, channels first


def _late(
    shapes: Shapes, classes: int, seed: int, fusion: str, official: bool, encoder: Callable[[int], ResNet]
) -> LateFusion:
    encoders: dict[str, nn.Module] = {}
    for m, shape in shapes.items():
        with seeded(seed, f"encoder/{m}"):
            encoders[m] = encoder(shape[0])
    with seeded(seed, "fusion"):
        head = make_fusion(fusion, {m: e.width for m, e in encoders.items()}, classes, official=official)
        head.apply(initialise)
    return LateFusion(encoders, head)


def small(
    shapes: Shapes, classes: int, seed: int, *, fusion: str = "concat", official: bool = False, width: int = 8
) -> LateFusion:
    """Narrow ResNet encoders (widths w, 2w, 4w, 8w, one block a stage) and a late-fusion head: a CPU-sized model.

    ``official`` masks as the official code does where that is not Eq. 12 (see ``dgl_core.models.fusion``).
    """
    widths = (width, 2 * width, 4 * width, 8 * width)
    return _late(shapes, classes, seed, fusion, official, lambda c: ResNet(c, widths, (1, 1, 1, 1), stem="small"))


def resnet18(shapes: Shapes, classes: int, seed: int, *, fusion: str = "concat", official: bool = False) -> LateFusion:
    """The network of Tables 1, 3 and 4: one ResNet-18 per modality, concatenation, one linear classifier."""
    return _late(shapes, classes, seed, fusion, official, ResNet18)


MODELS: dict[str, Callable[..., MultimodalModel]] = {
    "small": small, "resnet18": resnet18, "mmtm": mmtm, "mlp": mlp, "cubemlp": cubemlp,
    "esanet": esanet,
}  # fmt: skip
# Raise one when the numbers of that model change.
REVISIONS: dict[str, int] = {"small": 1, "resnet18": 1, "mmtm": 1, "mlp": 1, "cubemlp": 1, "esanet": 1}


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
