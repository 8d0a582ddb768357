"""Turn notebook cells into Markdown: code folded and coloured, pictures, tables, checks and answers for people."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from pygments import lex
from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String

from dgl_core.reproduce.execute import tags
from dgl_core.reproduce.report.markup import Links, escape, fenced, formula_or_source, raw, unbroken
from dgl_core.reproduce.report.tones import VERDICT, tag

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
VERDICT_CELL = re.compile(rf"<td>{VERDICT.pattern}")
# The name of a table's rows stands in a line of its own below the names of its columns.
INDEX_NAME = re.compile(r"<thead>\s*<tr>\s*<th></th>((?:(?!</tr>).)*)</tr>"
                        r"\s*<tr>\s*<th>([^<]+)</th>(?:\s*<th></th>)*\s*</tr>\s*</thead>", re.DOTALL)  # fmt: skip
LINE = re.compile(r"^((?:PASS  |“).+)\n?", re.MULTILINE)  # a check, or a sentence of an answer
ANSWER = re.compile(r"^“.+” (holds|fails|is undecided|cannot be tested) on ")  # a sentence of ``notebook.answer``
CHECK = re.compile(r"^PASS  (.+?)(?: \((.*)\))?$")
# A column of a drawing, for a narrow screen.
PANEL = re.compile(r'<view id="(panel-\d+)" viewBox="\S+ \S+ (\S+) (\S+)"')
NUMBER = re.compile(r"\d+\.\d+[a-z]\b")  # of a check: "2.3f"
PUBLISHED = re.compile(r"""publish\(\s*["']([a-z0-9_]+)["']""")
TITLE = re.compile(r"\A#\s+(.+?)\s*$\n?", re.MULTILINE)
QUESTION = re.compile(r"^\*\*Question\.\*\*\s+(.+?)(?=\n\s*\n|\n\*\*|\Z)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")  # a card leads to its page alone, so the question keeps the words of a link
CLASSES = ((Comment, "c"), (Keyword, "k"), (Operator.Word, "k"), (String, "s"), (Number, "m"),
           (Name.Function, "f"), (Name.Class, "f"), (Name.Decorator, "f"))  # fmt: skip


def joined(text: str | list[str]) -> str:
    """Join a text of a notebook file, where long texts are lists of lines."""
    return text if isinstance(text, str) else "".join(text)


def read_cells(path: Path) -> list[dict]:
    """Read a notebook's cells as plain values; importing nbformat takes longer than that."""
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


@dataclass(frozen=True)
class Figure:
    """One picture of a page: the id it can be linked by, its address, its text alternative."""

    id: str
    address: str
    alt: str
    photo: bool  # pixels, which must not be inverted in dark mode


@dataclass
class Page:
    """Hold one notebook as Markdown, with what the overview needs to know about it."""

    name: str
    title: str
    question: str = ""
    blocks: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    judged: int = 0  # verdicts in tables
    checks: int = 0
    numbers: set[str] = field(default_factory=set)  # of checks and measurements, by which they can be linked


class Builder:
    """Turn the executed cells (``read_cells``) of the notebook ``name`` into a Page of the report folder ``out``."""

    def __init__(self, name: str, cells: list[dict], out: Path):
        self.page, self.cells, self.out, self.links = Page(name, name), cells, out, Links(out)
        self._folded: list[str] = []  # sources of cells without output so far: they fold into one
        self._setup, self._where = False, ""  # whether parameters are among them; provenance

    def build(self) -> Page:
        captions = set()
        for number, cell in enumerate(self.cells):
            if cell["cell_type"] == "code":
                captions.add(after := self._caption(number))
                self._code_cell(cell, self._prose(self.cells[after]["source"]) if after else "")
            elif cell["cell_type"] == "markdown" and number not in captions:
                self._prose_cell(cell["source"], first=number == 0)
        self._add("")
        return self.page

    def _prose(self, text: str) -> str:
        return self.links.markdown(text, "notebooks")

    def _caption(self, number: int) -> int:
        """Find the caption of a figure cell, below it, maybe with a widget between; 0 if there is none."""
        shown = {kind for output in self.cells[number]["outputs"] for kind in output.get("data", ())}
        if "image/png" not in shown or WIDGET_VIEW in shown:
            return 0
        rest = enumerate(self.cells[number + 1 :], number + 1)
        after, cell = next(((n, cell) for n, cell in rest if "nbval-skip" not in tags(cell)), (0, None))
        return after if after and cell["cell_type"] == "markdown" and cell["source"].startswith("**Figure") else 0

    def _prose_cell(self, source: str, first: bool) -> None:
        """Append prose; what stands between the title and the next heading is the summary of the notebook."""
        if first and (title := TITLE.match(source)):
            self.page.title, source = title[1], source[title.end() :]
            question = QUESTION.search(source)
            self.page.question = LINK.sub(r"\1", " ".join(question[1].split())) if question else ""
            summary, heading, rest = re.match(r"(.*?)(^#.*)?\Z", source, re.DOTALL | re.MULTILINE).group(1, 2, 0)
            # "**Question.** ...\n**Claim checked.** ..." are paragraphs of their own.
            summary = re.sub(r"\n(?=\*\*(?:Claim|Claims|Runtime))", "\n\n", summary).strip()
            if summary:
                self._add(fenced("container lede", self._prose(summary)))
            source = heading or ""
        if source.strip():
            self._add(self._prose(source))

    def _code_cell(self, cell: dict, caption: str) -> None:
        """Append source and outputs; the first picture gets the caption."""
        source = cell["source"].rstrip()
        self._folded.append(source)
        self._setup |= "parameters" in tags(cell)
        published = PUBLISHED.findall(source)
        kinds = [set(output.get("data", {})) for output in cell["outputs"]]
        if any(WIDGET_VIEW in shown for shown in kinds):
            where = "Interactive in JupyterLab (<code>make lab</code>); above it stands what it shows."
            self._html(f'<p class="note">{where}</p>')
            return
        pictures = [i for i, shown in enumerate(kinds) if shown & {"image/png", "text/html"}]
        files = dict(zip(pictures, published, strict=True)) if len(pictures) == len(published) else {}
        for i, output in enumerate(cell["outputs"]):
            self._output(output, files.get(i), caption, "provenance(" in source)
            caption = "" if "image/png" in kinds[i] else caption

    def _html(self, markup: str) -> None:
        self._add(raw(markup))

    def _add(self, block: str) -> None:
        """Append a block that stays visible, after folding the sources that came before it."""
        if self._folded:
            lines = sum(source.count("\n") + 1 for source in self._folded)
            label = "Setup" if self._setup else f"<code>{escape(self._folded[0].strip().splitlines()[0])}</code>"
            more = f" &nbsp;{lines} lines" if lines > 1 else ""
            sources = "".join(f"<pre>{code(source)}</pre>" for source in self._folded)
            sources += f"<pre>{escape(self._where)}</pre>" if self._where else ""
            folded = f'<details class="code"><summary>{label}{more}</summary>{sources}</details>'
            self.page.blocks.append(raw(folded))
        self._folded, self._setup, self._where = [], False, ""
        self.page.blocks.append(block)

    def _output(self, output: dict, file: str | None, caption: str, provenance: bool) -> None:
        if output["output_type"] == "stream":
            self._stream(joined(output["text"]), output["name"], provenance)
        elif output["output_type"] == "error":
            text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output["traceback"]))
            self._html(f'<pre class="error">{escape(text)}</pre>')
        else:
            data = {kind: joined(value) for kind, value in output["data"].items()}
            self._data(data, file, caption, output.get("metadata", {}).get("image/png", {}).get("width"))

    def _data(self, data: dict[str, str], file: str | None, caption: str, width: int | None) -> None:
        if "image/png" in data:
            self._picture(data, file, caption, width)
        elif "text/html" in data:
            links = _links("tables", file, ("csv", "md")) if file else ""
            self._html(self._table(data["text/html"], file) + links)
        elif "text/markdown" in data:
            self._add(self._prose(data["text/markdown"]))
        elif "text/latex" in data:
            self._html(formula_or_source(data["text/latex"].strip("$ \n"), display=True))
        else:
            self._html(f"<pre>{escape(data.get('text/plain', ''))}</pre>")

    def _picture(self, data: dict[str, str], file: str | None, caption: str, width: int | None) -> None:
        """Append a figure: the published drawing, sharp at any size, else the pixels of the notebook."""
        name = file or f"{self.page.name}-{len(self.page.figures) + 1}"
        drawing, panels = self.out / "figures" / f"{file}.svg", []
        if file and drawing.is_file():
            address, source = f"figures/{file}.svg", drawing.read_text()
            photo, panels = "<image" in source, PANEL.findall(source)
        else:
            address, photo = f"data:image/png;base64,{''.join(data['image/png'].split())}", True
        figure = Figure(name, address, " ".join(data.get("text/plain", "").split()), photo)
        self.page.figures.append(figure)
        kind = ' class="photo"' if photo else ""
        size = f' width="{width}"' if width else ""
        picture = f'<img src="{address}" alt="{escape(figure.alt)}"{size} loading="lazy">'
        picture = f'<div class="drawing">{picture}</div>{_panels(address, figure.alt, panels)}'
        links = _links("figures", file, ("png", "svg")) if file else ""
        if not caption:
            self._html(f'<figure id="{name}"{kind}>{picture}{links}</figure>')
            return
        self._html(f'<figure id="{name}"{kind}>{picture}<figcaption>')
        self.page.blocks += [caption, raw(f"{links}</figcaption></figure>")]

    def _table(self, source: str, file: str | None) -> str:
        """Frame a table of the house as it is; strip one of pandas of its styles and colour its verdicts."""
        if 'class="dgl-table"' in source:
            return self._framed(source, source.count('class="verdict'), "table words", file)
        table = re.sub(r"<style.*?</style>", "", source, flags=re.DOTALL).replace(' border="1"', "")
        table = re.sub(r' style="text-align: \w+;"', "", table)
        table = INDEX_NAME.sub(r"<thead><tr><th>\2</th>\1</tr></thead>", table)
        table, verdicts = VERDICT_CELL.subn(lambda found: f"<td>{tag(found[1])}", table)
        cells = [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", table, re.DOTALL)]
        words = sum(bool(re.match(r"[^\W\d]{2}", cell)) for cell in cells) > len(cells) / 3
        return self._framed(table, verdicts, "table words" if words else "table", file)

    def _framed(self, table: str, verdicts: int, kind: str, file: str | None) -> str:
        self.page.judged += verdicts
        where = f' id="{file}"' if file else ""
        kind = "table claims" if verdicts else kind
        return f'<div class="{kind}"{where}>{unbroken(table) if verdicts else table}</div>'

    def _stream(self, text: str, stream: str, provenance: bool) -> None:
        if provenance:
            self._where += text
            return
        if stream == "stderr":
            self._html(f"<details><summary>Messages</summary><pre>{escape(text)}</pre></details>")
            return
        for piece in LINE.split(text):
            if found := CHECK.fullmatch(piece):
                self._html(self._check(*found.groups()))
            elif ANSWER.match(piece):
                self._html(f'<p class="answer">{escape(piece)}</p>')
            elif piece.strip():
                lines = [f"<span{self._anchor(line)}>{escape(line)}</span>" for line in piece.rstrip("\n").split("\n")]
                self._html(f"<pre>{chr(10).join(lines)}</pre>")

    def _check(self, title: str, detail: str | None) -> str:
        self.page.checks += 1
        more = f" <span>{escape(detail)}</span>" if detail else ""
        sign = '<b title="this check holds">✓</b>'
        return f'<div class="check"{self._anchor(title)}>{sign}<div>{escape(title)}{more}</div></div>'

    def _anchor(self, line: str) -> str:
        """Write the id of a line that begins with the number of a check, once a page."""
        number = NUMBER.match(line)
        if number is None or number[0] in self.page.numbers:
            return ""
        self.page.numbers.add(number[0])
        return f' id="check-{number[0]}"'


def _panels(address: str, alt: str, panels: list[tuple[str, str, str]]) -> str:
    """Write the columns of a drawing, given as (view, width, height) in points, below each other."""
    pictures = ""
    for number, (view, width, height) in enumerate(panels):
        size = f"width: {width}pt; aspect-ratio: {width} / {height}"
        said = "" if number else escape(alt)
        pictures += f'<img src="{address}#{view}" alt="{said}" style="{size}" loading="lazy">'
    return f'<div class="panels">{pictures}</div>' if panels else ""


def _links(folder: str, name: str, kinds: tuple[str, ...]) -> str:
    links = " · ".join(f'<a href="{folder}/{name}.{kind}">{kind.upper()}</a>' for kind in kinds)
    return f'<p class="files">{links}</p>'
