"""Answers are worked out once, and anew as soon as anything they rest on has changed."""

import pytest

from dgl_core.paper.answers import remembered


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Records of its own, and an empty cache."""
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "confirming_root", lambda: tmp_path / "records")
    (tmp_path / "records" / "emotions").mkdir(parents=True)
    (tmp_path / "records" / "emotions" / "one.json").write_text("1")
    return tmp_path


class Counted:
    """Count how often a result is made."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return {"made": self.times}


def test_a_result_is_made_once(place):
    make = Counted()
    assert [remembered.remembered("it", make) for _ in range(3)] == [{"made": 1}] * 3


def test_names_are_kept_apart(place):
    make = Counted()
    assert remembered.remembered("it", make) != remembered.remembered("other", make)


def edit(place):
    (place / "records" / "emotions" / "one.json").write_text("2")


def add(place):
    (place / "records" / "mosi.json").write_text("1")


def move(place):
    (place / "records" / "emotions" / "one.json").rename(place / "records" / "one.json")


def remove(place):
    (place / "records" / "emotions" / "one.json").unlink()


def study(place):
    (place / "records" / "followup.toml").write_text("first = 1")


def damage(place):
    (file,) = (place / "cache" / "answers").iterdir()
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def truncate(place):
    (file,) = (place / "cache" / "answers").iterdir()
    file.write_bytes(file.read_bytes()[:20])


@pytest.mark.parametrize("change", [edit, add, move, remove, study, damage, truncate])
def test_a_change_makes_it_anew_and_leaves_one_file(place, change):
    make = Counted()
    remembered.remembered("it", make)
    change(place)
    assert remembered.remembered("it", make) == {"made": 2}
    assert len(list((place / "cache" / "answers").iterdir())) == 1


@pytest.mark.parametrize("what", ["PILOTS", "PATH", "ROOT"])
def test_registration_pilots_and_source_count(place, monkeypatch, what):
    make, other = Counted(), place / "other"
    (other / "dgl_core").mkdir(parents=True)
    (other / "dgl_core" / "new.py").write_text("x = 1")
    remembered.remembered("it", make)
    monkeypatch.setattr(remembered, what, other if what == "ROOT" else other / "dgl_core" / "new.py")
    assert remembered.remembered("it", make) == {"made": 2}


def test_where_nothing_can_be_written_nothing_is_kept(place):
    (place / "cache").write_text("a file, no folder")
    make = Counted()
    assert [remembered.remembered("it", make)["made"] for _ in range(2)] == [1, 2]
