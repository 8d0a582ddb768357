"""A JupyterLab of its own on loopback, and one notebook in it, as a reader's browser shows it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dgl_core.utils import ROOT
from tests.browser import Browser, wait_for

PANEL = "[...window.jupyterapp.shell.widgets('main')].find(widget => widget.context?.path === {path})"
READY = """(() => {{
  if (!window.jupyterapp) return false;
  const panel = {panel}, kernel = panel?.context.sessionContext?.session?.kernel;
  if (panel) window.jupyterapp.shell.activateById(panel.id);
  return window.jupyterapp.shell.currentWidget === panel && panel.context.isReady
    && kernel?.connectionStatus === 'connected' && kernel.status === 'idle' && panel.content.widgets.length > 0;
}})()"""
ASK = """(async () => {{
  const outputs = [], kernel = {panel}.context.sessionContext.session.kernel;
  const future = kernel.requestExecute({{code: {code}, store_history: false}});
  future.onIOPub = message => {{
    if (message.content.data || message.content.text || message.content.ename) outputs.push(message.content);
  }};
  await future.done;
  return JSON.stringify(outputs);
}})()"""
RUN = """(() => {{
  window.ended = undefined;
  window.jupyterapp.commands.execute({command}).then(
    () => {{ window.ended = 'done'; }}, (error) => {{ window.ended = String(error); }});
}})()"""


@contextmanager
def serve(folder: Path, work: Path, variables: dict[str, str] | None = None) -> Iterator[str]:
    """Address of a JupyterLab without a password that serves ``work``.

    Args:
        folder: for settings, kernels and the log, none of them the user's. variables: for it and its kernels.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "RUNTIME", "DATA")}
    places |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "spaces")}
    places |= {"PYTHONPATH": str(ROOT), "JUPYTER_PREFER_ENV_PATH": "1"} | (variables or {})
    options = {
        "ServerApp.ip": "127.0.0.1", "ServerApp.port": port, "ServerApp.port_retries": 0,
        "ServerApp.root_dir": work, "ServerApp.allow_root": True, "ServerApp.open_browser": False,
        "IdentityProvider.token": "", "PasswordIdentityProvider.hashed_password": "",
        "LabApp.expose_app_in_browser": True, "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", *(f"--{key}={value}" for key, value in options.items())]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, cwd=work, env=os.environ | places, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"

    def answers():
        try:
            return urllib.request.urlopen(f"{address}/api/status", timeout=5).status == 200
        except (urllib.error.URLError, OSError):
            if server.poll() is not None:
                raise AssertionError((folder / "log").read_text()) from None
            return False

    try:
        wait_for(answers, 240, "JupyterLab to start")
        yield address
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


class Notebook:
    """One notebook of a JupyterLab in a browser, open, with a kernel that stands idle.

    Args:
        address: of the JupyterLab. path: of the notebook, from the folder that it serves.
    """

    def __init__(self, browser: Browser, address: str, path: str):
        self.browser, self.path = browser, path
        self.panel = PANEL.format(path=json.dumps(path))
        browser.call("Page.navigate", url=f"{address}/lab/tree/{path}")
        wait_for(self.idle, 300, f"{path} and its kernel")

    def idle(self) -> bool:
        """Tell whether the notebook is in front and its kernel has nothing to do."""
        return bool(self.browser.evaluate(READY.format(panel=self.panel)))

    def command(self, name: str, seconds: float) -> None:
        """Do what the menu entry ``name`` does and wait for its end; RuntimeError where it fails."""
        self.browser.evaluate(RUN.format(command=json.dumps(name)))
        ended = wait_for(lambda: self.browser.evaluate("window.ended"), seconds, f"{name} in {self.path}")
        if ended != "done":
            raise RuntimeError(f"{name} in {self.path}: {ended}")

    def ask(self, code: str) -> list[dict]:
        """Contents of what the notebook's kernel shows when it executes ``code``, outside of all cells."""
        outputs = json.loads(self.browser.evaluate(ASK.format(panel=self.panel, code=json.dumps(code))))
        for output in outputs:
            if "ename" in output:
                raise RuntimeError(f"{self.path}: {output['ename']}: {output['evalue']}")
        return outputs

    def scroll_to(self, cell: int) -> None:
        """Bring a cell onto the screen: JupyterLab draws only what is near it."""
        go = f"{self.panel}.content.activeCellIndex = {cell}; {self.panel}.content.scrollToItem({cell}, 'start')"
        self.browser.evaluate(go)

    def close(self) -> None:
        """End the kernel and close the notebook."""
        self.browser.evaluate(f"{self.panel}.context.sessionContext.shutdown()")
        self.browser.evaluate(f"{self.panel}.close()")
