"""One environment behind every door, and nothing in the project that only exists on somebody's machine."""

from __future__ import annotations

import datetime
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.version import Version

import dgl_core
from dgl_core.training.environment import PORTABLE_NUMERICS
from tools import lab

ROOT = Path(__file__).resolve().parents[2]
LOCK = [
    Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if line[:1] not in ("", "#")
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def tracked() -> list[Path]:
    """The files of the project: what git knows, or, in an unpacked archive, what is there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split("\0") if listed.returncode == 0 else [str(p.relative_to(ROOT)) for p in ROOT.rglob("*")]
    skip = re.compile(r"^(\.git|\.venv|data|reports|results/runs)/|\.egg-info/|__pycache__")
    return [ROOT / name for name in names if name and not skip.search(name) and (ROOT / name).is_file()]


def name(requirement: Requirement) -> str:
    return re.sub(r"[-_.]+", "-", requirement.name).lower()


def test_the_lock_pins_exactly_one_public_version_of_everything():
    assert len({name(pin) for pin in LOCK}) == len(LOCK) > 100
    for pin in LOCK:
        operators = [specifier.operator for specifier in pin.specifier]
        assert operators == ["=="] and not pin.url, f"{pin} is not pinned"
        assert "+" not in str(pin.specifier), f"{pin} has a local version, which no public index offers"


def test_the_lock_satisfies_every_range_of_the_project():
    pins = {name(pin): next(iter(pin.specifier)).version for pin in LOCK}
    extras = PROJECT["optional-dependencies"]
    locked = [texts for extra, texts in extras.items() if extra != "export"]  # which nothing of this project needs
    wanted = [Requirement(text) for text in [*PROJECT["dependencies"], *sum(locked, [])]]
    for requirement in wanted:
        if name(requirement) != "dgl-core":
            assert requirement.specifier.contains(pins[name(requirement)]), requirement


def test_the_lock_is_complete_for_this_interpreter():
    """Whatever a locked package needs is locked too; CUDA builds of torch pin their own libraries."""
    environment = default_environment() | {"extra": ""}
    pins = {name(pin): pin for pin in LOCK if pin.marker is None or pin.marker.evaluate(environment)}
    installed = {re.sub(r"[-_.]+", "-", d.name).lower(): d.version for d in metadata.distributions()}
    other = [n for n, pin in pins.items() if n not in installed or not pin.specifier.contains(installed[n])]
    if other:
        pytest.skip(f"not the environment of the lock: {', '.join(other[:3])}")
    for pin in pins.values():
        for text in metadata.requires(pin.name) or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate(environment):
                if not re.match(r"nvidia-|cuda-|triton", needed.name):
                    assert name(needed) in pins, f"{pin.name} needs {needed.name}, which is not locked"
                    assert needed.specifier.contains(next(iter(pins[name(needed)].specifier)).version), (pin.name, text)


def test_conda_installs_the_lock_and_nothing_else():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert pip == "pip" and packages == {"pip": ["-r requirements.lock", "-e ."]}
    assert Requirement(python.replace("=", "==")).specifier == Requirement(f"python=={docker_python()}").specifier
    assert Version(docker_python()) in Requirement(f"python{PROJECT['requires-python']}").specifier


def docker_python() -> str:
    by_digest = r"^FROM python:(\d+\.\d+)-slim@sha256:[0-9a-f]{64} AS base$"  # a tag may be another image tomorrow
    return re.search(by_digest, (ROOT / "Dockerfile").read_text(), re.MULTILINE)[1]


def test_dockerfile():
    text = (ROOT / "Dockerfile").read_text()
    lines = re.sub(r"\\\n", " ", text).splitlines()
    words = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    assert {line[0] for line in words} <= {"FROM", "RUN", "USER", "WORKDIR", "ENV", "COPY", "EXPOSE", "CMD", "ARG"}
    assert [line[3] for line in words if line[0] == "FROM"] == ["base", "cpu", "gpu"]
    assert [line[1:] for line in words if line[0] == "ARG"] == [["TORCH_INDEX"]] * 2  # no default
    assert ["USER", "reader"] in words and not [line for line in words if line[:2] == ["USER", "root"]]
    assert text.count("pip install -r requirements.lock") == 2 and text.count("requirements.lock") >= 5
    assert "git make" in text and '"jupyter", "lab"' in text
    assert not re.search(r"\b(?:curl|wget)\b|https?://", text)
    # Sources come last, so that editing one does not install everything again.
    for stage in text.split("FROM base AS ")[1:]:
        assert stage.index("-r requirements.lock") < stage.index("COPY --chown=reader . .")


def test_workflow_and_ci_call_the_same_command():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    job = workflow["jobs"]["test"]
    runs = [step.get("run") for step in job["steps"]]
    assert "make test" in runs and "make reproduce PROFILE=smoke" in runs
    for python in job["strategy"]["matrix"]["python"]:
        assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    assert {"newest", "oldest", "package", "frameworks", "smoke"} <= workflow["jobs"].keys()
    assert set(workflow["jobs"]["smoke"]["strategy"]["matrix"]["system"]) == {"windows-latest", "macos-latest"}
    ci = ROOT / ".ci" / "run"
    assert re.search(r"^make test$", ci.read_text(), re.MULTILINE) and ci.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", ci]).returncode == 0


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_workflows_use_actions_of_one_commit_and_files_that_are_there():
    texts = [path.read_text() for path in WORKFLOWS]
    used = [found for text in texts for found in re.findall(r"uses: (\S+)(?:  # (\S+))?", text)]
    assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) and tag for action, tag in used), used
    assert len({action.split("@")[0] for action, _ in used}) == len(set(used)), "one action, one commit"
    jobs = [job for text in texts for job in yaml.safe_load(text)["jobs"].values()]
    runs = [step.get("run", "") for job in jobs for step in job["steps"]]
    named = [word for run in runs for word in run.split() if re.match(r"(?:tests|tools)/", word)]
    assert named and not [name for name in named if not (ROOT / name).exists()]


def test_what_is_published_is_the_report_of_the_one_command():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "site.yml").read_text())
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    (made,) = [step for step in build["steps"] if "make reproduce" in step.get("run", "")]
    (kept,) = [step["with"]["path"] for step in build["steps"] if "upload-pages" in step.get("uses", "")]
    assert kept == f"reports/{made['run'].rpartition('PROFILE=')[2]}" and "DGL_SOURCE_URL" in made["env"]
    assert workflow["permissions"] == {"contents": "read"} and publish["needs"] == "build"
    assert publish["permissions"] == {"pages": "write", "id-token": "write"}


def test_the_image_is_built_without_history_and_records_of_this_machine():
    left_out = (ROOT / ".dockerignore").read_text().split()
    assert {".git", "results/runs", "results/rehearsal", "reports", "data", ".venv"} <= set(left_out)
    needed = ("results/reference", "requirements.lock", ".github", "notebooks")  # by notebooks and tests
    assert not [name for name in needed if name in left_out or name.split("/")[0] in left_out]


def test_the_image_can_run_as_any_user():
    """What commands write is open to all, and the home of the image is everybody's."""
    text = (ROOT / "Dockerfile").read_text()
    written = re.search(r'WRITTEN="([^"]*)"', text)[1].split()
    assert {"reports", "results", "data", "notebooks"} <= set(written) and "HOME=/home/reader" in text
    assert text.count("mkdir -p $WRITTEN && chmod -R a+rwX $WRITTEN && chmod a+rwx . ~") == 2
    assert '--user "$(id -u):$(id -g)"' in text


def test_the_dev_container_builds_the_environment_of_everyone():
    told = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    stages = re.findall(r"^FROM \S+ AS (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert told["build"]["target"] in stages and (ROOT / ".devcontainer" / told["build"]["dockerfile"]).is_file()
    environment = told["containerEnv"]["VENV"]
    assert told["postCreateCommand"] == f"make {environment}/.complete"
    words = ["make", "-n", f"VENV={environment}", f"{environment}/.complete"]
    dry = subprocess.run(words, cwd=ROOT, env=by_hand(), capture_output=True, text=True)
    assert dry.returncode == 0 and f"{environment}/bin/python -m pip install" in dry.stdout, dry.stderr


def by_hand() -> dict[str, str]:
    """The environment of a shell in which somebody types make, also where ``make test`` started these tests."""
    return {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}


@pytest.mark.parametrize("target", ["help", "reproduce", "test", "notebooks", "audit", "bench", "lab", "clean"])
def test_make_knows_its_targets(target):
    dry = subprocess.run(["make", "-n", target], cwd=ROOT, env=by_hand(), capture_output=True, text=True)
    assert dry.returncode == 0, dry.stderr


def test_make_help_lists_every_target_and_variable():
    said = subprocess.run(["make", "help"], cwd=ROOT, env=by_hand(), capture_output=True, text=True, check=True).stdout
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    assert not [target for target in targets if f"make {target}" not in said]
    variables = set(re.findall(r"(?:value|call quoted),([A-Z_]+)\)", makefile)) | set(
        re.findall(r"^([A-Z]+) \?=", makefile, re.M)
    )
    assert not [name for name in variables - {"VENV", "WORKERS"} if f"{name}=" not in said]
    assert "BIN" not in said, "the comment ends where the rules begin"


def test_make_reproduce_passes_its_variables_on():
    words = ["make", "-n", "reproduce", "PROFILE=smoke", "ONLY=02 03", "OUT=a b"]
    dry = subprocess.run(words, cwd=ROOT, env=by_hand(), capture_output=True, text=True, check=True).stdout
    dry = shlex.split(dry.replace("\\\n", " ").strip().splitlines()[-1])
    assert dry[-7:] == ["reproduce", "--profile", "smoke", "--only", "02 03", "--out", "a b"]


def test_the_audit_takes_a_seed_and_ci_gives_another_one_in_every_run():
    words = ["make", "-n", "audit", "COUNT=2", "SEED=5"]
    dry = subprocess.run(words, cwd=ROOT, env=by_hand(), capture_output=True, text=True, check=True).stdout
    assert shlex.split(dry)[-5:] == ["-m", "tools.audit", "2", "--seed", "5"]
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    runs = [step.get("run", "") for step in workflow["jobs"]["test"]["steps"]]
    assert any("make audit" in run and "SEED=${{ github.run_number }}" in run for run in runs)


VARIABLES = {"PROFILE": "--profile", "ONLY": "--only", "OUT": "--out", "REHEARSE": "--rehearse",
             "PER_GPU": "--per-gpu", "DASK": "--dask", "TABLES": "--tables", "BUDGET": "--budget"}  # fmt: skip


@pytest.mark.parametrize(
    "text", ["02; touch {0}", "$(touch {0})", "$(shell touch {0})", "`touch {0}`", "a'; touch {0} '"]
)
@pytest.mark.parametrize("variable", VARIABLES)
def test_make_runs_nothing_that_stands_in_a_variable(tmp_path, variable, text):
    """The value arrives as one word, as it is: a copy of the Makefile runs with a program that prints its arguments."""
    victim, folder = tmp_path / "victim", tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (folder / "python").chmod(0o755)
    for name in ("requirements.lock", "pyproject.toml", ".venv/.complete"):
        (tmp_path / name).touch()
    text = text.format(victim)
    words = ["make", "-f", ROOT / "Makefile", "reproduce", f"{variable}={text}"]
    said = subprocess.run(words, cwd=tmp_path, env=by_hand(), capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    arguments = said.stdout.splitlines()
    assert arguments[arguments.index(VARIABLES[variable]) + 1] == text and not victim.exists()


def test_make_lab_starts_kernels_with_portable_numerics(monkeypatch):
    given, done = {}, subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(lab.subprocess, "run", lambda command, env: given.update(env) or done)
    for name in PORTABLE_NUMERICS:
        monkeypatch.delenv(name)
    assert lab.main([]) == 0
    assert PORTABLE_NUMERICS.items() <= given.items() and given["OMP_NUM_THREADS"] == "1"
    monkeypatch.undo()
    words = ["make", "-n", "lab"]
    dry = subprocess.run(words, cwd=ROOT, env=by_hand(), capture_output=True, text=True, check=True).stdout
    assert dry.rstrip().endswith("-m tools.lab")


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version", "license", "preferred-citation"} <= set(citation)
    assert citation["version"] == dgl_core.__version__ and citation["license"] == PROJECT["license"] == "MIT"
    assert citation["preferred-citation"]["year"] == 2025
    assert citation["preferred-citation"]["url"].startswith("https://")
    assert citation["date-released"] >= datetime.date(2026, 11, 21)
    assert f"\n## {dgl_core.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


# Spelled so that this file does not hold what it looks for. Every match of a pattern holds one of the words before it:
# they are found in an instant, and a file without them needs no closer look.
FOREIGN = {
    "a path of one machine": (
        ("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/Us" + "ers/"),
        re.compile(r"(?<![\w.])/(?:work|root|home/(?!reader\b)\w+|Users/\w+)/"),
    ),
    "a package index": (
        ("py" + "pi.org", "python" + "hosted.org", "download.py" + "torch.org", "conda.ana" + "conda.org"),
        re.compile(r"py" + r"pi\.org|python" + r"hosted\.org|download\.py" + r"torch\.org|conda\.ana" + r"conda\.org"),
    ),
    "a private folder": (
        ("sha" + "red", ".lib" + "rary"),
        re.compile(r"\.\./sha" + r"red|(?<![\w/])sha" + r"red/(?:data|paper)|\.lib" + r"rary"),
    ),
}
ALLOWED = {("Makefile", "a private folder"), (".ci/run", "a private folder")}


def test_nothing_names_a_machine_or_a_package_index():
    found = []
    for path in tracked():
        short = path.relative_to(ROOT).as_posix()
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # pictures and arrays
        for what, (words, pattern) in FOREIGN.items():
            match = pattern.search(text) if any(word in text for word in words) else None
            if match and (short, what) not in ALLOWED:
                found.append(f"{short}: {what}, {match[0]!r}")
    assert not found


def test_all_code_is_lint_free():
    lint = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--quiet", "."], cwd=ROOT, capture_output=True, text=True
    )
    assert lint.returncode == 0, lint.stdout
