"""Show tables: one renderer for notebooks and report, prose to the left, verdicts with a sign and a colour.

``apply`` hands it to the running kernel, so every DataFrame that a cell shows is drawn here. What GitHub strips
(colours) says nothing that the signs do not say.
"""

from __future__ import annotations

import re
from html import escape
from itertools import groupby

import pandas

from dgl_core.paper.answers.verdicts import CONTRADICTED, NOT_TESTED, REPRODUCED
from dgl_core.paper.tables.results import ABSENT, NOT_RUN
from dgl_core.utils import importable
from dgl_core.verdicts.families import BETTER, EQUAL, UNDECIDED, WORSE

MOST_ROWS = 10  # a longer table folds
# word -> (sign, tone). The last four are verdicts of mathematics.
VERDICTS = {
    **dict.fromkeys(("yes", REPRODUCED, BETTER), ("+", "good")),
    **dict.fromkeys(("no", CONTRADICTED, WORSE), ("−", "bad")),
    EQUAL: ("=", "equal"),
    UNDECIDED: ("?", "open"),
    NOT_TESTED: ("/", "open"),
    "proved": ("+", "good"),
    "false": ("−", "bad"),
    "conditional": ("~", "equal"),
    "open": ("?", "open"),
}
# tone -> (ink, paper): at least 7 to 1, whatever the page behind is, light or dark
TONES = {
    "good": ("#004d36", "#d8f0e5"),
    "bad": ("#7a2a00", "#fbe3d6"),
    "equal": ("#0a3d66", "#dcebf7"),
    "open": ("#4a3d00", "#f6efcf"),
}
VERDICT = re.compile(rf"({'|'.join(map(re.escape, VERDICTS))})(?=[:,]|$)")  # the word that a cell begins with
NUMBER = re.compile(r"[+−-]?\.?\d[\d.,]*( ?[%‰])?( ± .*| \(.*| \[.*| / .*)?")  # also with what follows a mean
NOTHING = ("", ABSENT, NOT_RUN)


def signed_verdict(text: str) -> str:
    """Put the sign of a verdict before the word that a text begins with: "+ yes: ..."; other texts stay."""
    found = VERDICT.match(text)
    return f"{VERDICTS[found[1]][0]} {text}" if found else text


def html(frame: pandas.DataFrame) -> str:
    """Write a table as HTML that needs no style sheet; more than ``MOST_ROWS`` rows fold.

    Cells of prose carry ``text-align:left``, because JupyterLab aligns to the right; columns in which nothing stands
    are left out. Classes for a style sheet: ``dgl-table``, and on a verdict ``verdict`` with its tone.
    """
    shown = _strings(frame)
    body = f'<table class="dgl-table">{_head(shown)}<tbody>{_body(shown)}</tbody></table>'
    if len(shown) <= MOST_ROWS:
        return body
    told = f"Table of {len(shown)} rows and {len(shown.columns)} columns: open it here"
    return f'<details class="dgl-fold"><summary>{told}</summary>{body}</details>'


def plain(frame: pandas.DataFrame) -> str:
    """Write the first rows of a table as text, for terminals and screen readers, and count the others."""
    shown = _strings(frame)
    texts = shown.map(signed_verdict) if len(shown.columns) else shown
    left = len(texts) - MOST_ROWS
    rest = f"\n... and {left} more rows" if left > 0 else ""
    return texts.head(MOST_ROWS).to_string(max_colwidth=60) + rest


def apply() -> None:
    """Let the running kernel show every DataFrame in this form; outside a kernel nothing happens."""
    if not importable("IPython"):
        return
    from IPython import get_ipython

    if (shell := get_ipython()) is not None:
        formatters = shell.display_formatter.formatters
        formatters["text/html"].for_type(pandas.DataFrame, html)
        formatters["text/plain"].for_type(pandas.DataFrame, lambda frame, printer, _: printer.text(plain(frame)))


def _strings(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Turn every cell into text and drop the columns in which nothing stands."""
    texts = frame.map(str)
    kept = [number for number in range(texts.shape[1]) if not texts.iloc[:, number].isin(NOTHING).all()]
    return texts.iloc[:, kept] if kept else texts


def _cell(tag: str, text: str, *, left: bool, more: str = "") -> str:
    style = ' style="text-align:left"' if left else ""
    return f"<{tag}{more}{style}>{_marked(text) if tag == 'td' else escape(text)}</{tag}>"


def _marked(text: str) -> str:
    """Escape a text; the verdict that it begins with gets its sign and its colour."""
    found = VERDICT.match(text)
    if found is None:
        return escape(text)
    sign, tone = VERDICTS[found[1]]
    ink, paper = TONES[tone]
    mark = f'<b class="verdict {tone}" style="color:{ink};background:{paper}">{sign} {found[1]}</b>'
    return mark + escape(text[found.end() :])


def _is_prose(column: pandas.Series) -> bool:
    """Say whether a column holds words rather than numbers."""
    told = [text for text in column if text not in NOTHING]
    return any(NUMBER.fullmatch(text) is None for text in told)


def _head(frame: pandas.DataFrame) -> str:
    """Write the column names, one line a level; equal neighbours of an upper level share a cell."""
    names, levels = [str(name or "") for name in frame.index.names], frame.columns.nlevels
    lines = []
    for level in range(levels):
        last = level == levels - 1
        cells = [_cell("th", name if last else "", left=True) for name in names]
        place = 0
        labels = [str(label) for label in frame.columns.get_level_values(level)]
        for _, run in groupby(range(len(labels)), lambda k: k if last else labels[k]):  # noqa: B023
            wide = len(list(run))
            span = f' colspan="{wide}"' if wide > 1 else ""
            left = wide == 1 and _is_prose(frame.iloc[:, place])
            cells.append(_cell("th", labels[place], left=left, more=span))
            place += wide
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<thead>{''.join(lines)}</thead>"


def _body(frame: pandas.DataFrame) -> str:
    """Write the rows; an index label that repeats the one above it is left blank."""
    prose, lines, above = [_is_prose(frame.iloc[:, k]) for k in range(frame.shape[1])], [], ()
    for label, values in zip(frame.index, frame.itertuples(index=False, name=None), strict=True):
        labels = tuple(map(str, label)) if isinstance(label, tuple) else (str(label),)
        new = [len(labels) == 1 or labels[: k + 1] != above[: k + 1] for k in range(len(labels))]
        cells = [_cell("th", text if fresh else "", left=True) for text, fresh in zip(labels, new, strict=True)]
        cells += [_cell("td", text, left=left) for text, left in zip(values, prose, strict=True)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
        above = labels
    return "".join(lines)
