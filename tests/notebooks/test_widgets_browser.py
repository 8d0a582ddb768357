"""Both sliders of notebook 02 in JupyterLab, in a real browser: the mouse drags a handle, and the picture changes."""

from __future__ import annotations

import json
import time

import jupytext
import nbformat
import pytest

from dgl_core.reproduce.execute import NOTEBOOKS, tags
from tests.browser import Browser, installed, wait_for
from tests.lab import Notebook, serve

pytestmark = pytest.mark.skipif(not installed(), reason="needs Chromium (Debian: apt-get install chromium)")
PICTURES = "[...document.querySelectorAll('.jp-OutputArea-output .widget-html img')]"
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
def notebook(tmp_path_factory):
    """The notebook in the browser, all cells executed, both pictures on the screen."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "work").mkdir()
    widget_notebook(folder / "work" / "sliders.ipynb")
    with serve(folder, folder / "work") as address:
        browser = Browser(tmp_path_factory.mktemp("chromium"))
        try:
            notebook = Notebook(browser, address, "sliders.ipynb")
            notebook.command("notebook:run-all-cells", 180)
            wait_for(lambda: len(shown(browser)) == 2, 60, "both pictures")
            yield notebook
        finally:
            browser.close()


def shown(browser):
    """``[alt, image data, width in pixels]`` of the picture of each widget."""
    return json.loads(browser.evaluate(STATE))


def settled(notebook):
    """``shown`` once the kernel is idle, both images are decoded, and nothing has changed for a second."""

    def stands_still():
        before = shown(notebook.browser)
        time.sleep(1)
        still = notebook.idle() and before == shown(notebook.browser)
        return before if still and all(width > 300 for *_, width in before) else None

    return wait_for(stands_still, 120, "the pictures to settle")


@pytest.mark.parametrize(
    "widget, label, toward",
    [(0, "the truth to class 2", 0.1), (1, "gradient that encoders get", 0.95)],
    ids=["margins", "gates"],
)
def test_dragging_a_slider_changes_the_picture(notebook, widget, label, toward):
    page, before = notebook.browser, settled(notebook)
    x, y, left, width = json.loads(page.evaluate(HANDLE.format(label=json.dumps(label))))
    page.drag((x, y), (left + toward * width, y))
    wait_for(lambda: shown(page)[widget][0] != before[widget][0], 120, "the picture to change")
    after = settled(notebook)
    assert after[widget][1] != before[widget][1]
    assert after[1 - widget] == before[1 - widget]  # the other widget stands still
