"""The one command: every subcommand explains itself, and what the project tells people to type exists."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import dgl_core
from dgl_core import __main__ as command
from dgl_core.utils import ROOT
from tools.pages import PAGES

TOLD = [*PAGES, ROOT / "Makefile", *sorted((ROOT / "notebooks").glob("*.py"))]
TOLD += sorted((ROOT / "dgl_core").rglob("*.py"))


def typed(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "dgl_core", *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("name", command.COMMANDS)
def test_every_subcommand_says_what_it_does_and_gives_an_example(name, capsys):
    assert command.main([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: dgl {name} ") and said.endswith(f"example: {command.COMMANDS[name].example}\n")
    assert re.search(r"\n\n[A-Z][^\n]{15,}", said), "a sentence says what it does"


def test_the_command_lists_its_subcommands_and_its_version():
    listed = typed("--help")
    assert listed.returncode == 0
    assert re.findall(r"^  (\w+) ", listed.stdout, re.MULTILINE) == list(command.COMMANDS)
    assert typed("--version").stdout == f"dgl {dgl_core.__version__}\n"


def test_nothing_and_what_does_not_exist_are_refused():
    nothing, unknown = typed(), typed("reprodce")
    assert nothing.returncode == 2 and nothing.stdout.startswith("usage: dgl")
    assert (
        unknown.returncode == 2 and unknown.stderr == "error: Unknown command 'reprodce': did you mean 'reproduce'?\n"
    )


@pytest.mark.parametrize("name", command.COMMANDS)
def test_options_that_do_not_exist_have_their_own_status(name, capsys):
    assert command.main([name, "--nonsense"]) == 2
    assert "example" not in capsys.readouterr().out


def test_an_interrupt_is_a_line(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("dgl_core.runs.audit.main", interrupted)
    assert command.main(["audit"]) == 130
    assert "Interrupted" in capsys.readouterr().err


def test_an_error_that_nobody_foresaw_is_a_line_unless_the_traceback_is_wanted(monkeypatch, capsys):
    def broken(arguments):
        raise RuntimeError("a worker\nwas killed")

    monkeypatch.setattr("dgl_core.runs.audit.main", broken)
    monkeypatch.delenv("DGL_TRACEBACK", raising=False)
    assert command.main(["audit"]) == 1
    assert capsys.readouterr().err == "error: RuntimeError: a worker was killed (DGL_TRACEBACK=1 shows where)\n"
    monkeypatch.setenv("DGL_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        command.main(["audit"])


def test_what_people_are_told_to_type_exists():
    said = {}
    for path in TOLD:
        for name in re.findall(r"python -m dgl_core ([a-z]+)|`dgl ([a-z]+)", path.read_text()):
            said.setdefault("".join(name), []).append(path.name)
    assert said.keys() <= command.COMMANDS.keys(), said
    assert {"README.md", "Makefile"} <= {name for names in said.values() for name in names}


def test_every_example_is_of_its_command():
    for name, (_, about, example) in command.COMMANDS.items():
        assert example.split()[:2] == ["dgl", name] and about[0].islower() and not about.endswith(".")
