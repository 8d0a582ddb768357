"""Write the parts of a page: links that work from the report folder, formulas as MathML, HTML inside Markdown."""

from __future__ import annotations

import base64
import html
import mimetypes
import os
import re
from dataclasses import dataclass
from pathlib import Path

from latex2mathml.converter import convert

from dgl_core.utils import project_root

# Code stays as it is; a link or a picture has a text, which may hold one pair of brackets, and an address.
LINK = re.compile(r"(?P<code>^(`{3,}).*?^\2`*\s*$|`[^`\n]+`)|(?P<picture>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]"
                  r"\((?P<address>[^()\s]+)\)", re.DOTALL | re.MULTILINE)  # fmt: skip
NOTEBOOK = re.compile(r"(?:\./|notebooks/)?(\d\d_\w+)\.(?:ipynb|py)(#.*)?")
PAGES = {  # file of the project -> its page, and a sentence about it
    "results/ledger.md": ("ledger", "Every claim on every data set, with its numbers and what follows for a user."),
    "docs/own_model.md": ("own_model", "Your own model, data and loop: training, keeping, comparing."),
    "docs/data.md": ("data", "Which data sets there are, whose they are, and what you may do with them."),
    "docs/paper_size.md": ("paper_size", "The paper's own sets on a GPU: what to type, how long it takes."),
    "docs/house.md": ("house", "Which file holds what."),
    "docs/api.md": ("api", "Every public function and class: shapes, units, errors, sources."),
}


def escape(text: object) -> str:
    return html.escape(str(text), quote=True)


def unbroken(markup: str) -> str:
    """Keep an interval or "n = 10" of a verdict from being torn apart at the end of a line."""
    return re.sub(r"\[[^\]]*\]|n = \d+|95 %", lambda part: part[0].replace(" ", "&nbsp;"), markup)


def fenced(directive: str, content: str) -> str:
    """Write a directive of Markdown around content that may hold fences of its own."""
    longest = max((len(run) for run in re.findall(r"`{3,}", content)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{{{directive.split()[0]}}} {' '.join(directive.split()[1:])}".rstrip() + f"\n{content}\n{fence}"


def raw(markup: str) -> str:
    """Write HTML as a block of Markdown."""
    return fenced("raw html", markup)


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


@dataclass(frozen=True)
class Links:
    """Turn addresses inside the project into addresses that work from the pages in the folder ``out``.

    Attributes:
        out: the report folder. $DGL_SOURCE_URL, an address of the project's files, takes the place of relative paths:
            a site that is published elsewhere has no project beside it.
    """

    out: Path

    def source(self, path: str) -> str:
        """Write the address of a file or folder of the project, given relative to its root."""
        if base := os.environ.get("DGL_SOURCE_URL"):
            return f"{base.rstrip('/')}/{path}"
        return Path(os.path.relpath(project_root() / path, self.out)).as_posix()

    def address(self, target: str, folder: str) -> str:
        """Translate an address as it stands in a file of ``folder``, relative to the project's root."""
        if "://" in target or target.startswith(("#", "mailto:")):
            return target
        place, _, anchor = target.partition("#")
        path = Path(os.path.normpath(Path(folder) / place)).as_posix()
        anchor = f"#{anchor}" if anchor else ""
        if notebook := NOTEBOOK.fullmatch(path):
            return f"{notebook[1]}.html{anchor}"
        return f"{PAGES[path][0]}.html{anchor}" if path in PAGES else self.source(path) + anchor

    def markdown(self, text: str, folder: str) -> str:
        """Rewrite the links and pictures of a Markdown text from ``folder``; what is code stays."""
        return LINK.sub(lambda found: self._link(found, folder), text)

    def _link(self, found: re.Match[str], folder: str) -> str:
        if found["code"]:
            return found[0]
        text, address = found["text"], self.address(found["address"], folder)
        if not found["picture"]:
            return found[0] if address == found["address"] else f'<a href="{escape(address)}">{text}</a>'
        file = project_root() / folder / found["address"]
        if "://" not in address and file.is_file():
            kind = mimetypes.guess_type(file.name)[0]
            address = f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"
        return f'<img src="{escape(address)}" alt="{escape(text)}">'
