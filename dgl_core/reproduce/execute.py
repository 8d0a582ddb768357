"""Execute one notebook headless: papermill in a process of its own, whose result is checked before it is trusted.

Papermill reports a notebook whose kernel died as completed and passes unknown or mistyped parameters on. So parameters
are checked against the notebook's own cell before, and the execution counts 1..n after.
"""

from __future__ import annotations

import ast
import multiprocessing
import os
import re
import threading
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgl_core.training.environment import PORTABLE_NUMERICS
from dgl_core.utils import ROOT, needs, project_root, unknown_name

if TYPE_CHECKING:  # nbformat and jupytext take 2 s to import, which "nothing has changed" should not cost
    from nbformat import NotebookNode

NOTEBOOKS = project_root() / "notebooks"
TICK = 0.1  # seconds between looks at the stop signal


class NotebookFailed(RuntimeError):
    """Reject an execution that must not be trusted: where it stopped, and why (one line each)."""

    def __init__(self, name: str, where: str, error: str, notebook: NotebookNode | None = None):
        self.name, self.where, self.error, self.notebook = name, where, error, notebook
        super().__init__(f"{name}, {where}\n  {error}")


class Stopped(Exception):
    """The execution was ended on request."""


def notebook_names(only: list[str] | None = None, folder: Path = NOTEBOOKS) -> list[str]:
    """Name all notebooks ("03_vanilla_vs_dgl"), in order, or those that ``only`` asks for ("03")."""
    names = sorted(path.stem for path in folder.glob("[0-9][0-9]_*.py"))
    if not names:
        raise ValueError(
            f"No notebooks in {folder}: an installed package has none; run this in a checkout of the project."
        )
    wanted = [word.removesuffix(".py").removesuffix(".ipynb") for word in only or names]
    for word in wanted:
        if not any(word in (name, name[:2]) for name in names):
            raise unknown_name("notebook", word, names)
    return [name for name in names if {name, name[:2]} & set(wanted)]


def kernel_environment(portable: bool, threads: int = 1) -> dict[str, str]:
    """Set up a training worker or a notebook kernel: variables that count only before torch is imported."""
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        "JUPYTER_PREFER_ENV_PATH": "1",  # the python3 kernel of this environment, not one of the home folder
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    } | (PORTABLE_NUMERICS if portable else {})


def tags(cell: dict[str, Any]) -> list[str]:
    """Read the tags of a cell."""
    return cell["metadata"].get("tags", [])


def text(notebook: NotebookNode) -> str:
    """Write a notebook as the text of its file."""
    needs("Notebooks", "nbformat")
    import nbformat

    return nbformat.writes(notebook, version=4) + "\n"


def declared_parameters(notebook: NotebookNode) -> dict[str, Any]:
    """Read name and default of each parameter in the cell tagged ``parameters``; ValueError if it holds no literals."""
    cells = [cell for cell in notebook.cells if "parameters" in tags(cell)]
    if len(cells) != 1:
        raise ValueError(f"{len(cells)} cells are tagged 'parameters', there must be exactly one")
    declared = {}
    for statement in ast.parse(cells[0].source).body:
        try:
            (target,) = statement.targets
            declared[target.id] = ast.literal_eval(statement.value)
        except (AttributeError, ValueError):  # no assignment, not to one name, or of no literal
            wrong = f"the parameters cell may hold only name = literal, not {ast.unparse(statement)!r}"
            raise ValueError(wrong) from None
    return declared


def check_parameters(notebook: NotebookNode, parameters: dict[str, Any]) -> None:
    """Raise where papermill would only warn: a parameter that the notebook does not have, or of another type."""
    declared = declared_parameters(notebook)
    for name, value in parameters.items():
        if name not in declared:
            raise unknown_name("parameter", name, declared)
        whole_number = type(value) is int and type(declared[name]) is float
        if type(value) is not type(declared[name]) and not whole_number:
            kind = type(declared[name]).__name__
            raise ValueError(f"parameter {name} = {value!r} must be {kind}, as its default {declared[name]!r}")


def read_source(path: Path) -> NotebookNode:
    """Read a notebook from its ``py:percent`` file, without outputs; raise NotebookFailed if it holds none."""
    needs("Notebooks", "jupytext")
    import jupytext

    try:
        notebook = jupytext.read(path, fmt="py:percent")
    except Exception as error:  # of the file, its encoding, its YAML header, jupytext's own
        reason = f"{path.name} is no notebook ({type(error).__name__}: {_first_line(str(error))}); restore it"
        raise NotebookFailed(path.stem, "its source", reason) from None
    notebook.metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return notebook


def execute(
    source: Path,
    *,
    parameters: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
    stop: threading.Event | None = None,
    scratch: str = "",
) -> NotebookNode:
    """Execute a ``py:percent`` notebook in its own folder and return it with its outputs.

    Args:
        parameters: values for its parameters cell; None injects nothing, so the result can be committed.
        environment: variables on top of this process's own. stop: when set, the execution ends and Stopped is raised.
        scratch: a folder of the caller's, removed should this process be killed.

    Raises:
        NotebookFailed: the source is damaged, a cell raised, the kernel died, or cells were not executed in order.
    """
    needs("Notebooks", "papermill", "nbclient", "nbformat")
    from dgl_core.reproduce import engine  # papermill takes a second to import

    notebook = read_source(source)
    try:
        check_parameters(notebook, parameters or {})
    except (ValueError, SyntaxError) as error:
        raise NotebookFailed(source.stem, "its source", _first_line(str(error))) from None
    variables = kernel_environment(portable=False) | (environment or {})
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    arguments = (sender, notebook, source.parent, parameters or {}, variables, scratch)
    process = context.Process(target=engine.run, args=arguments, daemon=True)
    process.start()
    sender.close()  # so that the pipe ends with the process
    try:
        while not wait([receiver], TICK):
            if stop is not None and stop.is_set():
                raise Stopped
        executed, reason = receiver.recv()
    except EOFError:
        process.join()
        reason = f"papermill's process ended with exit code {process.exitcode} (killed, or out of memory?)"
        raise NotebookFailed(source.stem, "while it was executed", reason) from None
    except BaseException:
        process.terminate()
        raise
    finally:
        process.join(engine.GRACE)
        process.kill()
    _trust(source.stem, executed, reason)
    return merge_streams(executed)


def merge_streams(notebook: NotebookNode) -> NotebookNode:
    """Join printed texts that follow each other (in place): in how many pieces they arrive is a matter of timing."""
    for cell in notebook.cells:
        merged: list[Any] = []
        for output in cell.get("outputs", ()):
            if output["output_type"] == "stream" and merged and output["name"] == merged[-1].get("name"):
                merged[-1]["text"] += output["text"]
            else:
                merged.append(output)
        if cell.cell_type == "code":
            cell.outputs = merged
    return notebook


def _trust(name: str, notebook: NotebookNode | None, reason: str) -> None:
    """Raise NotebookFailed unless every code cell ran, in order, and papermill came to its end."""
    if notebook is None:
        raise NotebookFailed(name, "before its first cell", _first_line(reason))
    notebook.metadata.pop("papermill", None)  # times and the notebook itself once more
    # Papermill's banners above a failed cell are not cells of the notebook.
    notebook.cells = [cell for cell in notebook.cells if "papermill-error-cell-tag" not in tags(cell)]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    injected = any("injected-parameters" in tags(cell) for cell in code)  # it is not in the reader's notebook
    for number, cell in enumerate(code, 1):
        place = f"code cell {max(1, number - injected)}: {_first_line(cell.source)}"
        for output in cell.outputs:
            if output.output_type == "error" and "raises-exception" not in tags(cell):
                raise NotebookFailed(name, place, f"{output.ename}: {_first_line(output.evalue)}", notebook)
        # A kernel that dies may still have said that it began: only the reply says that a cell has ended.
        if cell.execution_count != number or "shell.execute_reply" not in cell.metadata.get("execution", {}):
            raise NotebookFailed(name, place, _first_line(reason or "it was not executed"), notebook)
    if reason:
        raise NotebookFailed(name, "after its last cell", _first_line(reason), notebook)


def _first_line(text: str) -> str:
    return next(iter(re.sub(r"\x1b\[[0-9;]*m", "", text).strip().splitlines()), "(empty)")
