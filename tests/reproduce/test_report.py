"""The pages of a report: what notebooks hold arrives, readable, and links lead somewhere."""

from __future__ import annotations

import io
import os
import re
import shutil
from pathlib import Path

import pytest
from notebook_cells import PNG, cell, printed, shown, text

from dgl_core.reproduce.report.cells import Builder, code
from dgl_core.reproduce.report.markup import Links, fenced, formula
from dgl_core.reproduce.report.templates import inline
from dgl_core.reproduce.report.tones import VERDICTS
from dgl_core.utils import ROOT, Progress


def build(*cells, out="/nowhere"):
    built = Builder("09_small", list(cells), Path(out)).build()
    return built, "\n\n".join(built.blocks)


def test_the_title_goes_ahead_and_the_summary_is_set_apart():
    built, page = build(
        text("# 9. Small\n\n**Question.** [Why](https://x.example)\nso?\n**Runtime.** 1 s.\n\n## 9.0 At once"),
        text("## 9.1 First part\n\nText."),
    )
    assert built.title == "9. Small" and built.question == "Why so?" and "# 9. Small" not in page
    assert page.startswith("```{container} lede\n**Question.**")
    assert "so?\n\n**Runtime.**" in page, "a paragraph of its own, although the source has no empty line"
    assert page.index("**Runtime.**") < page.index("```\n") < page.index("## 9.0 At once") < page.index("## 9.1 First")


def test_links_lead_to_pages_to_the_project_or_to_where_it_is_published(monkeypatch):
    links = Links(ROOT / "reports" / "smoke")
    told = links.markdown(
        "See [there](02_gradient_theory.ipynb#part), [code](../dgl_core/utils.py), [it](../results/ledger.md), "
        "[`out` [1]](https://a.b/c), `[not](a.py)`\n\n```python\nx[0](y)\n```\n",
        "notebooks",
    )
    assert '<a href="02_gradient_theory.html#part">there</a>' in told
    assert '<a href="../../dgl_core/utils.py">code</a>' in told and '<a href="ledger.html">it</a>' in told
    assert "[`out` [1]](https://a.b/c)" in told and "`[not](a.py)`" in told and "x[0](y)" in told
    assert links.address("registration.toml", "results") == "../../results/registration.toml"
    monkeypatch.setenv("DGL_SOURCE_URL", "https://a.b/blob/1/")
    assert links.address("registration.toml", "results") == "https://a.b/blob/1/results/registration.toml"


def test_fences_are_longer_than_those_inside():
    assert fenced("raw html", "a\n````\nb") == "`````{raw} html\na\n````\nb\n`````"


def test_formulas_become_mathml_or_stay_as_written():
    assert formula("a_b").startswith("<math") and 'display="block"' in formula("x", display=True)
    with pytest.raises(ValueError, match="unknown command .unknown"):
        formula("\\unknown x")
    with pytest.raises(ValueError, match="DoubleSubscripts"):
        formula("x_1_2")
    assert inline("$x_1_2$ & `y` of *z*") == "<code>x_1_2</code> &amp; <code>y</code> of <em>z</em>"


def test_figures_have_their_alternative_text_caption_and_files():
    built, page = build(
        cell('publish("figure_9", draw())', shown(png=PNG, plain='a "line"\nfrom 0 to 1')),
        cell(
            "interact(draw)",
            shown(png=PNG),
            shown(view={"model_id": "1"}, plain="interactive(...)"),
            tags=["nbval-skip"],
        ),
        text("**Figure 9.1.** A line."),
    )
    assert len(built.figures) == 1 and page.count("<img") == 1 and f"data:image/png;base64,{PNG}" in page
    assert 'alt="a &quot;line&quot; from 0 to 1"' in page
    assert re.search(r'<figure id="figure_9".*<figcaption>\n```\n\n\*\*Figure 9.1.\*\* A line.\n\n```', page)
    assert page.count("A line.") == 1 and 'href="figures/figure_9.svg"' in page and "</figcaption></figure>" in page
    assert "interactive(...)" not in page and "Interactive in JupyterLab" in page


def test_a_published_drawing_is_shown_sharp_and_pixels_are_marked(tmp_path):
    (tmp_path / "figures").mkdir()
    cells = [cell('publish("figure_9", draw())', shown(png=PNG, plain="a line"))]
    for content, photo in (("<svg/>", False), ("<svg><image/></svg>", True)):
        (tmp_path / "figures" / "figure_9.svg").write_text(content)
        built, page = build(*cells, out=tmp_path)
        assert 'src="figures/figure_9.svg" alt="a line"' in page and "base64" not in page
        assert (built.figures[0].photo, 'class="photo"' in page) == (photo, photo)


def test_panels_of_a_drawing_can_stand_below_each_other(tmp_path):
    (tmp_path / "figures").mkdir()
    views = [f'<view id="panel-{n}" viewBox="{10 * n:.1f} 0 80.0 40.0"/>' for n in (1, 2)]
    (tmp_path / "figures" / "figure_9.svg").write_text(f"<svg>{''.join(views)}</svg>")
    page = build(cell('publish("figure_9", draw())', shown(png=PNG, plain="lines")), out=tmp_path)[1]
    for view, said in (("panel-1", "lines"), ("panel-2", "")):
        size = "width: 80.0pt; aspect-ratio: 80.0 / 40.0"
        assert f'<img src="figures/figure_9.svg#{view}" alt="{said}" style="{size}"' in page


def test_checks_answers_and_other_lines():
    lines = "PASS  9.1a it holds (error < 1e-12)\nsomething else\n9.1b one\n9.1b two\n"
    lines += "“DGL is better” holds on emotions (better, +2.0) and fails on vectors (worse, -1.0).\n"
    built, page = build(cell("x", printed(lines)), cell("y", printed("careful\n", "stderr")))
    assert built.checks == 1 and page.count('<p class="answer">“DGL is better” holds on emotions') == 1
    assert 'id="check-9.1a"' in page and page.count('id="check-9.1b"') == 1
    assert "something else" in page and "<span>error &lt; 1e-12</span>" in page
    assert re.search(r"<details><summary>Messages</summary><pre>careful", page)


def test_tables_lose_their_styles_and_show_their_verdicts_with_a_sign():
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
    assert built.judged == 2
    assert '<td><span class="tag good"><span aria-hidden="true">+</span> reproduced</span>: +2.0' in page
    assert '<span class="tag bad"><span aria-hidden="true">−</span> contradicted</span>' in page
    assert "<th>claim</th>" in page and page.count("<thead>") == 2 and "s &lt; 1" in page
    assert 'class="table claims" id="ledger"' in page and 'class="table" id="numbers"' in page
    assert 'href="tables/ledger.csv"' in page


def test_tables_of_the_house_stay_as_they_are_and_have_the_same_signs():
    import pandas

    from dgl_core.paper.tables import rendering

    drawn = rendering.html(pandas.DataFrame({"set": ["yes: +2.0 [+1.0, +3.0]", "no", "a word"]}))
    built, page = build(cell('publish("answers", table)', shown(html=drawn)))
    assert drawn in page.replace("&nbsp;", " ") and built.judged == 2
    assert {word: sign for word, (sign, _) in VERDICTS.items()} == {
        w: sign for w, (sign, _) in rendering.VERDICTS.items()
    }


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
