"""Convert the official NYU Depth v2 files into the folder that ``sets/nyuv2.py`` reads.

    python -m dgl_core.data.sets.convert.nyuv2 nyu_depth_v2_labeled.mat classMapping40.mat splits.mat DATA/nyuv2_rgbd40

Pictures are halved to 320 x 240 (``--full``: kept at 640 x 480): RGB by Lanczos, depth and labels by taking every
second pixel. Depth becomes 8 bit (about 4 cm steps), value / 25.5 = metres.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import zipfile
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from joblib.externals.loky import get_reusable_executor

from dgl_core.data.files import cache
from dgl_core.data.sets.nyuv2 import RECIPE, VOID, ZIPS, read_classes, read_members
from dgl_core.utils import needs

METRES = 25.5  # steps of 8-bit depth per metre


def convert(labeled: Path, mapping: Path, splits: Path, out: Path, full: bool = False) -> Path:
    """Write the folder ``out``, all of it or nothing, and check it as the loader does.

    Args:
        labeled: ``nyu_depth_v2_labeled.mat`` (MATLAB 7.3, HDF5): ``images``, ``depths`` (m, filled in), ``labels``.
        mapping: ``classMapping40.mat``: ``mapClass``, the 40-class number of each of the 894 classes, ``className``.
        splits: ``splits.mat``: ``trainNdxs``, ``testNdxs``, 1-based.
        full: keep 640 x 480.

    Raises:
        FileExistsError: ``out`` exists. ValueError: a file is not what it should be; the message says which and how.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists; remove it first, or name another folder")
    to40, names = read_mapping(mapping)
    parts = {part: _vector(splits, f"{part}Ndxs") for part in ("train", "test")}

    def write(folder: Path) -> None:
        with contextlib.ExitStack() as stack:
            archives = {k: stack.enter_context(zipfile.ZipFile(folder / file, "w")) for k, (file, _) in ZIPS.items()}
            numbers = []
            for number, pictures in official_pictures(labeled, to40, full):
                numbers.append(number)
                for kind, picture in pictures.items():
                    _add(archives[kind], f"{number:04d}.{ZIPS[kind][1]}", picture)
        listed = sorted(np.concatenate(list(parts.values())).tolist())
        if listed != numbers:
            raise ValueError(f"{splits} lists {len(listed)} pictures, {labeled} holds {len(numbers)}; take one release")
        for part, chosen in parts.items():
            (folder / f"{part}.txt").write_text("".join(f"{n:04d}\n" for n in sorted(chosen)), encoding="utf-8")
        with open(folder / "classes.csv", "w", encoding="utf-8", newline="") as file:
            rows = [("label", "name"), *enumerate(names), (VOID, "void (unlabelled: ignore)")]
            csv.writer(file, lineterminator="\n").writerows(rows)
        cache.write_manifest(folder, map(Path, RECIPE.facts.manifest))
        RECIPE.checksums(folder)
        for kind in ZIPS:
            for _ in read_members(folder, kind, numbers, len(read_classes(folder / "classes.csv"))):
                pass  # every picture is checked as the loader does it

    return cache.ensure(out, write, lambda folder: "", "the converted set")


def read_mapping(path: Path) -> tuple[np.ndarray, list[str]]:
    """Read the label of each of the 894 + 1 raw classes (0 is unlabelled: void), and the names of the 40 classes."""
    numbers = _vector(path, "mapClass")
    names = [str(np.ravel(name)[0]) if np.size(name) else "" for name in _vector(path, "className", None)]
    if not all(names):
        raise ValueError(f"{path}: className has an empty name; download it again")
    low, high = numbers.min(), numbers.max()
    if low < 1 or high != len(names):
        raise ValueError(f"{path}: mapClass runs from {low} to {high}, but there are {len(names)} names")
    return np.concatenate([[VOID], numbers - 1]).astype(np.uint8), names


def _vector(path: Path, name: str, kind: type | None = int) -> np.ndarray:
    from scipy.io import loadmat

    try:  # in a process of its own: a damaged file makes scipy raise nearly anything, or end its process
        content = get_reusable_executor(1).submit(loadmat, str(path)).result()
    except Exception as error:
        reason = str(error) if not isinstance(error, BrokenProcessPool) else "it crashes scipy"
        raise ValueError(f"{path} cannot be read as a MATLAB file ({reason}); download it again") from error
    if name not in content:
        found = ", ".join(key for key in content if not key.startswith("__"))
        raise ValueError(f"{path} has no variable {name!r}; it has {found}")
    try:
        vector = np.asarray(content[name]).reshape(-1)
        return vector if kind is None else vector.astype(kind)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: variable {name!r} is damaged ({error}); download it again") from error


def official_pictures(path: Path, to40: np.ndarray, full: bool) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yield the number of each picture (1-based) with ``rgb`` uint8 [H, W, 3], ``depth`` and ``label`` uint8 [H, W].

    MATLAB stores columns first, so HDF5 shows every picture transposed: ``images`` [N, 3, W, H], the rest [N, W, H].
    """
    needs("MATLAB 7.3 files", "h5py")
    import h5py

    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is not there, or no MATLAB 7.3 (HDF5) file; download nyu_depth_v2_labeled.mat again")
    try:
        with h5py.File(path) as file:
            yield from _halved(path, file, to40, 1 if full else 2)
    except OSError as error:  # a file that was cut off, or a block that cannot be unpacked
        raise ValueError(f"{path}: damaged ({' '.join(str(error).split())}); download it again") from error


def _halved(path: Path, file, to40: np.ndarray, step: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    from PIL import Image

    missing = [name for name in ("images", "depths", "labels") if name not in file]
    if missing:
        raise ValueError(f"{path} has no {missing[0]!r}; it has {', '.join(file)}. Take nyu_depth_v2_labeled.mat")
    for row in range(len(file["images"])):
        rgb = file["images"][row].transpose(2, 1, 0)  # [H, W, 3]
        metres, raw = file["depths"][row].T, file["labels"][row].T  # [H, W]
        if not (np.isfinite(metres).all() and 0 <= metres.min() and metres.max() * METRES < 255.5):
            raise ValueError(f"{path}: picture {row + 1} has depths outside 0..10 m; take the filled-in 'depths'")
        if raw.max() >= len(to40):
            end = len(to40) - 1
            raise ValueError(f"{path}: picture {row + 1} has raw class {raw.max()}; the mapping ends at {end}")
        if step == 2:
            size = (rgb.shape[1] // 2, rgb.shape[0] // 2)
            rgb = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))
        depth = np.rint(metres[::step, ::step].astype(np.float64) * METRES).astype(np.uint8)
        yield row + 1, {"rgb": rgb, "depth": depth, "label": to40[raw[::step, ::step]]}


def _add(archive: zipfile.ZipFile, name: str, picture: np.ndarray) -> None:
    """Add one picture file, stored as it is, with a fixed date: the same input gives the same zip."""
    from PIL import Image

    buffer = io.BytesIO()
    options = {"format": "JPEG", "quality": 95, "subsampling": 0} if name.endswith("jpg") else {"format": "PNG"}
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, **options)
    archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), buffer.getvalue())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    files = {"labeled": "nyu_depth_v2_labeled.mat", "mapping": "classMapping40.mat", "splits": "splits.mat"}
    for name, text in (files | {"out": "folder to make, <data>/nyuv2_rgbd40"}).items():
        parser.add_argument(name, type=Path, help=text)
    parser.add_argument("--full", action="store_true", help="keep 640 x 480")
    try:
        folder = convert(**vars(parser.parse_args(arguments)))
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f"error: {error}") from error
    print(f"wrote and checked {folder}")


if __name__ == "__main__":
    main()
