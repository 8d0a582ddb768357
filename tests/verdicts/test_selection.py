"""The chooser: by validation alone, the same configurations for all, fold by fold where there are folds."""

from __future__ import annotations

import pytest
from training.test_records import record as made

from dgl_core.training.records import RunSpec
from dgl_core.verdicts import selection, statistics


def run(fold: int, seed: int, val: float, test: float, rate: float = 0.1):
    """A record of one epoch with these scores."""
    spec = RunSpec("tiny", dataset_options={"fold": fold}, seed=seed, lr=rate, epochs=1)
    curves = {"lr": [rate], "val/fused/accuracy": [val], "test/fused/accuracy": [test]}
    return made(spec=spec, key="", curves=curves)


def grid_of(val: dict[float, list[float]], test: dict[float, list[float]]):
    """configuration -> row "a" -> one run on each fold."""
    return {
        rate: {
            "a": [run(fold, fold, v, t, rate) for fold, (v, t) in enumerate(zip(val[rate], test[rate], strict=True))]
        }
        for rate in val
    }


VAL = {0.1: [0.6, 0.7, 0.5], 0.3: [0.7, 0.6, 0.5], 0.9: [0.2, 0.1, 0.4]}


def test_the_choice_follows_validation_fold_by_fold():
    grid = grid_of(VAL, {rate: [0.5] * 3 for rate in VAL})
    assert selection.choose(grid, by_fold=True) == {"a": {0: 0.3, 1: 0.1, 2: 0.1}}  # the tie goes to the smaller rate
    turned = {rate: VAL[rate][::-1] for rate in VAL}
    assert selection.choose(grid_of(turned, VAL), by_fold=True) == {"a": {0: 0.1, 1: 0.1, 2: 0.3}}


@pytest.mark.parametrize("favourite", VAL)
def test_a_better_test_score_does_not_change_the_choice(favourite):
    plain = grid_of(VAL, {rate: [0.5] * 3 for rate in VAL})
    bribed = grid_of(VAL, {rate: [1.0 if rate == favourite else 0.0] * 3 for rate in VAL})
    assert selection.choose(bribed, by_fold=True) == selection.choose(plain, by_fold=True)
    picked = selection.pick(bribed, selection.choose(bribed, by_fold=True))["a"]
    assert [r.spec.lr for r in picked] == [0.3, 0.1, 0.1]  # and the scores that are reported are those of the choice
    assert [r.score() for r in picked] == [1.0 * (r.spec.lr == favourite) for r in picked]


def test_the_mean_over_seeds_chooses_and_incomplete_folds_do_not():
    one = {0.1: {"a": [run(0, 0, 0.9, 0), run(0, 5, 0.1, 0)]}, 0.3: {"a": [run(0, 0, 0.6, 0), run(0, 5, 0.6, 0)]}}
    assert selection.choose(one, by_fold=True) == {"a": {0: 0.3}}
    one[0.1]["a"].append(run(1, 1, 0.9, 0))  # no 0.3 on fold 1
    assert selection.choose(one, by_fold=True) == {"a": {0: 0.3}}
    assert selection.choose({0.1: {"a": []}}, by_fold=True) == {}


def test_picking_specifications_gives_all_seeds_of_the_choice():
    rates, folds = (0.01, 0.1), range(5)
    runs = [RunSpec("tiny", seed=seed, dataset_options={"fold": seed % 5}) for seed in range(10)]
    grid = {rate: {row: [spec.but(lr=rate) for spec in runs] for row in ("DGL", "vanilla")} for rate in rates}
    choice = {"DGL": {fold: rates[fold % 2] for fold in folds}}
    picked = selection.pick(grid, choice)
    assert list(picked) == ["DGL"] and [s.seed for s in picked["DGL"]] == list(range(10))
    assert all(s.lr == choice["DGL"][statistics.fold_of(s)] for s in picked["DGL"])


def test_folds_are_what_a_verdict_counts():
    rows = {
        "a": [run(0, 0, 0, 0.5), run(1, 1, 0, 0.9), run(0, 2, 0, 0.7), run(1, 3, 0, 0.9)],
        "b": [run(0, 0, 0, 0.5), run(1, 1, 0, 0.5), run(0, 2, 0, 0.5)],
    }
    assert statistics.fold_differences(rows, "a", "b") == pytest.approx([10.0, 40.0])  # seed 3 has no partner


def test_the_own_rate_is_the_best_on_validation_whatever_the_test_part_says():
    grid = {
        0.01: {"a": [run(0, 0, 0.7, 0.1)], "b": [run(0, 0, 0.5, 0.9)]},
        0.1: {"a": [run(0, 0, 0.6, 0.9)], "b": [run(0, 0, 0.6, 0.2)]},
    }
    own, rates = selection.own_rates(grid)
    assert rates == {"a": "0.01", "b": "0.1"} and own["b"] == grid[0.1]["b"]


def test_ties_go_to_the_lowest_rate_and_rows_without_records_are_left_out():
    grid = {0.1: {"a": [run(0, 0, 0.5, 0)], "b": []}, 0.01: {"a": [run(0, 0, 0.5, 0)], "b": []}}
    assert selection.choose(grid) == {"a": {None: 0.01}}


def test_all_folds_have_one_rate_or_each_its_own():
    grid = {0.1: {"a": [run(0, 0, 0.9, 0), run(1, 1, 0.2, 0)]}, 0.01: {"a": [run(0, 0, 0.1, 0), run(1, 1, 0.8, 0)]}}
    own, rates = selection.own_rates(grid)
    assert own["a"] == grid[0.1]["a"] and rates == {"a": "0.1"}
    own, rates = selection.own_rates(grid, by_fold=True)
    assert own["a"] == [grid[0.1]["a"][0], grid[0.01]["a"][1]] and rates == {"a": "0.01 / 0.1"}


def test_a_row_that_lacks_a_configuration_is_left_out():
    one = [run(0, 0, 0.5, 0)]
    assert list(selection.own_rates({0.1: {"a": one, "b": one}, 0.3: {"b": one}})[0]) == ["b"]


def test_rows_named_by_rate_become_a_grid():
    assert selection.grid_of({"DGL @ 0.1": [], "a @ b @ 0.03": []}) == {0.1: {"DGL": []}, 0.03: {"a @ b": []}}
