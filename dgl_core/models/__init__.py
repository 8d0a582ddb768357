"""List the models by name for run specifications; the contract, the encoders and the fusion heads for one's own."""

from __future__ import annotations

import inspect

from dgl_core.models.building import Shapes
from dgl_core.models.fusion import FUSIONS, ConcatFusion, Fusion, PlainFusion, SumFusion
from dgl_core.models.multimodal import LateFusion, MultimodalModel
from dgl_core.models.resnet import ResNet, ResNet18
from dgl_core.utils import Registry, resolve_options, unknown_name

__all__ = [
    "FUSIONS", "MODELS", "REVISIONS", "ConcatFusion", "Fusion", "LateFusion", "MultimodalModel", "PlainFusion",
    "ResNet", "ResNet18", "SumFusion", "build", "model_options",
]  # fmt: skip

MODELS: Registry = Registry({
    "small": "dgl_core.models.resnet:small",
    "resnet18": "dgl_core.models.resnet:resnet18",
    "mmtm": "dgl_core.models.mmtm.network:mmtm",
    "mlp": "dgl_core.models.vectors:mlp",
    "esanet": "dgl_core.models.esanet.network:esanet",
})  # fmt: skip
# Raise one when the numbers of that model change.
REVISIONS: dict[str, int] = {"small": 1, "resnet18": 1, "mmtm": 1, "mlp": 1, "esanet": 1}


def model_options(name: str) -> dict[str, object]:
    """List the options of a registered model with their defaults, which declare their types; ValueError if unknown."""
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    parameters = inspect.signature(MODELS[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def build(name: str, shapes: Shapes, classes: int, seed: int, **options) -> MultimodalModel:
    """Build a fresh model for samples of these shapes (modality -> shape, in fusion order) and K classes.

    ``seed`` is that of the initial weights; ``options`` are those that ``model_options`` lists.

    Raises:
        ValueError: an unknown model or option, a value of another type or outside its range, or shapes that the model
            cannot take.
    """
    chosen = resolve_options(f"model {name!r}", options, model_options(name))
    return MODELS[name](shapes, classes, seed, **chosen)
