"""Every file that README, notebooks, docstrings or comments name is there."""

from __future__ import annotations

import glob
import re
import subprocess

import pytest

from dgl_core.utils import ROOT

ROOMS = ("dgl_core", "notebooks", "tests", "tools", "results", "examples")
ENDS = "py|ipynb|md|json|toml|css|js|cfg|png"
NAMED = re.compile(rf"(?<![\w./-])((?:{'|'.join(ROOMS)})/[\w./*-]*[\w*]\.(?:{ENDS}))(?![\w/])")
LIST = ["git", "ls-files", "*.py", "*.md", "Makefile", "*.yml"]
LISTED = subprocess.run(LIST, cwd=ROOT, capture_output=True, text=True)
MADE_UP = {"notebooks/01_first.ipynb", "dgl_core/nowhere.py", "tests/*/test_x.py"}  # names that tests invent
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
