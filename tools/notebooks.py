"""Execute the committed notebooks again and write them back, normalised (``make notebooks [ONLY="02 03"]``).

The ``.py`` files are what is edited; the ``.ipynb`` beside each is this tool's product: smoke profile, portable
numerics, every run trained now in a store of its own, no parameters injected. Two executions give the same bytes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
import nbformat

from dgl_core.data.files.atomic import write_atomic
from dgl_core.paper import experiments
from dgl_core.reproduce.execute import NOTEBOOKS, NotebookFailed, execute, kernel_environment, notebook_names, text
from dgl_core.runs import run
from dgl_core.runs.workers import local_workers, with_variables
from dgl_core.utils import Progress
from tools.normalise_notebooks import normalise

WORKERS = 2
CHECKOUT = 60.0  # seconds: files of one checkout are not older or newer than each other


def inputs(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """List what a person writes in a notebook: kind and source of each cell."""
    return [(cell.cell_type, cell.source.strip()) for cell in notebook.cells if cell.source.strip()]


def refuse_lost_edits(name: str) -> None:
    """Raise ValueError if the ``.ipynb`` was edited by a program that did not write its ``.py``."""
    edited, executed = NOTEBOOKS / f"{name}.py", NOTEBOOKS / f"{name}.ipynb"
    if not executed.exists() or executed.stat().st_mtime <= edited.stat().st_mtime + CHECKOUT:
        return
    if inputs(jupytext.read(edited)) != inputs(nbformat.read(executed, as_version=4)):
        raise ValueError(f"{name}.ipynb is newer than {name}.py and differs from it: jupytext --sync {executed} keeps "
                         f"the edits, touch {edited} drops them")  # fmt: skip


def rebuild(names: Sequence[str]) -> dict[str, str]:
    """Execute notebooks as they are committed: name -> text of the normalised ``.ipynb``.

    Raises:
        NotebookFailed: a notebook failed; the others are not reported.
        dgl_core.runs.run.RunsFailed: a training run failed.
    """
    with tempfile.TemporaryDirectory(prefix="dgl_store_") as store:
        variables = kernel_environment(portable=True) | {"DGL_RESULTS": store}
        with with_variables(variables):
            todo = run.pending(experiments.plan("smoke", names))
            if todo:
                with local_workers(WORKERS) as pool, Progress(lambda: f"training {len(todo)} runs"):
                    run.run_all(todo, client=pool)
            with ThreadPoolExecutor(WORKERS) as pool, Progress(lambda: f"executing {', '.join(names)}"):
                done = pool.map(lambda name: execute(NOTEBOOKS / f"{name}.py"), names)
                return {name: text(normalise(notebook)) for name, notebook in zip(names, done, strict=True)}


def main(only: list[str]) -> int:
    """Write the notebooks back; 1 if one failed, 2 if there is no such notebook."""
    try:
        names = notebook_names([word for entry in only for word in entry.split()])
        for name in names:
            refuse_lost_edits(name)
        texts = rebuild(names)
    except (NotebookFailed, run.RunsFailed) as failure:
        print(f"FAILED  {failure}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, content in texts.items():
        path: Path = NOTEBOOKS / f"{name}.ipynb"
        changed = not path.exists() or path.read_text() != content
        write_atomic(path, content)
        subprocess.run([sys.executable, "-m", "jupytext", "--quiet", "--sync", str(path)], check=True)
        print(f"{name}.ipynb  {'written' if changed else 'the same bytes as before'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
