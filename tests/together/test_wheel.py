"""The wheel holds the package and nothing else, and what is installed writes to the working directory."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dgl_core.paper.claims import digest
from dgl_core.paper.claims.ledger import claim_named
from dgl_core.utils import ROOT
from tools import empty_folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return empty_folder.wheel(tmp_path_factory.mktemp("wheel"), "--no-build-isolation", "--no-index")


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder that an installer would make of the wheel."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def in_an_empty_folder(installed: Path, here: Path, *words: str) -> subprocess.CompletedProcess:
    """Run Python where nothing of the checkout is found but its packages."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DGL_")}
    environment["PYTHONPATH"] = str(installed)
    return subprocess.run([sys.executable, *words], cwd=here, env=environment, capture_output=True, text=True)


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith(".pyc")}
    folder = ROOT / "dgl_core"
    kept = {p.relative_to(ROOT).as_posix() for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc"}
    assert held == kept and "dgl_core/py.typed" in held


def test_the_wheel_names_its_command_its_licence_and_its_extras(installed):
    (info,) = installed.glob("*.dist-info")
    assert "dgl = dgl_core.__main__:main" in (info / "entry_points.txt").read_text()
    assert (info / "licenses" / "LICENSE").is_file()
    lines = (info / "METADATA").read_text().splitlines()
    needed = [line.split(": ", 1)[1] for line in lines if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert {text.split(">")[0] for text in needed} == {"torch", "numpy"}
    extras = {line.split(": ")[1] for line in lines if line.startswith("Provides-Extra")}
    assert {"data", "media", "notebooks", "cluster", "nyuv2", "all"} <= extras


def test_an_installed_package_keeps_its_records_in_the_working_directory(installed, tmp_path):
    code = (
        "from pathlib import Path; import dgl_core; from dgl_core import RunSpec, load_or_run, utils\n"
        f"assert Path(dgl_core.__file__).is_relative_to({str(installed)!r})\n"
        "record, = load_or_run([RunSpec('triplet', 'vanilla', 'mlp', epochs=1, milestones=())])\n"
        "print(record.environment['commit'])"
    )
    run = in_an_empty_folder(installed, tmp_path, "-c", code)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("version "), "the commit of a checkout around it says nothing of this code"
    assert len(list((tmp_path / "results" / "runs").glob("*.json"))) == 1
    assert not [path for path in installed.rglob("results")]


def test_claims_from_a_wheel_are_those_of_the_reference(installed, tmp_path):
    run = in_an_empty_folder(installed, tmp_path, "-m", "dgl_core", "claims", "dgl-vanilla")
    assert run.returncode == 0, run.stderr
    for line in digest.lines([claim_named("dgl-vanilla")]):
        assert f"{line.dataset}: {line}" in run.stdout
    assert run.stdout.splitlines()[-1] == digest.about()


@pytest.mark.parametrize("words", [["reproduce", "--profile", "smoke"], ["audit", "1"]], ids=["reproduce", "audit"])
def test_what_needs_the_checkout_says_so_in_a_sentence(installed, tmp_path, words):
    run = in_an_empty_folder(installed, tmp_path, "-m", "dgl_core", *words)
    assert run.returncode in (1, 2)
    assert len(run.stderr.splitlines()) == 1 and "check" in run.stderr, run.stderr
    assert not list(tmp_path.iterdir())


MISSING = "MissingPackage: Videos need av, which is not installed: pip install 'dgl-core[media]'"


@pytest.mark.parametrize(
    ("said", "part", "here", "good"),
    [
        ("works", "media", {"core", "media"}, True),
        (MISSING, "media", {"core", "data"}, True),
        (MISSING, "media", {"core", "media"}, False),  # the extra that it names is there
        (MISSING, "nyuv2", {"core", "media"}, False),  # it names an extra that is there
        ("works", "media", {"core"}, False),  # it cannot have been tried
        ("ModuleNotFoundError: No module named 'av'", "media", {"core"}, False),
    ],
)
def test_the_trial_of_an_extra_wants_its_part_to_run_or_one_sentence(said, part, here, good):
    assert empty_folder.judged(said, part, here).startswith("FAILED") is not good


def test_the_trial_has_an_environment_for_every_extra_and_a_part_of_each():
    known = empty_folder.closures()
    assert known["core"] == {"core"} and known["media"] == {"core", "data", "media"}
    assert known.keys() - {"core", "all"} == empty_folder.PARTS.keys()
    assert known["all"] == {"core", "all", *empty_folder.PARTS} - {"export"}


def test_the_digest_is_of_the_committed_records():
    assert digest.made() == digest.PATH.read_text(encoding="utf-8"), "run python -m tools.readme"
