"""List the verdict on every sentence of sections 3.1 and 3.2 that mathematics can settle, with the check behind it.

The sentences are in ``sentences.toml``. Claims that only training can decide are in ``dgl_core.paper.claims``.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

import pandas


class Sentence(NamedTuple):
    """One sentence of the paper, or one equation; the head of ``sentences.toml`` says what each field means."""

    where: str
    says: str
    verdict: str
    holds: str
    settled: str


_TEXT = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
SENTENCES = tuple(Sentence(**fields) for fields in tomllib.loads(_TEXT)["sentence"])


def sentences_table() -> pandas.DataFrame:
    """Show ``SENTENCES``, one row a sentence."""
    columns = ["where", "the paper says", "verdict", "what holds", "settled by"]
    return pandas.DataFrame(SENTENCES, columns=columns).set_index("where")
