"""One direction: a room imports only rooms to its left, imports inside functions counted; ``data`` knows no model."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[1] / "dgl_core"
ORDER = (
    "utils gradients suppression models methods data diagnosis training runs verdicts paper figures reproduce".split()
)
DOORS = {"__init__", "__main__"}  # they open on every room
STRANGERS = {"data": {"gradients", "models", "methods"}}
MOST_ENTRIES = 12  # of a folder, "__init__" not counted


def room(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Modules of the house that a file imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name}" for name in names]
        found |= {n for n in names if n.startswith("dgl_core.")}
    return found


def file_of(name: str) -> Path | None:
    """The file that the name of a module, or of something in a module, comes from."""
    parts = name.split(".")[1:]
    for end in (len(parts), len(parts) - 1):
        place = HOUSE.joinpath(*parts[:end])
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if end and path.is_file():
                return path
    return None


FILES = sorted(HOUSE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(HOUSE).as_posix())
def test_imports_run_one_way(path):
    own = room(path)
    assert own in {*ORDER, *DOORS}, f"{own} is no room: put the file into one, or give the room its place in ORDER"
    rooms = {name.split(".")[1] for name in imported(path)} & set(ORDER)
    later = {r for r in rooms if own in ORDER and ORDER.index(r) > ORDER.index(own)}
    assert not later, f"{own} stands below {later}; move the name down, or hand the value in"
    assert not rooms & STRANGERS.get(own, set()), f"{own} must not know {rooms & STRANGERS[own]}"


def test_no_file_imports_itself_through_others():
    """No circle of files, imports inside functions counted; a package's ``__init__`` may open its own files."""
    arrows = {path: {f for n in imported(path) if (f := file_of(n)) and f != path} for path in FILES}
    left = {
        p: {f for f in found if not (p.name == "__init__.py" and f.is_relative_to(p.parent))}
        for p, found in arrows.items()
    }
    while free := [path for path, found in left.items() if not found & left.keys()]:
        for path in free:
            del left[path]
    assert not left, f"a circle runs through {sorted(p.relative_to(HOUSE).as_posix() for p in left)}"


@pytest.mark.parametrize(
    "folder", sorted({p.parent for p in FILES} - {HOUSE}), ids=lambda p: p.relative_to(HOUSE).as_posix()
)
def test_a_folder_can_be_taken_in_at_a_glance(folder):
    entries = {p.name for p in folder.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()} - {"__init__.py"}
    assert len(entries) <= MOST_ENTRIES, (
        f"{folder.name} has {len(entries)} entries; give some of them a folder of their own"
    )


def test_the_top_level_is_four_files_and_nine_folders():
    files = {p.stem for p in HOUSE.glob("*.py")} - DOORS
    folders = {p.name for p in HOUSE.iterdir() if (p / "__init__.py").is_file()}
    assert files == {"gradients", "suppression", "diagnosis", "utils"}
    assert folders == set(ORDER) - files and len(folders) == 9
