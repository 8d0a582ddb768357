"""The explorer of notebook 09 in a real browser, from a file, without a kernel: a slider changes who wins."""

from __future__ import annotations

import numpy as np
import pytest
from browser import Browser, installed, wait_for

from dgl_core.figures import phase
from dgl_core.paper.map.records import Record

pytestmark = pytest.mark.skipif(not installed(), reason="needs Chromium (Debian: apt-get install chromium)")


def page(tmp_path):
    """DGL has more than vanilla up to synergy 0.5, and less beyond."""
    vanilla = np.full((11, 5, 2, 3), 600, dtype=np.uint16)
    dgl = vanilla.copy()
    dgl[:6] += 60
    dgl[6:] -= 60
    of = Record("hidden", {"test/vanilla": vanilla, "test/DGL": dgl}, {"test": 1200})
    path = tmp_path / "page.html"
    path.write_text(f"<!doctype html><meta charset=utf-8>{phase.explorer([of], ('vanilla', 'DGL'))._repr_html_()}")
    return path.as_uri()


def test_a_slider_changes_who_wins(tmp_path):
    (tmp_path / "profile").mkdir()
    browser = Browser(tmp_path / "profile")
    try:
        browser.call("Page.navigate", url=page(tmp_path))
        said = "document.querySelector('.said')?.textContent"
        wait_for(lambda: browser.evaluate(said), 60, "the page")
        assert "the best row is vanilla; with a modality absent it is vanilla" in browser.evaluate(said)
        slide = (
            "(() => {const s = document.querySelector('input'); s.value = 3; s.dispatchEvent(new Event('input'))})()"
        )
        browser.evaluate(slide)
        assert "the best row is DGL; with a modality absent it is DGL" in browser.evaluate(said)
        assert browser.evaluate("document.querySelector('output').value") == "0.3"
        bars = browser.evaluate("document.querySelector('.bars').innerText")
        assert "55.0 fused" in bars and "50.0 fused" in bars
        assert browser.evaluate("document.querySelectorAll('input')[1].max") == "4"
    finally:
        browser.close()
