"""Turn Markdown into HTML that needs nothing but itself: formulas as MathML, pictures inlined, links that work."""

from __future__ import annotations

import base64
import html
import mimetypes
import os
import re
from pathlib import Path

import mistune
from latex2mathml.converter import convert

from dgl_core.reproduce.execute import NOTEBOOKS


def escape(text: object) -> str:
    return html.escape(str(text), quote=True)


def unbroken(markup: str) -> str:
    """Keep an interval or "n = 10" of a verdict from being torn apart at the end of a line."""
    return re.sub(r"\[[^\]]*\]|n = \d+|95 %", lambda part: part[0].replace(" ", "&nbsp;"), markup)


def formula(latex: str, display: bool = False) -> str:
    """Convert LaTeX to MathML; raise a ValueError that holds the formula where it cannot be converted."""
    try:
        mathml = convert(latex.strip(), display="block" if display else "inline")
    except Exception as error:
        raise ValueError(f"formula {latex!r} cannot be shown: {type(error).__name__} {error}") from None
    unknown = re.search(r"\\\w+", mathml)
    if unknown:
        raise ValueError(f"formula {latex!r} cannot be shown: unknown command {unknown[0]}")
    return mathml


def formula_or_source(latex: str, display: bool) -> str:
    """Convert to MathML, or show the formula as it is written where it cannot be converted."""
    try:
        return formula(latex, display)
    except ValueError:
        return f"<code>{escape(latex)}</code>"


class Renderer(mistune.HTMLRenderer):
    """Give headings anchors that begin with ``name``, collect title and sections, make links relative to ``out``."""

    def __init__(self, name: str, out: Path):
        super().__init__(escape=False)
        self.name, self.out, self.title = name, out, ""
        self.sections: list[tuple[str, str]] = []  # (id, heading)

    def heading(self, text: str, level: int, **attributes) -> str:
        if level == 1:
            self.title = self.title or text
            return ""  # the article has its own heading
        slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"<[^>]*>", "", text).lower()).strip("-")
        name = f"{self.name}-{slug}"
        if level == 2:
            self.sections.append((name, re.sub(r"<math.*?</math>|<[^>]*>", "", text)))
        anchor = f'<a class="anchor" href="#{name}" aria-label="link to this section">#</a>'
        return f'<h{level + 1} id="{name}">{text}{anchor}</h{level + 1}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        notebook = re.fullmatch(r"(?:\./)?(\d\d_\w+)\.(?:ipynb|py)(#.*)?", url)
        if notebook:
            url = f"#{notebook[1]}"
        elif "://" not in url and not url.startswith(("#", "mailto:")):
            url = Path(os.path.relpath(NOTEBOOKS / url, self.out)).as_posix()
        return super().link(text, url, title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        path = NOTEBOOKS / url
        if "://" not in url and path.is_file():
            kind = mimetypes.guess_type(path.name)[0]
            url = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
        return super().image(text, url, title)

    def table(self, text: str) -> str:
        return f'<div class="table"><table>{text}</table></div>'

    def inline_math(self, text: str) -> str:
        return formula_or_source(text, display=False)

    def block_math(self, text: str) -> str:
        return formula_or_source(text, display=True)
