"""A table says what it says without its colours, is read from the left, and folds where it is long."""

from __future__ import annotations

import re

import pandas
import pytest
from bs4 import BeautifulSoup

from dgl_core.paper.answers.verdicts import CONTRADICTED, NOT_TESTED, REPRODUCED
from dgl_core.paper.tables import rendering
from dgl_core.paper.tables.results import ABSENT, NOT_RUN
from dgl_core.verdicts.families import BETTER, EQUAL, UNDECIDED, WORSE


def drawn(frame: pandas.DataFrame) -> BeautifulSoup:
    return BeautifulSoup(rendering.html(frame), "html.parser")


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb" as WCAG defines it."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("word", [REPRODUCED, CONTRADICTED, UNDECIDED, NOT_TESTED, BETTER, WORSE, EQUAL, "yes", "no"])
def test_every_word_of_the_judge_has_a_sign_and_a_readable_colour(word):
    frame = pandas.DataFrame({"verdict": [f"{word}: +1.0 [0.5, 1.5]"]}, index=["DGL"])
    (mark,) = drawn(frame).select("b.verdict")
    sign = rendering.VERDICTS[word][0]
    assert mark.text == f"{sign} {word}" and mark.parent.text == f"{sign} {word}: +1.0 [0.5, 1.5]"
    assert f"{sign} {word}: +1.0" in rendering.plain(frame), "without HTML the sign is there, too"
    ink, paper = re.findall(r"#\w{6}", mark["style"])
    assert (luminance(paper) + 0.05) / (luminance(ink) + 0.05) >= 7


def test_good_and_bad_differ_without_colour():
    signs = {tone: {sign for sign, other in rendering.VERDICTS.values() if other == tone} for tone in rendering.TONES}
    for one in signs:
        for other in signs:
            assert one == other or not signs[one] & signs[other]


def test_a_word_that_only_begins_like_a_verdict_stays_a_word():
    frame = pandas.DataFrame({"a": ["nobody knows", "open set", "yesterday"]})
    assert not drawn(frame).select(".verdict")


def test_prose_is_left_and_numbers_are_not():
    frame = pandas.DataFrame(
        {"told": ["a sentence", ABSENT], "score": ["61.2 ± 0.4 (10)", ABSENT], "gain": ["+1.0 [0.2, 1.8]", "-3"]},
        index=pandas.Index(["x", "y"], name="row"),
    )
    left = [
        ["text-align:left" in cell.get("style", "") for cell in row.select("td")] for row in drawn(frame).select("tr")
    ]
    assert left[1:] == [[True, False, False]] * 2
    assert [cell.text for cell in drawn(frame).select("thead th")] == ["row", "told", "score", "gain"]


def test_columns_in_which_nothing_stands_are_left_out():
    columns = pandas.MultiIndex.from_product([["fused", "audio"], ["paper", "this run"]])
    frame = pandas.DataFrame([[ABSENT, "1.0", ABSENT, NOT_RUN], [ABSENT, "2.0", ABSENT, "3.0"]], columns=columns)
    heads = [[(cell.text, cell.get("colspan")) for cell in row.select("th")] for row in drawn(frame).select("thead tr")]
    assert heads == [
        [("", None), ("fused", None), ("audio", None)],
        [("", None), ("this run", None), ("this run", None)],
    ]
    empty = pandas.DataFrame({"a": [ABSENT]})
    assert [cell.text for cell in drawn(empty).select("td")] == [ABSENT], "a table keeps at least what it has"


@pytest.mark.parametrize("rows", [rendering.MOST_ROWS, rendering.MOST_ROWS + 1])
def test_only_a_long_table_folds_and_nothing_is_lost(rows):
    frame = pandas.DataFrame({"value": range(rows)})
    page = drawn(frame)
    assert bool(page.select("details > table")) == (rows > rendering.MOST_ROWS)
    assert [cell.text for cell in page.select("td")] == [str(k) for k in range(rows)]
    if rows > rendering.MOST_ROWS:
        assert f"{rows} rows" in page.summary.text and "1 more row" in rendering.plain(frame)


def test_an_index_of_several_levels_says_each_label_once():
    index = pandas.MultiIndex.from_tuples([("a", "x"), ("a", "y"), ("b", "y")], names=["task", "modality"])
    page = drawn(pandas.DataFrame({"n": [1, 2, 3]}, index=index))
    assert [[cell.text for cell in row.select("th")] for row in page.select("tbody tr")] == [
        ["a", "x"],
        ["", "y"],
        ["b", "y"],
    ]


def test_what_a_cell_says_is_not_taken_for_html():
    frame = pandas.DataFrame({"s < 1": ["a <b> & c"]}, index=["<i>"])
    assert not drawn(frame).select("i, td b") and "a <b> & c" in drawn(frame).text


def test_a_kernel_shows_every_frame_in_this_form(monkeypatch):
    import IPython
    from IPython.core.formatters import DisplayFormatter

    class Shell:
        display_formatter = DisplayFormatter()

    monkeypatch.setattr(IPython, "get_ipython", lambda: Shell)
    rendering.apply()
    frame = pandas.DataFrame({"verdict": ["yes: +1"]})
    shown, _ = Shell.display_formatter.format(frame)
    assert shown["text/html"] == rendering.html(frame) and shown["text/plain"] == rendering.plain(frame)
