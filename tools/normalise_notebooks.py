"""Make executed notebooks the same bytes on every execution, and light enough to read on GitHub.

    python -m tools.normalise_notebooks notebooks/02_gradient_theory.ipynb ...

Removed: widget and papermill metadata, timings, what widgets show (GitHub shows nothing for them), the sounds of cells
tagged ``nbval-skip`` (they only play in a live notebook), the interpreter's exact version. The lines of the provenance
cell that differ between machines are replaced by what they stand for. Execution counts stay: nbval needs them.
"""

from __future__ import annotations

import re
import sys
import tomllib

import nbformat

from dgl_core.data.files.atomic import write_atomic
from dgl_core.reproduce.execute import NOTEBOOKS, merge_streams, tags, text

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# "commit    5da6340a" of ``dgl_core.provenance`` and what a committed notebook says in its place.
MACHINE_LINES = {
    "commit": "the one you are reading",
    "python": "3.11 to 3.13",
    "data": "generated (this profile needs no other)",
}
PAIRING = tomllib.loads((NOTEBOOKS / "jupytext.toml").read_text())  # jupytext repeats its settings in each notebook


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Remove whatever changes from one execution to the next (in place; the notebook is returned)."""
    for key in ("widgets", "papermill"):
        notebook.metadata.pop(key, None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    notebook.metadata["jupytext"] = PAIRING
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if cell.cell_type == "code":
            cell.outputs = [] if _interactive(cell) else cell.outputs
            if "dgl_core.provenance(" in cell.source:
                for output in cell.outputs:
                    output["text"] = _without_machine(output.get("text", ""))
    return merge_streams(notebook)


def _interactive(cell) -> bool:
    """Tell whether what a cell shows needs a live notebook: a widget, or a sound in a cell that nbval skips."""
    shown = [output.get("data", {}) for output in cell.outputs]
    sounds = "nbval-skip" in tags(cell) and any("<audio" in data.get("text/html", "") for data in shown)
    return sounds or any(WIDGET_VIEW in data for data in shown)


def _without_machine(lines: str) -> str:
    for label, stands_for in MACHINE_LINES.items():
        lines = re.sub(rf"^({label} +).*$", rf"\g<1>{stands_for}", lines, flags=re.MULTILINE)
    return lines


def main(paths: list[str]) -> int:
    for path in paths:
        write_atomic(path, text(normalise(nbformat.read(path, as_version=4))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
