"""The ledger: what decides a claim, and what it refuses."""

from __future__ import annotations

import pytest

from dgl_core import gradients, utils
from dgl_core.paper.claims import judging, ledger, mathematics, measures
from dgl_core.paper.claims import records as claims_records
from dgl_core.paper.claims.command import main as command
from dgl_core.paper.theory import feature, sentences
from dgl_core.runs import run
from dgl_core.runs.store import Store
from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.verdicts import statistics


def record(seed: int, fused: float, audio: float = 0.5, *, fingerprint: str = "same", loop: int = 1) -> RunRecord:
    curves = {"lr": [0.1], "test/fused/accuracy": [fused], "test/audio/accuracy": [audio]}
    spec = RunSpec("emotions", seed=seed)
    return RunRecord(spec, "k", {"dataset": 1, "loop": loop}, {"fingerprint": fingerprint}, curves, {}, {}, {}, "now")


def given(**rows) -> claims_records.GivenRecords:
    return claims_records.GivenRecords("own", rows)


def judged(name: str, comparisons: int = 1, **rows) -> judging.Judgement:
    return judging.judgement(ledger.claim_named(name), given(**rows), comparisons)


def run_row(scores, **options) -> list[RunRecord]:
    return [record(seed, score, **options) for seed, score in enumerate(scores)]


def test_a_claim_without_records_says_so():
    assert judged("dgl-vanilla", DGL=[], vanilla=[]).text == "needs records"


def test_a_verdict_has_interval_and_n_and_its_records():
    found = judged("dgl-vanilla", DGL=run_row([0.6, 0.7, 0.65, 0.7, 0.68]), vanilla=run_row([0.5] * 5))
    assert found.outcome == "reproduced" and found.text.startswith("reproduced: +16.6 [+") and "n = 5" in found.text
    assert len(found.records) == 10


def test_too_few_seeds_decide_nothing():
    found = judged("dgl-vanilla", DGL=run_row([0.9, 0.91, 0.92, 0.93]), vanilla=run_row([0.1] * 4))
    assert found.outcome == "undecided" and found.text.endswith("n = 4 (5 needed)")


def test_of_several_parts_the_weakest_counts():
    rows = {"DGL": run_row([0.6, 0.61, 0.6, 0.61, 0.6]), "+MT": run_row([0.4] * 5), "+UT": run_row([0.7] * 5)}
    found = judged("mt-and-ut", **rows)
    assert found.outcome == "contradicted" and found.text.endswith("weakest: UT alone")
    assert judged("mt-and-ut", **rows | {"+UT": []}).text == "needs records"
    few = judged("mt-and-ut", **rows | {"+UT": run_row([0.4])})
    assert few.text == "undecided: +20.0 points, n = 1 (5 needed), weakest: UT alone"


def test_one_part_can_contradict_while_another_waits_for_seeds():
    rows = {"DGL": run_row([0.6, 0.61, 0.6, 0.61, 0.6]), "+MT": run_row([0.4]), "+UT": run_row([0.7] * 5)}
    found = judged("mt-and-ut", **rows)
    assert found.outcome == "contradicted" and found.text.endswith("n = 5, weakest: UT alone")


def test_the_rate_is_chosen_on_validation():
    rows = {"DGL @ 0.1": run_row([0.9]), "DGL @ 0.3": run_row([0.2])}
    rows |= {"vanilla @ 0.1": run_row([0.5]), "vanilla @ 0.3": run_row([0.1])}
    for label, score in zip(rows, (0.1, 0.8, 0.5, 0.4), strict=True):
        rows[label][0].curves["val/fused/accuracy"] = [score]
    assert measures.tuned_difference(rows, "DGL", "vanilla") == pytest.approx([-30.0])
    del rows["vanilla @ 0.3"]  # it had less to choose from
    assert measures.tuned_difference(rows, "DGL", "vanilla") == []


def test_slope_is_that_of_a_straight_line():
    alphas = (1.0, 2.0, 4.0)
    rows = {f"alpha {alpha:g}": [record(0, 0.1 * alpha), record(1, 0.5)] for alpha in alphas}
    assert measures.slope(rows, alphas) == pytest.approx([10.0, 0.0])
    rows["alpha 4"].pop()
    assert len(measures.slope(rows, alphas)) == 1


def test_dominant_is_the_one_that_validates_better_alone():
    rows = {"audio alone": run_row([0.9]), "visual alone": run_row([0.3]), "vanilla": run_row([0.99], audio=0.5)}
    for label, score in (("audio alone", 0.8), ("visual alone", 0.2)):
        rows[label][0].curves["val/fused/accuracy"] = [score]
    assert measures.dominant_lags(rows) == pytest.approx([40.0])


def test_a_gradient_without_its_alpha():
    dgl, joint = record(0, 0.5), record(0, 0.5)
    object.__setattr__(dgl, "spec", dgl.spec.but(method="dgl", method_options={"alpha": 2.0}))
    dgl.curves["gradient/audio"], joint.curves["gradient/audio"] = [9.0, 4.0], [9.0, 1.0]
    rows = {"DGL": [dgl], "vanilla": [joint]}
    assert measures.larger_gradient(rows, "audio") == pytest.approx([75.0])
    assert measures.larger_gradient(rows, "audio", per_alpha=True) == pytest.approx([50.0])


# -- the list ---------------------------------------------------------------------------------------------------------


def test_there_are_enough_claims_and_each_can_be_decided():
    assert len(ledger.CLAIMS) >= 25
    assert all(bool(claim.parts) != (claim.check is not None) for claim in ledger.CLAIMS)


@pytest.mark.parametrize("column", claims_records.COLUMNS)
def test_every_row_that_a_claim_needs_is_planned(column):
    planned = {n: e.specs(column) for n, e in claims_records.EXPERIMENTS.items() if column in e.sets}
    parts = [(c.id, p) for c in ledger.CLAIMS for p in c.parts if p.experiment in planned]
    missing = [(name, row) for name, part in parts for row in part.rows if not planned[part.experiment].get(row)]
    assert parts and not missing


def test_every_measure_names_all_rows_that_it_reads():
    """A row that a measure reads and does not declare could be missing, or of another revision, unnoticed."""
    for claim in ledger.CLAIMS:
        for part in claim.parts:
            try:
                part.measure({row: [] for row in part.rows})
            except KeyError as error:
                raise AssertionError(f"{claim.id} reads the row {error}") from None
            except (ValueError, IndexError, ZeroDivisionError):
                pass  # nothing to average


def test_a_ledger_of_notebook_03_has_the_claims_of_its_runs():
    table = judging.ledger_table({"one": {"DGL": run_row([0.6]), "vanilla": run_row([0.5])}})
    assert "DGL is better than joint training" in table.index and "DGL adds no parameters" not in table.index
    assert table.loc["DGL is better than joint training", "one"] == "undecided: +10.0 points, n = 1 (5 needed)"


def test_claims_without_records_do_not_widen_the_others():
    rows = {"DGL": run_row([0.6] * 5), "vanilla": run_row([0.5] * 5)}
    subset = [ledger.claim_named("dgl-vanilla"), ledger.claim_named("dgl-gblend"), ledger.claim_named("eq-4")]
    assert judging.judged_together(subset, [given(**rows), given()]) == 1


def test_a_family_is_judged_by_itself_and_widens_nothing_else():
    rows = {"DGL-S": run_row([0.60, 0.61, 0.62, 0.61, 0.60]), "vanilla": run_row([0.5] * 5)}
    table = judging.family_table(ledger.MMTM, given(**rows))
    assert len(table) == sum(claim.family == ledger.MMTM for claim in ledger.CLAIMS) == 10
    line = table.loc["DGL-S is better than joint training (Table 2)"]
    expected = statistics.judge("", statistics.paired(rows, "DGL-S", "vanilla"), comparisons=10)
    assert line.to_list() == ["reproduced", f"+10.8 [{expected.low:+.1f}, {expected.high:+.1f}]", "5"]
    assert table.loc["DGL-P is better than joint training (Table 2)"].to_list() == ["needs records", "–", "0"]
    assert judging.judged_together(judging.LEDGER, [given(**rows)]) == judging.judged_together([], []) == 1


def test_the_nested_rate_is_chosen_by_the_first_run_on_each_fold():
    def row(test, val, seeds):
        found = [record(seed, test) for seed in seeds]
        for one in found:
            one.curves["val/fused/accuracy"] = [val]
            object.__setattr__(one, "spec", one.spec.but(dataset_options={"fold": one.spec.seed % 5}))
        return found

    rows = {"DGL @ 0.1": row(0.9, 0.2, range(5)), "DGL @ 0.3": row(0.4, 0.8, range(10))}
    rows |= {"vanilla @ 0.1": row(0.5, 0.9, range(10)), "vanilla @ 0.3": row(0.1, 0.2, range(5))}
    assert measures.nested_difference(rows, "DGL", "vanilla") == pytest.approx([-10.0] * 5)
    rows["vanilla @ 0.3"] = []
    assert measures.nested_difference(rows, "DGL", "vanilla") == []


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
        (["--seeds", "3"], "give --rerun too"),
        (["--mine", "x", "--seeds", "3"], "give --rerun too"),
        (["dgl-vanilla", "--rerun", "--seeds", "-1"], "--seeds is -1; it must be at least 1"),
        (["dgl-vanilla", "--rerun", "--seeds", "0"], "--seeds is 0; it must be at least 1"),
    ],
)
def test_the_command_refuses_in_one_sentence(arguments, message, capsys):
    assert command(arguments) == 2
    assert message in capsys.readouterr().err


def test_one_claim_is_shown_with_its_records_and_the_command_that_makes_them(capsys):
    assert command(["dgl-vanilla"]) == 0
    out = capsys.readouterr().out
    assert "again: python -m dgl_core claims dgl-vanilla --rerun" in out
    paths = [line.strip() for line in out.splitlines() if line.strip().startswith("results/reference/")]
    assert paths and all((utils.ROOT / path).exists() for path in paths)


def test_rerun_trains_what_the_claim_rests_on_and_judges_by_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path))
    monkeypatch.setenv("DGL_DATA", str(tmp_path))
    trained = []
    monkeypatch.setattr(run, "run_all", lambda specs, **options: trained.extend(specs))
    assert command(["dgl-vanilla", "--rerun", "--seeds", "2"]) == 0
    assert {(s.method, s.seed) for s in trained} == {(m, seed) for m in ("dgl", "vanilla") for seed in (0, 1)}
    out = capsys.readouterr().out
    assert "GRID letters: data not present" in out and "generated emotions: needs records" in out  # nothing was made


def test_a_rerun_is_judged_as_strictly_as_the_ledger_and_names_its_own_records(monkeypatch, tmp_path, capsys):
    """A store that holds exactly the committed records must earn exactly the committed verdict."""
    monkeypatch.setenv("DGL_DATA", str(tmp_path))
    monkeypatch.delenv("MKL_CBWR", raising=False)  # the committed records are native: this process must be, too
    claim = ledger.claim_named("dgl-vanilla")
    assert command([claim.id]) == 0
    committed = capsys.readouterr().out
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path))
    for record in judging.judgement(claim, claims_records.reference_records()[claims_records.COLUMNS[0]], 1).records:
        Store(tmp_path).save(record)
    assert command([claim.id, "--rerun"]) == 0
    again = capsys.readouterr().out
    verdicts = [next(line for line in out.splitlines() if "generated emotions:" in line) for out in (committed, again)]
    assert verdicts[0] == verdicts[1] and "0 to train" in again
    assert all(line.strip().startswith(str(tmp_path)) for line in again.splitlines() if line.endswith(".json"))


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
