"""What the surfaces of generated rooms look like: usual colours and patterns of every class."""

from __future__ import annotations

from dataclasses import dataclass

CLASSES = (
    "wall", "floor", "ceiling", "door", "window", "picture", "rug", "table", "chair", "bed", "sofa", "cabinet", "box",
)  # fmt: skip
VOID = 255  # clutter that nobody labelled
LABEL = {name: number for number, name in enumerate(CLASSES)} | {"void": VOID}

_WOOD = ((0.30, 0.16, 0.07), (0.20, 0.10, 0.04))
LOOKS = {  # usual colours (linear RGB, two per look) and patterns of each class
    "wall": (
        (((0.70, 0.66, 0.55), (0.62, 0.58, 0.48)), "plain"),
        (((0.55, 0.62, 0.66), (0.60, 0.66, 0.70)), "stripes"),
    ),
    "floor": ((_WOOD, "planks"), (((0.35, 0.34, 0.33), (0.25, 0.24, 0.23)), "tiles")),
    "ceiling": ((((0.80, 0.80, 0.78), (0.76, 0.76, 0.74)), "plain"),),
    "door": ((((0.42, 0.26, 0.13), (0.32, 0.18, 0.08)), "planks"), (((0.72, 0.70, 0.66), (0.5, 0.5, 0.5)), "plain")),
    "window": ((((0.55, 0.75, 0.95), (0.80, 0.90, 1.00)), "blotches"),),
    "picture": ((((0.60, 0.15, 0.10), (0.10, 0.20, 0.50)), "blotches"), (((0.1, 0.4, 0.2), (0.8, 0.7, 0.2)), "checks")),
    "rug": ((((0.45, 0.06, 0.08), (0.60, 0.45, 0.25)), "checks"), (((0.08, 0.12, 0.35), (0.5, 0.5, 0.6)), "stripes")),
    "table": ((_WOOD, "planks"), (((0.50, 0.34, 0.18), (0.42, 0.28, 0.14)), "plain")),
    "chair": ((((0.08, 0.08, 0.09), (0.12, 0.12, 0.13)), "plain"), (((0.45, 0.28, 0.12), (0.4, 0.2, 0.1)), "planks")),
    "bed": ((((0.75, 0.74, 0.78), (0.40, 0.48, 0.70)), "stripes"), (((0.30, 0.42, 0.60), (0.6, 0.7, 0.8)), "checks")),
    "sofa": ((((0.16, 0.26, 0.20), (0.12, 0.20, 0.16)), "blotches"), (((0.30, 0.10, 0.09), (0.2, 0.1, 0.1)), "plain")),
    "cabinet": ((((0.65, 0.62, 0.58), (0.40, 0.38, 0.35)), "tiles"), (_WOOD, "tiles")),
    "box": ((((0.48, 0.34, 0.20), (0.40, 0.27, 0.15)), "plain"),),
    "void": ((((0.50, 0.10, 0.40), (0.10, 0.50, 0.45)), "blotches"),),
}


@dataclass(frozen=True)
class Look:
    """A surface: two linear colours, the pattern they make, its period (m) and the seed of its irregularities."""

    colours: tuple[tuple[float, float, float], tuple[float, float, float]]
    kind: str
    period: float
    seed: int
