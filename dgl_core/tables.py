"""From records to tables."""

from __future__ import annotations

import pandas


def markdown_table(table: pandas.DataFrame) -> str:
    """A DataFrame as a GitHub table: its index is the first column (bold), bars inside cells are escaped."""

    def text(label) -> str:
        return " ".join(map(str, label)) if isinstance(label, tuple) else str(label)

    rows = [[str(table.index.name or ""), *map(text, table.columns)], ["---"] * (table.shape[1] + 1)]
    for label, values in zip(table.index, table.itertuples(index=False), strict=True):
        rows.append([f"**{text(label)}**", *map(str, values)])
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)
