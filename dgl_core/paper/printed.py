"""Read the numbers that the paper prints (Tables 1 to 5), re-typed in ``printed.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path

# row -> branch -> per cent (Table 4: row -> alpha -> per cent); None: a dash
PrintedRows = dict[str, dict[str, float | None]]


def _read() -> dict[int, dict[str, PrintedRows]]:
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    tables: dict[int, dict[str, PrintedRows]] = {}
    for number, sets in tomllib.loads(text).items():
        tables[int(number)] = {name: _rows(**block) for name, block in sets.items()}
    return tables


def _rows(columns: list[str], rows: dict[str, list]) -> PrintedRows:
    return {
        row: {column: None if value == "-" else value for column, value in zip(columns, values, strict=True)}
        for row, values in rows.items()
    }


PAPER_TABLES = _read()  # number of the table -> data set -> rows
PAPER_NAMES = {
    "audio alone": ("Audio-only",),
    "visual alone": ("Visual-only",),
    "text alone": ("Text-only",),
    "OGM-GE": ("OGM_GE",),
    "vanilla": ("Concat", "Multimodal baseline", "Baseline", "ESANet"),
    "DGL": ("DGL", "DGL (MT+UT)", "ESANet + DGL"),
}  # row label of our experiments -> what the paper calls that row


def paper_rows(number: int, dataset: str) -> PrintedRows:
    """Look up one of the paper's tables, with our row labels ("vanilla" for "Concat") where we have them."""
    ours = {name: label for label, names in PAPER_NAMES.items() for name in names}
    return {ours.get(name, name): values for name, values in PAPER_TABLES[number][dataset].items()}
