"""The ledger: every claim has a question or a computation, and one word, wherever it is shown."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dgl_core import gradients, utils
from dgl_core.paper.answers import regimes
from dgl_core.paper.answers.verdicts import Answer
from dgl_core.paper.claims import command as commanding
from dgl_core.paper.claims import judging, ledger, mathematics, measures
from dgl_core.paper.claims.command import main as command
from dgl_core.paper.theory import feature, sentences
from dgl_core.runs import run
from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.verdicts.families import BETTER, EQUAL, UNDECIDED, WORSE, Judged, Member
from dgl_core.verdicts.inference import Draws
from dgl_core.verdicts.registration import registration


def record(seed: int, fused: float, audio: float = 0.5) -> RunRecord:
    curves = {"lr": [0.1], "test/fused/accuracy": [fused], "test/audio/accuracy": [audio]}
    return RunRecord(RunSpec("emotions", seed=seed), "k", {"loop": 1}, {"fingerprint": "f"}, curves, {}, {}, {}, "now")


def answered(word: str, name: str = "dgl-vanilla", dataset: str = "emotions", mean: float = 3.0) -> Answer:
    question = registration().question(name)
    member = Member(Draws(mean + np.linspace(-1, 1, 15)), 1.0) if word else Member(None, 1.0)
    return Answer(question, dataset, Judged(word or UNDECIDED, member, 0.01, mean - 1, mean + 1), 15 if word else 0)


def book(*answers: Answer) -> dict[tuple[str, str], Answer]:
    return {(a.question.id, a.dataset): a for a in answers}


# -- one word ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "outcome", "holds"),
    [(BETTER, "reproduced", True), (WORSE, "contradicted", False), (EQUAL, "contradicted", False),
     (UNDECIDED, "undecided", None)],
)  # fmt: skip
def test_a_word_of_the_judge_becomes_an_outcome_of_the_claim(word, outcome, holds):
    answer = answered(word)
    assert (answer.outcome, answer.holds) == (outcome, holds)
    assert dataclasses.replace(answer, question=dataclasses.replace(answer.question, says="")).outcome == word
    equal = dataclasses.replace(answer.question, says="equal")
    assert dataclasses.replace(answer, question=equal).holds == {EQUAL: True, UNDECIDED: None}.get(word, False)


def test_a_claim_of_several_parts_holds_where_all_do_and_fails_where_one_does():
    claim = ledger.claim_named("mt-and-ut")
    for words, outcome in (
        ((BETTER, BETTER), "reproduced"), ((BETTER, WORSE), "contradicted"), ((UNDECIDED, WORSE), "contradicted"),
        ((BETTER, UNDECIDED), "undecided"), ((BETTER, ""), "undecided"),
    ):  # fmt: skip
        found = book(answered(words[0], "dgl-mt"), answered(words[1], "dgl-ut"))
        (line,) = judging.of_claim(claim, found)
        assert line.outcome == outcome and line.dataset == "generated emotions"
    assert line.detail == claim.parts["dgl-ut"], "the open part is named"


def test_a_claim_with_an_untested_part_is_not_tested_unless_another_part_fails():
    claim, bare = ledger.claim_named("mt-and-ut"), dataclasses.replace(answered(BETTER, "dgl-mt"), untested="no room")
    (line,) = judging.of_claim(claim, book(bare, answered(BETTER, "dgl-ut")))
    assert line.outcome == "not tested here" and line.holds is None
    (line,) = judging.of_claim(claim, book(bare, answered(WORSE, "dgl-ut")))
    assert line.outcome == "contradicted"


def test_a_claim_over_several_sets_has_one_line():
    found = book(*(answered(BETTER, dataset=d) for d in ("emotions", "triplet", "triplet_plain")),
                 answered(EQUAL, "dense-prediction", "rooms"))  # fmt: skip
    (line,) = judging.of_claim(ledger.claim_named("modality-agnostic"), found)
    assert line.outcome == "contradicted" and line.detail == "generated rooms"


def test_a_sentence_names_where_a_claim_holds_fails_and_is_open():
    found = book(answered(BETTER), answered(EQUAL, dataset="mosi", mean=0.1), answered("", dataset="triplet"))
    assert judging.sentence(ledger.claim_named("dgl-vanilla"), found) == (
        "“DGL is better than joint training” holds on generated emotions (better, +3.0), fails on CMU-MOSI "
        "(practically equal, +0.1) and is undecided on three hard vectors (not run yet)."
    )


def test_what_follows_depends_on_the_outcome():
    claim = ledger.claim_named("dgl-vanilla")
    said = {word: judging.of_claim(claim, book(answered(word)))[0].follows for word in (BETTER, WORSE, UNDECIDED)}
    assert said == {BETTER: claim.yes, WORSE: claim.no, UNDECIDED: "Nothing follows yet."}


# -- the list ---------------------------------------------------------------------------------------------------------


def test_every_registered_question_is_a_claim_and_every_claim_has_a_question_or_a_computation():
    asked = {question.base for question in registration().questions}
    simple = {claim.id for claim in ledger.CLAIMS if claim.check is None and not claim.parts}
    assert simple == asked
    for claim in ledger.CLAIMS:
        assert {part.partition("@")[0] for part in claim.parts} <= asked, claim.id
        assert claim.follows if claim.check else claim.yes and claim.no, claim.id
        each = {question.modality for question in registration().questions if question.base == claim.id} - {""}
        assert bool(each) == ("{m}" in claim.text), claim.id


def test_the_ten_lines_are_ten():
    assert len(judging.TEN) == 10 and all(ledger.claim_named(name) for name in judging.TEN)


@pytest.mark.parametrize("name", regimes.TITLES)
def test_every_regime_has_a_title(name):
    assert name in registration().regimes and len(regimes.TITLES) == len(registration().regimes)


# -- mathematics ------------------------------------------------------------------------------------------------------


def test_a_printed_equation_that_were_right_would_be_reproduced(monkeypatch):
    assert mathematics.printed_gradient(joint=True)[0] is False
    monkeypatch.setattr(feature, "printed_gradient", feature.feature_gradient)
    assert mathematics.printed_gradient(joint=True)[0] is True


def test_a_leak_between_encoders_would_be_noticed(monkeypatch):
    assert mathematics.no_interference()[0] and mathematics.unimodal_gradient()[0]
    leaking = gradients.disentangled_loss
    monkeypatch.setattr(mathematics, "disentangled_loss", lambda *a, alpha: leaking(*a, alpha=alpha, encoder_gate=0.5))
    assert not mathematics.no_interference()[0] and not mathematics.unimodal_gradient()[0]


def test_verdicts_of_mathematics_agree_with_notebook_02():
    verdict = {s.where + ": " + s.says: s.verdict for s in sentences.SENTENCES}
    assert not ledger.claim_named("eq-4").check()[0] and verdict["Eq. 4, 7: g = (p_y − 1) W_y"] == "false"
    assert not ledger.claim_named("only-zero").check()[0] and verdict["3.1: s = 1 only for z^m2 = 0"] == "false"
    assert ledger.claim_named("no-parameters").check()[0]
    assert verdict["3.2: no extra structure complexity"] == "proved"


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dgl-vanila"], "did you mean 'dgl-vanilla'"),
        ([""], "Unknown claim ''"),
        (["--mine", "x", "--rerun"], "give one of them"),
        (["--mine", ""], "--mine is empty"),
        (["--rerun"], "name it"),
        (["dgl-vanilla", "--count", "30"], "--count belongs to --rerun"),
        (["dgl-vanilla", "--set", "mosi"], "--set belongs to --rerun"),
        (["dgl-vanilla", "--rerun", "--count", "4"], "fewer than 5 replicates decide nothing"),
        (["dgl-vanilla", "--rerun", "--set", "mossi"], "did you mean 'mosi'"),
    ],
)
def test_the_command_refuses_in_one_sentence(arguments, message, capsys):
    assert command(arguments) == 2
    assert message in capsys.readouterr().err


def test_one_claim_is_shown_with_what_it_rests_on_and_the_command_that_earns_it_again(monkeypatch, capsys):
    monkeypatch.delenv("MKL_CBWR", raising=False)  # the committed records are native: this process must be, too
    assert command(["dgl-vanilla"]) == 0
    out = capsys.readouterr().out
    assert "again: python -m dgl_core claims dgl-vanilla --rerun" in out and "'DGL' at 0." in out and "Holm" not in out
    for line in (line for line in out.splitlines() if "records: " in line):
        folder, _, name = line.partition(" in ")[2].partition(", the first ")
        assert (utils.ROOT / folder / name).exists()


def test_a_rerun_trains_fresh_replicates_and_judges_by_the_rule_of_the_family(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path))
    trained = []
    monkeypatch.setattr(run, "run_all", lambda specs, **options: trained.extend(specs))
    assert command(["dgl-vanilla", "--rerun", "--count", "6", "--set", "triplet"]) == 0
    assert {(s.method, s.seed) for s in trained} == {(m, 1000 + i) for m in ("dgl", "vanilla") for i in range(6)}
    assert all(s.dataset_options["seed"] == s.seed for s in trained)
    assert "undecided: no replicates yet" in capsys.readouterr().out  # nothing was made

    levels = []
    judge = commanding.judge
    monkeypatch.setattr(commanding, "judge", lambda *a: levels.append(a[1:]) or judge(*a))
    monkeypatch.setattr(commanding, "evidence", lambda *a, **k: Draws(3 + np.linspace(-1, 1, 15)))
    assert command(["dgl-vanilla", "--rerun", "--count", "6", "--set", "triplet"]) == 0
    family = registration().families["headline", "triplet"]
    assert levels == [(family.size, family.correction)] and "reproduced: better +3.0" in capsys.readouterr().out


def test_absent_data_are_left_out_by_name(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path))
    monkeypatch.setenv("DGL_DATA", str(tmp_path))
    monkeypatch.setattr(run, "run_all", lambda specs, **options: None)
    assert command(["dense-prediction", "--rerun"]) == 0
    assert "NYUv2: data not present, left out" in capsys.readouterr().out


def test_unknown_claim_names_the_nearest():
    with pytest.raises(ValueError, match="dgl-vanilla"):
        ledger.claim_named("dgl-vanila")


def test_ids_are_unique():
    ids = [claim.id for claim in ledger.CLAIMS]
    assert len(ids) == len(set(ids))


def test_suppression_growth_is_a_drop_of_r():
    falling = record(0, 0.5)
    falling.curves["suppression/audio/R_mean"] = [1.0, 0.9, 0.8, 0.7, 0.5]
    assert measures.growing_suppression({"vanilla": [falling]}, "audio") == pytest.approx([50.0])


def test_smaller_gradient_is_in_per_cent():
    alone, joint = record(0, 0.5), record(0, 0.5)
    alone.curves["gradient/audio"], joint.curves["gradient/audio"] = [2.0, 2.0], [1.0, 0.0]
    assert measures.smaller_gradient({"audio alone": [alone], "vanilla": [joint]}, "audio") == pytest.approx([75.0])


def test_a_gradient_without_its_alpha():
    dgl, joint = record(0, 0.5), record(0, 0.5)
    object.__setattr__(dgl, "spec", dgl.spec.but(method="dgl", method_options={"alpha": 2.0}))
    dgl.curves["gradient/audio"], joint.curves["gradient/audio"] = [9.0, 4.0], [9.0, 1.0]
    rows = {"DGL": [dgl], "vanilla": [joint]}
    assert measures.larger_gradient(rows, "audio") == pytest.approx([75.0])
    assert measures.larger_gradient(rows, "audio", per_alpha=True) == pytest.approx([50.0])


def test_a_claim_of_mathematics_has_a_sentence_too():
    said = judging.sentence(ledger.claim_named("no-parameters"), {})
    assert said == "“DGL adds no parameters” holds on every model (by computation, 0 extra parameters)."
