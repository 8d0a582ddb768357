"""``python -m dgl_core data``, the table of licences, and the table of notebook 01."""

from __future__ import annotations

import re

import pytest

from dgl_core.data import DATASETS, catalogue, command
from dgl_core.data.generated.emotions import emotion_files


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DGL_DATA", str(tmp_path / "real"))
    return tmp_path


def test_status_tells_of_every_set_where_it_is_looked_for(capsys, tmp_path):
    assert command.main(["status"]) == 0
    text = capsys.readouterr().out
    assert all(f"{name}: " in text for name in DATASETS)
    assert str(tmp_path / "real") in text and str(tmp_path / "cache") in text
    assert "ODbL" in text and "CC BY 4.0" in text


def test_status_counts_what_was_generated(capsys):
    emotion_files.ensure(emotion_files.Settings(clips=18))
    command.main(["status", "emotions"])
    assert "1 sets there now" in capsys.readouterr().out


def test_status_of_a_given_root(capsys, tmp_path):
    command.main(["--root", str(tmp_path / "other"), "status", "cremad"])
    assert f"in {tmp_path / 'other'}." in capsys.readouterr().out


def test_verify_says_what_was_checked(capsys):
    emotion_files.ensure(emotion_files.Settings(clips=18))
    assert command.main(["verify", "emotions"]) == 0
    assert "emotions: right: 1 generated sets" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"), [("grid_letters", "talker s1 is not here"), ("grid_leters", "did you mean")]
)
def test_verify_fails_with_one_message(capsys, name, message):
    assert command.main(["verify", "emotions", name]) == 1
    captured = capsys.readouterr()
    assert message in captured.err and len(captured.err.splitlines()) == 1
    assert "emotions: right" in captured.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prepare", "cremad", "frames=0"], "frames is 0; data set 'cremad' takes 1 to 64"),
        (["prepare", "ks", "seed=-1"], "seed is -1; data set 'ks' takes 0"),
        (["prepare", "cremad", "frame_size=99999999999999"], "frame_size is 99999999999999"),
        (["prepare", "grid", "--raw", "/no/such"], "nothing is there; give the folder, zip or tar file"),
        (["verify", "line\nbreak"], r"Unknown data set 'line\\nbreak'"),
        (["fetch", ""], "Unknown data set ''"),
    ],
)
def test_wrong_words_get_one_sentence_each(capsys, words, message):
    assert command.main(words) == 1
    said = capsys.readouterr().err
    assert re.search(message, said) and len(said.splitlines()) == 1


def test_every_licence_is_in_the_table():
    table = catalogue.licences()
    assert table.index.is_unique and not table.isna().any().any()
    assert {recipe.facts.name for recipe in DATASETS.values() if recipe.facts.licence} == set(table.index)


def test_smoke_does_not_depend_on_real_data(monkeypatch):
    def fail(root):
        raise AssertionError("looked for real data")

    for recipe in list(DATASETS.values()):
        if not recipe.generated:
            monkeypatch.setitem(DATASETS, recipe.name, type("R", (), {"generated": False, "available": fail})())
    table = catalogue.overview("smoke")
    assert set(table["here (smoke)"]) == {"made here", "not used in this profile"}


def test_other_profiles_say_what_is_not_here():
    assert catalogue.overview("cpu").loc["CREMA-D", "here (cpu)"] == "not here"
