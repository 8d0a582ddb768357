"""The site of a report: whole, kept while nothing changed, and good to read in a browser without network."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import browser
import pytest
from notebook_cells import PNG, cell, printed, shown, text

from dgl_core.paper.claims import digest, ledger
from dgl_core.paper.theory.sentences import SENTENCES
from dgl_core.reproduce import outputs
from dgl_core.reproduce.execute import NOTEBOOKS
from dgl_core.reproduce.report import sentences, site
from dgl_core.reproduce.report.markup import PAGES, Links
from dgl_core.utils import ROOT

WIDE = {"metadata": {"image/png": {"width": 900}}}
DRAWING = '<svg xmlns="http://www.w3.org/2000/svg" width="900" height="90" viewBox="0 0 900 90">{}</svg>'
VIEWS = "".join(f'<view id="panel-{n}" viewBox="{450 * n - 450}.0 0 450.0 90.0"/>' for n in (1, 2))
CELLS = {
    "02_gradient_theory": [
        text("# 2. Theory\n\n**Question.** Is $x_1$ it?\n\n## 2.1 Part\n\n$a_b$ and `$c_d$` cost $5 or $6.\n\n"
             "$$\\frac{1}{2}$$\n\n% of [there](03_bad.ipynb)\n\n| $x_1$ | b |\n|---|---|\n| $y^2$ | better: +1 |"),
        cell("draw()", shown(png=PNG, plain="a dot")),
        text("**Figure 2.1.** A dot."),
        cell("check()", printed("PASS  2.1a it holds\n")),
        cell("table", shown(html="<table><thead><tr><th></th><th>first</th></tr></thead><tbody><tr><th>row</th>"
                                 "<td>worse: -1</td></tr></tbody></table>")),
        cell('publish("two_panels", draw())', shown(png=PNG, plain="two panels")),
        cell('publish("one_panel", draw())', shown(png=PNG, plain="one wide panel") | WIDE),
    ],
}  # fmt: skip
LOADS = (
    r"""src=["'](?!data:|_static/|figures/|searchindex.js)|@import|url\((?!"?data:)|<link[^>]+href="(?:https?:)?//"""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report folder with one good and one failed notebook, and its site."""
    out = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site, "notebook_names", lambda: ["02_gradient_theory", "03_bad", "04_never_executed"])
        patch.setattr(site, "_play", play)
        for name, cells in CELLS.items():
            path, result = outputs.paths(out, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({"cells": cells}))
            known = {"name": name, "fingerprint": "f", "seconds": 3, "executed": "2026-01-02T03:04:05+00:00"}
            result.write_text(json.dumps(known))
        (out / "figures").mkdir()
        for name, views in (("two_panels", VIEWS), ("one_panel", "")):
            (out / "figures" / f"{name}.svg").write_text(DRAWING.format(views))
            (out / "figures" / f"{name}.png").write_bytes(b"")
        outputs.record_failure(out, "03_bad", "code cell 2: x / 0", "ZeroDivisionError: division by <zero>")
        site.write(out, "smoke", trained=2, recorded=3)
        yield out


def play(folder: Path) -> list[tuple[str, str, str]]:
    folder.mkdir()
    (folder / "play_one.html").write_text("<!doctype html><title>One</title>")
    return [("play_one.html", "Move it", "Drag, and see.")]


def pages(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in folder.glob("*.html") if not path.name.startswith("play_")}


def test_the_index_names_what_failed_and_leads_to_every_page(folder):
    found = pages(folder)
    own = {name for name, _ in PAGES.values()}
    assert {"index", "02_gradient_theory", "03_bad", "paper", "play", "search"} | own == found.keys()
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= own
    index = found["index"]
    assert "<dd>1 of 2</dd>" in index and "ZeroDivisionError: division by &lt;zero&gt;" in index
    assert "5 <small>2 made now</small>" in index and "04_never_executed" not in index
    assert "ZeroDivisionError" in found["03_bad"] and "02 January 2026, 03:04 UTC in 3 s" in found["02_gradient_theory"]
    for target in ("02_gradient_theory", "03_bad", "paper", "play_one", *own):
        assert f'href="{target}.html"' in index
    assert 'href="02_gradient_theory.html#02_gradient_theory-1"' in index and 'aria-label="a dot"' in index


def test_nothing_is_fetched_and_every_link_inside_leads_somewhere(folder):
    found = pages(folder)
    ids = {name: re.findall(r'\sid="([^"]+)"', html) for name, html in found.items()}
    for name, html in found.items():
        assert not re.findall(LOADS, html), name
        assert len(ids[name]) == len(set(ids[name])), name
        for target, _, anchor in (link.partition("#") for link in re.findall(r'<a[^>]+href="([^":]*)"', html)):
            here = (folder / target).resolve() if target else folder / f"{name}.html"
            assert here.exists(), (name, target)
            if anchor and here.stem in ids and here.parent == folder:
                assert anchor in ids[here.stem], (name, target, anchor)


def test_formulas_code_tables_and_captions_arrive(folder):
    page = pages(folder)["02_gradient_theory"]
    assert page.count("<math") == 5 and page.count('display="block"') == 1
    assert "$c_d$" in page and "$5 or $6" in page and "% of <a" in page
    assert re.search(r'alt="a dot"[^>]*></div><figcaption>\s*<p><strong>Figure 2.1.</strong> A dot.</p>', page)
    assert page.count('<span class="tag good">') == 1, "a verdict in a table of Markdown"
    assert page.count('<span class="tag bad">') == 1, "and in one of pandas"


def test_the_site_is_kept_while_nothing_changed_and_mended_where_it_was(folder, monkeypatch):
    built = []
    build = site.build
    monkeypatch.setattr(site, "build", lambda *given: built.append(1) or build(*given))
    known = {path: path.stat().st_mtime_ns for path in folder.rglob("*.html")}
    site.write(folder, "smoke", trained=2, recorded=3)
    assert not built and known == {path: path.stat().st_mtime_ns for path in folder.rglob("*.html")}

    manifest = json.loads((folder / site.MANIFEST).read_text())
    (folder / "old.html").write_text("no longer made")
    (folder / "notes.html").write_text("of the reader")
    (folder / site.MANIFEST).write_text(json.dumps(manifest | {"old.html": "0" * 64}))
    (folder / "paper.html").write_text("")
    site.write(folder, "smoke", trained=2, recorded=3)
    assert built and "sentence by sentence" in (folder / "paper.html").read_text()
    assert not (folder / "old.html").exists() and (folder / "notes.html").exists()
    assert json.loads((folder / site.MANIFEST).read_text()).keys() == manifest.keys()
    (folder / "notes.html").unlink()


@pytest.mark.parametrize("content", ["", "[]", '{"../x.html": "0"}', '{"index.html": 3}', "[" * 100_000])
def test_a_damaged_list_of_files_counts_as_none(tmp_path, content):
    (tmp_path / site.MANIFEST).write_text(content)
    assert site._manifest(tmp_path) == {} and not site._stands(tmp_path, "any")


def test_the_committed_notebooks_give_pages_without_a_complaint(tmp_path):
    from dgl_core.reproduce.report.cells import Builder, read_cells

    names = ("02_gradient_theory", "04_benchmark")
    made = {name: Builder(name, read_cells(NOTEBOOKS / f"{name}.ipynb"), tmp_path).build() for name in names}
    documents = {name: f"# {page.title}\n\n" + "\n\n".join(page.blocks) for name, page in made.items()}
    documents["index"] = "# Index\n\n```{toctree}\n" + "\n".join(names) + "\n```\n"
    site.build(documents, tmp_path)
    assert (tmp_path / "warnings.txt").read_text() == ""
    ids = re.findall(r'id="(check-[^"]+)"', documents["02_gradient_theory"])
    settled = {f"check-{check}" for s in SENTENCES for check in re.findall(r"\d+\.\d+[a-z]", s.settled)}
    assert settled <= set(ids) and len(ids) == len(set(ids)), settled - set(ids)


# -- the paper, sentence by sentence -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "section"),
    [("Abstract, Sec. 3.1", "1"), ("Sec. 1, contribution 3", "1"), ("Fig. 1(b), Table 1", "1"), ("Eq. 8", "3.1"),
     ("Eq. 9, 10", "3.2"), ("Eq. 11-14", "3.2"), ("Eq. 15", "3.2"), ("Tables 1 and 4", "4.2"), ("Table 5", "4.3"),
     ("Fig. 3a", "4.3"), ("Algorithm 1", "3.2"), ("not in the paper: Sec. 3.2 calls it calibration", "")],
)  # fmt: skip
def test_a_place_lies_in_a_section_of_the_paper(place, section):
    assert sentences.section_of(place) == section


def test_every_sentence_and_claim_is_on_the_page_with_its_verdicts(folder):
    page = pages(folder)["paper"]
    items = [*sentences.proved([]), *sentences.tested(Links(folder), [])]
    assert len(items) == len(SENTENCES) + len(ledger.CLAIMS)
    assert {sentences.section_of(item.place) for item in items} == sentences.SECTIONS.keys()
    assert not [item.id for item in items if f'<div class="claim" id="{item.id}">' not in page]
    assert sum(len(item.numbers) for item in items) == len(digest._read()["lines"]), "each line of the ledger once"
    assert page.count('<details class="verdict" open>') == len(items)
    assert "02_gradient_theory.html#check-2.1a" in page
    assert "02_gradient_theory.html#check-2.1b" not in page, "that check is not in the notebook"
    assert "python -m dgl_core claims dgl-vanilla --rerun" in page


def test_every_claim_names_a_picture_that_its_notebook_publishes():
    sources = {path.stem: path.read_text() for path in NOTEBOOKS.glob("*.py")}
    for claim in tomllib.loads(Path(ledger.__file__).with_suffix(".toml").read_text())["claim"]:
        notebook, _, figure = claim["picture"].partition("#")
        assert f'publish("{figure}"' in sources[notebook], claim["id"]


# -- in a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium(folder, tmp_path_factory):
    if browser.installed() is None:
        pytest.skip("no Chromium here")
    opened = browser.Browser(tmp_path_factory.mktemp("chromium"))
    opened.call("Network.enable")
    opened.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    yield opened
    opened.close()


def visit(chromium, folder, name, *, width=1300, dark=False):
    chromium.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    chromium.call("Emulation.setEmulatedMedia", features=[scheme])
    chromium.call("Page.navigate", url=f"file://{folder}/{name}")
    name = name.split("?")[0]
    ready = f"location.href.includes({json.dumps(name)}) && document.readyState == 'complete'"
    browser.wait_for(lambda: chromium.evaluate(ready), 60, name)


AUDIT = Path(__file__).with_name("accessibility.js").read_text()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "02_gradient_theory.html", "03_bad.html", "paper.html"])
def test_text_has_contrast_and_things_have_names(chromium, folder, name, dark):
    visit(chromium, folder, name, dark=dark)
    assert chromium.evaluate(AUDIT) == []
    back = chromium.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert (back < 60) == dark


def test_the_checker_sees_what_is_wrong(chromium, folder):
    visit(chromium, folder, "03_bad.html")
    wrong = '<p style="opacity: 0.4">pale</p><button></button><img src="figures/none.png"><p role="heading">one</p>'
    wrong += '<div style="overflow-x: auto; width: 9em; white-space: nowrap">This line is longer than its place.</div>'
    chromium.evaluate(f"document.querySelector('article').insertAdjacentHTML('beforeend', {json.dumps(wrong)})")
    found = chromium.evaluate(AUDIT)
    assert [re.match(r"\w+", said)[0] for said in found] == ["contrast", "alt", "name", "level", "scrolls"], found


def test_figures_darken_but_pixels_are_not_inverted(chromium, folder):
    look = "getComputedStyle(document.querySelector('.drawing img')).filter"
    visit(chromium, folder, "02_gradient_theory.html")
    assert chromium.evaluate(look) == "none"
    visit(chromium, folder, "02_gradient_theory.html", dark=True)
    assert chromium.evaluate(look).startswith("brightness")
    chromium.evaluate("document.querySelector('figure').classList.remove('photo')")
    assert "invert" in chromium.evaluate(look)
    chromium.call("Emulation.setEmulatedMedia", media="print")
    assert chromium.evaluate(look) == "none"
    chromium.call("Emulation.setEmulatedMedia", media="")


def test_search_finds_from_a_disk(chromium, folder):
    visit(chromium, folder, "search.html?q=registered")
    found = "[...document.querySelectorAll('#search-results li a')].map((link) => link.getAttribute('href')).join()"
    browser.wait_for(lambda: "paper.html" in chromium.evaluate(found), 60, "results")


def test_on_a_phone_nothing_is_wider_than_the_screen_and_rows_are_cards(chromium, folder):
    for name in ("index.html", "02_gradient_theory.html", "paper.html"):
        visit(chromium, folder, name, width=390)
        assert chromium.evaluate("document.documentElement.scrollWidth") <= 390, name
    visit(chromium, folder, "02_gradient_theory.html", width=390)
    cell = "document.querySelector('.claims td')"
    styles = f"getComputedStyle({cell}.parentElement).display, getComputedStyle({cell}, '::before').content"
    assert chromium.evaluate(f"[{cell}.dataset.label, {styles}].join()") == 'first,block,"first"'


@pytest.mark.parametrize("width", [390, 1300], ids=["phone", "wide"])
def test_panels_stand_below_each_other_on_a_phone_and_a_wide_one_scrolls(chromium, folder, width):
    visit(chromium, folder, "02_gradient_theory.html", width=width)
    places = "[...document.querySelectorAll('#two_panels img')].filter((image) => image.checkVisibility())"
    shown = f"{places}.map((image) => image.getBoundingClientRect().toJSON())"
    first, *second = chromium.evaluate(shown)
    assert len(second) == (width == 390) and all(below["y"] > first["y"] + first["height"] - 1 for below in second)
    scrolls = (
        "(box => [box.scrollWidth > box.clientWidth, box.tabIndex])(document.querySelector('#one_panel .drawing'))"
    )
    assert chromium.evaluate(scrolls) == ([True, 0] if width == 390 else [False, -1])


def test_guess_first_hides_every_verdict_until_it_is_clicked(chromium, folder):
    visit(chromium, folder, "paper.html")
    seen = "[...document.querySelectorAll('details.verdict > ul')].filter((list) => list.checkVisibility()).length"
    every = chromium.evaluate(seen)
    assert every == len(SENTENCES) + len(ledger.CLAIMS)
    chromium.evaluate("document.querySelector('.guess button').click()")
    assert chromium.evaluate(seen) == 0
    chromium.evaluate("document.querySelector('details.verdict > summary').click()")
    assert chromium.evaluate(seen) == 1
    chromium.evaluate("document.querySelector('.guess button').click()")
    assert chromium.evaluate(seen) == every


def test_the_first_printed_page_is_not_empty(chromium, folder):
    visit(chromium, folder, "index.html")
    chromium.call("Emulation.setEmulatedMedia", media="print")
    top = chromium.evaluate("document.querySelector('article h1').getBoundingClientRect().top")
    menu = chromium.evaluate("document.querySelector('.sidebar-drawer').checkVisibility()")
    chromium.call("Emulation.setEmulatedMedia", media="")
    assert top < 200 and not menu
