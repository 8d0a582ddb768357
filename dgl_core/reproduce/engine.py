"""Execute one notebook with papermill, in a process that ends with its parent, and without live widgets.

The client would answer a widget's messages on the channel on which it waits for the end of the cell, and now and then
it waits for ever (nbclient issue 312). Without an answer a widget is displayed and does nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path

import papermill
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.log import logger

START_SECONDS = 120  # that a kernel gets to start, on a machine with other work
CELL_SECONDS = 3600  # that a cell gets; runs are trained before notebooks are executed
GRACE = 5.0  # seconds that papermill gets to end its kernel


class Client(PapermillNotebookClient):
    def on_comm_open_jupyter_widget(self, message) -> None:
        """Leave the widget to itself."""


class WithoutWidgets(Engine):
    """Execute as papermill's own engine does, with our client."""

    executed: NotebookNode | None = None  # papermill does not return it where it raises

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, start_timeout=60, execution_timeout=None, **unused):
        cls.executed = nb_man.nb
        options = {"timeout": execution_timeout, "startup_timeout": start_timeout, "kernel_name": kernel_name}
        return Client(nb_man, log=logger, **options).execute()


papermill_engines.register("without_widgets", WithoutWidgets)


def run(
    answer: Connection, notebook: NotebookNode, folder: Path, parameters: dict, variables: dict[str, str], scratch: str
) -> None:
    """Execute a notebook in a folder; answer with it and the reason why papermill gave up ("" if a cell says it).

    It is None before its first cell. ``variables`` go to the kernel; ``scratch`` is removed if the parent is killed.
    """
    with open(os.devnull, "w") as nowhere:  # papermill's log and the kernel's own messages
        for stream in (1, 2):
            os.dup2(nowhere.fileno(), stream)
    os.environ.update(variables)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # papermill then ends its kernel
    threading.Thread(target=_end_with_parent, args=(scratch,), daemon=True).start()
    reason, options = "", {"start_timeout": START_SECONDS, "execution_timeout": CELL_SECONDS, "progress_bar": False}
    try:
        papermill.execute_notebook(notebook, None, parameters, "without_widgets", cwd=folder, **options)
    except KeyboardInterrupt:  # papermill has ended its kernel
        shutil.rmtree(scratch, ignore_errors=True)
        return
    except PapermillExecutionError:
        pass  # the cell holds the error
    except DeadKernelError:
        reason = "the kernel died (out of memory?)"
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    answer.send((WithoutWidgets.executed, reason))


def _end_with_parent(scratch: str) -> None:
    """Once the parent is gone, end as if it had said so; where that takes too long, the kernel ends by itself."""
    wait([multiprocessing.parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)
