"""Turn notebook cells into HTML: code folded and coloured, pictures inlined, checks and verdicts for people."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import mistune
from pygments import lex
from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String

from dgl_core.reproduce.execute import tags
from dgl_core.reproduce.report.prose import Renderer, escape, formula_or_source, unbroken

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
TONES = {"reproduced": "good", "better": "good", "yes": "good", "contradicted": "bad", "worse": "bad", "no": "bad"}
OPEN = ("undecided", "practically equal", "not tested here")
VERDICT_CELL = re.compile(rf"<td>({'|'.join([*TONES, *OPEN])})\b(?=[:,])")
# The name of a table's rows stands in a line of its own below the names of its columns.
INDEX_NAME = re.compile(r"<thead>\s*<tr>\s*<th></th>((?:(?!</tr>).)*)</tr>"
                        r"\s*<tr>\s*<th>([^<]+)</th>(?:\s*<th></th>)*\s*</tr>\s*</thead>", re.DOTALL)  # fmt: skip
LINE = re.compile(r"^((?:PASS  |“).+)\n?", re.MULTILINE)  # a check, or a sentence of an answer
ANSWER = re.compile(r"^“.+” (holds|fails|is undecided|cannot be tested) on ")  # a sentence of ``notebook.answer``
CHECK = re.compile(r"^PASS  (.+?)(?: \((.*)\))?$")
PUBLISHED = re.compile(r"""publish\(\s*["']([a-z0-9_]+)["']""")
CLASSES = ((Comment, "c"), (Keyword, "k"), (Operator.Word, "k"), (String, "s"), (Number, "m"),
           (Name.Function, "f"), (Name.Class, "f"), (Name.Decorator, "f"))  # fmt: skip


def joined(text: str | list[str]) -> str:
    """Join a text of a notebook file, where long texts are lists of lines."""
    return text if isinstance(text, str) else "".join(text)


def read_cells(path: Path) -> list[dict]:
    """Read a notebook's cells as plain values; importing nbformat alone takes longer than writing the page."""
    cells = json.loads(path.read_text())["cells"]
    for cell in cells:
        cell["source"] = joined(cell["source"])
    return [cell for cell in cells if cell["source"].strip()]


def code(source: str) -> str:
    """Colour Python source by spans (class k keyword, s string, c comment, m number, f function or class)."""
    parts = []
    for kind, text in lex(source.rstrip(), PythonLexer()):
        css = next((name for parent, name in CLASSES if kind in parent), "")
        parts.append(f'<span class="{css}">{escape(text)}</span>' if css else escape(text))
    return "".join(parts).rstrip()


@dataclass
class Page:
    """Hold one notebook as HTML, with what the overview needs to know about it."""

    name: str
    title: str = ""
    blocks: list[str] = field(default_factory=list)
    sections: list[tuple[str, str]] = field(default_factory=list)  # (id, heading)
    ledger: str = ""  # the first table of verdicts
    judged: int = 0  # verdicts in tables
    checks: int = 0
    figures: int = 0


class Builder:
    """Turn the executed cells (``read_cells``) of the notebook ``name`` into a Page of the report folder ``out``."""

    def __init__(self, name: str, cells: list[dict], out: Path):
        self.page, self.cells = Page(name), cells
        self._folded: list[str] = []  # sources of cells without output so far: they fold into one
        self._setup, self._where = False, ""  # whether parameters are among them; provenance
        self._renderer = Renderer(name, out)
        self._prose = mistune.create_markdown(renderer=self._renderer, plugins=["table", "math"])

    def build(self) -> Page:
        captions = set()
        for number, cell in enumerate(self.cells):
            if cell["cell_type"] == "code":
                captions.add(after := self._caption(number))
                self._code_cell(cell, self._prose(self.cells[after]["source"]) if after else "")
            elif cell["cell_type"] == "markdown" and number not in captions:
                self._prose_cell(cell["source"], first=number == 0)
        self._add("")
        self.page.title = self._renderer.title or escape(self.page.name)
        self.page.sections = self._renderer.sections
        return self.page

    def _caption(self, number: int) -> int:
        """Find the caption of a figure cell, below it, maybe with a widget between; 0 if there is none."""
        shown = {kind for output in self.cells[number]["outputs"] for kind in output.get("data", ())}
        if "image/png" not in shown or WIDGET_VIEW in shown:
            return 0
        rest = enumerate(self.cells[number + 1 :], number + 1)
        after, cell = next(((n, cell) for n, cell in rest if "nbval-skip" not in tags(cell)), (0, None))
        return after if after and cell["cell_type"] == "markdown" and cell["source"].startswith("**Figure") else 0

    def _prose_cell(self, source: str, first: bool) -> None:
        limits = re.search(r"^[#*\s]*What this does not show", source, flags=re.MULTILINE)
        kind = "lede" if first else "limits" if limits else "prose"
        # "**Question.** ...\n**Claim checked.** ..." are paragraphs of their own.
        text = re.sub(r"\n(?=\*\*(?:Claim|Claims|Runtime))", "\n\n", source) if first else source
        self._add(f'<div class="{kind}">{self._prose(text)}</div>')

    def _code_cell(self, cell: dict, caption: str) -> None:
        """Append source and outputs; the first picture gets the caption."""
        source = cell["source"].rstrip()
        self._folded.append(source)
        self._setup |= "parameters" in tags(cell)
        published = PUBLISHED.findall(source)
        kinds = [set(output.get("data", {})) for output in cell["outputs"]]
        if any(WIDGET_VIEW in shown for shown in kinds):
            where = "Interactive in JupyterLab (<code>make lab</code>); above it stands what it shows."
            self._add(f'<p class="note">{where}</p>')
            return
        pictures = [i for i, shown in enumerate(kinds) if shown & {"image/png", "text/html"}]
        files = dict(zip(pictures, published, strict=True)) if len(pictures) == len(published) else {}
        for i, output in enumerate(cell["outputs"]):
            self._output(output, files.get(i), caption, "provenance(" in source)
            caption = "" if "image/png" in kinds[i] else caption

    def _add(self, block: str) -> None:
        """Append a block that stays visible, after folding the sources that came before it."""
        if self._folded:
            lines = sum(source.count("\n") + 1 for source in self._folded)
            label = "Setup" if self._setup else f"<code>{escape(self._folded[0].strip().splitlines()[0])}</code>"
            more = f" &nbsp;{lines} lines" if lines > 1 else ""
            sources = "".join(f"<pre>{code(source)}</pre>" for source in self._folded)
            sources += f"<pre>{escape(self._where)}</pre>" if self._where else ""
            self.page.blocks.append(f'<details class="code"><summary>{label}{more}</summary>{sources}</details>')
        self._folded, self._setup, self._where = [], False, ""
        self.page.blocks.append(block)

    def _output(self, output: dict, file: str | None, caption: str, provenance: bool) -> None:
        if output["output_type"] == "stream":
            self._stream(joined(output["text"]), output["name"], provenance)
        elif output["output_type"] == "error":
            text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output["traceback"]))
            self._add(f'<pre class="error">{escape(text)}</pre>')
        else:
            data = {kind: joined(value) for kind, value in output["data"].items()}
            self._data(data, file, caption, output.get("metadata", {}).get("image/png", {}).get("width"))

    def _data(self, data: dict[str, str], file: str | None, caption: str, width: int | None) -> None:
        if "image/png" in data:
            self.page.figures += 1
            alt, size = escape(data.get("text/plain", "")), f' width="{width}"' if width else ""
            picture = f'<img src="data:image/png;base64,{"".join(data["image/png"].split())}" alt="{alt}"{size}>'
            links = _links("figures", file, ("png", "svg")) if file else ""
            under = f"<figcaption>{caption}{links}</figcaption>" if caption or links else ""
            self._add(f'<figure id="{file or f"{self.page.name}-{self.page.figures}"}">{picture}{under}</figure>')
        elif "text/html" in data:
            self._add(self._html(data["text/html"], file))
            if file:
                self._add(_links("tables", file, ("csv", "md")))
        elif "text/markdown" in data:
            self._add(f'<div class="prose">{self._prose(data["text/markdown"])}</div>')
        elif "text/latex" in data:
            self._add(formula_or_source(data["text/latex"].strip("$ \n"), display=True))
        else:
            self._add(f"<pre>{escape(data.get('text/plain', ''))}</pre>")

    def _html(self, source: str, file: str | None) -> str:
        """Take a table of ``tables.rendering`` as it is; strip a pandas table of its styles, colour its verdicts."""
        if 'class="dgl-table"' in source:
            return self._judged(source, source.count('<b class="verdict'), "table", file)
        table = re.sub(r"<style.*?</style>", "", source, flags=re.DOTALL).replace(' border="1"', "")
        table = re.sub(r' style="text-align: \w+;"', "", table)
        table = INDEX_NAME.sub(r"<thead><tr><th>\2</th>\1</tr></thead>", table)
        table, verdicts = VERDICT_CELL.subn(_tagged, table)
        cells = [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", table, re.DOTALL)]
        words = sum(bool(re.match(r"[^\W\d]{2}", cell)) for cell in cells) > len(cells) / 3
        return self._judged(table, verdicts, "table words" if words else "table", file)

    def _judged(self, table: str, verdicts: int, kind: str, file: str | None) -> str:
        """Frame a table; remember how many verdicts it holds, and the first one that holds any."""
        kind = "table claims" if verdicts else kind
        table = f'<div class="{kind}"{f" id={file}" if file else ""}>{table}</div>'
        if verdicts:
            table = unbroken(table)
            self.page.judged += verdicts
            self.page.ledger = self.page.ledger or table.replace(f" id={file}", "")
        return table

    def _stream(self, text: str, stream: str, provenance: bool) -> None:
        if provenance:
            self._where += text
            return
        if stream == "stderr":
            self._add(f"<details><summary>Messages</summary><pre>{escape(text)}</pre></details>")
            return
        for piece in LINE.split(text):
            if found := CHECK.fullmatch(piece):
                self._add(self._check(*found.groups()))
            elif ANSWER.match(piece):
                self._add(f'<p class="answer">{escape(piece)}</p>')
            elif piece.strip():
                self._add(f"<pre>{escape(piece.rstrip(chr(10)))}</pre>")

    def _check(self, title: str, detail: str | None) -> str:
        self.page.checks += 1
        more = f" <span>{escape(detail)}</span>" if detail else ""
        return f'<div class="check"><b title="this check holds">✓</b><div>{escape(title)}{more}</div></div>'


def _tagged(found: re.Match[str]) -> str:
    """Colour the word that a table cell begins with."""
    return f'<td class="{TONES.get(found[1], "open")}"><span class="tag">{found[1].capitalize()}</span>'


def _links(folder: str, name: str, kinds: tuple[str, ...]) -> str:
    links = " · ".join(f'<a href="{folder}/{name}.{kind}">{kind.upper()}</a>' for kind in kinds)
    return f'<p class="files">{links}</p>'
