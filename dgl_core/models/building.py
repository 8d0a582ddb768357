"""Build models from shapes: check what they are built from, and seed every part by its own name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from torch import nn

from dgl_core.models.fusion import make_fusion
from dgl_core.models.initial import initialise, seeded
from dgl_core.models.multimodal import LateFusion
from dgl_core.utils import Range, check_count, check_modality_names

Shapes = Mapping[str, tuple[int, ...]]  # modality -> shape of one sample, channels first
Builder = TypeVar("Builder", bound=Callable)
KINDS = {1: "feature vectors (D,)", 3: "pictures (C, H, W)", 4: "clips (C, T, H, W)"}  # samples, by dimensions


def checked(*dimensions: int, **ranges: Range) -> Callable[[Builder], Builder]:
    """Declare what a model can be built from, and check it once: ``dimensions`` of a sample, ``ranges`` of options."""

    def declare(builder: Builder) -> Builder:
        @functools.wraps(builder)
        def build(shapes: Shapes, classes: int, seed: int, **options) -> LateFusion:
            check_shapes(builder.__name__, shapes, dimensions)
            check_count("The number of classes", classes, low=2)
            for name, value in options.items():
                if name in ranges:
                    ranges[name].check(name, value)
            return builder(shapes, classes, seed, **options)

        return build

    return declare


def check_shapes(model: str, shapes: Shapes, dimensions: Collection[int]) -> None:
    """Refuse modalities whose samples a model cannot take, naming the first one and a model that can."""
    check_modality_names(shapes)
    if not shapes:
        raise ValueError(f"{model} needs at least one modality, but no shapes were given.")
    for m, shape in shapes.items():
        if min(shape, default=1) < 1:
            raise ValueError(f"Modality {m!r} has shape {tuple(shape)}; every length must be at least 1.")
        if len(shape) not in dimensions:
            wanted = " or ".join(KINDS[n] for n in dimensions)
            raise ValueError(
                f"{model} needs {wanted}; modality {m!r} has shape {tuple(shape)}. Use model 'mlp' for {KINDS[1]}, "
                f"'small' for {KINDS[3]}, or LateFusion with encoders of your own."
            )


def late_fusion(
    shapes: Shapes, classes: int, seed: int, fusion: str, official: bool, encoder: Callable[[int], nn.Module]
) -> LateFusion:
    """Build one encoder per modality and a fusion head; initial weights depend on the seed and the part's name alone.

    ``encoder`` makes one, with a ``width``, from the first number of a shape.
    """
    encoders: dict[str, nn.Module] = {}
    for m, shape in shapes.items():
        with seeded(seed, f"encoder/{m}"):
            encoders[m] = encoder(shape[0])
    with seeded(seed, "fusion"):
        head = make_fusion(fusion, {m: e.width for m, e in encoders.items()}, classes, official=official)
        head.apply(initialise)
    return LateFusion(encoders, head)
