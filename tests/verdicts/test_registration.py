"""The registration: sizes and levels are checked, questions for each modality are written once."""

from __future__ import annotations

import re

import pytest

from dgl_core.verdicts.registration import PATH, registration

BODY = """
first = 100
pilots = [50]
[regimes.one]
modalities = ["sound", "face"]
[families.headline]
correction = "holm"
looks = [{ replicates = 15, level = 0.02 }, { replicates = 30, level = 0.03 }]
sizes = { one = 3 }
[[questions]]
id = "a"
family = "headline"
asks = "Is A better?"
row = "A"
than = ["B", "C"]
sets = ["one"]
[[questions]]
id = "b"
family = "headline"
asks = "Is {m} alone better than in A?"
row = "{m} alone"
than = "A"
branch = "each"
sets = ["one"]
"""


def read(tmp_path, body: str):
    path = tmp_path / "registration.toml"
    path.write_text(body)
    return registration(path)


def test_a_question_for_each_modality(tmp_path):
    found = read(tmp_path, BODY)
    assert [question.id for question in found.questions] == ["a", "b-sound", "b-face"]
    question = found.question("b-face")
    assert (question.row, question.than, question.branch, question.other) == ("face alone", ("A",), "fused", "face")
    assert question.asks == "Is face alone better than in A?" and found.question("a").than == ("B", "C")
    assert len(found.of_family(found.families["headline", "one"])) == 3


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("one = 3", "one = 4", "has 3 questions and a size of 4"),
        ("level = 0.03", "level = 0.04", "more than 5 %"),
        ("holm", "holms", "correction 'holms'"),
        ('id = "b"\nfamily = "headline"', 'id = "b"\nfamily = "other"', "has no family"),
        ('id = "b"\nfamily = "headline"\nasks = "Is {m} alone better than in A?"\nrow = "{m} alone"\nthan = "A"\n'
         'branch = "each"', 'id = "a"\nfamily = "headline"\nasks = "?"\nrow = "D"\nthan = "A"', "2 questions 'a'"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(tmp_path, old, new, said):
    assert old in BODY
    with pytest.raises(ValueError, match=re.escape(said)):
        read(tmp_path, BODY.replace(old, new))


def test_an_unregistered_question_is_refused(tmp_path):
    with pytest.raises(ValueError, match="registered question 'c'"):
        read(tmp_path, BODY).question("c")


def test_ours_is_whole():
    found = registration()
    assert PATH.exists() and min(found.pilots) < found.first, "pilots are never used again"
    assert {family.dataset for family in found.families.values()} == set(found.regimes)
