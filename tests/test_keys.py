"""Committed records keep their names: the key of each, computed anew from its specification, is the one it carries."""

from __future__ import annotations

import json

import pytest

from dgl_core.runs import keys
from dgl_core.training.records import RunRecord, RunSpec, unpack_bits
from dgl_core.utils import reference_root

FOLDERS = sorted(path for path in reference_root().iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_no_change_of_the_house_renames_a_committed_run(folder):
    """If this fails, a default, a name of an option or a revision changed: records of other numbers would be found."""
    renamed = []
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text())
        if keys.key(RunSpec.from_plain(record["spec"])) != record["key"]:
            renamed.append(path.name)
    assert not renamed, f"{len(renamed)} records lost their key, {renamed[0]} first: raise a REVISION and renew them"


@pytest.mark.parametrize(
    "folder", [path for path in FOLDERS if path.name not in ("rooms", "nyuv2")], ids=lambda p: p.name
)
def test_the_share_of_items_that_were_right_is_the_score(folder):
    for path in sorted(folder.glob("*.json"))[::9]:
        record = RunRecord.from_json(path.read_text())
        assert record.right, f"{path.name} does not say which items were right"
        for protocol, branches in record.right.items():
            for branch, bits in branches.items():
                share = unpack_bits(bits, record.data["counts"]["test"]).mean()
                assert share == pytest.approx(record.score(branch, protocol), abs=1e-6)


def test_the_committed_records_are_all_there():
    assert sum(1 for folder in FOLDERS for _ in folder.glob("*.json")) >= 3058
