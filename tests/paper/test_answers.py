"""Answers: registered rows become runs, records become evidence, a look decides for good."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from dgl_core.paper.answers import evidence as answered
from dgl_core.paper.answers import followup, procedure, regimes, sensitivity, verdicts
from dgl_core.paper.answers.regimes import LADDER, choose, confirming, pilots, regime, searched, wider
from dgl_core.training.records import RunRecord, RunSpec, pack, pack_bits, unpack
from dgl_core.verdicts.families import BETTER, UNDECIDED, Judged, Member
from dgl_core.verdicts.inference import Draws, Folds
from dgl_core.verdicts.registration import registration
from dgl_core.verdicts.statistics import by_item

ITEMS = 60


@pytest.fixture(autouse=True)
def everything_is_piloted(monkeypatch):
    found = {"rate": 0.03, "second": 0.01, "val": 0.5}
    known = {name: dict.fromkeys(regime(name).rows(), found) for name in registration().regimes}
    known["emotions"] |= {"AGM (first fifth)": found | {"val": 0.6}}
    monkeypatch.setattr(regimes, "chosen", lambda: known)


def record(spec: RunSpec, chance: dict[str, float]) -> RunRecord:
    """A record whose branches are right with these chances, drawn from the replicate."""
    rng = np.random.default_rng([spec.seed, len(spec.method), len(str(spec.method_options))])
    right = {branch: rng.random(ITEMS) < share for branch, share in chance.items()}
    curves = {"lr": [0.1]} | {f"{p}/{b}/accuracy": [float(v.mean())] for p in ("val", "test") for b, v in right.items()}
    about = {"fingerprint": f"{spec.dataset}{sorted(spec.dataset_options.items())}", "counts": {"test": ITEMS}}
    about |= {"groups": pack(np.arange(ITEMS) // 4)} if spec.dataset == "mosi" else {}
    bits = {"last": {branch: pack_bits(v) for branch, v in right.items()}}
    return RunRecord(spec, "k", {}, about, curves, {}, {}, {}, "now", right=bits)


def finder(better: float):
    """Find any record: DGL's fused branch is right more often than that of others; alone, the last one is worst."""

    def find(spec: RunSpec) -> RunRecord:
        if spec.method == "unimodal":
            return record(spec, {"fused": 0.4 if spec.method_options["modality"] in ("visual", "text") else 0.6})
        gain = better if spec.method == "dgl" else 0.0
        names = {"mosi": ("audio", "visual", "text")}.get(spec.dataset, ("audio", "visual"))
        return record(spec, {"fused": 0.6 + gain} | dict.fromkeys(names, 0.5))

    return find


def test_a_replicate_of_a_generated_set_has_data_of_its_own_and_one_of_a_real_set_a_fold():
    runs = confirming("emotions", ["DGL"], 3)["DGL"]
    assert [(r.seed, r.dataset_options["seed"]) for r in runs] == [(100, 100), (101, 101), (102, 102)]
    assert all(r.lr == 0.03 and r.method_options == {"alpha": 4.0} for r in runs)
    assert [r.dataset_options["fold"] for r in confirming("grid_letters", ["vanilla"], 6)["vanilla"]] == [
        0,
        1,
        2,
        3,
        4,
        0,
    ]
    assert confirming("emotions", ["DGL"], 1, "second")["DGL"][0].lr == 0.01
    (control,) = confirming("emotions", ["vanilla, rate x alpha"], 1)["vanilla, rate x alpha"]
    assert control.method == "vanilla" and control.encoder_lr_scale == 4.0


def test_pilots_and_confirming_runs_share_no_replicate():
    numbers = {spec.seed for spec in pilots("emotions", "DGL", 0.03)}
    assert numbers.isdisjoint(s.seed for s in confirming("emotions", ["DGL"], 40)["DGL"])


def test_a_row_without_pilots_is_refused(monkeypatch):
    monkeypatch.setattr(regimes, "chosen", dict)
    with pytest.raises(ValueError, match="no pilots yet: python -m tools.confirm pilots emotions"):
        confirming("emotions", ["DGL"], 1)
    with pytest.raises(ValueError, match="registered row"):
        regime("emotions").run("DLG", 100, 0.03)


def test_validation_chooses_the_rate_and_the_second():
    candidates = {rate: [record(RunSpec("emotions", seed=s), {"fused": share}) for s in range(5)]
                  for rate, share in ((0.01, 0.3), (0.03, 0.9), (0.1, 0.6))}  # fmt: skip
    found = choose(candidates)
    assert (found["rate"], found["second"]) == (0.03, 0.1)


def test_the_search_goes_on_until_the_best_rate_lies_between_two_others():
    assert wider((0.01, 0.03, 0.1), 0.1) == (0.3,) and wider((0.01, 0.03, 0.1), 0.01) == (0.003,)
    assert wider((0.01, 0.03, 0.1), 0.03) == () and wider((0.01, 0.03, 0.1, 0.3), 0.1) == ()
    assert wider((LADDER[0], LADDER[1]), LADDER[0]) == (), "below the ladder there is nothing"


def test_a_varied_row_takes_the_rate_of_the_row_it_varies(monkeypatch):
    known = {name: {row: {"rate": 0.1 if row == "DGL" else 0.01} for row in searched(name)} for name in ("emotions",)}
    monkeypatch.setattr(regimes, "chosen", lambda: known)
    assert "DGL, sum" not in searched("emotions")
    (varied,), (plain,) = confirming("emotions", ["DGL, sum", "DGL"], 1).values()
    assert varied == plain.but(model_options={"fusion": "sum"}) and plain.lr == 0.1
    (dense,) = confirming("rooms", ["DGL, dense"], 1).values()
    assert dense[0].lr == 0.02 and searched("rooms") == (), "one rate needs no search"


def test_generated_sets_give_draws_and_real_ones_folds_with_their_groups():
    question = registration().question("dgl-vanilla")
    drawn = answered.evidence(question, "emotions", 15, finder(0.2))
    assert isinstance(drawn, Draws) and drawn.n == 15 and drawn.mean == pytest.approx(20, abs=8)
    folded = answered.evidence(question, "mosi", 15, finder(0.2))
    assert isinstance(folded, Folds) and len(folded.folds) == 5 and folded.n == 15
    assert len(np.unique(folded.folds[0].clusters)) == ITEMS // 4
    grid = answered.evidence(question, "grid_letters", 15, finder(0.2))
    assert len(np.unique(grid.folds[0].clusters)) == ITEMS, "every clip for itself"
    dense = registration().question("dense-prediction")
    one = answered.evidence(dense, "nyuv2", 10, finder(0.2))
    assert isinstance(one, Folds) and len(one.folds) == 1 and one.n == 10, "the official split is one fold"
    assert isinstance(answered.evidence(dense, "rooms", 10, finder(0.2)), Draws)
    scores = [100 * (finder(0.2)(a).score() - finder(0.2)(b).score()) for a, b in
              zip(*confirming("mosi", ["DGL", "vanilla"], 15).values(), strict=True)]  # fmt: skip
    assert folded.mean == pytest.approx(np.mean(scores)), "items give the difference of the accuracies"


def test_what_the_pictures_of_nyuv2_add_is_the_score():
    records = [RunRecord.from_json(path.read_text()) for path in (regimes.confirming_root() / "nyuv2").glob("*.json")]
    assert len(records) == 30
    for found in records:
        for branch in ("fused", "rgb", "depth"):
            assert by_item(found, branch).mean() == pytest.approx(found.score(branch), abs=2e-6)
        assert len(np.unique(unpack(found.data["groups"]))) < found.data["counts"]["test"] / 4, "groups of several"


def test_the_weakest_branch_is_that_of_the_modality_that_is_worst_alone():
    question = registration().question("dgl-alone-weakest")
    found = answered.evidence(question, "emotions", 15, finder(0.0))
    find = finder(0.0)
    pairs = zip(*confirming("emotions", ["DGL", "visual alone"], 15).values(), strict=True)
    assert found.values == pytest.approx([100 * (find(a).score("visual") - find(b).score()) for a, b in pairs])


def test_a_rival_is_judged_in_its_best_form():
    asked = []
    answered.evidence(registration().question("dgl-agm"), "emotions", 2, lambda s: asked.append(s) or finder(0.0)(s))
    assert {tuple(s.method_options.items()) for s in asked if s.method == "agm"} == {(("until", 0.2),)}


def test_one_missing_replicate_keeps_a_look_closed():
    question = registration().question("dgl-vanilla")
    find = finder(0.2)
    assert answered.evidence(question, "emotions", 15, lambda s: None if s.seed == 107 else find(s)) is None


def test_what_a_look_decides_no_later_one_changes():
    family = registration().families["headline", "emotions"]
    fifteen = verdicts.answer_family(family, lambda s: finder(0.2)(s) if s.seed < 115 else None)
    assert fifteen["dgl-vanilla"].judged.word == BETTER and fifteen["dgl-vanilla"].look == 15
    later = verdicts.answer_family(family, lambda s: finder(0.2 if s.seed < 115 else -0.2)(s))
    assert str(later["dgl-vanilla"].judged) == str(fifteen["dgl-vanilla"].judged)
    nothing = verdicts.answer_family(family, lambda s: None)
    assert all(answer.judged.word == UNDECIDED and answer.look == 0 for answer in nothing.values())


def test_records_of_other_data_are_refused():
    def find(spec: RunSpec) -> RunRecord:
        found = finder(0.0)(spec)
        return dataclasses.replace(found, data=found.data | {"fingerprint": spec.method})

    with pytest.raises(ValueError, match="other data than its partners"):
        answered.evidence(registration().question("dgl-vanilla"), "emotions", 2, find)


def test_the_smallest_difference_that_matters_is_that_of_the_kind_of_score():
    ask = registration().question
    of = {name: verdicts.delta(ask(name), "emotions") for name in ("dgl-vanilla", "mt", "dgl-ut", "alone-joint-audio")}
    assert of == {"dgl-vanilla": 1.0, "mt": 1.0, "dgl-ut": 1.0, "alone-joint-audio": 2.0}
    assert verdicts.delta(ask("dgl-alone-weakest"), "emotions") == 2.0 and verdicts.delta(ask("mt"), "mosi") == 2.0


def test_a_set_without_room_for_fusion_tests_no_fused_question(monkeypatch):
    scores = {"text alone": 0.76, "audio alone": 0.6, "vanilla": 0.75, "DGL": 0.77}
    known = {"mosi": {row: {"rate": 0.01, "val": val} for row, val in scores.items()}}
    monkeypatch.setattr(regimes, "chosen", lambda: known)
    ask = registration().question
    assert "text alone reaches 76.0 %, the best fused model 77.0 %" in verdicts.untested(ask("dgl-vanilla"), "mosi")
    assert not verdicts.untested(ask("dgl-vanilla-weakest"), "mosi"), "a branch needs no room above itself"
    known["mosi"]["DGL"]["val"] = 0.79
    assert not verdicts.untested(ask("dgl-vanilla"), "mosi")


def test_the_procedure_says_a_wrong_word_in_at_most_one_of_twenty():
    found = json.loads(procedure.FILE.read_text())
    assert {entry["planted"] for entry in found} == set(procedure.PLANTED)
    assert all(entry["wrong"] <= 0.05 for entry in found)
    assert all(
        entry["decided"] >= 0.5 for entry in found if entry["planted"] == "4" and entry["family"] == "truncations"
    )
    table = procedure.table()
    assert len(table) == len(found) // len(procedure.PLANTED) and not table.isna().any(axis=None)


def test_the_sensitivity_line_judges_the_rows_at_their_second_rates_and_gives_no_answer_a_word():
    family = registration().families["headline", "emotions"]
    rates = set()

    def find(spec: RunSpec) -> RunRecord:
        rates.add(spec.lr)
        return finder(0.2)(spec)

    found = sensitivity.otherwise(family, find, "second")
    assert rates == {0.01} and found["dgl-vanilla"].word == BETTER and found["dgl-vanilla"].n == 15
    answer = verdicts.answer_family(family, finder(0.2))["dgl-vanilla"]
    worse = sensitivity.otherwise(family, finder(-0.2), "second")["dgl-vanilla"]
    nothing = sensitivity.otherwise(family, finder(0.0), "second")["dgl-vanilla"]
    open_ = dataclasses.replace(answer, judged=nothing)
    assert sensitivity.compare(answer, found["dgl-vanilla"]) == sensitivity.KEPT
    assert sensitivity.compare(answer, worse) == sensitivity.TURNED
    assert sensitivity.compare(answer, nothing) == sensitivity.OPEN
    assert sensitivity.compare(open_, worse) == sensitivity.NEW and sensitivity.compare(open_, nothing) == "neither"
    counted = sensitivity.counts([(answer, worse), (answer, nothing)])
    assert list(counted.loc["generated emotions"]) == [0, 1, 1, 0, 0]
    assert sensitivity.table([(answer, worse)], "second").shape == (1, 4)


def test_a_row_that_was_not_run_at_its_second_rate_is_left_out():
    family = registration().families["headline", "triplet"]
    assert sensitivity.otherwise(family, lambda spec: None, "second") == {}


def test_a_rival_that_did_not_train_at_the_rate_it_took_over_gives_no_word():
    """Bilinear joint training has the rate of concatenation; where it falls to chance there, nothing is compared."""
    family = registration().families["conditions", "emotions"]

    def find(lost: float):
        def one(spec: RunSpec) -> RunRecord:
            gain = -lost if spec.model_options.get("fusion") == "bilinear" and spec.method == "vanilla" else 0.0
            return record(spec, {"fused": 0.7 + gain})

        return one

    fell = verdicts.answer_family(family, find(0.5))
    assert fell["head-bilinear"].outcome == verdicts.NOT_TESTED and fell["head-bilinear"].holds is None
    assert fell["head-bilinear"].detail.startswith("vanilla, bilinear reaches ")
    assert not fell["head-sum"].untested and not fell["alpha-trend"].untested
    assert not verdicts.answer_family(family, find(0.1))["head-bilinear"].untested, "a worse rival is still a rival"


def test_a_follow_up_judges_fresh_replicates_as_a_family_of_its_own_and_only_what_was_left_open():
    study = next(study for study in followup.studies() if study.family.dataset == "emotions")
    family = registration().families["headline", "emotions"]
    seeds = set()

    def find(spec: RunSpec) -> RunRecord:
        seeds.add(spec.seed)
        return finder(0.2)(spec)

    open_ = {q.id: verdicts.Answer(q, "emotions", Judged(UNDECIDED, Member(None, 1.0)), 30) for q in study.questions}
    again = verdicts.ask_again(study, open_, find)
    assert seeds == set(range(study.first, study.first + study.replicates))
    assert {answer.judged.word for answer in again.values()} == {BETTER} and set(again) == set(open_)
    assert all(
        a.judged.n == a.look == study.replicates and a.detail.endswith("(follow-up; the registered looks left it open)")
        for a in again.values()
    )
    decided = verdicts.answer_family(family, finder(0.2))
    assert verdicts.ask_again(study, decided, finder(-0.2)) == {}, "what a registered look decided stays decided"
    assert verdicts.ask_again(study, open_, lambda spec: None) == {}, "without its replicates nothing changes"


def test_a_follow_up_is_refused_where_it_asks_what_is_not_registered_or_takes_replicates_that_served(tmp_path):
    head = 'first = {}\ncorrection = "{}"\nlevel = 0.05\n[{}]\nreplicates = 3\nquestions = ["{}"]\n'
    wrong = {
        (2000, "holm", "emotions", "no-such"): "no-such",
        (2000, "holm", "rooms", "dgl-ut"): "where it is not registered",
        (110, "holm", "emotions", "dgl-ut"): "may have served before; start at 130",
        (2000, "none", "emotions", "dgl-ut"): "correction",
    }
    for number, (parts, message) in enumerate(wrong.items()):
        path = tmp_path / f"{number}.toml"
        path.write_text(head.format(*parts))
        with pytest.raises(ValueError, match=message):
            followup.studies(path)
    assert followup.studies(tmp_path / "absent.toml") == ()


def test_a_longer_schedule_keeps_the_rate_and_is_asked_for_where_pilots_gained_by_it(monkeypatch):
    known = {row: {"rate": 0.03, "val": 0.5, "doubled": gain} for row, gain in (("DGL", 0.6), ("vanilla", 0.1))}
    for module in (regimes, sensitivity):
        monkeypatch.setattr(
            module, "chosen", lambda: {"emotions": known | {"MLA": {"rate": 0.1, "val": 0.5}}, "mosi": {}}
        )
    assert sensitivity.too_short("emotions") and not sensitivity.too_short("mosi")
    (stretched,), (as_registered,) = (confirming("emotions", ["DGL"], 1, which)["DGL"] for which in ("longer", "rate"))
    assert stretched == as_registered.but(
        epochs=2 * as_registered.epochs, milestones=tuple(2 * m for m in as_registered.milestones),
        evaluate_every=2 * as_registered.epochs,
    )  # fmt: skip
    with pytest.raises(ValueError, match="no pilots yet"):
        confirming("emotions", ["MLA"], 1, "longer")
    family = registration().families["headline", "emotions"]
    assert set(sensitivity.otherwise(family, finder(0.2), "longer")) == {"dgl-vanilla"}, "rows that were tried"


def test_rows_that_a_longer_schedule_helps_are_named_and_what_was_not_tried_is_empty(monkeypatch):
    tried = {"emotions": {"DGL": {"doubled": 0.6}, "vanilla": {"doubled": -1.0}, "MLA": {}}, "mosi": {"DGL": {}}}
    monkeypatch.setattr(sensitivity, "chosen", lambda: tried)
    gains = sensitivity.longer()
    assert list(gains.index) == ["DGL", "vanilla"] and list(gains.columns) == ["generated emotions", "CMU-MOSI"]
    assert gains["CMU-MOSI"].isna().all()
    assert sensitivity.long_enough(gains) == (
        "Twice the schedule gains more than 0.5 points in 1 of 2 cases: DGL on generated emotions (+0.6)."
    )
    assert sensitivity.long_enough(gains.clip(upper=0.5)).endswith("in 0 of 2 cases.")
