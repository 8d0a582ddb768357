"""Teach Sphinx what the report needs beside its theme: formulas as MathML, verdicts in colour, where we are."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from dgl_core.reproduce.report.markup import formula_or_source
from dgl_core.reproduce.report.tones import VERDICT, tag


def inline_math(writer: Any, node: nodes.math) -> None:
    writer.body.append(formula_or_source(node.astext(), display=False))
    raise nodes.SkipNode


def block_math(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(formula_or_source(node.astext(), display=True))
    raise nodes.SkipNode


def colour(app: Sphinx, document: nodes.document) -> None:
    """Put a badge in the place of the verdict that a cell of a table begins with."""
    for entry in document.findall(nodes.entry):
        text = next(iter(entry.findall(nodes.Text)), None)
        if text is not None and (found := VERDICT.match(text)):
            badge = nodes.raw("", tag(found[1]), format="html")
            text.parent.replace(text, [badge, nodes.Text(text[found.end() :])])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register all that with Sphinx."""
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("doctree-read", colour)
    app.add_css_file("site.css")
    app.add_js_file("site.js", loading_method="defer")
    return {"parallel_read_safe": True}
