"""What data are here, what is missing and where it is looked for; whether the files are right.

python -m dgl_core.data status [NAME ...]
python -m dgl_core.data verify NAME [...]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dgl_core.data import cache
from dgl_core.data.catalogue import DATASETS, LICENCES
from dgl_core.data.recipe import Recipe
from dgl_core.records import unknown_name


def status(recipe: Recipe, root: Path | None) -> list[str]:
    """What there is to know about one data set without reading it, as lines."""
    licence = next((f"{use}; cite: {cite}" for name, _, use, cite, _ in LICENCES if name == recipe.licence), "")
    options = ", ".join(f"{key}={value!r}" for key, value in recipe.options.items())
    lines = [f"{recipe.name}: {recipe.title}", f"  options  {options}"]
    if recipe.generated:
        lines.append(f"  here     generated on first use and kept in {cache.cache_root()} ({_kept(recipe.name)})")
    elif recipe.find is not None:
        try:
            folder = recipe.find(root)
            lines.append(f"  here     {folder} ({_size(folder)})")
        except FileNotFoundError as error:
            lines.append(f"  missing  {error}")
        except ValueError as error:
            lines.append(f"  broken   {error}")
    else:
        lines.append("  here" if recipe.available(root) else "  missing")
    return lines + ([f"  licence  {licence}"] if licence else [])


def verify(recipe: Recipe, root: Path | None) -> str:
    """Check one data set completely.

    Raises:
        FileNotFoundError, ValueError: what is wrong, with file and remedy.
    """
    if recipe.verify is not None:
        return recipe.verify(root)
    return repr(recipe.load(root, **recipe.check({})))


def _kept(name: str) -> str:
    folders = [folder for folder in cache.cache_root().glob(f"{name}-*") if folder.is_dir()]
    total = sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
    return f"{len(folders)} sets there now, {total / 1e6:.0f} MB"


def _size(folder: Path) -> str:
    return f"{sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()) / 1e6:.0f} MB"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dgl_core.data", description="What data are here, and are they right?"
    )
    parser.add_argument("--root", type=Path, help="folder of the real sets (default: DGL_DATA, then ./data)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="what is here and where it is looked for").add_argument("names", nargs="*")
    commands.add_parser("verify", help="check files and checksums").add_argument("names", nargs="+")
    options = parser.parse_args(arguments)
    failed = False
    for name in options.names or DATASETS:
        try:
            if name not in DATASETS:
                raise unknown_name("data set", name, DATASETS)
            if options.command == "status":
                print("\n".join(status(DATASETS[name], options.root)))
            else:
                print(f"{name}: right: {verify(DATASETS[name], options.root)}")
        except (OSError, ValueError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
