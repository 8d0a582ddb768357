"""Run the one command, ``dgl train | data | claims | diagnose | reproduce | rehearse | audit``.

``python -m dgl_core`` is the same. Each subcommand is the ``main`` of a file in its room. Exit status: 0 done, 1
something failed, 2 it was asked for something that does not exist, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from dgl_core import __version__
from dgl_core.utils import MissingPackage, unknown_name


class Command(NamedTuple):
    """A subcommand: the module that has its ``main``, what it does, and an example."""

    module: str
    about: str
    example: str


COMMANDS = {
    "train": Command("runs.command", "train one run, on one device or on several processes, and keep its record",
                     "dgl train dataset=emotions model=small method=dgl method_options.alpha=4 epochs=5"),
    "data": Command("data.command", "say which data are here, fetch, prepare and verify them",
                    "dgl data status cremad"),
    "claims": Command("paper.claims.command",
                      "print the ledger of claims; show, earn again or judge by your own records",
                      "dgl claims --mine results/runs"),
    "diagnose": Command("reproduce.diagnose", "measure how far fusion suppresses each encoder of your own model",
                        "dgl diagnose mine.py:make"),
    "reproduce": Command("reproduce.command", "train what is missing, execute all notebooks, write the report",
                         "dgl reproduce --profile cpu --only 03 04"),
    "rehearse": Command("reproduce.rehearse", "measure times and memory on random data of a data set's true size",
                        "dgl rehearse cremad --size 0.05 --precision bf16"),
    "audit": Command("runs.audit", "train a sample of the committed records again and compare", "dgl audit 5"),
}  # fmt: skip


def usage() -> str:
    """List the subcommands, each with an example."""
    lines = [f"  {name:<10} {command.about}\n{'':13}{command.example}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: dgl COMMAND ...", "", *lines, "", "'dgl COMMAND --help' explains a command."])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"dgl {__version__}")
        return 0
    if words[0] not in COMMANDS:
        print(f"error: {unknown_name('command', words[0], COMMANDS)}", file=sys.stderr)
        return 2
    command = COMMANDS[words[0]]
    try:
        return importlib.import_module(f"dgl_core.{command.module}").main(words[1:])
    except SystemExit as end:  # argparse has explained the command, or refused its options
        if isinstance(end.code, str):  # the reader's own code gave up with a sentence, which Python prints
            raise
        if not end.code:
            print(f"\nexample: {command.example}")
        return end.code or 0
    except KeyboardInterrupt:
        print("\nInterrupted. What is finished is kept; the same command goes on from there.", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("DGL_TRACEBACK"):
            raise
        if isinstance(error, ValueError | FileNotFoundError | MissingPackage):  # asked for what is not here
            print(f"error: {error}", file=sys.stderr)
            return 2
        said = " ".join(str(error).split()) or "no reason given"
        print(f"error: {type(error).__name__}: {said} (DGL_TRACEBACK=1 shows where)", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
