"""Write the four pages: each one file with its own data, style and script inside, which opens from a disk."""

from __future__ import annotations

import html
import json
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dgl_core.data.files.atomic import write_atomic
from dgl_core.reproduce.play import model, protocol, theory, training

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """One page to play with.

    Attributes:
        file: its name in the folder of the report. title: a few words. sentence: what it shows, in two sentences.
    """

    file: str
    title: str
    sentence: str


PAGES: dict[Page, Callable[[], dict]] = {
    Page(
        "play_theory.html",
        "Play with the theory",
        "Fusion changes the gradient that a modality receives, and two experiments show how. "
        "You set the beliefs of one sample, or the gates of a small training that runs in your browser.",
    ): theory.data,
    Page(
        "play_model.html",
        "Ask the model",
        "Two small networks, one trained jointly and one by DGL, read the emotion of generated clips. "
        "You silence, muffle, hide or blur a modality and watch what each of them still knows.",
    ): model.data,
    Page(
        "play_training.html",
        "Scrub the training",
        "In joint training one loss trains everything, and in DGL every encoder learns from a loss of its own. "
        "You drag the epoch and watch the gradients and the suppression ratio R change.",
    ): training.data,
    Page(
        "play_protocol.html",
        "Choose the protocol",
        "The ranking of the methods depends on seeds, on the epoch that is scored and on the learning rates. "
        "You choose all of them, and the ranking of Table 1 reorders with its intervals.",
    ): protocol.data,
}


def write(folder: Path) -> list[Page]:
    """Write all pages into the folder of a report, which is made if it is not there.

    Raises:
        ValueError: the reference records are not here, as in an installed package without the checkout.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for page, data in PAGES.items():
        write_atomic(folder / page.file, _text(page, data()))
    return list(PAGES)


def _text(page: Page, data: dict) -> str:
    """Fill the template of all pages with the body and the script of one."""
    name = page.file.removeprefix("play_").removesuffix(".html")
    read = {part: (HERE / part).read_text(encoding="utf-8") for part in ("page.html", "page.css", "helpers.js")}
    return string.Template(read["page.html"]).substitute(
        title=html.escape(page.title),
        sentence=html.escape(page.sentence),
        links="".join(_link(other, page) for other in PAGES),
        style=read["page.css"],
        body=(HERE / f"{name}.html").read_text(encoding="utf-8"),
        data=json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", r"<\/"),
        helpers=read["helpers.js"],
        script=(HERE / f"{name}.js").read_text(encoding="utf-8"),
    )


def _link(page: Page, shown: Page) -> str:
    if page == shown:
        return f'<span aria-current="page">{html.escape(page.title)}</span>'
    return f'<a href="{page.file}">{html.escape(page.title)}</a>'
