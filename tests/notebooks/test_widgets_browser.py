"""Both sliders of notebook 02 in JupyterLab, in a real browser: the mouse drags a handle, and the picture changes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import jupytext
import nbformat
import pytest
from browser import Browser, installed, wait_for

from dgl_core.reproduce.execute import NOTEBOOKS, tags
from dgl_core.utils import ROOT

pytestmark = pytest.mark.skipif(not installed(), reason="needs Chromium (Debian: apt-get install chromium)")
PICTURES = "[...document.querySelectorAll('.jp-OutputArea-output .widget-html img')]"
READY = """(() => {
  if (!window.jupyterapp) return false;
  const open = [...window.jupyterapp.shell.widgets('main')];
  const panel = open.find(widget => widget.context?.path === 'sliders.ipynb');
  const kernel = panel?.context.sessionContext?.session?.kernel;
  if (panel) window.jupyterapp.shell.activateById(panel.id);
  return window.jupyterapp.shell.currentWidget === panel
    && kernel?.connectionStatus === 'connected' && kernel.status === 'idle'
    && document.querySelectorAll('.jp-Notebook .jp-CodeCell').length >= 4;
})()"""
STATE = f"JSON.stringify({PICTURES}.map(image => [image.alt, image.src, image.naturalWidth]))"
HANDLE = """JSON.stringify((() => {{
  const box = [...document.querySelectorAll('.widget-slider')].find(slider => slider.innerText.includes({label}));
  box.scrollIntoView({{block: 'center'}});
  const [handle, track] = ['.noUi-handle', '.noUi-base'].map(part => box.querySelector(part).getBoundingClientRect());
  return [handle.x + handle.width / 2, handle.y + handle.height / 2, track.x, track.width];
}})())"""


def widget_notebook(path):
    """The parameters, the imports, the start and the widget cells of notebook 02, and nothing else."""
    source = jupytext.read(NOTEBOOKS / "02_gradient_theory.py")
    code = [cell for cell in source.cells if cell.cell_type == "code" and "bootstrap" not in tags(cell)]
    sliders = [cell for cell in code if "nbval-skip" in tags(cell)]
    assert len(sliders) == 2
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    notebook.cells = [nbformat.v4.new_code_cell(cell.source) for cell in [*code[:2], *sliders]]
    nbformat.write(notebook, path)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab without password, on loopback, with settings and kernels of its own."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "work").mkdir()
    widget_notebook(folder / "work" / "sliders.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "RUNTIME", "DATA")}
    places |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "spaces")}
    variables = os.environ | places | {"PYTHONPATH": str(ROOT), "JUPYTER_PREFER_ENV_PATH": "1"}
    options = {
        "ServerApp.ip": "127.0.0.1", "ServerApp.port": port, "ServerApp.port_retries": 0,
        "ServerApp.root_dir": folder / "work", "ServerApp.allow_root": True, "ServerApp.open_browser": False,
        "IdentityProvider.token": "", "PasswordIdentityProvider.hashed_password": "",
        "LabApp.expose_app_in_browser": True, "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", *(f"--{key}={value}" for key, value in options.items())]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, cwd=folder / "work", env=variables, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"

    def answers():
        try:
            return urllib.request.urlopen(f"{address}/api/status", timeout=5).status == 200
        except (urllib.error.URLError, OSError):
            if server.poll() is not None:
                raise AssertionError((folder / "log").read_text()) from None
            return False

    try:
        wait_for(answers, 90, "JupyterLab to start")
        yield address
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def page(lab, tmp_path_factory):
    """The notebook in the browser, all cells executed, both pictures on the screen."""
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    try:
        browser.call("Page.navigate", url=f"{lab}/lab/tree/sliders.ipynb")
        wait_for(lambda: browser.evaluate(READY), 120, "the notebook and its kernel")
        browser.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        wait_for(lambda: len(shown(browser)) == 2, 180, "both pictures")
        yield browser
    finally:
        browser.close()


def shown(browser):
    """``[alt, image data, width in pixels]`` of the picture of each widget."""
    return json.loads(browser.evaluate(STATE))


def settled(browser):
    """``shown`` once the kernel is idle, both images are decoded, and nothing has changed for a second."""

    def stands_still():
        before = shown(browser)
        time.sleep(1)
        idle = browser.evaluate(READY)
        return before if idle and before == shown(browser) and all(width > 300 for *_, width in before) else None

    return wait_for(stands_still, 120, "the pictures to settle")


@pytest.mark.parametrize(
    "widget, label, toward",
    [(0, "the truth to class 2", 0.1), (1, "gradient that encoders get", 0.95)],
    ids=["margins", "gates"],
)
def test_dragging_a_slider_changes_the_picture(page, widget, label, toward):
    before = settled(page)
    x, y, left, width = json.loads(page.evaluate(HANDLE.format(label=json.dumps(label))))
    page.drag((x, y), (left + toward * width, y))
    wait_for(lambda: shown(page)[widget][0] != before[widget][0], 120, "the picture to change")
    after = settled(page)
    assert after[widget][1] != before[widget][1]
    assert after[1 - widget] == before[1 - widget]  # the other widget stands still
