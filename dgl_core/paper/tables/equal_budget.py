"""What is left of a gap when every method has the same rates to choose from, and validation chooses."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import pandas

from dgl_core.paper.tables.differences import differences, fused_rows
from dgl_core.paper.tables.protocols import branches_without
from dgl_core.paper.tables.results import spread
from dgl_core.verdicts import statistics as verdicts_statistics
from dgl_core.verdicts.selection import choose, own_rates, pick, rates_in_words, validation
from dgl_core.verdicts.statistics import DECIDING, Interval, Pairing, Rows, Verdict, judge, paired, percent


def committed(dataset: str) -> tuple[Rows, dict[str, str], Pairing]:
    """Table 1 (CMU-MOSI: Table 2) of the reference, every row at its own rate; those rates; how rows are paired."""
    from dgl_core.paper.experiments import table2
    from dgl_core.paper.experiments.late_fusion import table1_grid
    from dgl_core.paper.experiments.profiles import REFERENCE_SEEDS
    from dgl_core.runs.run import reference

    if dataset != "mosi":
        grid = table1_grid("cpu", dataset, REFERENCE_SEEDS)
        return *own_rates({rate: reference(rows) for rate, rows in grid.items()}), paired
    first, every = (table2.table2_grid("cpu", seeds) for seeds in ((0,), table2.NESTED_SEEDS))
    choice = choose({rate: reference(rows) for rate, rows in first.items()})
    return reference(pick(every, choice)), rates_in_words(choice), verdicts_statistics.fold_differences


def ranking(
    rows: Rows, rates: Mapping[str, str], printed: Mapping[str, float], column: str, pairing: Pairing = paired
) -> pandas.DataFrame:
    """Places of one column of the paper beside ours, every row of ours at its own rate; DGL's lead with its interval.

    Args:
        rows: row -> records at its own rate. rates: that rate in words.
        printed: the paper's fused accuracies in per cent. column: their title.
        pairing: from rows to differences: by seed, or ``nested.fold_differences``.
    """
    rows = fused_rows(rows)
    paper = {row: printed[row] for row in rows if printed.get(row)}
    theirs, ours = (sorted(of, key=lambda row, of=of: -of[row]) for of in
                    (paper, {row: statistics.mean(percent(found)) for row, found in rows.items()}))  # fmt: skip
    leads = differences(rows, "DGL", pairing=pairing) if "DGL" in rows else {}
    lines = {}
    for row in ours:
        lines[row] = {
            f"paper, {column}": f"{theirs.index(row) + 1}. ({paper[row]:.1f})" if row in theirs else "–",
            "here": f"{ours.index(row) + 1}. ({spread(percent(rows[row]))})",
            "its rate": rates[row],
            "DGL's lead": lead(leads[row]) if row in leads else "–",
        }
    return pandas.DataFrame.from_dict(lines, orient="index")


def lead(difference: Interval) -> str:
    """DGL minus the row, from the row minus DGL."""
    if difference.n < 2:
        return f"{0.0 - difference.mean:+.1f}, one pair"
    return f"{0.0 - difference.mean:+.1f} [{-difference.high:+.1f}, {-difference.low:+.1f}], n = {difference.n}"


def best_points(rows: Rows, methods: Sequence[str]) -> dict[str, str]:
    """For each method of a map the point with the best mean validation score, and its fused test accuracy in per cent.

    Args:
        rows: of ``experiments.beyond.rate_maps``. methods: how their labels begin.
    """
    best = {}
    for method in methods:
        found = {label: records for label, records in rows.items() if label.startswith(f"{method}, ") and records}
        label = max(found, key=lambda label: validation(found[label]))
        best[label] = spread(percent(found[label]))
    return best


def interior(title: str, rows: Rows, pair: tuple[str, str], pairing: Pairing = paired) -> Verdict:
    """Is the point inside better than the corner? ``finalists`` chose both by validation; here the test part judges."""
    inside, corner = pair
    claim = f"{title}: {inside} is better than {corner}, each at its own rate"
    return judge(claim, pairing(rows, inside, corner, "fused", "fused"), fewest=DECIDING)


def plainly(verdicts: Sequence[Verdict]) -> str:
    """The verdicts of ``interior`` on several sets, in one sentence."""
    count = {outcome: sum(v.outcome == outcome for v in verdicts) for outcome in ("REPRODUCED", "CONTRADICTED")}
    left = len(verdicts) - sum(count.values())
    return (
        f"The best point that is no corner beats the best corner on {count['REPRODUCED']} of {len(verdicts)} sets, "
        f"loses to it on {count['CONTRADICTED']}, and cannot be told from it on {left}."
    )


ASKED = {  # a rival of DGL -> how a question names it
    "vanilla": "joint training",
    "vanilla, rate x alpha": "joint training with the encoder rate times alpha",
    "G-Blending": "G-Blending, which truncates nothing",
}


def answers_table() -> pandas.DataFrame:
    """``answers`` of the reference records, one column a data set."""
    from dgl_core.paper.experiments.beyond import SETS
    from dgl_core.paper.experiments.profiles import TITLES

    kept = {TITLES[dataset]: committed(dataset) for dataset in SETS}
    columns = {title: answers(rows, pairing) for title, (rows, _, pairing) in kept.items()}
    return pandas.DataFrame(columns).rename_axis(index="does DGL give")


def answers(rows: Rows, pairing: Pairing = paired) -> dict[str, str]:
    """What does DGL give? Questions and what the records say, corrected for all of them together (Bonferroni).

    With a modality absent at test time: the mean over the modalities.

    Args:
        rows: row -> records at its own rate. pairing: from rows to differences: by seed, or by fold.
    """
    questions = {}
    for row, name in ASKED.items():
        questions[f"a better fused model than {name}?"] = pairing(rows, "DGL", row, "fused", "fused")
        each = [pairing(rows, "DGL", row, b, b) for b in branches_without(rows["DGL"][0])]
        questions[f"more accuracy than {name}, when one modality is absent?"] = list(
            map(statistics.mean, zip(*each, strict=True))
        )
    said = {"REPRODUCED": "yes", "CONTRADICTED": "no, worse", "UNDECIDED": "undecided"}
    found = {q: judge(q, gaps, comparisons=len(questions), fewest=DECIDING) for q, gaps in questions.items()}
    return {q: f"{said[v.outcome]}: {v.mean:+.1f} [{v.low:+.1f}, {v.high:+.1f}], n = {v.n}" for q, v in found.items()}
