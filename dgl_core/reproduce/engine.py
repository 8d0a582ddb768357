"""Papermill without live widgets: ``python -m dgl_core.reproduce.engine IN OUT [papermill's options]``.

Nobody moves a slider while a notebook is executed headless. But the client would still answer a widget's messages, on
the same channel on which it waits for the end of the cell, and now and then it waits for ever (nbclient issue 312).
Without an answer a widget is displayed and does nothing, and ``interact`` prints into its cell.
"""

from __future__ import annotations

from papermill.cli import papermill
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.log import logger

NAME = "without_widgets"


class Client(PapermillNotebookClient):
    def on_comm_open_jupyter_widget(self, message) -> None:
        """Leave the widget to itself."""


class WithoutWidgets(Engine):
    """As papermill's own engine, with our client."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man, kernel_name, start_timeout=60, execution_timeout=None, log_output=False, **unused
    ):
        options = {"timeout": execution_timeout, "startup_timeout": start_timeout, "kernel_name": kernel_name}
        return Client(nb_man, log=logger, log_output=log_output, **options).execute()


papermill_engines.register(NAME, WithoutWidgets)

if __name__ == "__main__":
    papermill()
