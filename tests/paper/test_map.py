"""The map: its design is fair, its counts are those of single models, its judge and its forecast do what they say."""

from __future__ import annotations

import html
import json
import math
import re

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from dgl_core.data.generated import dial
from dgl_core.diagnosis import foretell
from dgl_core.figures import phase
from dgl_core.paper.map import answers, design, forecasting, gates, records, remedy, runs, verdicts
from dgl_core.paper.map.records import Record
from dgl_core.training.many import slice_of
from dgl_core.verdicts.families import BETTER, EQUAL, UNDECIDED, WORSE, Judged, Member
from dgl_core.verdicts.inference import Draws

COUNTS = {"test": 1200, "val": 224}
BLOCK = {"error": 1.0, "weights": {"overlap": 1.0}}
GOOD = {"networks": 9, "gaining": 4, "delta": 1.0, "area": 0.9, "error": 1.0, "always_no": 3.0}


@pytest.fixture(scope="module")
def small():
    """Two draws at two points of three modalities, and of two."""
    return {m: design.sample([(0.3, 0.5), (0.8, 0.5)], (100, 101), m) for m in (2, 3)}


def test_the_registration_names_what_exists():
    rows = design.rows()
    for prediction in design.predictions():
        assert {prediction.row, prediction.than} <= set(rows) and prediction.maps
        assert prediction.word in (BETTER, WORSE, EQUAL, verdicts.NOT_WORSE)
        assert any(prediction.above <= s <= prediction.below for s in records.synergies())
    assert {row.after for row in rows.values()} - {""} <= set(rows)
    assert set(design.registered()["pilots"]).isdisjoint(range(100, 200))


def test_rows_of_a_draw_start_from_the_same_weights():
    for head in design.HEADS:
        plain, own = (design.build(head, design.names(2), 7, own=own).state_dict() for own in (False, True))
        renamed = {name.replace("fusion.inner.", "fusion."): w for name, w in own.items() if "fusion.own" not in name}
        assert plain.keys() == renamed.keys() and all(torch.equal(plain[name], renamed[name]) for name in plain)


def test_a_column_between_two_takes_the_rate_of_the_nearer_one():
    rates = {f"{s:g}": float(i) for i, s in enumerate(design.registered()["pilot_synergies"])}
    taken = [design.rate_at(rates, s) for s in (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)]
    assert taken == [0, 0, 1, 1, 2, 3, 5]  # the lower one of two equally near


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("name", ["DGL", "unimodal ensemble", "frozen encoders, new head"])
def test_counts_are_those_of_every_model_by_itself(small, name, modalities):
    data, seeds = small[modalities]
    short, rows = {"epochs": 1, "milestones": (1,)}, design.rows()
    of = rows[name]
    before = rows.get(of.after)
    first = before and runs.train_row(before, "hidden", data, seeds, design.spec(0.03, before, **short))
    trained = runs.train_row(of, "hidden", data, seeds, design.spec(0.03, of, **short), first)
    found = runs.right(trained, data, "test")
    for run in range(len(seeds)):
        trained.model.load_state_dict(slice_of(trained.weights, run))
        inputs, target = {m: x[run] for m, x in data.inputs["test"].items()}, data.target["test"][run]
        with torch.no_grad():
            logits = trained.model.all_logits(inputs)
            alone = {m: logits[m].log_softmax(1) for m in inputs}
            for m in inputs if modalities > 2 else ():
                left = [j for j in inputs if j != m]
                apart = sum(alone[j] for j in left)
                logits[f"without_{m}"] = apart if trained.row.own else trained.model(inputs, keep=left)
        if name == "unimodal ensemble":
            logits["fused"] = sum(alone.values())
        wanted = [int((logits[b].argmax(1) == target).sum()) for b in runs.branches(list(inputs))]
        assert np.abs(found[run].astype(int) - wanted).max() <= 1  # a tie may fall to either side


def test_a_diverged_run_is_marked_and_scores_nothing(small):
    data, seeds = small[2]
    row = design.rows()["vanilla"]
    trained = runs.train_row(row, "hidden", data, seeds, design.spec(1e6, row, epochs=1, milestones=(1,)))
    assert (runs.right(trained, data, "test") == records.DIVERGED).all()
    assert np.isnan(runs.statistics(trained, data)).all()


def made(gain: np.ndarray, name: str = "hidden") -> Record:
    """A record in which DGL has ``gain`` [S, I, D] points more than vanilla in every branch."""
    base = np.full((*gain.shape, 3), 600)
    better = base + np.round(gain * 12)[..., None].astype(int)
    rows = {"vanilla": base, "DGL": better}
    return Record(name, {f"test/{row}": hits.astype(np.uint16) for row, hits in rows.items()}, COUNTS)


def planted(curve: np.ndarray, spread: float = 0.5, draws: int = 20) -> Record:
    rng = np.random.default_rng(0)
    return made(curve[:, None, None] + spread * rng.standard_normal((11, 5, draws)))


PREDICTION = design.Prediction("x", "?", ("hidden",), "DGL", "vanilla", WORSE, above=0.7, crossing=(0.5, 0.7))


def test_a_planted_sign_change_is_found_where_it_is():
    curve = 10 * (0.62 - records.synergies())
    found = verdicts.outcome(PREDICTION, planted(curve))
    assert found.word == verdicts.HELD and found.where[0] == pytest.approx(0.62, abs=0.02)
    assert found.where[1] <= found.where[0] <= found.where[2] and set(found.columns) == {0.7, 0.8, 0.9, 1.0}


def test_a_sign_change_elsewhere_or_none_fails_the_prediction():
    assert verdicts.outcome(PREDICTION, planted(10 * (0.32 - records.synergies()))).word == verdicts.FAILED
    up = verdicts.outcome(PREDICTION, planted(np.full(11, 3.0)))
    assert up.word == verdicts.FAILED and up.against == (0.7, 0.8, 0.9, 1.0) and "FAILED" in str(up)


def test_columns_that_were_not_run_are_left_open():
    of = planted(10 * (0.62 - records.synergies()))
    for hits in of.arrays.values():
        hits[[2, 8]] = records.ABSENT
    assert of.columns.tolist() == [0, 1, 3, 4, 5, 6, 7, 9, 10]
    found = verdicts.outcome(PREDICTION, of)
    assert found.word == UNDECIDED and set(found.columns) == {0.7, 0.9, 1.0}
    assert found.where[0] == pytest.approx(0.62, abs=0.02)
    assert "nan" not in phase.differences([of], "DGL", "vanilla").alt
    assert "NaN" not in phase.explorer([of], ("DGL",))._repr_html_()


def test_crossings_at_the_ends():
    places = records.synergies()
    assert verdicts.last_crossing(-np.ones(11), places) == 0.0 and verdicts.last_crossing(np.ones(11), places) == 1.0


@pytest.mark.parametrize("word, found, small, wanted", [
    ("not worse", WORSE, True, "held"), ("not worse", WORSE, False, "failed"), ("not worse", UNDECIDED, False, "held"),
    (EQUAL, EQUAL, True, "held"), (EQUAL, WORSE, True, "held"), (EQUAL, WORSE, False, "failed"),
    (EQUAL, UNDECIDED, False, "undecided"), (BETTER, UNDECIDED, False, "undecided"), (BETTER, EQUAL, True, "failed"),
    (BETTER, BETTER, True, "held"),
])  # fmt: skip
def test_words_of_predictions(word, found, small, wanted):
    assert verdicts.agrees(word, Judged(found, Member(Draws([1.0, 2.0]), 1.0), small=small)) == wanted


def test_absent_is_what_is_left_without_one():
    two = {"a": np.array(60.0), "b": np.array(40.0)}
    assert runs.absent(two, ("a", "b")) == 50
    three = {"a": 1.0, "b": 1.0, "c": 1.0} | {f"without_{m}": v for m, v in zip("abc", (30.0, 60.0, 90.0), strict=True)}
    assert runs.absent(three, ("a", "b", "c")) == 60


def test_area_is_that_of_the_curve():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 50), rng.random(50) < 0.4
    assert forecasting.area(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    assert math.isnan(forecasting.area([1.0, 2.0], [True, True]))


def lines(count: int = 400) -> forecasting.Table:
    """Traits at random, and gains that are a weighed sum of them."""
    rng = np.random.default_rng(0)
    traits = {name: rng.standard_normal(count) for name in ("skill", "combination", "mean gap")}
    gain = 3 * traits["combination"] - traits["mean gap"]
    return forecasting.Table(traits, {"fused": gain, "absent": -gain}, np.array(["a", "b"] * (count // 2)))


def test_the_regression_finds_what_was_planted():
    of = lines()
    fitted = forecasting.regress(of, np.arange(300))
    rows = np.array([r for r in range(300, 400)])
    found = forecasting.predicted(of, rows, fitted)
    assert np.corrcoef(found["fused"], of.gains["fused"][rows])[0, 1] > 0.99
    assert np.abs(found["fused"] - of.gains["fused"][rows]).mean() < np.std(of.gains["fused"]) / 3  # it is shrunk
    assert found["absent"] == pytest.approx(-found["fused"], abs=1e-6)


def test_a_forecast_outside_its_range_is_refused_by_name():
    fitted = forecasting.regress(lines(), np.arange(300))
    for target in forecasting.TARGETS:
        fitted[target] |= {"error": 1.0, "trust": GOOD}
    inside = {"skill": 0.0, "combination": 0.0, "mean gap": 0.0}
    assert foretell(inside, fitted).fused.high - foretell(inside, fitted).fused.low == pytest.approx(2.0)
    with pytest.raises(ValueError, match="skill of the fused model is 99.00, and the regression was fitted on"):
        foretell(inside | {"skill": 99.0}, fitted)


def test_a_written_forecast_is_read_as_it_was():
    import tomllib

    fitted = forecasting.regress(lines(), np.arange(300))
    for target in forecasting.TARGETS:
        fitted[target]["trust"] = GOOD | {"area": math.nan}
    again = tomllib.loads(forecasting.as_toml(fitted, {"commit": "x", "maps": ["a"]}))
    point = {"skill": 0.3, "combination": -0.2, "mean gap": 0.1}
    assert foretell(point, again).fused.mean == pytest.approx(foretell(point, fitted).fused.mean, abs=1e-3)
    assert "an AUC cannot be computed" in str(foretell(point, again))


def case(name: str, gains: list[float], alone: list[list[float]] | None = None) -> forecasting.Case:
    """A case of 90 % fused and 50 % in both branches, with these fused gains; a modality absent, the opposite."""
    numbers = [0.9, 0.9, 1.0, *([0.5] * 8), *([0.5] * 8)]  # overlap is 1
    return forecasting.Case(name, [numbers], {"fused": gains, "absent": [-g for g in gains]}, 4, 1200, alone or [])


def test_every_predictor_says_what_it_knows():
    fitted = {"scale": {"overlap": 0.5}} | {target: BLOCK for target in forecasting.TARGETS}
    fitted["alone"] = {target: {"slope": 0.5} for target in forecasting.TARGETS}
    cases = [case("emotions, concat", [4.0, 2.0], [[0.94, 0.6, 0.7]]), case("mosi, mlp", [0.0])]
    told = forecasting.predictors(cases, fitted, "fused", 1.0)
    assert told["one look"].tolist() == [2.0, 2.0] and told["models of one modality"][0] == pytest.approx(2.0)
    assert np.isnan(told["models of one modality"][1])  # none was trained there
    absent = forecasting.predictors(cases, fitted, "absent", 1.0)["models of one modality"]
    assert absent[0] == pytest.approx(0.5 * 15)  # 60 and 70 % alone, 50 % in the branches
    found = forecasting.verdict_of(cases, fitted, "fused", 1.0)
    assert found["one look"]["AUC"] == 0.5 and found["one look"]["error"] == pytest.approx(1.5)
    assert found["models of one modality"]["networks"] == 1 and found["always no"]["right"] == 0.5


def test_what_errs_as_much_as_nothing_changes_is_not_trusted():
    cases = [case("emotions, concat", [4.0, 2.0]), case("mosi, mlp", [0.0])]
    found = forecasting.trusted(cases, [2.0, 2.0], "fused", 1.0)
    assert (found.networks, found.gaining, found.area) == (2, 1, 0.5)
    assert found.error == pytest.approx(1.5) and found.always_no == pytest.approx(1.5) and found.misleads
    good = forecasting.trusted(cases, [2.5, math.nan], "fused", 1.0)
    assert good.networks == 1 and math.isnan(good.area) and not good.misleads
    assert forecasting.trusted([], [], "fused", 1.0).misleads  # nothing is known


def test_the_slope_is_that_of_the_map():
    rng = np.random.default_rng(0)
    base, gap = np.full((11, 5, 20), 600.0), rng.integers(-120, 120, (11, 5, 1))
    rows = {"vanilla": base, "unimodal ensemble": base + gap, "DGL": base + 0.5 * gap}
    arrays = {f"test/{row}": np.repeat(hits[..., None], 3, axis=3) for row, hits in rows.items()}
    found = forecasting.fit_alone([Record("hidden", arrays, COUNTS)])
    assert found["fused"]["slope"] == pytest.approx(0.5) and found["absent"]["slope"] == pytest.approx(0.5)
    assert found["fused"]["error"] == pytest.approx(0, abs=1e-9)
    assert found["fused"]["range"] == pytest.approx([gap.min() / 12 - 0.1 * np.ptp(gap) / 12,
                                                     gap.max() / 12 + 0.1 * np.ptp(gap) / 12])  # fmt: skip


def test_what_misleads_is_not_given():
    bad = GOOD | {"error": 7.5, "always_no": 5.1}
    fitted = {"scale": {"overlap": 0.5}, "range": {}}
    fitted |= {"fused": BLOCK | {"trust": GOOD}, "absent": BLOCK | {"trust": bad}}
    found = foretell({"overlap": 1.0}, fitted)
    assert found.absent is None and found.fused.mean == 2.0
    said = str(found)
    assert "the fused model would gain: +2.0 points [+1.0, +3.0]" in said and "AUC of 0.90" in said
    assert "For what is left with a modality absent no forecast is given: on 9 networks" in said
    assert "misses by 7.5 points, where 'nothing changes' misses by 5.1" in said


def test_cases_take_gains_from_confirming_records():
    known = forecasting.confirmed("triplet")
    if not known:
        pytest.skip("needs results/confirming")
    stale = forecasting.Case("triplet, mlp", [], {"fused": [1.0], "absent": [1.0]}, 4, 1800)
    gains = forecasting.renewed(stale).gains["fused"]
    dgl, joint = known[0]
    assert len(gains) == len(known) and gains[0] == pytest.approx(100 * (dgl.score() - joint.score()), abs=1e-3)
    other = forecasting.Case("triplet, concat", [], {"fused": [1.0], "absent": [1.0]}, 4, 1800)
    assert forecasting.renewed(other) == other  # the records are of another head


def test_the_explorer_holds_the_map_and_needs_nothing_else():
    of = planted(np.linspace(5, -5, 11))
    page = phase.explorer([of], ("vanilla", "DGL"))._repr_html_()
    data = json.loads(html.unescape(re.search(r'data-map="([^"]*)"', page)[1]))
    rows = data[design.TITLES["hidden"]]["rows"]
    assert rows["DGL"]["fused"][0][0] > rows["vanilla"]["fused"][0][0] > rows["DGL"]["fused"][10][0]
    assert "http" not in page and "$" not in re.sub(r"\$\{", "", page)


def test_pictures_say_what_they_show():
    of = planted(np.linspace(5, -5, 11))
    assert "one hidden layer: from -5" in phase.differences([of], "DGL", "vanilla").alt
    assert "DGL: 5" in phase.curves([of], ("DGL",)).alt


def test_alpha_is_a_rate_of_the_encoders(small):
    data, seeds = small[2]
    gaps = answers.alpha_is_a_rate(design.build("hidden", design.names(2), seeds[0]).double(), data, seeds[0])
    assert max(gaps.values()) < 1e-10


def test_scores_of_the_remedy_are_of_the_fused_model_and_the_weakest_branch():
    fused, weakest = remedy.scored(np.array([[600, 300, 450], [records.DIVERGED] * 3]), 1200)
    assert fused.tolist() == [50.0, 0.0] and weakest.tolist() == [25.0, 0.0]
    assert set(design.registered()["remedy"]["rivals"]) < set(remedy.fronts())
    row = design.candidates(1.0)["own heads"]
    assert remedy.passes(row, 2) == {"encoders": 2, "joining head": 1, "own heads": 2}
    assert remedy.passes(design.rows()["DGL"], 2) == {"encoders": 2, "joining head": 3, "own heads": 0}


def test_gains_of_gates_are_over_the_closed_one_draw_by_draw():
    hits = np.array([[[[600, 300, 500]], [[612, 360, 440]], [[records.DIVERGED] * 3]]])  # one column, three gates
    found = {"test/hidden": hits}
    assert np.allclose(gates.gains(found, "hidden", 1200)[0, :, 0], [0.0, 1.0, -50.0])
    assert np.allclose(gates.gains(found, "hidden", 1200, "absent")[0, :, 0], [0.0, 0.0, -100 / 3])


def test_a_gate_ends_in_dgl_and_in_the_truncation_of_the_unimodal_gradient_alone():
    """By its rows, and by its records: where a rate is the map's own, so are the counts, a rare sample aside."""
    assert gates.rows()["0"] == design.rows()["DGL"] and gates.rows()["1"] == design.rows()["UT alone"]
    if records.missing("gates"):
        pytest.skip("not made yet: python -m tools.map gates")
    found, _ = records.load(design.RESULTS / "gates.npz")
    middle = design.registered()["imbalances"].index(gates.IMBALANCE)
    for head in gates.HEADS:
        for gate, row in ((0, "DGL"), (-1, "UT alone")):
            of = records.record(head).arrays
            same = np.isclose(of[f"rate/{row}"], found[f"rate/{head}"][:, gate])
            theirs, ours = of[f"test/{row}"][same, middle], found[f"test/{head}"][same, gate]
            assert same.sum() > 5 and (theirs != ours).mean() < 0.05


def test_information_is_that_of_the_dial():
    if not (path := design.RESULTS / "information.npz").exists():
        pytest.skip("not made yet: python -m tools.map information")
    known, _ = records.load(path)
    found = dial.information(0.7, 0.5, samples=8000)
    assert known["joint"][7, 2] == pytest.approx(100 * found.joint, abs=1.5)
    assert known["unimodal"][7, 2] == pytest.approx(100 * found.unimodal, abs=1.5)
