"""The tool that gives committed records the fingerprint of their data, and the records it was run on."""

from __future__ import annotations

import json

import pytest

from dgl_core import data
from dgl_core.training.records import RunRecord
from dgl_core.utils import reference_root
from tools import fingerprints

RECORD = next((reference_root() / "triplet").glob("triplet-vanilla-*.json"))


@pytest.fixture
def folder(tmp_path):
    """A record as it was before stored values were part of the fingerprint."""
    body = json.loads(RECORD.read_text())
    dataset = data.load("triplet", **body["spec"].get("dataset_options", {}))
    body["data"]["fingerprint"] = fingerprints.earlier(dataset)
    (tmp_path / RECORD.name).write_text(fingerprints.text_of(body))
    return tmp_path


def test_only_the_fingerprint_and_the_checksum_of_a_record_change(folder, capsys):
    path = folder / RECORD.name
    before = path.read_text().splitlines()
    assert fingerprints.main([str(folder), "--check"]) == 1 and path.read_text().splitlines() == before
    assert fingerprints.main([str(folder)]) == 0 and "1  triplet: renewed" in capsys.readouterr().out
    after = path.read_text().splitlines()
    changed = [line.split(":")[0] for line, other in zip(before, after, strict=True) if line != other]
    assert changed == ['"checksum"', '"fingerprint"'] and RunRecord.from_json(path.read_text()).spec.method == "vanilla"
    assert fingerprints.main([str(folder), "--check"]) == 0


def test_records_of_other_data_and_damaged_ones_stay_as_they_are(folder, capsys):
    path = folder / RECORD.name
    body = json.loads(path.read_text())
    body["data"]["fingerprint"] = "0" * 64
    path.write_text(fingerprints.text_of(body))
    (folder / "damaged.json").write_text(path.read_text().replace("0.0", "0.1", 1))
    before = [p.read_text() for p in sorted(folder.iterdir())]
    assert fingerprints.main([str(folder)]) == 0 and fingerprints.main([str(folder), "--check"]) == 1
    out = capsys.readouterr().out
    assert "1  triplet: made from other data" in out and "1  damaged" in out
    assert [p.read_text() for p in sorted(folder.iterdir())] == before


def test_committed_records_carry_the_fingerprint_of_the_data(monkeypatch):
    """One record of each generated set of features, which is quickly made; the tool checks all of them."""
    known: dict = {}
    found = {fingerprints.renew(path, known, True) for path in sorted((reference_root() / "triplet").glob("*.json"))}
    assert found == {"triplet: already current"}
