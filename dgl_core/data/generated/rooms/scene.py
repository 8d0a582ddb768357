"""What stands in a generated room: sizes, places, surfaces; drawn with exact arithmetic from a random generator."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dgl_core.data.generated.portable import cosine, sine
from dgl_core.data.generated.rooms.looks import LABEL, LOOKS, Look

_FURNITURE = (  # pieces in the order of their placing, and the chance of each
    ("bed", 0.5), ("sofa", 0.6), ("cabinet", 0.8), ("table", 0.8), ("cabinet", 0.5), ("chair", 0.8),
    ("chair", 0.6), ("box", 0.8), ("box", 0.5), ("void", 0.5),
)  # fmt: skip
_BLOCKS = {"cabinet": ((0.6, 1.5), (0.35, 0.55), (0.7, 2.1)), "box": ((0.25, 0.55), (0.25, 0.5), (0.2, 0.5))}  # m
_BLOCKS["void"] = _BLOCKS["box"]


@dataclass(frozen=True)
class Box:
    """An upright box (m): centre (x, y), half sizes along its axes, lower and upper end; cosine, sine of its turn."""

    label: int
    look: Look
    centre: tuple[float, float]
    half: tuple[float, float]
    z: tuple[float, float]
    turn: tuple[float, float] = (1.0, 0.0)


@dataclass(frozen=True)
class Decal:
    """A flat thing on a face of the room (0, 1: x = 0, X; 2, 3: y = 0, Y; 4, 5: z = 0, Z) from ``low`` to ``high`` (m).

    It has the depth of the face: only its colour tells what it is. ``frame``: width of a border in the second colour.
    """

    label: int
    look: Look
    face: int
    low: tuple[float, float]
    high: tuple[float, float]
    frame: float = 0.0


@dataclass
class Room:
    """One room: size (X, Y, Z), camera, light, and everything in it. The camera looks roughly along +y."""

    size: tuple[float, float, float]
    eye: tuple[float, float, float]
    yaw: float  # turns, to the right
    pitch: float  # turns, downwards
    spread: float  # half width of the picture at distance 1
    light: tuple[float, float, float]
    looks: list[Look]  # of the six faces
    boxes: list[Box] = field(default_factory=list)
    decals: list[Decal] = field(default_factory=list)
    footprints: list[Box] = field(default_factory=list)  # outlines of whole pieces: shadows, and no overlap


class Furnisher:
    """Draws rooms from a random generator.

    Args:
        rng: only ``random()`` is used, which is exact everywhere.
        mislead: share of surfaces that wear the look of another class.
    """

    def __init__(self, rng: np.random.Generator, mislead: float):
        self.rng, self.mislead = rng, mislead

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.rng.random()

    def pick(self, items):
        return items[int(self.rng.random() * len(items))]

    def look(self, name: str) -> Look:
        """Return the look of a class, or of any other with probability ``mislead``; colours vary a little."""
        worn = self.pick(sorted(LOOKS)) if self.rng.random() < self.mislead else name
        colours, kind = self.pick(LOOKS[worn])
        tints = [self.uniform(0.8, 1.2) for _ in range(3)]
        light = self.uniform(0.75, 1.15)
        first, second = (tuple(min(1.0, c * t * light) for c, t in zip(rgb, tints, strict=True)) for rgb in colours)
        return Look((first, second), kind, self.uniform(0.12, 0.35), int(self.rng.random() * 2**31))

    def room(self) -> Room:
        """Draw an empty room with a camera near the wall y = 0, then its decals and furniture."""
        x, y, z = self.uniform(3.2, 5.5), self.uniform(3.6, 6.0), self.uniform(2.4, 3.0)
        eye = (self.uniform(0.3, 0.7) * x, self.uniform(0.1, 0.5), self.uniform(1.25, 1.75))
        light = (self.uniform(0.3, 0.7) * x, self.uniform(0.25, 0.7) * y, z - 0.3)
        yaw, pitch, spread = self.uniform(-0.07, 0.07), self.uniform(0.02, 0.07), self.uniform(0.65, 0.85)
        wall = self.look("wall")
        looks = [wall, wall, wall, self.look("wall"), self.look("floor"), self.look("ceiling")]
        if self.rng.random() < 0.7:
            looks[3] = wall
        room = Room((x, y, z), eye, yaw, pitch, spread, light, looks)
        self._decals(room)
        for name, chance in _FURNITURE:
            if self.rng.random() < chance:
                self._furnish(room, name)
        return room

    def _decals(self, room: Room) -> None:
        x, y, z = room.size
        taken: list[tuple[int, float, float]] = []
        for name, chance in (("door", 0.6), ("window", 0.75), ("picture", 0.8), ("picture", 0.5)):
            if self.rng.random() > chance:
                continue
            face = self.pick((0, 1, 3, 3))
            along, first = (x, 0.1) if face == 3 else (y, 1.2)  # side walls: only where the camera sees them
            wide, low, high, frame = {
                "door": (self.uniform(0.8, 1.0), 0.0, 2.05, 0.06),
                "window": (self.uniform(0.8, 1.6), self.uniform(0.7, 1.0), self.uniform(1.8, 2.2), 0.05),
                "picture": (self.uniform(0.4, 0.9), self.uniform(1.2, 1.4), self.uniform(1.7, 2.1), 0.03),
            }[name]
            start = self.uniform(first, along - wide - 0.1)
            end = start + wide
            if any(f == face and start < b + 0.1 and a < end + 0.1 for f, a, b in taken):
                continue
            taken.append((face, start, end))
            high = min(high, z - 0.1)
            room.decals.append(Decal(LABEL[name], self.look(name), face, (start, low), (end, high), frame))
        if self.rng.random() < 0.55:
            low = (self.uniform(0.2, 0.4) * x, self.uniform(0.3, 0.45) * y)
            high = (low[0] + self.uniform(0.3, 0.5) * x, low[1] + self.uniform(0.25, 0.4) * y)
            room.decals.append(Decal(LABEL["rug"], self.look("rug"), 4, low, high, 0.08))

    def _furnish(self, room: Room, name: str) -> None:
        """Place one piece where nothing stands yet; give up after a few tries."""
        wide, deep, parts = self._block(name) if name in _BLOCKS else getattr(self, f"_{name}")()
        for _ in range(10):
            spot = self._spot(room, name, wide, deep)
            if spot is not None:
                (cx, cy), (c, s) = spot
                for (px, py), half, z, look in parts:
                    centre = (cx + c * px - s * py, cy + s * px + c * py)
                    room.boxes.append(Box(LABEL[name], look, centre, half, z, (c, s)))
                room.footprints.append(Box(0, room.looks[4], (cx, cy), (wide / 2, deep / 2), (0.0, 0.0), (c, s)))
                return

    def _spot(self, room: Room, name: str, wide: float, deep: float):
        """Return centre and turn of a place, against a wall (back to it) or in the middle; None if it is taken."""
        x, y, _ = room.size
        against = name in ("bed", "sofa", "cabinet")
        place = self.pick(("far", "left", "right") if against else ("middle", "middle", "far"))
        if place == "middle":
            turn = self.uniform(-0.5, 0.5) if name in ("chair", "box", "void") else self.uniform(-0.04, 0.04)
            reach = (wide + deep) / 2  # covers every turn
            centre = (self.uniform(reach / 2, x - reach / 2), self.uniform(1.5, y - reach / 2 - 0.1))
        elif place == "far":
            turn, centre = 0.0, (self.uniform(wide / 2, x - wide / 2), y - deep / 2)
        else:
            turn, across = (0.25, deep / 2) if place == "left" else (-0.25, x - deep / 2)
            centre = (across, self.uniform(max(1.3, wide / 2), y - wide / 2))
        c, s = float(cosine(turn)), float(sine(turn))
        half = _reach((c, s), (wide / 2, deep / 2))
        for other in room.footprints:
            reach = _reach(other.turn, other.half)
            if all(abs(a - b) < h + r + 0.05 for a, b, h, r in zip(centre, other.centre, half, reach, strict=True)):
                return None
        if centre[1] - half[1] < 1.0 and abs(centre[0] - room.eye[0]) < half[0] + 0.4:
            return None  # would stand in front of the lens
        return centre, (c, s)

    # Pieces: width, depth, and boxes (centre, half size, z, look); the back is at +depth/2.

    def _block(self, name: str):
        wide, deep, high = (self.uniform(*limits) for limits in _BLOCKS[name])
        return wide, deep, [((0.0, 0.0), (wide / 2, deep / 2), (0.0, high), self.look(name))]

    def _bed(self):
        wide, deep = self.uniform(1.0, 1.7), 2.0
        cover, wood, pillow = (self.look("bed") for _ in range(3))
        top = self.uniform(0.42, 0.6)
        mattress = ((0.0, 0.0), (wide / 2, deep / 2), (0.0, top), cover)
        head = ((0.0, deep / 2 - 0.04), (wide / 2, 0.04), (0.0, top + 0.45), wood)
        places = [(side * wide, deep / 2 - 0.3) for side in (-0.25, 0.25)]
        return (
            wide,
            deep,
            [mattress, head, *((place, (0.2 * wide, 0.18), (top, top + 0.1), pillow) for place in places)],
        )

    def _sofa(self):
        wide, deep, look = self.uniform(1.4, 2.2), 0.9, self.look("sofa")
        seat = ((0.0, 0.0), (wide / 2, deep / 2), (0.0, 0.42), look)
        back = ((0.0, deep / 2 - 0.12), (wide / 2, 0.12), (0.0, 0.85), look)
        places = [(side * (wide / 2 - 0.1), 0.0) for side in (-1.0, 1.0)]
        return wide, deep, [seat, back, *((place, (0.1, deep / 2), (0.0, 0.6), look) for place in places)]

    def _table(self):
        wide, deep, top = self.uniform(0.9, 1.6), self.uniform(0.6, 0.9), self.pick((0.45, 0.72, 0.75))
        return wide, deep, self._on_legs(wide, deep, top, 0.05, self.look("table"))

    def _chair(self):
        look, size = self.look("chair"), 0.45
        back = ((0.0, size / 2 - 0.025), (size / 2, 0.025), (0.46, 0.95), look)
        return size, size, [*self._on_legs(size, size, 0.46, 0.04, look), back]

    def _on_legs(self, wide: float, deep: float, top: float, thick: float, look: Look):
        board = ((0.0, 0.0), (wide / 2, deep / 2), (top - thick, top), look)
        places = [(sx * (wide / 2 - thick), sy * (deep / 2 - thick)) for sx in (-1.0, 1.0) for sy in (-1.0, 1.0)]
        return [board, *((place, (thick / 2, thick / 2), (0.0, top - thick), look) for place in places)]


def _reach(turn: tuple[float, float], half: tuple[float, float]) -> tuple[float, float]:
    """Return half the extent of a turned rectangle along x and y."""
    (c, s), (wide, deep) = turn, half
    return abs(c) * wide + abs(s) * deep, abs(s) * wide + abs(c) * deep
