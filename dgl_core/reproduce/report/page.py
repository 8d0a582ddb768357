"""Write the report: one ``index.html`` that reads well from the file system, without network or anything beside it."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from dgl_core.data.files.atomic import write_atomic
from dgl_core.reproduce import outputs
from dgl_core.reproduce.execute import notebook_names
from dgl_core.reproduce.report.cells import Builder, Page, read_cells
from dgl_core.reproduce.report.prose import escape, unbroken
from dgl_core.training.environment import commit, utc_now
from dgl_core.utils import duration

HERE = Path(__file__).parent
TITLE = "Disentangled gradient learning"
LEAD = (
    "An executable companion to <em>Boosting Multimodal Learning via Disentangled Gradient Learning</em> (ICCV 2025). "
    "Everything below was computed by the notebooks of this project; every number has a run record behind it."
)


def write(out: Path, profile: str, trained: int, recorded: int) -> Path:
    """Build ``index.html`` from all notebooks that were executed into ``out``.

    Args:
        out: the report folder.
        profile: smoke | cpu | paper.
        trained, recorded: how many runs this command made, and found.

    Returns:
        The path of the page.
    """
    entries = []
    for name in notebook_names():
        result = outputs.load(out, name)
        if result is not None:
            entries.append(_entry(out, result))
    body = "\n".join(
        [_header(entries, profile, trained, recorded), _claims(entries), _gallery(), *map(_article, entries)]
    )
    return write_atomic(out / "index.html", _document(_navigation(entries), body + _footer(profile)))


def _entry(out: Path, result: outputs.Result) -> tuple[outputs.Result, Page]:
    """Read one executed notebook; where a file of it was damaged, that is its failure."""
    path = outputs.paths(out, result.name)[0]
    damaged = "" if result.error else outputs.changed(out, result)
    try:
        cells = read_cells(path) if path.exists() and not damaged else []
        page = Builder(result.name, cells, out).build()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # not what papermill wrote
        damaged, page = f"notebooks/{path.name}", Builder(result.name, [], out).build()
    if damaged and not result.error:
        again = f"{damaged} is not as it was made: execute it again (--only {result.name[:2]})"
        result = replace(result, where="report folder", error=again)
    return result, page


def _document(navigation: str, body: str) -> str:
    style, script = ((HERE / name).read_text() for name in ("page.css", "page.js"))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{TITLE}: report</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<div class="page">
{navigation}
<main>
{body}
</main>
</div>
<dialog aria-label="figure"></dialog>
<script>
{script}</script>
</body>
</html>
"""


def _navigation(entries: list[tuple[outputs.Result, Page]]) -> str:
    items = []
    for result, page in entries:
        number, failed = page.name[:2], ' class="failed"' if result.error else ""
        title = page.title.split(". ", 1)[-1] + (" (failed)" if result.error else "")
        sections = "".join(f'<li><a href="#{name}">{heading}</a></li>' for name, heading in page.sections)
        link = f'<a{failed} href="#{page.name}"><span class="number">{number}</span>{title}</a>'
        items.append(f'<li>{link}<ol class="sections">{sections}</ol></li>')
    tools = '<button id="theme" type="button">Light / dark</button><button id="code" type="button">Show code</button>'
    home = f'<a class="home" href="#overview">{TITLE}</a>'
    return f'<nav aria-label="contents">{home}<ol>{"".join(items)}</ol><div class="tools" hidden>{tools}</div></nav>'


def _header(entries: list[tuple[outputs.Result, Page]], profile: str, trained: int, recorded: int) -> str:
    failed = sum(bool(result.error) for result, _ in entries)
    facts = {
        "Profile": profile,
        "Notebooks failed" if failed else "Notebooks": f"{failed} of {len(entries)}" if failed else str(len(entries)),
        "Training runs": f"{trained + recorded} <small>{f'{trained} made now' if trained else 'all found'}</small>",
        "Checks that hold": sum(page.checks for _, page in entries),
        "Verdicts on claims": sum(len(page.verdicts) + page.judged for _, page in entries),
    }
    cells = "".join(
        f"<div{' class=failed' if name == 'Notebooks failed' else ''}><dt>{name}</dt><dd>{value}</dd></div>"
        for name, value in facts.items()
    )
    failures = "".join(_failure(result) for result, _ in entries if result.error)
    top = f'<h1>{TITLE}</h1><p class="lead">{LEAD}</p><dl class="facts">{cells}</dl>'
    return f'<header id="overview">{top}{failures}</header>'


def _failure(result: outputs.Result) -> str:
    where = f'<a href="#{result.name}">{result.name}</a>, {escape(result.where)}'
    return f'<div class="failure"><strong>Failed</strong> {where}<br>{escape(result.error)}</div>'


def _claims(entries: list[tuple[outputs.Result, Page]]) -> str:
    """Collect the first table of verdicts that a notebook shows, and each verdict that one printed, once."""
    rows, seen = [], set()
    for _, page in entries:
        for outcome, claim, numbers, name in page.verdicts:
            if (outcome, claim, numbers) in seen:
                continue
            seen.add((outcome, claim, numbers))
            rows.append(
                f'<tr class="{outcome}"><td><span class="tag">{outcome.capitalize()}</span></td>'
                f'<td><a href="#{name}">{escape(claim)}</a></td><td>{unbroken(escape(numbers))}</td></tr>'
            )
    ledger = next((page.ledger for _, page in entries if page.ledger), "")
    if rows:
        head = "<thead><tr><th>Verdict</th><th>Claim</th><th>Measured here</th></tr></thead>"
        ledger += f'<div class="table claims"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>'
    return f"<section><h2>What the paper claims, and how it fares</h2>{ledger}</section>" if ledger else ""


def _gallery() -> str:
    return '<section hidden><h2>Figures</h2><div class="gallery"></div></section>'


def _article(entry: tuple[outputs.Result, Page]) -> str:
    result, page = entry
    when = datetime.datetime.fromisoformat(result.executed).strftime("%d %B %Y, %H:%M UTC")
    took = f" in {duration(result.seconds)}" if result.seconds else ""
    source = f'<a href="notebooks/{page.name}.ipynb">notebook</a>'
    failure = _failure(result) if result.error else ""
    anchor = f'<a class="anchor" href="#{page.name}" aria-label="link to this notebook">#</a>'
    head = f'<h2>{page.title}{anchor}</h2><p class="meta">Executed {when}{took} · {source}</p>{failure}'
    return f'<article id="{page.name}">{head}\n' + "\n".join(page.blocks) + "</article>"


def _footer(profile: str) -> str:
    packages = ("torch", "numpy", "pandas", "matplotlib", "papermill")
    rows = {
        "Written": utc_now().replace("+00:00", " UTC").replace("T", " "),
        "Commit": commit(),
        "Python": f"{platform.python_version()} on {platform.system()} ({platform.machine()}), {os.cpu_count()} cores",
        "Packages": ", ".join(f"{name} {metadata.version(name)}" for name in packages),
        "Again": f"<code>make reproduce PROFILE={shlex.quote(profile)}</code>",
    }
    cells = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows.items())
    return f"<footer><dl>{cells}</dl></footer>"
