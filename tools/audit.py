"""Audit the committed results: execute every notebook and train a sample of the reference records again, compare.

python -m tools.audit [COUNT] [--seed N]: so many records, 3 by default, chosen by this seed or by the day (make audit)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from dgl_core.reproduce.execute import NOTEBOOKS, ROOT, NotebookFailed, kernel_environment, notebook_names
from dgl_core.runs.run import RunsFailed
from tools.notebooks import rebuild


def first_difference(committed: str, again: str) -> str:
    """Say where two notebooks differ: the first cell that is not the same, or the metadata."""
    before, after = (json.loads(text) for text in (committed, again))
    if len(before["cells"]) != len(after["cells"]):
        return f"{len(before['cells'])} cells committed, {len(after['cells'])} in its .py"
    for number, (old, new) in enumerate(zip(before["cells"], after["cells"], strict=True)):
        for part in ("source", "outputs", "metadata"):
            if old.get(part) != new.get(part):
                return f"cell {number}: its {part} differ"
    return "its metadata differ"


def audit_notebooks(names: list[str]) -> list[str]:
    """Name, a line each, the notebooks whose committed bytes do not come back."""
    differences = []
    for name, again in rebuild(names).items():
        path = NOTEBOOKS / f"{name}.ipynb"
        committed = path.read_text() if path.exists() else ""
        if committed != again:
            what = first_difference(committed, again) if committed else "it is not there"
            differences.append(f"{name}.ipynb does not come back: {what} (make notebooks ONLY={name[:2]})")
    return differences


def main(arguments: list[str]) -> int:
    # The records were made with native numerics, so they are trained again in a process of that kind.
    records = subprocess.run([sys.executable, "-m", "dgl_core", "audit", *arguments], cwd=ROOT).returncode
    os.environ.update(kernel_environment(portable=True))
    try:
        differences = audit_notebooks(notebook_names())
    except (NotebookFailed, RunsFailed) as failure:
        differences = [str(failure)]
    print(f"Notebooks: {len(differences)} of {len(notebook_names())} differ from what is committed", flush=True)
    for line in differences:
        print(f"DIFFERS  {line}", file=sys.stderr)
    return 1 if differences or records else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
