"""Run All in JupyterLab, in a real browser without a network: does a committed output change, does a control fail?

    make run-all [ONLY="02 09"]
    python -m tests.notebooks.run_all 02 09

Works on a copy of the notebooks, one after the other, each once, with the kernels and the store of ``make lab``; where
the smoke records are not there yet (``make reproduce PROFILE=smoke``), they are made first. Three things are compared:

    outputs     what JupyterLab saved after Run All and what is committed, pictures included, by the rules of the
                notebook tests: ``tests/nbval_sanitize.cfg``, the tags nbval-ignore-output and nbval-skip, no stderr
    controls    every slider is dragged and every list stepped through; the values on the screen must be those of the
                kernel, and the picture must be, byte for byte, what the function behind it draws of them in Python
    source      the ``py:percent`` file that JupyterLab wrote beside the notebook, and the committed one

A request that leaves the machine counts as a fault. Exit status 1 if there is any. On Linux
``unshare -rn sh -c 'ip link set lo up; make run-all'`` takes the network away from the kernels, too.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from dgl_core.reproduce.execute import NOTEBOOKS, kernel_environment, merge_streams, notebook_names, tags
from tests.browser import Browser, installed, wait_for
from tests.lab import Notebook, serve

RULES = Path(__file__).resolve().parents[1] / "nbval_sanitize.cfg"
LONGEST = 1800  # seconds of one notebook, on a machine that does other things, too
SETTLED = 180  # seconds until a picture has followed its control
VIEW = "application/vnd.jupyter.widget-view+json"
UNSEEN = {"metadata", "output_type", "name", "execution_count", "traceback", VIEW, "stderr"}  # as in conftest.py
FOREIGN = """performance.getEntriesByType('resource').map(entry => entry.name)
  .filter(name => /^(https?|wss?):/.test(name) && new URL(name).host !== location.host)"""
# In the kernel: the controls of a widget, by the name of the argument that each is, and what draws of their values.
BEHIND = """
import json as _json, ipywidgets as _widgets
from IPython.display import display as _display
_w = _widgets.widgets.widget._instances[{model!r}]
_explorer = hasattr(_w, "controls")
_controls = _w.controls if _explorer else {{c._kwarg: c for c in _w.kwargs_widgets}}
_values = {{name: control.value for name, control in _controls.items()}}
"""
STATE = BEHIND + "print(_json.dumps(_values))"
DRAWN = f"""{BEHIND}
_made = (_w.draw if _explorer else _w.f)(**_values)
if _made is not None:
    _display(_made)
"""
# In the page: the controls of the widget of a cell, as they are seen, and the pictures and sounds below them.
SEEN = """(() => {{
  const area = {panel}.content.widgets[{cell}].node.querySelector('.jp-OutputArea-output .widget-vbox');
  if (!area) return null;
  const controls = [...area.querySelectorAll('.widget-inline-hbox')].flatMap(box => {{
    const list = box.querySelector('select'), number = box.querySelector('.widget-readout');
    return !list && !number ? [] : {{label: box.querySelector('.widget-label').textContent,
            value: list ? list.selectedOptions[0].textContent : Number(number.textContent.replace('\u2212', '-'))}};
  }});
  const media = [...area.querySelectorAll('img, source, audio')].map(e => e.src).filter(src => src.startsWith('data:'));
  return JSON.stringify({{controls, media}});
}})()"""
BOX = """{panel}.content.widgets[{cell}].node.querySelector('.jp-OutputArea-output .widget-vbox')
  .querySelectorAll('.widget-inline-hbox')[{number}]"""
LIST = "(list => list && {{down: list.selectedIndex < list.options.length - 1}})({box}.querySelector('select'))"
HANDLE = """(box => {{
  box.scrollIntoView({{block: 'center'}});
  const [handle, track] = ['.noUi-handle', '.noUi-base'].map(part => box.querySelector(part).getBoundingClientRect());
  return {{x: handle.x + handle.width / 2, y: handle.y + handle.height / 2, left: track.x, width: track.width}};
}})({box})"""


# -- outputs -----------------------------------------------------------------------------------------------------------


def rules() -> list[tuple[re.Pattern, str]]:
    """What the notebook tests do not look at inside of an output."""
    found = configparser.RawConfigParser()
    found.read(RULES)
    return [(re.compile(found[name]["regex"]), found[name]["replace"]) for name in found.sections()]


def told(cell: dict[str, Any]) -> dict[str, list[str]]:
    """Everything that counts of the outputs of a cell: kind -> contents in their order."""
    found = defaultdict(list)
    for output in cell["outputs"]:
        stream = {output["name"]: output["text"]} if output["output_type"] == "stream" else {}
        for kind, content in {**stream, **output.get("data", {}), **output}.items():
            if kind not in UNSEEN | {"data", "text"}:
                text = content if isinstance(content, str) else json.dumps(content)
                for pattern, instead in rules():
                    text = pattern.sub(instead, text)
                found[kind].append(text.strip() if kind == "image/png" else text)
    return dict(found)


def changed(committed: Any, here: Any) -> list[str]:
    """Say of each code cell with another output what differs; errors count even where outputs are not compared."""
    faults = []
    for cell, again in zip(committed.cells, here.cells, strict=True):
        if cell.cell_type != "code":
            continue
        first = next(iter(again.source.strip().splitlines()), "")
        errors = [output for output in again.outputs if output.output_type == "error"]
        if errors and "raises-exception" not in tags(cell):
            faults.append(f"{first}: {errors[0].ename}: {errors[0].evalue}")
        elif again.execution_count is None:
            faults.append(f"{first}: was not executed")
        elif not {"nbval-ignore-output", "nbval-skip"} & set(tags(cell)):
            old, new = told(cell), told(again)
            kinds = [kind for kind in sorted(old.keys() | new.keys()) if old.get(kind) != new.get(kind)]
            faults += [f"{first}: another {kind}: {difference(old.get(kind), new.get(kind))}" for kind in kinds]
    return faults


def difference(old: list[str] | None, new: list[str] | None) -> str:
    """The first lines in which two lists of texts differ."""
    if old is None or new is None or len(old) != len(new):
        return f"{len(old or ())} committed, {len(new or ())} here"
    lines = zip("\n".join(old).splitlines(), "\n".join(new).splitlines(), strict=False)
    was, now = next(((a, b) for a, b in lines if a != b), ("", "a line more or less"))
    return f"{was[:100]!r} became {now[:100]!r}"


# -- controls ----------------------------------------------------------------------------------------------------------


class Controls:
    """The widget that a cell shows."""

    def __init__(self, notebook: Notebook, cell: int, model: str):
        self.notebook, self.cell, self.model = notebook, cell, model

    def state(self) -> dict[str, Any]:
        """Values in the kernel, by name of the argument."""
        (output,) = self.notebook.ask(STATE.format(model=self.model))
        return json.loads(output["text"])

    def drawn(self) -> list[str]:
        """Pictures and sounds that the function behind the widget makes of the kernel's values, as data addresses."""
        found = []
        for output in self.notebook.ask(DRAWN.format(model=self.model)):
            data = output.get("data", {})
            if "image/png" in data:
                found.append("data:image/png;base64," + data["image/png"].replace("\n", ""))
            else:
                found += re.findall(r'src="(data:[^"]+)"', data.get("text/html", ""))
        return found

    def seen(self) -> dict[str, Any]:
        """Values and media on the screen, ``{"controls": [{"label", "value"}], "media": [address]}``."""
        return json.loads(self.notebook.browser.evaluate(self._page(SEEN)) or '{"controls": [], "media": []}')

    def agrees(self) -> bool:
        """Tell whether screen and kernel have the same values, and the pictures are what Python makes of them."""
        seen, values = self.seen(), list(self.state().values())
        shown = [control["value"] for control in seen["controls"]]
        same = len(shown) == len(values) and all(map(equal, shown, values))
        return same and bool(seen["media"]) and sorted(seen["media"]) == sorted(self.drawn())

    def move(self, number: int) -> None:
        """Drag the slider with this number to its far end, nearly, or step to the neighbour in a list."""
        browser, box = self.notebook.browser, self._page(BOX, number=number)
        if choice := browser.evaluate(LIST.format(box=box)):
            browser.choose(f"{box}.querySelector('select')", **choice)
            return
        at = browser.evaluate(HANDLE.format(box=box))
        share = 0.9 if at["x"] < at["left"] + at["width"] / 2 else 0.1
        browser.drag((at["x"], at["y"]), (at["left"] + share * at["width"], at["y"]))

    def _page(self, script: str, **values: object) -> str:
        return script.format(panel=self.notebook.panel, cell=self.cell, **values)

    def check(self) -> tuple[int, list[str]]:
        """Move every control; returns how many followed, and what did not."""
        self.notebook.scroll_to(self.cell)
        wait_for(self.agrees, SETTLED, f"the widget of cell {self.cell}")
        followed, faults = 0, []
        for number, (name, before) in enumerate(self.state().items()):
            picture = self.seen()["media"]
            self.move(number)
            try:
                wait_for(lambda n=name, b=before: self.state()[n] != b and self.agrees(), SETTLED, name)
            except TimeoutError:
                faults.append(f"control {name!r}: screen, kernel and Python differ: {self.seen()['controls']}")
                continue
            if self.seen()["media"] == picture:
                faults.append(f"control {name!r}: moved from {before!r} to {self.state()[name]!r}, nothing changed")
            followed += 1
        return followed, faults


def equal(shown: float | str | None, value: Any) -> bool:
    """Tell whether a control shows a value: numbers have two decimals there."""
    if isinstance(shown, str):
        return shown.replace("\xa0", " ") == value  # lists keep their words together
    return shown is not None and abs(shown - value) < 0.005 + 1e-9  # None: no number yet


# -- the page of notebook 09, which needs no kernel --------------------------------------------------------------------

MAP = "document.querySelector('.dgl-map')"
FOUND = f"""JSON.stringify((() => {{
  const box = {MAP};
  return [box.querySelector('select').value, ...[...box.querySelectorAll('output')].map(output => Number(output.value)),
    box.querySelector('.said').textContent, box.querySelector('.bars').innerText];
}})())"""
RANGE = """JSON.stringify((() => {{
  const range = document.querySelectorAll('.dgl-map input')[{number}];
  range.scrollIntoView({{block: 'center'}});
  const place = range.getBoundingClientRect(), share = (range.value - range.min) / (range.max - range.min);
  return [place.x + 8 + share * (place.width - 16), place.y + place.height / 2, place.x, place.width];
}})())"""


def check_map(notebook: Notebook, cell: int) -> tuple[int, list[str]]:
    """Choose another head, drag both sliders, and compare what the page says with the records."""
    browser, faults = notebook.browser, []
    notebook.scroll_to(cell)
    wait_for(lambda: browser.evaluate(f"Boolean({MAP})"), 60, "the map")
    (output,) = notebook.ask("import json as _j; print(_j.dumps(phase.digest(drawn, tuple(design.rows()))))")
    maps, before = json.loads(output["text"]), None
    moves = [lambda: browser.choose(f"{MAP}.querySelector('select')")]
    for number in (0, 1):
        moves.append(lambda number=number: _drag_range(browser, number))
    for move in moves:
        move()
        wait_for(lambda b=before: browser.evaluate(FOUND) != b, 30, "the map to follow")
        before = browser.evaluate(FOUND)
        title, synergy, imbalance, said, bars = json.loads(before)
        s, i = maps[title]["synergies"].index(synergy), maps[title]["imbalances"].index(imbalance)
        rows = {name: (of["fused"][s][i], of["absent"][s][i]) for name, of in maps[title]["rows"].items()}
        best = [max(rows, key=lambda name, k=k: rows[name][k]) for k in (0, 1)]
        wanted = f"Fused, the best row is {best[0]}; with a modality absent it is {best[1]}."
        lines = [f"{fused:.1f} fused, {absent:.1f} absent" for fused, absent in rows.values()]
        if said != wanted or not all(line in bars for line in lines):
            faults.append(f"the map at {title}, {synergy}, {imbalance} says {said!r}, the records {wanted!r}")
    return len(moves), faults


def _drag_range(browser: Browser, number: int) -> None:
    x, y, left, width = json.loads(browser.evaluate(RANGE.format(number=number)))
    browser.drag((x, y), (left + (0.75 if x < left + width / 2 else 0.25) * width, y))


# -- one notebook, all notebooks ---------------------------------------------------------------------------------------


def check(browser: Browser, address: str, work: Path, name: str) -> tuple[str, list[str]]:
    """Run All of one notebook, then move its controls; returns one line, and what is wrong."""
    import nbformat

    start = time.monotonic()
    notebook = Notebook(browser, address, f"notebooks/{name}.ipynb")
    notebook.command("notebook:run-all-cells", LONGEST)
    wait_for(notebook.idle, 60, "the kernel")
    notebook.command("docmanager:save", 60)
    seconds = time.monotonic() - start
    committed, here = (nbformat.read(folder / f"{name}.ipynb", 4) for folder in (NOTEBOOKS, work / "notebooks"))
    faults = changed(committed, merge_streams(here))
    if (work / "notebooks" / f"{name}.py").read_text() != (NOTEBOOKS / f"{name}.py").read_text():
        faults.append("JupyterLab wrote another py:percent file than the committed one")
    widgets = moved = 0
    for number, cell in enumerate(here.cells):
        for data in (output.get("data", {}) for output in cell.get("outputs", ())):
            try:
                if VIEW in data:
                    count, wrong = Controls(notebook, number, data[VIEW]["model_id"]).check()
                elif 'class="dgl-map"' in data.get("text/html", ""):
                    count, wrong = check_map(notebook, number)
                else:
                    continue
            except (TimeoutError, RuntimeError) as error:
                count, wrong = 0, [f"widget of cell {number}: {error}"]
            widgets, moved, faults = widgets + 1, moved + count, faults + wrong
    faults += [f"asked for {url}" for url in browser.evaluate(FOREIGN)]
    notebook.close()
    outputs = sum(len(cell.outputs) for cell in committed.cells if cell.cell_type == "code")
    return f"{name:32} Run All {seconds:4.0f} s  {outputs:3} outputs  {widgets} widgets, {moved} controls moved", faults


def main(arguments: list[str]) -> int:
    """Check the notebooks that are named, all of them by default; returns the exit status."""
    if installed() is None:
        print("this needs Chromium (Debian: apt-get install chromium)", file=sys.stderr)
        return 2
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="dgl_run_all_") as folder:
        place = Path(folder)
        for part in ("lab", "chromium", "work"):
            (place / part).mkdir()
        shutil.copytree(NOTEBOOKS, place / "work" / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        with serve(place / "lab", place / "work", kernel_environment(portable=True)) as address:
            browser = Browser(place / "chromium", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
            try:
                for name in notebook_names([word for entry in arguments for word in entry.split()] or None):
                    try:
                        line, faults = check(browser, address, place / "work", name)
                    except (TimeoutError, RuntimeError) as error:
                        line, faults = name, [str(error)]
                    print(line, "ok" if not faults else f"{len(faults)} faults", sep="  ", flush=True)
                    print("".join(f"    {fault}\n" for fault in faults), end="", flush=True)
                    wrong += bool(faults)
            finally:
                browser.close()
    return int(bool(wrong))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that JupyterLab and the browser end, too
    os.environ.pop("DGL_REPORT", None)
    sys.exit(main(sys.argv[1:]))
