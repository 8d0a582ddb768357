"""Carry the ledger in the package, for who installed it without the records.

``digest.json`` lies beside this file; ``python -m tools.readme`` makes it, a test fails when it is stale.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from dgl_core.paper.answers.regimes import confirming_root
from dgl_core.paper.claims import judging
from dgl_core.paper.claims.judging import Line
from dgl_core.paper.claims.ledger import Claim, claim_named

PATH = Path(__file__).with_name("digest.json")


def records_are_here() -> bool:
    """Tell whether the confirming records themselves are here, as in a checkout of the project."""
    return any(confirming_root().glob("*/*.json"))


def made() -> str:
    """Write the digest of the confirming records that are here: every line of the ledger, without what it rests on."""
    kept = [dataclasses.asdict(dataclasses.replace(line, answers=())) for line in judging.lines()]
    for line in kept:
        line.pop("answers")
    count = sum(1 for _ in confirming_root().glob("*/*.json"))
    return json.dumps({"records": count, "lines": kept}, indent=1, ensure_ascii=False) + "\n"


def lines(claims: Sequence[Claim]) -> list[Line]:
    """Recall the lines of some claims, without the records behind them."""
    ids = {claim.id for claim in claims}
    kept = [Line(**line) for line in _read()["lines"]]
    return [line for line in kept if claim_named(line.id).id in ids]


def about() -> str:
    """Say in a sentence what the digest rests on and where the records are."""
    return (
        f"This is the digest of {_read()['records']} confirming records, which the package carries instead of them; "
        "the records themselves are in a checkout of the project, in results/confirming."
    )


def _read() -> dict:
    return json.loads(PATH.read_text(encoding="utf-8"))
