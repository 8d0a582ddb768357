"""``compare``: the rows that it makes, the rates that it takes, its verdicts, what it finds again, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import NAMES
from torch import nn

from dgl_core.data import ArrayDataset, random_split
from dgl_core.figures.comparison import panels
from dgl_core.models import ConcatFusion, LateFusion
from dgl_core.paper.claims.command import main as claims
from dgl_core.training.records import RunRecord, unpack_bits
from dgl_core.verdicts import comparison
from dgl_core.verdicts.comparison import compare
from dgl_core.verdicts.families import BETTER, EQUAL, UNDECIDED, WORSE
from dgl_core.verdicts.inference import Draws, Folds

N = 240
RNG = torch.Generator().manual_seed(0)
HIDDEN = torch.randn(N, 4, generator=RNG)
X = {m: HIDDEN + 0.5 * torch.randn(N, 4, generator=RNG) for m in NAMES[:2]}
GROUPS = [f"speaker {n % 24}" for n in range(N)]
CLASSES = HIDDEN[:, :3].argmax(1)
QUICK = {"epochs": 3, "batch_size": 20, "device": "cpu"}


def data(**more) -> ArrayDataset:
    target = more.pop("target", CLASSES)
    return ArrayDataset(X, target, random_split(target, groups=GROUPS), groups=GROUPS, name="mine", **more)


def model(classes: int = 3) -> LateFusion:
    encoders = {m: nn.Linear(4, 4) for m in X}
    return LateFusion(encoders, ConcatFusion(dict.fromkeys(encoders, 4), classes))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    return compare(model, data(), ["vanilla", ("dgl", {"alpha": 2.0})], [1e-6, 0.1], 3, folder=folder, **QUICK), folder


def test_the_rows_are_the_methods_the_ensemble_and_every_modality_alone(found):
    rows = found[0].rows
    assert list(rows) == ["vanilla", "dgl, alpha 2.0", "ensemble", "sound alone", "face alone"]
    assert [r.spec.method for r in rows["sound alone"].records] == ["ensemble"] * 3
    assert rows["sound alone"].branch == "sound" and rows["dgl, alpha 2.0"].records[0].spec.method_options == {
        "alpha": 2
    }


def test_every_row_takes_the_rate_that_is_best_on_validation(found):
    """A millionth teaches nothing, a tenth does."""
    assert {row.rate for row in found[0].rows.values()} == {0.1}


def test_rows_of_a_seed_start_from_the_same_weights():
    start = compare(model, data(), ["vanilla", "dgl"], 1e-9, 2, **QUICK).rows
    for one, other in zip(start["vanilla"].records, start["dgl"].records, strict=True):
        assert one.spec.seed == other.spec.seed and one.score() == pytest.approx(other.score(), abs=1e-9)


def test_verdicts_are_those_of_test_samples_and_seeds(found):
    rows = found[0].rows
    verdict = rows["dgl, alpha 2.0"].verdict
    evidence = verdict.member.evidence
    assert isinstance(evidence, Folds) and evidence.n == 3 and rows["vanilla"].verdict is None
    gaps = np.subtract(rows["dgl, alpha 2.0"].percent(), rows["vanilla"].percent())
    assert evidence.values == pytest.approx(gaps, abs=1e-3)
    groups = found[0].rows["vanilla"].records[0].data["groups"]
    assert len(np.unique(evidence.folds[0].clusters)) < len(evidence.folds[0].clusters) and groups
    assert {row.verdict.word for row in list(rows.values())[1:]} <= {BETTER, WORSE, EQUAL, UNDECIDED}


def test_rows_that_do_the_same_are_practically_equal():
    found = compare(model, data(), ["vanilla", "dgl"], 1e-9, 3, alone=False, weight_decay=0.0, **QUICK)
    verdict = found.rows["dgl"].verdict
    assert verdict.word == EQUAL and verdict.member.evidence.mean == 0


def test_the_folder_is_gone_on_with(found, monkeypatch, capsys):
    first, folder = found
    assert len(list(folder.glob("*.json"))) == 3 * 2 * 3 and not list(folder.glob("*.checkpoint"))
    again = ["vanilla", ("dgl", {"alpha": 2.0})], [1e-6, 0.1], 3

    def train(*_, **__):
        raise AssertionError("a recorded run was trained again")

    with monkeypatch.context() as patch:
        patch.setattr(comparison, "fitted", train)
        found = compare(model, data(), *again, folder=folder, log=True, **QUICK)
    assert str(found) == str(first) and capsys.readouterr().out.count("(recorded)") == 18
    other = compare(model, data(), *again[:2], 4, folder=folder, log=True, **QUICK)
    assert capsys.readouterr().out.count("(recorded)") == 18 and len(other.rows["vanilla"].records) == 4
    compare(lambda: nn.Module.apply(model(), _zero), data(), ["vanilla"], 0.1, 1, folder=folder, alone=False, **QUICK)
    assert len(list(folder.glob("*.json"))) == 3 * 2 * 4 + 1, "other weights are another run"


def _zero(module):
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def test_the_table_and_the_picture_say_the_same(found):
    table = found[0].table()
    assert list(table.index) == list(found[0].rows) and {"rate", "test", "sound", "against vanilla"} <= set(table)
    text = str(found[0])
    assert all(name in text for name in found[0].rows) and "accuracy in per cent" in text
    picture = panels(found[0])
    assert picture.alt == text and picture.png()[:4] == b"\x89PNG"


def test_claims_read_the_folder(found, capsys):
    assert claims(["--mine", str(found[1])]) == 0
    out, err = capsys.readouterr()
    assert "mine (custom)" in out + err and "at rate 0.1 than at 1e-06" in err


def test_bits_of_the_records_are_those_of_the_branch(found):
    record: RunRecord = found[0].rows["sound alone"].records[0]
    right = unpack_bits(record.right["last"]["sound"], record.data["counts"]["test"])
    assert right.mean() == pytest.approx(record.score("sound"), rel=1e-5)


def test_other_tasks_are_compared_by_seed(tmp_path):
    numbers = data(target=30 * HIDDEN[:, :2], task="regression")
    found = compare(lambda: model(2), numbers, ["vanilla", "gblend"], 0.01, 3, folder=tmp_path, **QUICK)
    assert isinstance(found.rows["gblend"].verdict.member.evidence, Draws) and "Seeds alone vary here" in str(found)
    assert "ensemble" in found.rows and found.score == "r2"


def test_a_rate_at_which_runs_diverge_is_out():
    numbers = data(target=HIDDEN[:, :2], task="regression")
    found = compare(lambda: model(2), numbers, ["vanilla", "gblend"], [0.01, 1e6], 2, clip=0.0, alone=False, **QUICK)
    assert {row.rate for row in found.rows.values()} == {0.01} and "Rate 1e+06 is out" in str(found)
    with pytest.raises(ValueError, match="row 'vanilla' diverged at every rate: give smaller ones"):
        compare(lambda: model(2), numbers, ["vanilla"], [1e6], 1, clip=0.0, alone=False, **QUICK)


def test_where_modalities_cannot_be_trained_alone_the_rest_is_compared():
    class Join(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Bilinear(4, 4, 3)

        def forward(self, features):
            return self.head(*features.values())

    encoders = {m: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)) for m in X}
    found = compare(lambda: LateFusion(encoders, Join()), data(), ["vanilla", "dgl"], 0.1, 1, **QUICK | {"epochs": 1})
    assert list(found.rows) == ["vanilla", "dgl"] and "integer attribute `width`" in str(found)
    assert "One seed decides nothing" in str(found) and found.rows["dgl"].verdict.word == UNDECIDED


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factory": model()}, "factory is LateFusion.*; give a function that makes a fresh model"),
        ({"factory": lambda: 3}, "the function that makes the model returned 3"),
        ({"methods": "dgl"}, r"methods is 'dgl'; give a list, for example \['vanilla', 'dgl'\]"),
        ({"methods": []}, "methods is empty"),
        ({"methods": ["dlg"]}, "Unknown method 'dlg': did you mean 'dgl'"),
        ({"methods": ["dgl", "dgl"]}, "row 'dgl' occurs twice"),
        ({"methods": [3]}, "method 3 is no name"),
        ({"methods": [("dgl", {"alhpa": 1})]}, "Unknown option of method 'dgl' 'alhpa': did you mean 'alpha'"),
        ({"rates": []}, "rates is empty"),
        ({"rates": [0.1, -1.0]}, "rates is -1.0; it must be above 0"),
        ({"seeds": 0}, "seeds is 0; it must be at least 1"),
        ({"seeds": []}, "seeds is empty"),
        ({"delta": 0.0}, "delta is 0.0; it must be above 0"),
        ({"epoch": 3}, "Unknown option 'epoch': did you mean 'epochs'"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes, message):
    given = {"factory": model, "dataset": data(), "methods": ["vanilla"], "rates": 0.1, "seeds": 1} | changes
    with pytest.raises(ValueError, match=message):
        compare(**given, **QUICK)
