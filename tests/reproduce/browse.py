"""Every page of a report in a real browser without a network: axe-core, the width of a phone, the first printed page.

    python -m tests.reproduce.browse reports/smoke axe.min.js [PAGE ...]

``axe.min.js`` is a file of the npm package axe-core (``npm pack axe-core``, then ``package/axe.min.js`` of the archive)
and no part of the project. Every page is shown wide and as on a phone, light and dark, with all that folds laid open. A
finding that axe-core calls serious or critical, a page that scrolls sideways on a phone, and a first sheet of paper
without a heading and text are faults; minor and moderate findings are printed. Exit status 1 if there is a fault.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.browser import Browser, installed, wait_for

LOOKS = {  # name -> width, dark
    "wide, light": (1300, False), "wide, dark": (1300, True), "phone, light": (390, False), "phone, dark": (390, True),
}  # fmt: skip
GRAVE = {"serious", "critical"}
OPEN = "document.querySelectorAll('details').forEach((details) => { details.open = true; })"
AXE = """axe.run({resultTypes: ['violations']}).then((found) => found.violations.map((fault) => ({
  impact: fault.impact, rule: fault.id, help: fault.help, places: fault.nodes.map((node) => node.target.join(' ')),
})))"""
# Where the heading and the first text stand on paper, in sheets (A4 with margins of 1 cm).
SHEET = """JSON.stringify(['h1', 'p, li, td, dd'].map((kind) => {
  const text = [...document.querySelectorAll(kind)].find((one) => one.checkVisibility() && one.textContent.trim());
  return text ? (text.getBoundingClientRect().top + scrollY) / 1047 : null;
}))"""


def show(browser: Browser, page: Path, width: int, dark: bool, media: str = "") -> None:
    """Load a page as a reader would see it."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
    browser.call("Page.navigate", url=page.resolve().as_uri())
    there = f"location.pathname.endsWith({json.dumps('/' + page.name)}) && document.readyState === 'complete'"
    wait_for(lambda: browser.evaluate(there), 60, page.name)


def look(browser: Browser, page: Path, axe: str) -> tuple[list[str], list[str]]:
    """Look at one page in every way; returns (faults, remarks)."""
    faults, remarks = [], []
    for name, (width, dark) in LOOKS.items():
        show(browser, page, width, dark)
        browser.evaluate(OPEN)
        browser.evaluate(f"{axe}; 0")
        for found in browser.evaluate(AXE):
            where = ", ".join(found["places"][:3]) + (" ..." if len(found["places"]) > 3 else "")
            said = f"{name}: {found['impact']}, {found['rule']}: {found['help']} ({where})"
            (faults if found["impact"] in GRAVE else remarks).append(said)
        if (needed := browser.evaluate("document.documentElement.scrollWidth")) > width:
            faults.append(f"{name}: the page is {needed} px wide")
    show(browser, page, 718, False, media="print")
    places = json.loads(browser.evaluate(SHEET))
    if places[0] is None or max(filter(None, places)) > 0.9:
        faults.append(f"paper: heading and text begin at {places} sheets")
    return faults, remarks


def main(arguments: list[str]) -> int:
    """Look at the pages of a report that are named, all of them by default; returns the exit status."""
    if len(arguments) < 2 or installed() is None:
        print(__doc__ if installed() else "this needs Chromium (Debian: apt-get install chromium)", file=sys.stderr)
        return 2
    report, axe, *names = arguments
    pages = [page for page in sorted(Path(report).glob("*.html")) if not names or page.stem in names]
    wrong, source = 0, Path(axe).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="dgl_browse_") as folder:
        browser = Browser(Path(folder))
        try:
            browser.call("Network.enable")
            rates = {"latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
            browser.call("Network.emulateNetworkConditions", offline=True, **rates)
            for page in pages:
                faults, remarks = look(browser, page, source)
                print(f"{page.name:40} {len(faults)} faults, {len(remarks)} remarks", flush=True)
                print("".join(f"    {said}\n" for said in [*faults, *sorted(set(remarks))]), end="", flush=True)
                wrong += len(faults)
        finally:
            browser.close()
    print(f"{len(pages)} pages, {wrong} faults")
    return int(bool(wrong) or not pages)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
