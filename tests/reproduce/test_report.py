"""The report page: what notebooks hold arrives, readable, and nothing is fetched from anywhere."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess

import pytest

from dgl_core.reproduce import outputs
from dgl_core.reproduce.report import page
from dgl_core.reproduce.report.cells import Builder, code
from dgl_core.reproduce.report.prose import formula
from dgl_core.utils import ROOT, Progress

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def text(source):
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def cell(source, *made, tags=()):
    return {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": source, "outputs": list(made)}


def printed(lines, name="stdout"):
    return {"output_type": "stream", "name": name, "text": lines}


def shown(**data):
    kinds = {
        "png": "image/png",
        "plain": "text/plain",
        "html": "text/html",
        "view": "application/vnd.jupyter.widget-view+json",
    }
    return {"output_type": "display_data", "data": {kinds[kind]: value for kind, value in data.items()}}


def build(*cells, out="/nowhere"):
    from pathlib import Path

    built = Builder("09_small", list(cells), Path(out)).build()
    return built, "\n".join(built.blocks)


def test_title_sections_and_links():
    built, page = build(
        text("# 9. Small\n\n**Question.** Why?\n**Runtime.** 1 s."),
        text(
            "## 9.1 First part\n\nSee [there](02_gradient_theory.ipynb), [code](../dgl_core/utils.py), [out](https://a.b/c)."
        ),
        text("## What this does not show\nMuch."),
        out=ROOT / "reports" / "smoke",
    )
    assert built.title == "9. Small" and "<h1" not in page
    assert [heading for _, heading in built.sections] == ["9.1 First part", "What this does not show"]
    assert built.sections[0][0] in re.findall(r'<h3 id="([^"]+)"', page)
    assert 'href="#02_gradient_theory"' in page and 'href="../../dgl_core/utils.py"' in page
    assert 'href="https://a.b/c"' in page
    assert '<div class="lede">' in page and '<div class="limits">' in page
    assert "<p><strong>Runtime.</strong>" in page  # a paragraph of its own, although the source has no empty line


def test_formulas_become_mathml_and_code_stays_code():
    _, page = build(
        text("$a_b$ and `$c_d$` cost $5 or $6.\n\n$$\\frac{1}{2}$$\n\n| $x_1$ | b |\n|---|---|\n| $y^2$ | 1 |")
    )
    assert page.count("<math") == 4 and page.count('display="block"') == 1
    assert "<code>$c_d$</code>" in page and "$5 or $6" in page
    with pytest.raises(ValueError, match="unknown command .unknown"):
        formula("\\unknown x")
    with pytest.raises(ValueError, match="DoubleSubscripts"):
        formula("x_1_2")
    _, page = build(text("$x_1_2$"))
    assert "<code>x_1_2</code>" in page  # shown as written, the page is still made


def test_figures_have_their_alternative_text_caption_and_files():
    built, page = build(
        cell('publish("figure_9", draw())', shown(png=PNG, plain='a "line" from 0 to 1')),
        cell(
            "interact(draw)",
            shown(png=PNG),
            shown(view={"model_id": "1"}, plain="interactive(...)"),
            tags=["nbval-skip"],
        ),
        text("**Figure 9.1.** A line."),
    )
    assert built.figures == 1 and page.count("<img") == 1 and f"data:image/png;base64,{PNG}" in page
    assert 'alt="a &quot;line&quot; from 0 to 1"' in page
    assert re.search(r'<figure id="figure_9">.*<figcaption><p><strong>Figure 9.1.</strong> A line.</p>', page)
    assert page.count("A line.") == 1 and 'href="figures/figure_9.svg"' in page
    assert "interactive(...)" not in page and "Interactive in JupyterLab" in page


def test_checks_answers_and_other_lines():
    lines = "PASS  9.1a it holds (error < 1e-12)\nsomething else\n"
    lines += "“DGL is better” holds on emotions (better, +2.0) and fails on vectors (worse, -1.0).\n"
    built, page = build(cell("x", printed(lines)), cell("y", printed("careful\n", "stderr")))
    assert built.checks == 1 and page.count('<p class="answer">“DGL is better” holds on emotions') == 1
    assert "something else" in page and "<span>error &lt; 1e-12</span>" in page
    assert re.search(r"<details><summary>Messages</summary><pre>careful", page)


def test_tables_lose_their_styles_and_show_their_verdicts():
    import pandas

    ledger = pandas.DataFrame(
        {"emotions": ["reproduced: +2.0 [+1.0, +3.0] points, n = 4", "contradicted: -1.0"]},
        index=pandas.Index(["DGL is better", "s < 1"], name="claim"),
    )
    numbers = pandas.DataFrame({("fused", "paper"): ["65.1"], ("fused", "run"): ["60.0 ± 1.0 (3)"]}, index=["vanilla"])
    built, page = build(
        cell('publish("ledger", table)', shown(html=ledger._repr_html_())),
        cell('publish("numbers", table)', shown(html=numbers._repr_html_())),
    )
    assert "<style" not in page and "border=" not in page and "style=" not in page
    assert built.judged == 2 and '<td class="good"><span class="tag">Reproduced</span>: +2.0' in page
    assert "<th>claim</th>" in page and page.count("<thead>") == 2 and "s &lt; 1" in page
    assert 'class="table claims" id=ledger' in page and 'class="table" id=numbers' in page
    assert 'href="tables/ledger.csv"' in page and "id=ledger" not in built.ledger


def test_tables_of_the_house_stay_as_they_are():
    import pandas

    from dgl_core.paper.tables import rendering

    drawn = rendering.html(pandas.DataFrame({"set": ["yes: +2.0 [+1.0, +3.0]", "no", "a word"]}))
    built, page = build(cell('publish("answers", table)', shown(html=drawn)))
    assert drawn in page.replace("&nbsp;", " ") and built.judged == 2 and drawn in built.ledger.replace("&nbsp;", " ")


def test_source_is_folded_once_and_coloured():
    built, page = build(
        cell("seed = 0  # any", tags=["parameters"]),
        cell("import os"),
        cell("dgl_core.provenance()", printed("commit    abc\n")),
        text("Text."),
        cell(
            "for x in '<b>':\n    pass",
            {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[31mE\x1b[0m"]},
        ),
    )
    assert page.count("<details") == 2 and page.index("Setup") < page.index("commit    abc") < page.index("Text.")
    assert '<span class="k">for</span>' in page and "&#x27;&lt;b&gt;&#x27;" in page and "<b>" not in page
    assert '<pre class="error">E</pre>' in page
    assert re.sub(r"<[^>]*>", "", code("x = 1  # one\n")) == "x = 1  # one"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A report folder with one good and one failed notebook."""
    monkeypatch.setattr(page, "notebook_names", lambda: ["01_good", "02_bad", "03_never_executed"])
    cells = [
        text("# 1. Good\n\n## 1.1 Part"),
        cell("draw()", shown(png=PNG, plain="a dot")),
        text("**Figure 1.1.** A dot."),
    ]
    path, result = outputs.paths(tmp_path, "01_good")
    path.parent.mkdir()
    path.write_text(json.dumps({"cells": cells}))
    result.write_text(
        json.dumps({"name": "01_good", "fingerprint": "f", "seconds": 3, "executed": "2026-01-02T03:04:05+00:00"})
    )
    outputs.record_failure(tmp_path, "02_bad", "code cell 2: x / 0", "ZeroDivisionError: division by <zero>")
    page.write(tmp_path, "smoke", trained=2, recorded=3)
    return tmp_path


def test_the_page_names_what_failed_and_shows_what_did_not(folder):
    html = (folder / "index.html").read_text()
    assert "<dd>1 of 2</dd>" in html and "ZeroDivisionError: division by &lt;zero&gt;" in html
    assert 'href="#02_bad"' in html and '<article id="01_good">' in html and "03_never_executed" not in html
    assert "02 January 2026, 03:04 UTC in 3 s" in html and "5 <small>2 made now</small>" in html
    assert len(set(re.findall(r' id="([^"]+)"', html))) == len(re.findall(r' id="([^"]+)"', html))
    loads = r"""src=["'](?!data:)|@import|url\((?!data:)|<link[^>]+href="(?!data:)|<script[^>]+src"""
    assert not re.findall(loads, html)


def test_the_page_works_in_a_browser_without_network(folder, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=2000"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--proxy-server=127.0.0.1:1"]
    run = subprocess.run(
        [browser, *options, f"file://{folder}/index.html"], capture_output=True, text=True, timeout=120
    )
    # The script has run to its end: switches are there, the gallery is filled, the first entry is marked.
    assert 'class="tools"' in run.stdout and "hidden" not in re.search(r'<div class="tools"[^>]*>', run.stdout)[0]
    assert re.search(r'<div class="gallery"><a href="#01_good-1" title="a dot"><img', run.stdout)
    assert re.search(r'<a class="home here"', run.stdout)


def test_progress_in_a_log_is_plain_and_in_a_terminal_one_line(monkeypatch):
    log = io.StringIO()
    with Progress(lambda: "working", log) as progress:
        progress.say("one")
    assert log.getvalue() == "one\n"

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(shutil, "get_terminal_size", lambda *unused, **also: os.terminal_size((20, 5)))
    terminal = Terminal()
    with Progress(lambda: "a status that is far too long for it", terminal) as progress:
        progress.say("one")
    screen = terminal.getvalue()
    assert "\r\x1b[Ka status that is fa" in screen and "far too" not in screen
    assert "\r\x1b[Kone\n" in screen and screen.endswith("\r\x1b[K")
