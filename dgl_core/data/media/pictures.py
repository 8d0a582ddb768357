"""Read picture files into arrays; an unreadable one is named with what to do about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dgl_core.data.files.cache import check_listed


def read_frame(path: Path, size: int) -> np.ndarray:
    """Read a picture file as uint8 ``[size, size, 3]``: scaled as a whole, as the official code does in testing."""
    return read_picture(path, size)[0]


def read_picture(path: Path, size: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Read a picture file as ``read_frame`` does, and the width and height that it has."""
    from PIL import Image

    check_listed(path)
    try:
        with Image.open(path) as image:
            own = image.size
            return scaled(image.convert("RGB"), size), own
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises of damage
        raise ValueError(f"{path}: not a readable picture ({error}); extract the frame again") from error


def scaled(image, size: int) -> np.ndarray:
    """Scale a PIL picture in RGB to uint8 ``[size, size, 3]``."""
    from PIL import Image

    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def picture_files(folder: Path) -> list[Path]:
    """List the frames of a clip that were extracted into a folder, by name (the official code lists them unsorted)."""
    return sorted(folder.glob("*.*"))
