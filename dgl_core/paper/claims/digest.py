"""Carry the verdicts on the reference records in the package, for who installed it without the records.

``digest.json`` lies beside this file; ``python -m tools.readme`` makes it, a test fails when it is stale.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from dgl_core.paper.claims import judging
from dgl_core.paper.claims.ledger import CLAIMS, Claim
from dgl_core.paper.claims.records import reference_records
from dgl_core.utils import reference_root

PATH = Path(__file__).with_name("digest.json")


def records_are_here() -> bool:
    """Tell whether the reference records themselves are here, as in a checkout of the project."""
    return any(reference_root().glob("*/*.json"))


def made() -> str:
    """Write the digest of the reference records that are here: every claim's outcome and text, column by column."""
    columns = reference_records()
    together = judging.judged_together(judging.LEDGER, columns.values())
    judged = judging.judge_ledger(columns, CLAIMS, together)
    claims = {c.id: {title: [one.outcome, one.text] for title, one in found.items()} for c, found in judged}
    count = sum(1 for _ in reference_root().glob("*/*.json"))
    return json.dumps({"records": count, "together": together, "claims": claims}, indent=1, ensure_ascii=False) + "\n"


def together() -> int:
    """Count the intervals that the reference judges together, for which each of them is corrected."""
    return _read()["together"]


def judged(claims: Sequence[Claim]) -> list[tuple[Claim, dict[str, judging.Judgement]]]:
    """Recall how the claims fare on the reference records, without the records behind it."""
    kept = _read()["claims"]
    return [(c, {title: judging.Judgement(*found) for title, found in kept.get(c.id, {}).items()}) for c in claims]


def about() -> str:
    """Say in a sentence what the digest rests on and where the records are."""
    return (
        f"This is the digest of {_read()['records']} reference records, which the package carries instead of them; "
        "the records themselves are in a checkout of the project, in results/reference."
    )


def _read() -> dict:
    return json.loads(PATH.read_text(encoding="utf-8"))
