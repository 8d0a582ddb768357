"""From a room to a picture: one ray per pixel, exact depth, shading. The same bits on every x86-64 processor."""

from __future__ import annotations

import numpy as np

from dgl_core.data.generated.portable import cosine, sine
from dgl_core.data.generated.rooms.looks import LABEL, Look
from dgl_core.data.generated.rooms.scene import Box, Decal, Room

_FACE_LABEL = (LABEL["wall"],) * 4 + (LABEL["floor"], LABEL["ceiling"])
_TINY = 1e-9


def render(room: Room, height: int, width: int, noise: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Render one picture of a room; ``noise`` is the source of exposure, white balance and sensor noise.

    Returns:
        RGB uint8 [H, W, 3]; depth along the optical axis in millimetres, int16 [H, W]; label uint8 [H, W].
    """
    eye, rays, axes = _camera(room, height, width)
    times = (np.where(rays > 0, np.array(room.size), 0.0) - eye) / rays  # at which a ray leaves the room [P, 3]
    pixels, axis = np.arange(len(rays)), times.argmin(axis=1)  # the coordinate that is fixed on the face
    depth, face = times[pixels, axis], 2 * axis + (rays[pixels, axis] > 0)
    points = eye + depth[:, None] * rays  # [P, 3]
    label = np.array(_FACE_LABEL, np.uint8)[face]
    a, b = np.where(axis == 0, points[:, 1], points[:, 0]), np.where(axis == 2, points[:, 1], points[:, 2])
    normal = np.zeros_like(points)
    normal[pixels, axis] = np.where(face % 2, -1.0, 1.0)
    colour = np.zeros_like(points)
    for number, look in enumerate(room.looks):
        here = np.flatnonzero(face == number)
        colour[here] = paint(look, a[here], b[here])
    for decal in room.decals:
        _stick(decal, face, a, b, colour, label)
    colour *= _dusk(room, points, face)[:, None]
    for box in room.boxes:
        _stand(box, eye, rays, axes, room.spread, (height, width), (depth, points, normal, colour, label))
    colour *= _light(room, points, normal)[:, None]
    millimetres, size = np.rint(1000 * depth).astype(np.int16), (height, width)
    return _expose(colour, noise).reshape(*size, 3), millimetres.reshape(size), label.reshape(size)


def _camera(room: Room, height: int, width: int):
    """Return eye [3], rays [P, 3] of unit depth along the optical axis, and the camera's axes (right, up, forward)."""
    cy, sy, cp, sp = (float(f(t)) for t in (room.yaw, room.pitch) for f in (cosine, sine))
    forward = np.array([cp * sy, cp * cy, -sp])
    right, up = np.array([cy, -sy, 0.0]), np.array([sp * sy, sp * cy, cp])
    u = (np.arange(width) + 0.5 - width / 2) * (room.spread / (width / 2))
    v = (height / 2 - 0.5 - np.arange(height)) * (room.spread / (width / 2))
    rays = (forward + u[None, :, None] * right + v[:, None, None] * up).reshape(-1, 3)
    return np.array(room.eye), np.where(np.abs(rays) < _TINY, _TINY, rays), (right, up, forward)


def _stick(decal: Decal, face: np.ndarray, a: np.ndarray, b: np.ndarray, colour: np.ndarray, label: np.ndarray) -> None:
    """Paint a flat thing on its face; the depth stays."""
    (a0, b0), (a1, b1) = decal.low, decal.high
    here = np.flatnonzero((face == decal.face) & (a > a0) & (a < a1) & (b > b0) & (b < b1))
    x, y = a[here] - a0, b[here] - b0
    edge = np.minimum(np.minimum(x, a1 - a0 - x), np.minimum(y, b1 - b0 - y))
    framed = (edge < decal.frame)[:, None]
    colour[here] = np.where(framed, 0.7 * np.array(decal.look.colours[1]), paint(decal.look, x, y))
    label[here] = decal.label


def _stand(box: Box, eye, rays, axes, spread: float, size: tuple[int, int], state: tuple[np.ndarray, ...]) -> None:
    """Draw a box into the picture where it is nearest; only the rows and columns that it can cover are looked at."""
    depth, points, normal, colour, label = state
    window = _window(box, eye, axes, spread, size)
    c, s = box.turn
    x, y, z = rays[window].T
    along = np.stack([c * x + s * y, c * y - s * x, z])  # rays in the frame of the box [3, P]
    ex, ey = eye[0] - box.centre[0], eye[1] - box.centre[1]
    start = np.array([c * ex + s * ey, c * ey - s * ex, eye[2] - (box.z[0] + box.z[1]) / 2])[:, None]
    half = np.array([*box.half, (box.z[1] - box.z[0]) / 2])[:, None]
    way = np.where(np.abs(along) < _TINY, _TINY, along)
    near, far = (-half - start) / way, (half - start) / way
    near, far = np.minimum(near, far), np.maximum(near, far)
    enter, leave, side = near.max(axis=0), far.min(axis=0), near.argmax(axis=0)  # [P]
    hit = (enter < leave) & (enter > 0.05) & (enter < depth[window])
    here, enter, side, along = window[hit], enter[hit], side[hit], along[:, hit]
    local = start + enter * along
    depth[here], label[here] = enter, box.label
    points[here] = eye + enter[:, None] * rays[here]
    a, b = np.where(side == 0, local[1], local[0]), np.where(side == 2, local[1], local[2])
    colour[here] = paint(box.look, a + half[0], b + half[2])
    facing = np.where(side == np.arange(3)[:, None], np.where(along > 0, -1.0, 1.0), 0.0)
    normal[here] = np.stack([c * facing[0] - s * facing[1], s * facing[0] + c * facing[1], facing[2]], axis=1)


def _window(box: Box, eye, axes, spread: float, size: tuple[int, int]) -> np.ndarray:
    """Return the indices of the pixels inside the rectangle around the box's eight corners."""
    height, width = size
    c, s = box.turn
    px, py, z = (side.ravel() for side in np.meshgrid(*([-half, half] for half in box.half), box.z))
    x, y, h = box.centre[0] + c * px - s * py - eye[0], box.centre[1] + s * px + c * py - eye[1], z - eye[2]
    side, rise, far = (x * e[0] + y * e[1] + h * e[2] for e in axes)
    if (far < 0.05).any():  # beside or behind the camera: look everywhere
        return np.arange(height * width)
    columns = side / far / spread * (width / 2) + width / 2
    rows = height / 2 - rise / far / spread * (width / 2)
    top, left = max(0, int(rows.min()) - 1), max(0, int(columns.min()) - 1)
    bottom, end = min(height, int(rows.max()) + 2), min(width, int(columns.max()) + 2)
    return (np.arange(top, max(top, bottom))[:, None] * width + np.arange(left, max(left, end))).ravel()


def paint(look: Look, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the linear colour [P, 3] of a surface at its coordinates ``a``, ``b`` [P] (m)."""
    p, seed = look.period, look.seed
    i, j, row = np.floor(a / p), np.floor(b / p), np.floor(b / (p / 2))
    share = {
        "plain": lambda: 0.3 * smooth_noise(a / 0.5, b / 0.5, seed),
        "checks": lambda: (i + j) % 2,
        "stripes": lambda: i % 2,
        "planks": lambda: 0.8 * scatter(row, np.floor(a / (6 * p) + 0.37 * row), seed),
        "blotches": lambda: smooth_noise(a / p, b / p, seed),
        "tiles": lambda: ((a - p * i < 0.08 * p) | (b - p * j < 0.08 * p)).astype(np.float64),
    }[look.kind]()
    grain = 0.92 + 0.16 * scatter(np.floor(a * 40), np.floor(b * 40), seed + 1)
    first, second = np.array(look.colours)
    return (first + share[:, None] * (second - first)) * grain[:, None]


def scatter(i: np.ndarray, j: np.ndarray, seed: int) -> np.ndarray:
    """Return a number in 0..1 for every lattice point (i, j) [P], by integer mixing."""
    with np.errstate(over="ignore"):
        x = i.astype(np.int64).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (j.astype(np.int64).astype(np.uint64) + np.uint64(seed))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
    return (x >> np.uint64(40)).astype(np.float64) / 2.0**24


def smooth_noise(a: np.ndarray, b: np.ndarray, seed: int) -> np.ndarray:
    """Return value noise in 0..1 at (a, b) [P]: lattice numbers, blended smoothly."""
    i, j = np.floor(a), np.floor(b)
    x, y = a - i, b - j
    x, y = x * x * (3 - 2 * x), y * y * (3 - 2 * y)
    low = scatter(i, j, seed) * (1 - x) + scatter(i + 1, j, seed) * x
    high = scatter(i, j + 1, seed) * (1 - x) + scatter(i + 1, j + 1, seed) * x
    return low * (1 - y) + high * y


def _dusk(room: Room, points: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Return how dark faces are near their edges and, on the floor, around the furniture: a factor [P]."""
    dark = np.ones(len(points))
    for k in range(3):
        away = np.minimum(points[:, k], room.size[k] - points[:, k])
        dark *= np.where(face // 2 == k, 1.0, 1 - 0.3 / (1 + away * away / 0.04))
    floor = np.flatnonzero(face == 4)
    for piece in room.footprints:
        c, s = piece.turn
        x, y = points[floor, 0] - piece.centre[0], points[floor, 1] - piece.centre[1]
        beside = np.maximum(np.abs(c * x + s * y) - piece.half[0], 0.0)
        before = np.maximum(np.abs(c * y - s * x) - piece.half[1], 0.0)
        dark[floor] *= 1 - 0.5 / (1 + (beside * beside + before * before) / 0.02)
    return dark


def _light(room: Room, points: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Return the share [P] of ambient light and one lamp that arrives."""
    x, y, z = (room.light[k] - points[:, k] for k in range(3))
    square = x * x + y * y + z * z
    facing = np.maximum(x * normal[:, 0] + y * normal[:, 1] + z * normal[:, 2], 0.0) / np.sqrt(square)
    return 0.45 + 0.9 * facing / (1 + square / 12)


def _expose(colour: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Apply white balance, exposure, display curve (a square root) and sensor noise: uint8 [P, 3]."""
    balance = 0.88 + 0.24 * noise.random(3)
    gain = 0.8 + 0.5 * noise.random()
    shown = np.sqrt(np.minimum(colour * balance * gain, 1.0)) + 0.05 * (noise.random(colour.shape) - 0.5)
    return np.rint(255 * np.clip(shown, 0.0, 1.0)).astype(np.uint8)
