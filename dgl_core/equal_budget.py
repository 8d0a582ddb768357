"""What is left of a gap when every method has the same rates to choose from, and validation chooses."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import pandas

from dgl_core import nested
from dgl_core.beyond import branches_without, percent
from dgl_core.claims import Pairing, Rows, paired, validation
from dgl_core.comparison import differences, fused_rows, tuned
from dgl_core.tables import spread
from dgl_core.verdicts import DECIDING, Interval, Verdict, judge


def own_rates(grid: Mapping[float, Rows], folds: bool = False) -> tuple[Rows, dict[str, str]]:
    """Every row at its own learning rate, chosen by validation, and that rate in words.

    Rows that lack a rate are left out: they had less to choose from.

    Args:
        grid: learning rate -> rows. folds: choose for every fold anew (``dgl_core.nested``), as on CMU-MOSI.
    """
    whole = {row for rows in grid.values() for row in rows if all(other.get(row) for other in grid.values())}
    even = {rate: {row: rows[row] for row in rows if row in whole} for rate, rows in grid.items()}
    if folds:
        choice = nested.choose(even)
        return nested.pick(even, choice), rates_in_words(choice)
    own = tuned(even)
    return {row: found for row, (_, found) in own.items()}, {row: f"{rate:g}" for row, (rate, _) in own.items()}


def committed(dataset: str) -> tuple[Rows, dict[str, str], Pairing]:
    """Table 1 (CMU-MOSI: Table 2) of the reference, every row at its own rate; those rates; how rows are paired."""
    from dgl_core.experiments import REFERENCE_SEEDS, interaction, table1_grid
    from dgl_core.runs import reference

    if dataset != "mosi":
        grid = table1_grid("cpu", dataset, REFERENCE_SEEDS)
        return *own_rates({rate: reference(rows) for rate, rows in grid.items()}), paired
    first, every = (interaction.table2_grid("cpu", seeds) for seeds in ((0,), interaction.NESTED_SEEDS))
    choice = nested.choose({rate: reference(rows) for rate, rows in first.items()})
    return reference(nested.pick(every, choice)), rates_in_words(choice), nested.fold_differences


def rates_in_words(choice: nested.Choice) -> dict[str, str]:
    """Row -> the different rates that its folds chose."""
    return {row: " / ".join(f"{r:g}" for r in sorted(set(folds.values()))) for row, folds in choice.items()}


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


def finalists(own: Rows, corners: Sequence[str]) -> tuple[str, str] | None:
    """The best point inside the square and its best corner, by validation; None without records of both kinds.

    Args:
        own: every point at its own rate. corners: the rows that the paper knows.
    """
    kinds = [[row for row in own if (row in corners) == at_corner] for at_corner in (False, True)]
    if not all(kinds):
        return None
    inside, corner = (max(rows, key=lambda row: validation(own[row])) for rows in kinds)
    return inside, corner


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
    from dgl_core.experiments import TITLES
    from dgl_core.experiments.beyond import SETS

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
