"""The report folder notices what was changed in it, and reaches for nothing outside it."""

from __future__ import annotations

import json
import os
import threading

import nbformat
import pytest

from dgl_core.data.files import atomic
from dgl_core.reproduce import outputs
from dgl_core.reproduce.report import site

NAME = "01_first"


@pytest.fixture
def report(tmp_path, monkeypatch):
    """A report folder with one executed notebook; ``report.refresh()`` executes it again where that is needed."""
    executed = []

    def execute(source, *, environment, **unused):
        folder = outputs.Path(environment["DGL_REPORT"]) / "tables"
        folder.mkdir()
        (folder / "scores.csv").write_text("a,b\n1,2\n")
        executed.append(source.stem)
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 1. First")])

    class Report:
        out, table, notebook, result = (
            tmp_path / "out",
            tmp_path / "out" / "tables" / "scores.csv",
            *outputs.paths(tmp_path / "out", NAME),
        )

        def refresh(self):
            executed.clear()
            result = outputs.refresh(NAME, "smoke", self.out, [], True, threading.Event())
            assert bool(executed) != result.kept
            return result

        def edit(self, **changes):
            self.result.write_text(json.dumps(json.loads(self.result.read_text()) | changes))

    (tmp_path / f"{NAME}.py").touch()
    monkeypatch.setattr(outputs, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(outputs, "execute", execute)
    monkeypatch.setattr(outputs, "fingerprint", lambda *unused: "the same")
    made = Report()
    assert not made.refresh().kept
    return made


def test_what_is_as_it_was_made_is_kept(report):
    assert report.refresh().kept


@pytest.mark.parametrize("text", ["", "a,b\n1,3\n"])
def test_a_table_that_was_changed_is_made_again(report, text):
    report.table.write_text(text)
    assert not report.refresh().kept
    assert report.table.read_text() == "a,b\n1,2\n" and report.refresh().kept


def test_a_notebook_that_was_changed_is_executed_again(report):
    report.notebook.write_text(report.notebook.read_text().replace("First", "Second"))
    assert not report.refresh().kept and "First" in report.notebook.read_text()


@pytest.mark.parametrize("link", [False, True])
def test_nothing_outside_the_folder_is_deleted_or_trusted(report, tmp_path, link):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "old.csv").write_text("precious")
    (report.out / "tables" / "elsewhere").symlink_to(victim)
    names = ["tables/elsewhere/old.csv"] if link else ["../victim/old.csv", str(victim / "old.csv")]
    for name in names:
        report.edit(files={name: "0" * 64}, fingerprint="another")
        assert not report.refresh().kept
        assert (victim / "old.csv").read_text() == "precious"
        report.edit(files=dict.fromkeys([name], "0" * 64), error="ValueError: x", where="code cell 1")
        outputs.record_failure(report.out, NAME, "code cell 1", "ValueError: x")
        assert not report.refresh().kept and (victim / "old.csv").read_text() == "precious"


def test_a_link_in_the_place_of_a_table_is_replaced_not_followed(report, tmp_path):
    victim = tmp_path / "victim.csv"
    victim.write_text("a,b\n1,2\n")
    report.table.unlink()
    report.table.symlink_to(victim)
    victim.write_text("precious")
    assert not report.refresh().kept
    assert victim.read_text() == "precious" and not report.table.is_symlink()


def test_files_that_are_no_longer_made_are_deleted(report):
    (report.out / "tables" / "old.csv").write_text("old")
    report.edit(files=json.loads(report.result.read_text())["files"] | {"tables/old.csv": "0" * 64})
    assert not report.refresh().kept
    assert [path.name for path in (report.out / "tables").iterdir()] == ["scores.csv"]


def test_two_runners_that_write_at_the_same_time_leave_one_whole_result(report, monkeypatch):
    """The other one writes its notebook after ours and before our result file: checksums and files would not match."""
    write, meddled = outputs.write_atomic, []

    def interleaved(path, content):
        write(path, content)
        if path == report.notebook and not meddled:
            meddled.append(path)
            write(path, "of the other runner")

    monkeypatch.setattr(outputs, "write_atomic", interleaved)
    report.edit(fingerprint="another")
    assert not report.refresh().kept and meddled
    assert outputs.changed(report.out, outputs.load(report.out, NAME)) == "" and report.refresh().kept


def test_what_a_killed_runner_left_half_written_is_removed(report, monkeypatch):
    left = report.out / "notebooks" / ".01_first.json.a1b2c3d4.tmp"
    fresh, other = report.out / ".index.html.e5f6a7b8.tmp", report.out / "tables" / ".notes"
    for path in (left, fresh, other):
        path.write_text("half")
    for path in (left, other):
        os.utime(path, (0, 0))
    outputs.sweep(report.out)
    assert not left.exists() and fresh.exists() and other.exists() and report.refresh().kept

    def killed(*unused):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "replace", killed)
    monkeypatch.setattr(atomic.Path, "unlink", lambda *unused, **options: None)
    with pytest.raises(KeyboardInterrupt):
        atomic.write_atomic(report.table, "new")
    (name,) = (path.name for path in report.table.parent.iterdir() if path.name not in (report.table.name, other.name))
    assert outputs.LEFT.fullmatch(name), "the pattern is that of the temporary files of write_atomic"


def test_a_file_that_another_notebook_makes_now_is_not_deleted(report):
    moved = report.out / "tables" / "moved.csv"
    moved.write_text("of 02")
    report.edit(files=json.loads(report.result.read_text())["files"] | {"tables/moved.csv": "0" * 64})
    second = json.loads(report.result.read_text()) | {"name": "02_second", "files": {"tables/moved.csv": "1" * 64}}
    outputs.paths(report.out, "02_second")[1].write_text(json.dumps(second))
    assert not report.refresh().kept and moved.read_text() == "of 02"


@pytest.mark.parametrize(
    "changes",
    [
        {"files": ["tables/scores.csv"]},
        {"files": {"tables/scores.csv": 3}},
        {"seconds": "long"},
        {"seconds": float("nan")},
        {"executed": "yesterday"},
        {"name": "02_second"},
        {"error": None},
        {"surprise": 1},
    ],
)
def test_a_result_file_of_another_form_counts_as_none(report, changes):
    report.edit(**changes)
    assert outputs.load(report.out, NAME) is None and not report.refresh().kept


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, "\x00"])
def test_a_result_file_that_is_none_counts_as_none(report, content):
    report.result.write_text(content)
    assert outputs.load(report.out, NAME) is None and not report.refresh().kept


def told(monkeypatch, out) -> str:
    """What the page of the notebook says, without the rest of a site."""
    monkeypatch.setattr(site, "notebook_names", lambda: [NAME])
    monkeypatch.setattr(site, "_evidence", lambda *unused: {})
    monkeypatch.setattr(site, "build", lambda pages, work: {f"{n}.html": text.encode() for n, text in pages.items()})
    index = site.write(out, "smoke", trained=0, recorded=0).read_text()
    assert f'href="{NAME}.html"' in index
    page = (out / f"{NAME}.html").read_text()
    assert ("<dd>1 of 1</dd>" in index) == ("is not as it was made" in page)
    return page


@pytest.mark.parametrize("keep", [0, 10, -20])
def test_a_cut_notebook_is_named_on_its_page(report, monkeypatch, keep):
    assert "not as it was made" not in told(monkeypatch, report.out)
    report.notebook.write_text(report.notebook.read_text()[:keep])
    page = told(monkeypatch, report.out)
    assert "notebooks/01_first.ipynb is not as it was made: execute it again (--only 01)" in page


def test_a_changed_table_is_named_on_the_page(report, monkeypatch):
    report.table.write_text("a,b\n1,3\n")
    assert "tables/scores.csv is not as it was made" in told(monkeypatch, report.out)


def test_a_notebook_of_another_program_is_named_too(report, monkeypatch):
    for text in ('{"cells": [{}]}', '{"cells": 3}', "[]"):
        report.notebook.write_text(text)
        report.edit(notebook="")  # as an old report has it
        assert "is not as it was made" in told(monkeypatch, report.out)
