"""Say what data are here, what is missing and where to get it; fetch lists, prepare media, check files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dgl_core.data.catalogue import DATASETS
from dgl_core.data.files import cache
from dgl_core.data.files.arrays import check_kept
from dgl_core.data.files.fetch import Remote, unpack
from dgl_core.data.files.fetch import fetch as fetch_file
from dgl_core.data.media.arrays import state
from dgl_core.data.recipe import Recipe
from dgl_core.data.sets.convert.grid import convert
from dgl_core.utils import data_roots, unknown_name


def status(recipe: Recipe, root: Path | None) -> str:
    """Say what there is to know about one data set, in several lines."""
    options = ", ".join(f"{key}={value!r}" for key, value in recipe.options.items())
    facts, store = recipe.facts, cache.cache_root()
    lines = [f"{facts.title}, {facts.what}", f"  options  {options}"]
    if recipe.generated:
        kept = [folder for folder in store.glob(f"{recipe.name}-*") if folder.is_dir()]
        there = f"{len(kept)} sets there now, {_size(*kept)}"
        lines.append(f"  here     generated on first use and kept in {store} ({there})")
    elif facts.folder:
        try:
            folder = recipe.find(root)
            lines.append(f"  here     {folder} ({_size(folder)})")
        except FileNotFoundError as error:
            lines.append(f"  missing  {error}")
        except ValueError as error:
            lines.append(f"  broken   {error}")
    prepared = sorted(store.glob(f"{recipe.name}*/*/")) if recipe.prepare else []
    lines += [f"  prepared {folder} ({state(folder)}, {_size(folder)})" for folder in prepared]
    if facts.origin:
        lines += [f"  from     {facts.origin}", f"  size     {facts.size}", f"  takes    {facts.takes}"]
    lines += [f"  list     {_list(remote, root)}" for remote in remotes(recipe)]
    lines += [f"  licence  {facts.licence}; cite: {facts.cite}"] if facts.licence else []
    return "\n".join(lines)


def remotes(recipe: Recipe) -> list[Remote]:
    """Return the files that can be fetched for a data set."""
    return [Remote(**entry | {"urls": tuple(entry["urls"])}) for entry in recipe.facts.lists]


def fetch(recipe: Recipe, root: Path | None) -> str:
    """Get what can be got by machine; ``ValueError`` where nothing can, or a download failed."""
    if not recipe.facts.lists:
        by_hand = "it is generated on first use" if recipe.generated else f"it comes from {recipe.facts.origin}"
        raise ValueError(f"nothing to fetch: {by_hand}")
    lines = []
    for remote in remotes(recipe):
        cache.say(f"fetching {remote.path} ({remote.size / 1e6:.2f} MB)")
        lines.append(f"{fetch_file(remote, data_roots(root)[0])}: {remote.size} bytes, SHA-256 as it should be")
    return "\n  ".join([*lines, f"the media are not fetched: {recipe.facts.origin}"])


def prepare(recipe: Recipe, root: Path | None, settings: list[str]) -> str:
    """Make the arrays of a set of media files; ``ValueError`` for one that has none, or a wrong setting."""
    if recipe.prepare is None:
        with_media = ", ".join([name for name, r in DATASETS.items() if r.prepare is not None] + ["grid"])
        raise ValueError(f"has no media to prepare; sets that have: {with_media}")
    options = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign:
            raise ValueError(f"{setting!r} is no option=value; options: {', '.join(recipe.options)}")
        default = recipe.options.get(key)
        options[key] = int(value) if isinstance(default, int) and value.lstrip("-").isdecimal() else value
    return recipe.prepare(root, **recipe.check(options))


def prepare_grid(raw: Path | None, target: Path | None, root: Path | None) -> str:
    """Make the word set from the raw corpus, in a folder or a zip or tar file; ``ValueError`` if it is not there."""
    grid = DATASETS["grid_words"].facts
    if raw is None:
        raise ValueError(f"say where the raw videos are with --raw FOLDER ({grid.origin})")
    if not raw.exists():
        raise ValueError(f"--raw {raw}: nothing is there; give the folder, zip or tar file of the raw videos")
    if raw.is_file():
        folder = raw.with_name(f"{raw.name}.unpacked")
        cache.say(f"unpacked {unpack(raw, folder)} files into {folder}")
        raw = next((p.parent for p in sorted(folder.rglob("*.align"))), folder)
    return convert(raw, target or data_roots(root)[0] / grid.folder)


def verify(recipe: Recipe, root: Path | None) -> str:
    """Check all files of a data set, and the arrays kept of it, by reading them; an error names file and remedy."""
    with cache.afresh():
        kept = check_kept(recipe.name)
        found = recipe.verify(root) if recipe.verify is not None else repr(recipe.load(root, **recipe.check({})))
    return f"right: {found}" + (f"; {kept} folders of arrays as their checksums say" if kept else "")


ACTIONS = {"status": status, "fetch": fetch, "verify": verify}


def _list(remote: Remote, root: Path | None) -> str:
    places = [place / remote.path for place in data_roots(root)]
    here = next((place for place in places if place.is_file()), None)
    if here is None:
        return f"{remote.path} missing ({remote.size / 1e3:.0f} kB): 'fetch' gets it from {remote.urls[0]}"
    return str(here) + ("" if remote.right(here) else ": not the official one (SHA-256 differs)")


def _size(*folders: Path) -> str:
    return f"{sum(f.stat().st_size for folder in folders for f in folder.rglob('*') if f.is_file()) / 1e6:.0f} MB"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dgl data", description="What data are here, and are they right?")
    parser.add_argument("--root", type=Path, help="folder of the real sets (default: DGL_DATA, then ./data)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="what is here and where to get the rest").add_argument("names", nargs="*")
    commands.add_parser("fetch", help="download the official lists").add_argument("names", nargs="+")
    making = commands.add_parser("prepare", help="videos and sounds into arrays; can be interrupted")
    making.add_argument("names", nargs=1, metavar="name")
    making.add_argument("settings", nargs="*", help="options of the data set, as option=value")
    making.add_argument("--raw", type=Path, help="folder (or zip or tar file) of the raw GRID corpus")
    making.add_argument("--to", type=Path, help="folder of the prepared GRID set")
    commands.add_parser("verify", help="check files and checksums").add_argument("names", nargs="+")
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    failed = False
    for name in options.names or DATASETS:
        try:
            if options.command == "prepare" and name == "grid":
                said = prepare_grid(options.raw, options.to, options.root)
            elif name not in DATASETS:
                raise unknown_name("data set", name, DATASETS)
            elif options.command == "prepare":
                said = prepare(DATASETS[name], options.root, options.settings)
            else:
                said = ACTIONS[options.command](DATASETS[name], options.root)
            print(f"{name}: {said}")
        except (OSError, ValueError, ImportError) as error:
            about = f"{name}: " if name in DATASETS or name == "grid" else ""
            print(f"{about}{error}", file=sys.stderr)
            failed = True
        except KeyboardInterrupt:
            print(f"{name}: interrupted; the same command goes on where it was", file=sys.stderr)
            return 130
    return int(failed)
