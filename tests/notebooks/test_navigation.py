"""What stands around every notebook: neighbours, launch buttons that follow one address, and the cell that helps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib

import jupytext
import nbformat
import pytest
from locked import other_versions
from packaging.requirements import Requirement

from dgl_core.reproduce.execute import NOTEBOOKS, notebook_names, tags
from dgl_core.utils import ROOT
from tools import lab
from tools.navigation import CELL, FETCHED, FOUND, framed, launch, navigation, renewed, repository

PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
ADDRESS = "https://github.com/somebody/companion"
WITH_ADDRESS = PYPROJECT.replace("[project.urls]\n", f'[project.urls]\nRepository = "{ADDRESS}"\n', 1)
NAMES = ["00_start", "01_data", "02_theory", "09_more"]


def test_every_notebook_and_readme_are_as_the_tool_writes_them():
    stale = [path for path, text in renewed(PYPROJECT).items() if (ROOT / path).read_text(encoding="utf-8") != text]
    assert not stale, "run python -m tools.navigation"


def test_neighbours_come_from_the_listing():
    ways = {name: re.findall(r"\]\((\w+)\.ipynb\)", navigation(name, NAMES, "")) for name in NAMES}
    assert ways == {
        "00_start": ["01_data"],
        "01_data": ["00_start", "02_theory"],
        "02_theory": ["01_data", "00_start", "09_more"],
        "09_more": ["02_theory", "00_start"],
    }


def test_framing_replaces_its_own_cells_and_nothing_else():
    source = (NOTEBOOKS / f"{notebook_names()[3]}.py").read_text()
    once = framed(source, "01_data", NAMES, ADDRESS)
    assert framed(once, "01_data", NAMES, ADDRESS) == once != source
    before, after = (jupytext.reads(text, fmt="py:percent").cells for text in (source, once))
    assert [cell.source for cell in before[3:]] == [cell.source for cell in after[3:]]
    assert [tags(cell) for cell in after[1:3]] == [["navigation"], ["bootstrap"]]
    unframed = "".join(
        part for part in re.split(r"(?=^# %%)", source, flags=re.M) if not re.search(r"bootst|navi", part)
    )
    assert len(CELL.findall(unframed)) == len(before) - 2 and framed(unframed, "01_data", NAMES, ADDRESS) == once


def test_all_launch_buttons_follow_the_one_address():
    assert repository(WITH_ADDRESS) == ADDRESS
    for path, text in renewed(WITH_ADDRESS).items():
        name = path.removeprefix("notebooks/").removesuffix(".py").replace("README.md", notebook_names()[0])
        assert launch(name, ADDRESS) in text and "not tested there" in text
        if path != "README.md":
            assert text.count(f'"{ADDRESS}"') == 1, "the cell that fetches the project"
    buttons = re.findall(r"\]\((\S+)\)", launch("03_x", ADDRESS))
    assert len(buttons) == 3 and all("somebody/companion" in button for button in buttons)
    assert sum("notebooks/03_x." in button for button in buttons) == 2


def test_without_an_address_nothing_is_launched_and_a_wrong_one_is_refused():
    nowhere = WITH_ADDRESS.replace(ADDRESS, "")
    assert repository(nowhere) == "" and launch("03_x", "") == ""
    assert not [text for text in renewed(nowhere).values() if "colab" in text.lower()]
    with pytest.raises(ValueError, match="https://github.com/OWNER/NAME"):
        repository(WITH_ADDRESS.replace(ADDRESS, "https://example.org/x"))


def code(cell: str) -> str:
    return cell.partition("\n")[2]


@pytest.fixture
def commands(monkeypatch):
    """What the cell would run, on a machine without the package."""
    monkeypatch.setitem(sys.modules, "dgl_core.reproduce.notebook", None)
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    seen = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: seen.append(command))
    return seen


@pytest.mark.parametrize("cell", [FOUND, FETCHED], ids=["no address", "address"])
def test_a_kernel_without_the_package_gets_the_line_to_type(commands, cell):
    with pytest.raises(ModuleNotFoundError, match=r"This kernel has no dgl_core.*%pip install -e '\.\.\[notebooks\]'"):
        exec(code(cell), {})
    assert not commands


def test_a_hosted_kernel_fetches_the_project_and_keeps_its_own_jupyter(commands, monkeypatch):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    exec(code(FETCHED.replace("REPOSITORY", ADDRESS)), {})
    clone, install = commands
    assert clone[:2] == ["git", "clone"] and clone[-2:] == [ADDRESS, "dgl"]
    assert install[-1] == "dgl[hosted]" and sys.path[0] == os.path.abspath("dgl")


def test_where_the_package_is_the_cell_does_nothing(capsys):
    exec(code(FOUND), {})
    assert capsys.readouterr().out == ""


def hosted() -> list[str]:
    """Everything that the extra asks for, those of the extras that it names included."""
    project = tomllib.loads(PYPROJECT)["project"]
    todo, found = ["dgl-core[hosted]"], list(project["dependencies"])
    while todo:
        requirement = Requirement(todo.pop())
        if requirement.name == "dgl-core":
            todo += [text for extra in requirement.extras for text in project["optional-dependencies"][extra]]
        else:
            found.append(str(requirement))
    return found


def test_the_hosted_extra_brings_no_jupyter_of_its_own():
    names = {Requirement(text).name for text in hosted()}
    assert {"torch", "numpy", "pandas", "ipywidgets", "librosa"} <= names
    assert not names & {"jupyterlab", "ipykernel", "notebook", "papermill", "nbclient", "jupytext"}


@pytest.fixture
def newer(tmp_path):
    """An environment that seems to have a newer numpy and a newer torch than the lock, and all else as it is."""
    numpy = re.search(r"^numpy==(\d+\.\d+)", (ROOT / "requirements.lock").read_text(), re.M)[1]
    for name, version in (("numpy", f"{numpy}.99"), ("torch", "99.0")):
        about = tmp_path / f"{name}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (about / "INSTALLER").write_text("pip\n")
    return os.environ | {"PYTHONPATH": str(tmp_path), "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def resolved(environment: dict[str, str], *wanted: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", *wanted]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_it_installs_over_a_newer_numpy_and_torch_and_the_lock_would_not(newer):
    # Importing pip here would take setuptools' own distutils from whoever compiles later in this process.
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        pytest.skip("pip is not here")
    if others := other_versions():
        pytest.skip(f"an older scipy forbids a newer numpy; here are {others}")
    run = resolved(newer, *hosted())
    assert run.returncode == 0, run.stderr
    assert "Would install" not in run.stdout and "99.0" in run.stdout, run.stdout
    lock = re.findall(r"^(?:numpy|torch)==\S+", (ROOT / "requirements.lock").read_text(), re.M)
    assert len(lock) == 2 and resolved(newer, *lock).returncode != 0


def test_binder_installs_the_hosted_extra():
    build = ROOT / ".binder" / "postBuild"
    assert build.stat().st_mode & 0o111 and subprocess.run(["bash", "-n", build]).returncode == 0
    assert "-e '.[hosted]'" in build.read_text()
    python = (ROOT / ".binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    assert f"FROM python:{python}-slim" in (ROOT / "Dockerfile").read_text()


def test_lab_opens_the_first_notebook_among_all_files_of_the_project(monkeypatch):
    given, done = [], subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(lab.subprocess, "run", lambda command, env: given.extend(command) or done)
    assert lab.main(["--no-browser"]) == 0 and given[-1] == "--no-browser"
    options = dict(word.removeprefix("--").split("=", 1) for word in given if "=" in word)
    assert options["ServerApp.root_dir"] == str(ROOT)
    first = options["LabApp.default_url"].removeprefix("/lab/tree/")
    assert nbformat.read(ROOT / first, as_version=4).cells[0].source.startswith("# 0.")
