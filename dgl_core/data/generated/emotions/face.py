"""Drawn faces: identity, pose and light of an actor, the expression by facial actions. Pure array arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dgl_core.data.generated.portable import cosine, sine

_SKIN = [[255, 224, 196], [241, 194, 158], [224, 172, 125], [198, 134, 92], [141, 92, 60], [98, 62, 42]]  # 0..255
_HAIR = [[30, 24, 22], [62, 40, 28], [110, 72, 40], [190, 150, 90], [150, 60, 30], [150, 150, 152]]
_IRIS = [[70, 45, 25], [60, 90, 140], [70, 110, 70], [40, 30, 25]]
_FRAME = (0.12, 0.12, 0.12)  # of glasses


class Looks:
    """Draw what an actor brings to every picture; lengths in half image sides, colours RGB in 0..1."""

    def __init__(self, rng: np.random.Generator):
        tone, mix = int(rng.integers(len(_SKIN) - 1)), rng.random()
        skin, hair, iris = (np.array(colours) / 255.0 for colours in (_SKIN, _HAIR, _IRIS))
        self.skin = skin[tone] * (1 - mix) + skin[tone + 1] * mix
        hair = hair[int(rng.integers(4 if tone < 2 else 2)) if rng.random() < 0.8 else 4 + int(rng.integers(2))]
        self.style = (0, 0, 0, 1, 1, 1, 2, 3, 3, 3)[int(rng.integers(10))]  # 0 short, 1 long, 2 bald, 3 side parting
        self.hair = hair * (0.8 + 0.4 * rng.random())
        self.iris = iris[int(rng.integers(4)) if tone < 2 else 0]
        self.shirt = 0.15 + 0.7 * rng.random(3)
        self.beard = rng.random() if self.style in (0, 2) and rng.random() < 0.35 else 0.0
        self.glasses = rng.random() < 0.12
        self.width = 0.60 + 0.10 * rng.random()
        self.eyes = 0.26 + 0.04 * rng.random()
        self.brow = 0.022 + 0.018 * rng.random()
        self.nose = 0.20 + 0.08 * rng.random()
        self.lips = 0.7 + 0.6 * rng.random()


class _Canvas:
    """An RGB picture ``[3, H, W]`` under a pose, with soft-edged shapes; x to the right, y down, both -1..1."""

    def __init__(self, size: int, background: np.ndarray, roll: float, zoom: float, shift: np.ndarray):
        grid = (np.arange(size) + 0.5) * (2.0 / size) - 1.0
        x, y = grid[None, :] - shift[0], grid[:, None] - shift[1]
        c, s = cosine(np.array(roll)) / zoom, sine(np.array(roll)) / zoom
        self.x, self.y = c * x + s * y, c * y - s * x
        self.soft = size * zoom / 2.0  # pixels per unit of length: edges are one pixel wide
        self.image = background + np.zeros((3, size, size))

    def edge(self, distance: np.ndarray) -> np.ndarray:
        """Return the coverage ``[H, W]`` of the region where the signed distance is positive."""
        return np.clip(distance * self.soft + 0.5, 0.0, 1.0)

    def paint(self, cover: np.ndarray, colour: np.ndarray | Sequence[float], alpha: float = 1.0) -> None:
        cover = alpha * cover
        self.image = self.image * (1.0 - cover) + np.asarray(colour)[:, None, None] * cover

    def fill(self, distance: np.ndarray, colour: np.ndarray | Sequence[float], alpha: float = 1.0) -> None:
        """Paint the region where the signed distance is positive."""
        self.paint(self.edge(distance), colour, alpha)

    def ellipse(self, x: float, y: float, rx: float, ry: float) -> np.ndarray:
        """Return the signed distance (approximate) to an ellipse, positive inside."""
        u, v = (self.x - x) / rx, (self.y - y) / ry
        return (1.0 - np.sqrt(u * u + v * v)) * min(rx, ry)

    def stroke(self, x: float, y: float, half: float, slope: float, bend: float, thick: float) -> np.ndarray:
        """Return the distance to a tapered stroke along y + slope t + bend t^2, t = -1..1 over ``half`` a width."""
        t = (self.x - x) / half
        tilt = (slope + 2.0 * bend * np.clip(t, -1.0, 1.0)) / half
        away = abs(self.y - (y + slope * t + bend * t * t)) / np.sqrt(1.0 + tilt * tilt)
        across = thick * (1.0 - 0.5 * t * t) - away
        return np.minimum(across, half - abs(self.x - x))


def draw(rng: np.random.Generator, who: Looks, cues: dict[str, float], strain: float, size: int = 96) -> np.ndarray:
    """Draw one portrait, uint8 ``[size, size, 3]``.

    Args:
        cues: facial actions (``acting.act_face``).
        strain: 0..1, how far pose, light and camera noise go.
    """

    def swing(width: float) -> float:
        return (2.0 * rng.random() - 1.0) * width * (0.25 + 0.75 * strain)

    base = (0.35 + 0.35 * rng.random() + 0.2 * rng.random(3))[:, None, None]
    fade = np.linspace(-0.12, 0.12, size) * (1.0 if rng.random() < 0.5 else -1.0)
    roll, zoom, shift = swing(0.04), 0.94 + swing(0.12), np.array([swing(0.1), 0.02 + swing(0.08)])
    canvas = _Canvas(size, base + fade[None, :, None], roll, zoom, shift)
    turn, nod, light = swing(0.14), swing(0.08), np.array([swing(0.45), swing(0.25) - 0.1])
    _head(canvas, who, light, turn)
    canvas.x, canvas.y = canvas.x - turn, canvas.y - nod  # where everything that follows sits
    _nose(canvas, who, cues)
    _mouth(canvas, who, cues)
    for side in (-1.0, 1.0):
        _eye(canvas, who, cues, side)
    if who.glasses:
        for side in (-1.0, 1.0):
            canvas.fill(0.012 - abs(canvas.ellipse(side * who.eyes, -0.1, 0.19, 0.16)), _FRAME)
        canvas.fill(np.minimum(0.012 - abs(canvas.y + 0.12), who.eyes - 0.18 - abs(canvas.x)), _FRAME)
    noise = (0.02 + 0.08 * strain) * (rng.random((3, size, size)) - 0.5)
    level = 1.0 + swing(0.2)
    return np.rint(np.clip(canvas.image * level + noise, 0.0, 1.0) * 255.0).astype(np.uint8).transpose(1, 2, 0)


def _head(canvas: _Canvas, who: Looks, light: np.ndarray, turn: float) -> None:
    x, y, ellipse = canvas.x, canvas.y, canvas.ellipse
    if who.style == 1:  # long hair falls behind the shoulders
        behind = np.maximum(ellipse(0, -0.15, who.width + 0.2, 0.85), ellipse(0, 0.35, who.width + 0.16, 0.75))
        canvas.fill(behind, who.hair)
    canvas.fill(ellipse(0, 1.32, 0.95, 0.52), who.shirt)
    canvas.fill(np.minimum(0.24 - abs(x), np.minimum(y - 0.3, 1.0 - y)), 0.8 * who.skin)
    for side in (-1.0, 1.0):
        canvas.fill(ellipse(side * (who.width + 0.02) - 0.3 * turn, 0.02, 0.09, 0.15), 0.88 * who.skin)
    if who.style in (0, 3):
        canvas.fill(ellipse(0, -0.22, who.width + 0.08, 0.68), who.hair)
    taper = 1.0 - 0.10 * np.clip(y, 0.0, 1.0)  # the jaw narrows
    u, v = x / (who.width * taper), (y - 0.02) / 0.82
    inside = (1.0 - np.sqrt(u * u + v * v)) * 0.6
    face = canvas.edge(inside)
    lit = np.clip(1.0 + light[0] * x + light[1] * y - 0.22 * np.clip(0.2 - inside, 0.0, 1.0) / 0.2, 0.45, 1.35)
    canvas.image = canvas.image * (1.0 - face) + face * lit * who.skin[:, None, None]
    if who.beard:
        lower = np.clip((y - 0.22 - 0.3 * (1.0 - u * u)) * 6.0, 0.0, 1.0)
        canvas.paint(face * lower, who.hair, 0.35 + 0.5 * who.beard)
    if who.style != 2:
        part = 0.35 if who.style == 3 else 0.0
        line = -0.60 + 0.35 * (x - part) * (x - part) * (1.6 if who.style == 1 else 1.0)
        canvas.fill(np.minimum(ellipse(0, -0.15, who.width + 0.06, 0.74), line - y), who.hair)


def _nose(canvas: _Canvas, who: Looks, cues: dict[str, float]) -> None:
    shade, wrinkle = 0.62 * who.skin, max(cues["nose"], 0.0)
    fold = max(cues["corner"], cues["lip_up"], 0.6 * cues["cheek"], 0.0)
    tip = 0.02 + who.nose - 0.03 * wrinkle
    canvas.fill(canvas.ellipse(0, tip - 0.02, 0.085 + 0.02 * wrinkle, 0.06), 0.93 * who.skin, 0.8)
    for side in (-1.0, 1.0):
        canvas.fill(canvas.ellipse(side * 0.045, tip + 0.02, 0.026, 0.018), 0.35 * who.skin)
        canvas.fill(canvas.stroke(side * 0.095, tip, 0.028, side * 0.02, 0.02, 0.014), shade, 0.8)
        for k in range(3) if wrinkle else ():
            lines = canvas.stroke(side * 0.06, -0.06 + 0.055 * k, 0.05, side * 0.02, 0.0, 0.013)
            canvas.fill(lines, shade, 0.9 * min(wrinkle, 1.0))
        if fold:  # from the wing of the nose to the corner of the mouth
            line = canvas.stroke(side * 0.225, tip + 0.10, 0.075, side * 0.11, 0.01, 0.012)
            canvas.fill(line, shade, 0.8 * min(fold, 1.0))
    for side in (-1.0, 1.0) if cues["cheek"] > 0 else ():
        blush = np.clip(canvas.ellipse(side * 0.36, 0.16, 0.18, 0.13) * 8.0, 0.0, 1.0)
        canvas.paint(blush, (0.9, 0.35, 0.3), 0.25 * cues["cheek"])


def _mouth(canvas: _Canvas, who: Looks, cues: dict[str, float]) -> None:
    y, half, teeth = canvas.y, 0.27 * (1.0 + 0.38 * cues["width"]), cues["teeth"]
    t = np.clip(canvas.x / half, -1.0, 1.0)
    arch = 1.0 - t * t
    line = 0.47 + cues["corner"] * (0.055 - 0.13 * t * t)  # corners up or down
    gap = 0.012 + 0.15 * max(cues["open"], 0.0)
    square = 1.0 - t * t * t * t  # lips drawn back from the teeth
    top = line - (0.4 * gap + 0.075 * max(cues["lip_up"], 0.0)) * (square if cues["lip_up"] > 0.3 else arch)
    bottom = line + gap * (square if teeth > 0.6 else arch)
    red = np.array([0.72, 0.30, 0.30]) * (0.45 + 0.55 * who.skin)
    ends = half - abs(canvas.x)
    lip = 0.034 * who.lips * (1.0 - 0.35 * max(cues["width"], 0.0))
    canvas.fill(np.minimum(ends, np.minimum(y - top + lip * arch, bottom + 1.3 * lip * arch - y)), red)
    inner = np.minimum(ends - 0.01, np.minimum(y - top, bottom - y))
    canvas.fill(inner, (0.16, 0.04, 0.05))
    if teeth > 0:
        depth = (0.35 + 0.65 * min(teeth, 1.0)) * (bottom - top)
        canvas.fill(np.minimum(inner - 0.006, top + depth - y), (0.96, 0.95, 0.9), min(1.0, 2 * teeth))
        bite = np.minimum(inner - 0.01, 0.008 - abs(y - 0.5 * (top + bottom)))
        canvas.fill(bite, (0.4, 0.35, 0.33), max(0.0, 2.0 * teeth - 1.0))
    elif cues["open"] > 0.3:
        canvas.fill(np.minimum(inner, canvas.ellipse(0, 0.47 + gap, 0.6 * half, 0.5 * gap)), (0.62, 0.2, 0.22))


def _eye(canvas: _Canvas, who: Looks, cues: dict[str, float], side: float) -> None:
    x, half, shade = side * who.eyes, 0.155, 0.45 * who.skin
    t = np.clip((canvas.x - x) / half, -1.0, 1.0)
    arch = 1.0 - t * t
    lid = max(0.095 * (1.0 + 0.75 * cues["lid"]), 0.018)
    low = 0.055 * (1.0 + 0.3 * cues["lid"] - 0.55 * max(cues["cheek"], 0.0))
    up, down = -0.1 - lid * arch, -0.1 + max(low, 0.01) * arch
    seen = canvas.edge(np.minimum(half - abs(canvas.x - x), np.minimum(canvas.y - up, down - canvas.y)))
    canvas.paint(seen, (0.97, 0.97, 0.97))
    for right, height, radius, colour in (
        (0.0, -0.11, 0.075, who.iris), (0.0, -0.11, 0.038, np.zeros(3)), (0.022, -0.135, 0.016, np.ones(3))
    ):  # fmt: skip
        canvas.paint(np.minimum(seen, canvas.edge(canvas.ellipse(x + right, height, radius, radius))), colour)
    canvas.fill(np.minimum(half + 0.01 - abs(canvas.x - x), 0.014 - abs(canvas.y - up)), 0.25 * who.skin)
    canvas.fill(np.minimum(half - abs(canvas.x - x), 0.008 - abs(canvas.y - down)), shade, 0.7)
    if cues["cheek"] > 0.2:  # the cheek pushes up a fold below the eye
        canvas.fill(canvas.stroke(x, 0.0, 0.12, 0.0, -0.03, 0.011), shade, 0.8 * min(cues["cheek"], 1.0))
    inner, outer = -0.29 - 0.105 * cues["brow_inner"], -0.29 - 0.085 * cues["brow_outer"]
    middle, height, slope = x - side * 0.04 * cues["brow_pinch"], 0.5 * (inner + outer), side * 0.5 * (outer - inner)
    brow = canvas.stroke(middle, height - 0.025, 0.165, slope, 0.025, who.brow + 0.012)
    canvas.fill(brow, 0.7 * who.hair if who.style != 2 else 0.35 * who.skin)
    if cues["brow_pinch"] > 0.3:  # frown lines between the brows
        furrow = np.minimum(0.010 - abs(canvas.x - side * 0.045), 0.07 - abs(canvas.y + 0.30))
        canvas.fill(furrow, 0.6 * who.skin, 0.9 * min(cues["brow_pinch"], 1.0))
    for k in range(2) if cues["brow_inner"] > 0.3 and side > 0 else ():  # lines across the forehead
        line = canvas.stroke(0, -0.47 - 0.07 * k, 0.2, 0.0, 0.03, 0.010)
        canvas.fill(line, 0.7 * who.skin, 0.7 * min(cues["brow_inner"], 1.0))
