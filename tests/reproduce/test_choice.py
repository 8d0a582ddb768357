"""The price of each table before it starts, and what a reader's choice leaves of it."""

from __future__ import annotations

import pytest

from dgl_core.paper import experiments
from dgl_core.paper.experiments import late_fusion
from dgl_core.reproduce import choice
from dgl_core.reproduce.plan import Plan, once
from dgl_core.runs import keys


class Known:
    """Every run takes ten seconds an epoch, or as long as it is told."""

    def __init__(self, seconds=None):
        self.table = seconds or {}

    def seconds(self, spec):
        return self.table.get(spec.method, 10.0)

    measured = seconds

    def computed(self, spec):
        return None


@pytest.fixture
def tables(monkeypatch):
    """Tables 1 and 4 of CREMA-D in the paper profile, as if its data were here."""
    made = {
        "1": lambda profile: [late_fusion.table1(profile, "emotions"), late_fusion.table1(profile, "cremad")],
        "4": lambda profile: [late_fusion.table4(profile, "cremad")],
    }
    monkeypatch.setattr(experiments, "TABLES", made)
    return made


@pytest.fixture
def plan(tables):
    every = once(keys.canonical(s) for make in tables.values() for s in experiments.specs_of(make("paper")))
    return Plan({}, every, list(every), Known())


def test_what_decides_most_comes_first(plan):
    first = choice.by_table("paper", plan)["1"]
    assert {spec.dataset for spec in first[:60]} == {"cremad"} and first[-1].dataset == "emotions"
    headline = first[:60]  # six rows, ten replicates
    assert {spec.method for spec in headline} == {"unimodal", "vanilla", "gblend", "dgl"}
    for replicate in range(10):
        assert {spec.seed for spec in headline[6 * replicate : 6 * replicate + 6]} == {replicate}, "paired"
    assert {spec.method for spec in first[60:100]}.isdisjoint({"vanilla", "gblend", "dgl"})


def test_every_table_has_its_price_and_what_is_new_in_it(plan):
    tables = choice.by_table("paper", plan)
    plan.todo.remove(tables["1"][0])  # recorded
    lines = choice.prices(tables, plan)
    assert len(lines) == 3
    name, runs, left, new, *time = lines[1].split()
    assert (name, int(runs), int(left)) == ("1", len(tables["1"]), len(tables["1"]) - 1) and int(new) == int(left)
    assert time[0] == "about"
    name, runs, left, new, *_ = lines[2].split()
    shared = {s.identity() for s in tables["1"]} & {s.identity() for s in tables["4"]}
    assert shared and int(new) == int(runs) - len(shared), "a run that two tables need is paid once"


def test_a_named_table_is_all_that_is_trained(plan):
    tables = choice.by_table("paper", plan)
    part = choice.chosen(tables, plan, ["4"])
    assert {s.identity() for s in part.todo} == {s.identity() for s in tables["4"]}
    assert len(choice.chosen(tables, plan).todo) == len(plan.todo), "without a choice nothing is left out"
    said = choice.said(plan, part, 0.0, 1)
    assert said.startswith(f"Chosen: {len(part.todo)} of {len(plan.todo)} runs") and "are left out" in said


def test_a_budget_is_kept_and_spent_on_what_decides_most(plan):
    tables = choice.by_table("paper", plan)
    part = choice.chosen(tables, plan, budget=100.0)
    assert part.todo == tables["1"][:10]
    assert choice.chosen(tables, plan, budget=100.0, workers=3).todo == tables["1"][:30]
    dear = Plan({}, plan.every, plan.todo, Known({"dgl": 1e9}))
    assert "dgl" not in {s.method for s in choice.chosen(tables, dear, budget=100.0).todo}


def test_a_budget_without_times_says_how_to_get_them(plan):
    unknown = Plan({}, plan.every, plan.todo, Known({"dgl": None}))
    with pytest.raises(ValueError, match="a budget needs the time of every run, and of .* dgl on cremad.*REHEARSE"):
        choice.chosen(choice.by_table("paper", unknown), unknown, budget=3600.0)


@pytest.mark.parametrize(("text", "seconds"), [("8h", 28800), ("90m", 5400), ("90 min", 5400), ("1.5d", 129600)])
def test_budgets_are_times(text, seconds):
    assert choice.read_budget(text) == seconds


@pytest.mark.parametrize("text", ["8", "h", "0h", "-1h", "8 weeks", "nan h"])
def test_other_budgets_are_refused(text):
    with pytest.raises(ValueError, match="give a time such as 8h"):
        choice.read_budget(text)


def test_tables_are_named():
    assert choice.read_tables(["1,3", "rates"]) == ["1", "3", "rates"]
    with pytest.raises(ValueError, match="figures"):
        choice.read_tables(["figure"])
