"""Build the site of a report: pages from notebooks and verdicts, put into the report folder file by file.

Sphinx with the theme furo makes the pages, the menu and the search; what it cannot know is in the files beside this
one. The folder opens from a disk: nothing is fetched from anywhere.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import os
import platform
import re
import shlex
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from dgl_core.data.files.atomic import write_atomic
from dgl_core.reproduce import outputs
from dgl_core.reproduce.execute import notebook_names
from dgl_core.reproduce.report import sentences
from dgl_core.reproduce.report.cells import Builder, Page, read_cells
from dgl_core.reproduce.report.markup import PAGES, Links, escape, raw
from dgl_core.reproduce.report.templates import failure, render
from dgl_core.training.environment import commit, utc_now
from dgl_core.utils import ROOT, duration, project_root

HERE = Path(__file__).parent
TITLE = "Disentangled gradient learning"
PAPER = ("The paper, sentence by sentence", "What the paper says, in our words, and how each sentence fares.")
GENERATOR = ("sphinx", "furo", "myst-parser")
MANIFEST = "site.json"  # what the site was built from, and the checksums of its files
FILE = re.compile(r"(?:[\w-][\w.-]*/)*[\w-][\w.-]*\.(?:html|js|css|png|svg|txt|json|inv)")  # what a site consists of
UNUSED = re.compile(r"\.buildinfo|objects\.inv|.*\.map")  # of what Sphinx makes
SETTINGS = {
    "project": TITLE,
    "extensions": ["myst_parser", "dgl_core.reproduce.report.extension"],
    "myst_enable_extensions": {"dollarmath"},
    "myst_dmath_allow_space": False,
    "myst_dmath_allow_digits": False,
    "myst_dmath_double_inline": True,
    "myst_heading_anchors": 4,
    "myst_disable_syntax": ["myst_line_comment", "myst_block_break", "myst_target", "myst_role"],
    "html_math_renderer": "mathml",
    "html_theme": "furo",
    "html_title": TITLE,
    "html_static_path": [str(HERE / "static")],
    "html_copy_source": False,
    "html_show_copyright": False,
    "html_use_index": False,
    "smartquotes": False,
}


def write(out: Path, profile: str, trained: int, recorded: int) -> Path:
    """Build the site of all notebooks executed into ``out``, unless it stands as it was built from the same.

    Args:
        out: the report folder. profile: of the execution. trained, recorded: runs that were made now, and found.

    Returns:
        ``index.html`` of the site.
    """
    results = [result for name in notebook_names() if (result := outputs.load(out, name)) is not None]
    entries = [_entry(out, result) for result in results]
    pages = {page.name: _notebook_page(out, result, page) for result, page in entries} | _evidence(out, entries)
    facts = _facts(profile, entries, trained, recorded)
    digest = _digest([pages, facts], results)
    if not _stands(out, digest):
        with tempfile.TemporaryDirectory(prefix="dgl_site_") as work:
            interactive = _play(Path(work) / "play")
            cards = _cards(pages)
            groups = {"Evidence": cards[:2], "Use it": cards[2:]} if cards else {}
            shown = {"facts": facts, "entries": entries, "groups": groups, "play": interactive}
            if interactive:
                pages["play"] = render("play.md.jinja", play=interactive)
            pages["index"] = render("index.md.jinja", title=TITLE, **shown) + raw(_made(profile)) + "\n"
            _publish(out, build(pages, Path(work)) | _files(Path(work) / "play"), digest)
    return out / "index.html"


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


# -- pages -------------------------------------------------------------------------------------------------------------


def _evidence(out: Path, entries: list[tuple[outputs.Result, Page]]) -> dict[str, str]:
    """Write the pages that no notebook makes, as Markdown: the paper's sentences, the ledger, the public names."""
    links = Links(out)
    found = {"paper": sentences.page(links, [page for _, page in entries])}
    for source, (name, _) in PAGES.items():
        if (path := project_root() / source).is_file():
            found[name] = links.markdown(path.read_text(encoding="utf-8"), str(Path(source).parent))
    return {name: text for name, text in found.items() if text}


def _cards(pages: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """List the pages that no notebook makes: name, heading, a sentence."""
    told = {name: (pages.get(name, "").partition("\n")[0].lstrip("# "), about) for name, about in PAGES.values()}
    return [(name, *said) for name, said in {"paper": PAPER, **told}.items() if name in pages]


def _facts(profile: str, entries: list[tuple[outputs.Result, Page]], trained: int, recorded: int) -> list[tuple]:
    """List what stands at the top of the index: (name, value, small print)."""
    failed, checks = sum(bool(result.error) for result, _ in entries), sum(page.checks for _, page in entries)
    return [
        ("Profile", profile, ""),
        ("Notebooks failed", f"{failed} of {len(entries)}", "") if failed else ("Notebooks", len(entries), ""),
        ("Training runs", trained + recorded, f"{trained} made now" if trained else "all found"),
        ("Checks that hold", checks, ""),
    ]


def _play(folder: Path) -> list[tuple[str, str, str]]:
    """Write the pages to play with into ``folder``; list them: file, title, a sentence."""
    from dgl_core.reproduce import play  # networks and records, which "nothing has changed" should not cost

    folder.mkdir()
    try:
        return [(page.file, page.title, page.sentence) for page in play.write(folder)]
    except ValueError as error:  # the reference records are not here: the report is whole without these pages
        print(f"left out, pages to play with: {error}", file=sys.stderr)
        return []


def _date(text: str) -> str:
    return datetime.datetime.fromisoformat(text).strftime("%d %B %Y, %H:%M UTC")


def _notebook_page(out: Path, result: outputs.Result, page: Page) -> str:
    """Write the page of one notebook: title, when it was executed, its failure if it has one, its cells."""
    took = f" in {duration(result.seconds)}" if result.seconds else ""
    there = outputs.paths(out, page.name)[0].is_file()  # nothing was executed where a training run failed
    notebook = f' · <a href="notebooks/{page.name}.ipynb">notebook</a>' if there else ""
    meta = f'<p class="meta">Executed {_date(result.executed)}{took}{notebook}'
    meta += '<button class="show-code" type="button" hidden>Show code</button></p>'
    told = [raw(meta), *([raw(failure(result))] if result.error else [])]
    return "\n\n".join([f"# {page.title}", *told, *page.blocks]) + "\n"


def _made(profile: str) -> str:
    """Write what the site was made with, as HTML: it is no reason to build it again."""
    made = {
        "Written": utc_now().replace("+00:00", " UTC").replace("T", " "),
        "Commit": commit(),
        "Python": f"{platform.python_version()} on {platform.system()} ({platform.machine()}), {os.cpu_count()} cores",
        "Packages": ", ".join(
            f"{name} {metadata.version(name)}" for name in (*outputs.PACKAGES, "papermill", "sphinx")
        ),
    }
    rows = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in made.items())
    again = escape(f"make reproduce PROFILE={shlex.quote(profile)}")
    return f'<dl class="made">{rows}<dt>Again</dt><dd><code>{again}</code></dd></dl>'


# -- building and publishing -------------------------------------------------------------------------------------------


def build(documents: Mapping[str, str], work: Path) -> dict[str, bytes]:
    """Let Sphinx make a site of Markdown pages in the empty folder ``work``.

    Returns:
        File of the site -> content; what Sphinx had to complain about is in ``warnings.txt`` of ``work``.
    """
    from sphinx.application import Sphinx  # a second to import, which "nothing has changed" should not cost
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    source, made, warnings = work / "source", work / "made", io.StringIO()
    source.mkdir()
    for name, text in documents.items():
        (source / f"{name}.md").write_text(text, encoding="utf-8")
    folders = {"srcdir": source, "confdir": None, "outdir": made, "doctreedir": work / "doctrees"}
    with patch_docutils(), docutils_namespace():
        app = Sphinx(**folders, buildername="html", confoverrides=dict(SETTINGS), status=None, warning=warnings)
        app.build()
    (work / "warnings.txt").write_text(warnings.getvalue(), encoding="utf-8")
    return {name: content for name, content in _files(made).items() if not UNUSED.fullmatch(name)}


def _files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _digest(told: list, results: list[outputs.Result]) -> str:
    """Digest all that a site is made of: pages, what their notebooks rest on, this package, the generator."""
    parts = [json.dumps(told), *(result.fingerprint for result in results)]
    parts += [metadata.version(name) for name in GENERATOR]
    parts += [_sha256(path.read_bytes()) for path in sorted((ROOT / "dgl_core").rglob("*.*")) if path.suffix != ".pyc"]
    return _sha256("\n".join(parts).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _manifest(out: Path) -> dict[str, str]:
    """Read the checksums of the files of the site that stands in ``out``, its digest under ""; empty if damaged."""
    try:
        found = json.loads((out / MANIFEST).read_text())
        sound = all(isinstance(value, str) and (not name or FILE.fullmatch(name)) for name, value in found.items())
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    return found if sound else {}


def _as_made(path: Path, digest: str) -> bool:
    return path.is_file() and not path.is_symlink() and _sha256(path.read_bytes()) == digest


def _stands(out: Path, digest: str) -> bool:
    """Tell whether the site in ``out`` is that of ``digest``, every file as it was written."""
    files = _manifest(out)
    return files.pop("", "") == digest and all(_as_made(out / name, value) for name, value in files.items())


def _publish(out: Path, built: Mapping[str, bytes], digest: str) -> None:
    """Write the files that are new, remove pages that are no longer made, then note what stands."""
    before = _manifest(out)
    for name, content in built.items():
        if not _as_made(out / name, _sha256(content)):
            write_atomic(out / name, content)
    for name in before.keys() - built.keys() - {""}:
        if not any(folder.is_symlink() for folder in (out / name).parents if folder.is_relative_to(out)):
            (out / name).unlink(missing_ok=True)
    written = {"": digest} | {name: _sha256(content) for name, content in built.items()}
    write_atomic(out / MANIFEST, json.dumps(written, indent=1))
