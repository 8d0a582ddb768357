"""Write the report: one ``index.html`` that reads well from the file system, without network or anything beside it."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import jinja2

from dgl_core.data.files.atomic import write_atomic
from dgl_core.reproduce import outputs
from dgl_core.reproduce.execute import notebook_names
from dgl_core.reproduce.report.cells import Builder, Page, read_cells
from dgl_core.reproduce.report.prose import unbroken
from dgl_core.training.environment import commit, utc_now
from dgl_core.utils import duration

HERE = Path(__file__).parent
TEMPLATES = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined)
TEMPLATES.filters |= {
    "date": lambda text: datetime.datetime.fromisoformat(text).strftime("%d %B %Y, %H:%M UTC"),
    "duration": duration,
    "unbroken": unbroken,
}


def write(out: Path, profile: str, trained: int, recorded: int) -> Path:
    """Build ``index.html`` from all notebooks executed into ``out``; say how many runs were made now, and found."""
    results = [result for name in notebook_names() if (result := outputs.load(out, name)) is not None]
    entries = [_entry(out, result) for result in results]
    pages, failed = [page for _, page in entries], sum(bool(result.error) for result, _ in entries)
    facts = [
        ("Profile", profile, ""),
        ("Notebooks failed", f"{failed} of {len(entries)}", "") if failed else ("Notebooks", len(entries), ""),
        ("Training runs", trained + recorded, f"{trained} made now" if trained else "all found"),
        ("Checks that hold", sum(page.checks for page in pages), ""),
        ("Verdicts on claims", sum(page.judged for page in pages), ""),
    ]
    made = {
        "Written": utc_now().replace("+00:00", " UTC").replace("T", " "),
        "Commit": commit(),
        "Python": f"{platform.python_version()} on {platform.system()} ({platform.machine()}), {os.cpu_count()} cores",
        "Packages": ", ".join(f"{name} {metadata.version(name)}" for name in (*outputs.PACKAGES, "papermill")),
    }
    text = TEMPLATES.get_template("page.html").render(
        title="Disentangled gradient learning",
        style=(HERE / "page.css").read_text(),
        script=(HERE / "page.js").read_text(),
        entries=entries,
        facts=facts,
        ledger=next((page.ledger for page in pages if page.ledger), ""),  # the first table of verdicts
        made=made,
        again=f"make reproduce PROFILE={shlex.quote(profile)}",
    )
    return write_atomic(out / "index.html", text)


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
