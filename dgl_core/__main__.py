"""The one command: ``dgl train | data | claims | diagnose | reproduce | rehearse | audit`` (or ``python -m dgl_core``).

Each subcommand is the ``main`` of a file in its room, which ``dgl NAME --help`` explains.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from dgl_core.utils import unknown_name

COMMANDS = {  # name -> (module with a ``main``, what it does)
    "train": ("runs.command", "train one run, on one device or on several processes, and keep its record"),
    "data": ("data.command", "say which data are here, fetch, prepare and verify them"),
    "claims": ("paper.claims.command", "print the ledger of claims; show, earn again or judge by your own records"),
    "diagnose": ("diagnosis", "measure how far fusion suppresses each encoder of your own model"),
    "reproduce": ("reproduce.command", "train what is missing, execute all notebooks, write the report"),
    "rehearse": ("reproduce.rehearse", "measure times and memory on random data of a data set's true size"),
    "audit": ("runs.audit", "train a sample of the committed records again and compare"),
}


def usage() -> str:
    lines = [f"  {name:<10} {about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(["usage: dgl COMMAND ...", "", *lines, "", "'dgl COMMAND --help' explains a command."])


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] not in COMMANDS:
        print(f"error: {unknown_name('command', words[0], COMMANDS)}", file=sys.stderr)
        return 2
    return importlib.import_module(f"dgl_core.{COMMANDS[words[0]][0]}").main(words[1:])


if __name__ == "__main__":
    sys.exit(main())
