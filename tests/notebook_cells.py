"""Cells of executed notebooks, written by hand."""

from __future__ import annotations

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def text(source):
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def cell(source, *made, tags=()):
    return {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": source, "outputs": list(made)}


def printed(lines, name="stdout"):
    return {"output_type": "stream", "name": name, "text": lines}


def shown(**data):
    kinds = {
        "png": "image/png",
        "plain": "text/plain",
        "html": "text/html",
        "view": "application/vnd.jupyter.widget-view+json",
    }
    return {"output_type": "display_data", "data": {kinds[kind]: value for kind, value in data.items()}}
