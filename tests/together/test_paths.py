"""Every file that README, notebooks, docstrings or comments name is there."""

from __future__ import annotations

import glob
import re
import subprocess
from pathlib import Path

import pytest

from dgl_core.utils import ROOT

ROOMS = ("dgl_core", "notebooks", "tests", "tools", "results", "examples")
ENDS = "py|ipynb|md|json|toml|css|js|cfg|png"
NAMED = re.compile(rf"(?<![\w./-])((?:{'|'.join(ROOMS)})/[\w./*-]*[\w*]\.(?:{ENDS}))(?![\w/])")
LIST = ["git", "ls-files", "*.py", "*.md", "Makefile", "*.yml"]
LISTED = subprocess.run(LIST, cwd=ROOT, capture_output=True, text=True)
# Names that tests invent.
MADE_UP = {"notebooks/01_first.ipynb", "notebooks/03_x.ipynb", "dgl_core/nowhere.py", "tests/*/test_x.py"}
FILES = [name for name in LISTED.stdout.split() if (ROOT / name).is_file() and not name.startswith("CHANGELOG")]


@pytest.mark.skipif(not FILES, reason="no git checkout")
def test_named_files_exist():
    gone = {}
    for name in FILES:
        for path in NAMED.findall((ROOT / name).read_text(encoding="utf-8")):
            if path not in MADE_UP and not glob.glob(str(ROOT / path)):
                gone.setdefault(path, name)
    assert not gone, f"these files are named but not there: {gone}"


def test_the_pattern_finds_what_is_missing():
    found = NAMED.findall("see `dgl_core/nowhere.py`, and tests/*/test_x.py.")
    assert found == ["dgl_core/nowhere.py", "tests/*/test_x.py"]


LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)[^)\s]*\)")
QUOTED = re.compile(rf"`((?:{'|'.join(ROOMS)}|docs)/[\w./*-]*)`")
MADE_HERE = ("results/runs", "results/rehearsal")  # on the reader's machine
TEXTS = [ROOT / "README.md", *sorted((ROOT / "notebooks").glob("*.py"))]


def prose(text: Path) -> str:
    """The text of a page; of a notebook's source its lines of prose."""
    written = text.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^#.*", written, re.M)) if text.suffix == ".py" else written


def led(text: str) -> list[str]:
    """Where the relative links of a text lead."""
    return LINK.findall(text)


def quoted(text: str) -> list[str]:
    """The paths of the project that stand in backticks, folders among them."""
    return [path for path in QUOTED.findall(text) if not path.startswith(MADE_HERE)]


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_links_and_quoted_paths_lead_to_files_of_the_project(text):
    """JupyterLab, as ``make lab`` starts it, and GitHub both resolve a link from the folder of its file."""
    written = prose(text)
    wrong = [link for link in led(written) if not (text.parent / link).resolve().is_relative_to(ROOT)]
    wrong += [link for link in led(written) if not (text.parent / link).exists()]
    wrong += [path for path in quoted(written) if not glob.glob(str(ROOT / path))]
    assert led(written) and not wrong


def test_a_wrong_link_and_a_wrong_folder_are_found():
    said = "[a](03_nowhere.ipynb#part) [b](https://a.b/c) [c](#here), `dgl_core/no_room/` and `results/runs`, `a/b`"
    assert led(said) == ["03_nowhere.ipynb"] and quoted(said) == ["dgl_core/no_room/"]
