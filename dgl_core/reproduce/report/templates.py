"""Fill the templates of pages: what a filter shows is escaped, or made of parts that are."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2

from dgl_core.reproduce.outputs import Result
from dgl_core.reproduce.report.markup import escape, formula_or_source, unbroken
from dgl_core.reproduce.report.tones import tag

FORM = re.compile(r"\$(?P<formula>[^$]+)\$|`(?P<code>[^`]+)`|\*(?P<emphasis>[^*]+)\*")


def inline(text: str) -> str:
    """Write a line of Markdown as HTML: formulas, code and emphasis."""
    parts, end = [], 0
    for found in FORM.finditer(text):
        parts.append(escape(text[end : found.start()]))
        if found["formula"]:
            parts.append(formula_or_source(found["formula"], display=False))
        else:
            parts.append(f"<code>{escape(found['code'])}</code>" if found["code"] else f"<em>{escape(found[3])}</em>")
        end = found.end()
    return "".join([*parts, escape(text[end:])])


def failure(result: Result) -> str:
    """Write why a notebook failed, as HTML."""
    where = f'<a href="{result.name}.html">{result.name}</a>, {escape(result.where)}'
    return f'<div class="failure" role="note"><strong>Failed</strong> {where}<br>{escape(result.error)}</div>'


def render(template: str, **values: object) -> str:
    """Fill ``template``, a file beside this one; a value that it names and does not get is an error."""
    return _ENVIRONMENT.get_template(template).render(values)


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip
_ENVIRONMENT.filters |= {"inline": inline, "failure": failure, "tag": tag, "unbroken": unbroken}
