"""From records to tables: the paper's number, our reference and this run, side by side, each with its spread and n."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import pandas

from dgl_core.records import RunRecord

ABSENT = "–"  # nothing was reported, or this row has no such branch
NOT_RUN = "not run: data not present"
SOURCES = ("paper", "reference", "this run")

# The paper's tables, re-typed: set -> row -> branch -> per cent (Table 4: row -> alpha -> per cent); None where the
# paper has a dash. Rows are named as in the paper; PAPER_NAMES says what our experiments call them.
Rows = dict[str, dict[str, float | None]]


def _rows(branches: str, text: str) -> Rows:
    """Rows written as ``name: value value ...``, a dash for None; ``branches`` names the columns."""
    rows: Rows = {}
    for line in text.strip().splitlines():
        name, values = line.rsplit(":", 1)
        numbers = [None if value == "-" else float(value) for value in values.split()]
        rows[name.strip()] = dict(zip(branches.split(), numbers, strict=True))
    return rows


PAPER_TABLES: dict[int, dict[str, Rows]] = {
    1: {
        "CREMA-D": _rows(
            "audio visual fused",
            """
            Audio-only: 62.18 - -
            Visual-only: - 68.23 -
            Concat: 59.62 36.71 65.1
            G-Blending: 58.78 58.62 69.21
            OGM_GE: 57.76 40.09 68.82
            PMR: 55.11 38.34 67.44
            AGM: 56.37 43.54 69.61
            MLA: 60.46 64.23 73.12
            MMPareto: 59.43 61.09 70.12
            D&R: 61.11 64.57 74.32
            DGL: 63.12 69.11 77.48
            """,
        ),
        "Kinetics-Sounds": _rows(
            "audio visual fused",
            """
            Audio-only: 48.7 - -
            Visual-only: - 54.6 -
            Concat: 43.35 48.72 64.45
            G-Blending: 46.35 51.12 69.60
            OGM_GE: 44.23 45.81 66.89
            PMR: 43.61 46.67 65.70
            AGM: 46.12 47.65 68.88
            MLA: 50.03 54.67 71.12
            MMPareto: 48.40 52.42 69.83
            D&R: 49.78 54.88 69.10
            DGL: 52.89 60.11 74.78
            """,
        ),
        "VGGSound": _rows(
            "audio visual fused",
            """
            Audio-only: 45.13 - -
            Visual-only: - 30.68 -
            Concat: 43.18 20.55 47.90
            G-Blending: 44.34 26.56 49.33
            OGM_GE: 41.85 27.41 48.71
            PMR: 42.33 25.12 48.17
            AGM: 41.87 27.34 49.10
            MLA: 45.87 31.60 51.19
            MMPareto: 42.44 30.07 49.12
            D&R: 45.18 31.23 50.84
            DGL: 47.13 33.45 52.53
            """,
        ),
    },
    2: {
        "CREMA-D": _rows(
            "audio visual fused",
            """
            Audio-only: 59.18 - -
            Visual-only: - 68.34 -
            Multimodal baseline: 56.11 23.43 60.12
            G-Blending: 57.72 62.11 69.99
            OGM_GE: 55.61 40.61 65.31
            PMR: 54.71 39.21 64.89
            AGM: 55.29 44.18 66.65
            MMPareto: 56.79 63.21 69.88
            D&R: 58.67 66.32 72.28
            DGL: 60.30 69.50 75.00
            """,
        ),
        "MOSI": _rows(
            "audio visual text fused",
            """
            Audio-only: 44.25 - - -
            Visual-only: - 54.28 - -
            Text-only: - - 77.12 -
            Multimodal baseline: 40.65 51.33 76.33 76.83
            G-Blending: 42.39 53.03 76.97 78.04
            OGM_GE: 42.09 52.68 75.87 77.97
            PMR: 41.89 52.43 75.67 77.54
            AGM: 42.24 52.97 76.04 77.95
            MMPareto: 42.92 53.08 76.87 78.15
            D&R: 43.65 53.81 77.01 78.81
            DGL: 44.78 55.11 77.39 79.78
            """,
        ),
    },
    3: {"CREMA-D": _rows("fused", "Baseline: 65.10\n+MT: 73.31\n+UT: 74.22\nDGL (MT+UT): 77.48")},
    4: {
        "CREMA-D": _rows(
            "1 2 3 4 5",
            """
            G-Blending: 67.89 68.12 69.20 69.21 68.67
            DGL: 73.35 75.46 76.13 77.48 77.08
            """,
        )
    },
    5: {  # mIoU in per cent
        "NYUv2, from scratch": _rows("fused", "ESANet: 38.59\nESANet + DGL: 41.67"),
        "NYUv2, ImageNet pre-train": _rows("fused", "ESANet: 48.48\nESANet + DGL: 50.10"),
    },
}
PAPER_NAMES = {
    "audio alone": ("Audio-only",),
    "visual alone": ("Visual-only",),
    "text alone": ("Text-only",),
    "OGM-GE": ("OGM_GE",),
    "vanilla": ("Concat", "Multimodal baseline", "Baseline", "ESANet"),
    "DGL": ("DGL", "DGL (MT+UT)", "ESANet + DGL"),
}  # row label of our experiments -> what the paper calls that row


def paper_rows(number: int, dataset: str) -> Rows:
    """One of the paper's tables with our row labels ("vanilla" for "Concat"); other rows keep the paper's names."""
    ours = {name: label for label, names in PAPER_NAMES.items() for name in names}
    return {ours.get(name, name): values for name, values in PAPER_TABLES[number][dataset].items()}


def scores(records: Sequence[RunRecord], branch: str, protocol: str) -> list[float]:
    """Test accuracy in per cent of one branch, one value per record that has the branch."""
    return [100 * record.score(branch, protocol) for record in records if branch in record.branches()]


def spread(values: Sequence[float]) -> str:
    """``mean ± standard deviation (n)`` with one decimal; one value has no deviation, none is a dash."""
    if not values:
        return ABSENT
    if len(values) == 1:
        return f"{values[0]:.1f} (1)"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f} ({len(values)})"


def results_table(
    paper: Mapping[str, Mapping[str, float | None]],
    reference: Mapping[str, Sequence[RunRecord]],
    this_run: Mapping[str, Sequence[RunRecord]],
    branches: Sequence[str] = ("audio", "visual", "fused"),
    protocol: str = "last",
) -> pandas.DataFrame:
    """Accuracies in per cent: the paper's, the committed reference runs' and this run's, for each branch.

    Args:
        paper: row -> branch -> per cent (``paper_rows``); empty for a table that the paper does not have.
        reference: row -> committed records.
        this_run: row -> records made here; an empty list is shown as not run because its data are not present.
        branches: which branches, in order.
        protocol: last | best_val | best_test.

    Returns:
        Strings; one row per label (this run's first, then those that only the paper has), columns (branch, source).
        A reference or a run is ``mean ± standard deviation (number of runs)``.
    """
    labels = list(dict.fromkeys([*this_run, *reference, *paper]))
    table = {}
    for branch in branches:
        for source in SOURCES:
            table[branch, source] = [
                _cell(source, label, branch, paper, reference, this_run, protocol) for label in labels
            ]
    return pandas.DataFrame(table, index=labels)


def _cell(source, label, branch, paper, reference, this_run, protocol) -> str:
    if source == "paper":
        value = paper.get(label, {}).get(branch)
        return ABSENT if value is None else f"{value:.1f}"
    records = (reference if source == "reference" else this_run).get(label)
    if source == "this run" and records is not None and not records:
        return NOT_RUN
    return spread(scores(records or (), branch, protocol))


def flat(table: pandas.DataFrame) -> pandas.DataFrame:
    """The same table with one-line column names ("fused, this run"), for files."""
    names = [", ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in table.columns]
    return table.set_axis(names, axis=1)


def markdown_table(table: pandas.DataFrame) -> str:
    """A DataFrame as a GitHub table: its index is the first column (bold), bars inside cells are escaped."""
    table = flat(table)
    rows = [[str(table.index.name or ""), *table.columns], ["---"] * (table.shape[1] + 1)]
    for label, values in zip(table.index, table.itertuples(index=False), strict=True):
        rows.append([f"**{label}**", *map(str, values)])
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)
