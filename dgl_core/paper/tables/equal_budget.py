"""Compare methods at an equal tuning budget: all have the same learning rates, of which validation chooses."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import pandas

from dgl_core.paper.experiments import table2
from dgl_core.paper.experiments.late_fusion import table1_grid
from dgl_core.paper.experiments.profiles import REFERENCE_SEEDS
from dgl_core.paper.tables.differences import fused_rows, intervals_against
from dgl_core.paper.tables.results import ABSENT, spread
from dgl_core.runs.run import reference
from dgl_core.verdicts.selection import best, choose, own_rates, pick, rates_in_words
from dgl_core.verdicts.statistics import Interval, Pairing, Rows, fold_differences, mean_interval, paired, percent


def records_at_own_rates(dataset: str) -> tuple[Rows, dict[str, str], Pairing]:
    """Load Table 1 (CMU-MOSI: Table 2) of the reference at each row's own rate; those rates; how rows are paired."""
    if dataset != "mosi":
        grid = table1_grid("cpu", dataset, REFERENCE_SEEDS)
        return *own_rates({rate: reference(rows) for rate, rows in grid.items()}), paired
    first, every = (table2.table2_grid("cpu", seeds) for seeds in ((0,), table2.NESTED_SEEDS))
    choice = choose({rate: reference(rows) for rate, rows in first.items()}, by_fold=True)
    return reference(pick(every, choice)), rates_in_words(choice), fold_differences


def places_table(
    rows: Rows, rates: Mapping[str, str], printed: Mapping[str, float], column: str, pairing: Pairing = paired
) -> pandas.DataFrame:
    """Show the places in one ``column`` of the paper beside ours, each row of ours at its own rate, and DGL's lead."""
    rows = fused_rows(rows)
    paper = {row: printed[row] for row in rows if printed.get(row)}
    theirs = sorted(paper, key=lambda row: -paper[row])
    ours = sorted(rows, key=lambda row: -statistics.mean(percent(rows[row])))
    leads = intervals_against(rows, "DGL", pairing=pairing) if "DGL" in rows else {}
    table = {
        f"paper, {column}": [f"{theirs.index(r) + 1}. ({paper[r]:.1f})" if r in theirs else ABSENT for r in ours],
        "here": [f"{place}. ({spread(percent(rows[row]))})" for place, row in enumerate(ours, 1)],
        "its rate": [rates[row] for row in ours],
        "DGL's lead": [lead(leads[row]) if row in leads else ABSENT for row in ours],
    }
    return pandas.DataFrame(table, index=ours)


def lead(difference: Interval) -> str:
    """Write DGL minus the row, from the interval of the row minus DGL."""
    if difference.n < 2:
        return f"{0.0 - difference.mean:+.1f}, one pair"
    return f"{0.0 - difference.mean:+.1f} [{-difference.high:+.1f}, {-difference.low:+.1f}], n = {difference.n}"


def best_points(rows: Rows, methods: Sequence[str]) -> dict[str, str]:
    """Choose the best point of each method's map (``beyond.rate_maps``) by validation; show its test accuracy (%)."""
    chosen = {}
    for method in methods:
        label = best({name: of for name, of in rows.items() if name.startswith(f"{method}, ") and of})
        chosen[label] = spread(percent(rows[label]))
    return chosen


def interior(title: str, rows: Rows, pair: tuple[str, str], pairing: Pairing = paired) -> str:
    """Describe on the test part how the point inside differs from the corner; validation chose both."""
    found = mean_interval(pairing(rows, *pair, "fused", "fused"))
    numbers = f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}] points, n = {found.n}"
    return f"{title}: {pair[0]} against {pair[1]}, each at its own rate: {numbers}"
