"""One question, one word: whatever shows a verdict shows the ledger's."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator

import pytest

from dgl_core.paper.claims import judging
from dgl_core.paper.claims.ledger import CLAIMS
from dgl_core.utils import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", ROOT / "results" / "ledger.md"]
WORDS = "reproduced|contradicted|undecided|better|worse|practically equal|not tested here|yes|no"
VERDICT = re.compile(rf"({WORDS})(: |, (better|worse|practically equal))", re.IGNORECASE)


def outputs(path) -> Iterator[tuple[str, str]]:
    """Kind (text or html) and content of every output of a committed notebook."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", ()):
            if "text" in output:
                yield "text", "".join(output["text"])
            if "text/html" in output.get("data", {}):
                yield "html", "".join(output["data"]["text/html"])


def cells(table: str) -> list[str]:
    found = re.findall(r"<td[^>]*>(.*?)</td>", table, re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in found]


def stray(said: list[str], known: set[str]) -> list[str]:
    """Those that begin as a verdict does and are none of the ledger's."""
    return [text for text in said if VERDICT.match(text) and text not in known]


@pytest.fixture(scope="module")
def known() -> set[str]:
    return {str(line) for line in judging.lines()} | set(judging.ten_lines().to_numpy().ravel())


@pytest.fixture(scope="module")
def sentences() -> set[str]:
    return {judging.sentence(claim) for claim in CLAIMS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_the_verdicts_of_the_ledger(path, known, sentences):
    for kind, content in outputs(path):
        lines = cells(content) if kind == "html" else content.splitlines()
        assert not stray(lines, known)
        assert {line for line in lines if line.startswith("“")} <= sentences


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_shows_the_verdicts_of_the_ledger(path, known):
    said = [cell.strip() for line in path.read_text(encoding="utf-8").splitlines() if "|" in line
            for cell in line.split("|")]  # fmt: skip
    assert any(VERDICT.match(cell) for cell in said) and not stray(said, known)


@pytest.mark.parametrize("number", ["03", "04", "05", "06", "07", "08"])
def test_a_notebook_ends_with_an_answer_of_four_sentences_at_most(number, sentences):
    (path,) = [path for path in NOTEBOOKS if path.stem.startswith(number)]
    answers = [line for _, content in outputs(path) for line in content.splitlines() if line.startswith("“")]
    assert 1 <= len(answers) <= 4


def test_another_word_is_noticed(known):
    line = next(iter(sorted(text for text in known if text.startswith("contradicted: worse"))))
    assert stray([line.replace("contradicted: worse", "reproduced: better")], known) and not stray([line], known)
