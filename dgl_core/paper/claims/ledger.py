"""Read the claims from ``ledger.toml``: our wording, the place in the paper, and what follows for a user."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dgl_core.paper.claims import mathematics
from dgl_core.paper.claims.mathematics import Finding
from dgl_core.utils import unknown_name

NOT_IN_THE_PAPER = "not in the paper: our control"


@dataclass(frozen=True)
class Claim:
    """One sentence that a registered question, several of them, or a computation decides.

    Attributes:
        id: of the registered question, without its modality; else a name of its own.
        text, place: our wording, and where the paper says it; "{m}" stands for each modality.
        picture: "notebook#figure", the published figure that shows what it is about.
        check: the computation that decides, where no question does. follows: from its outcome.
        yes, no: what follows for a user where the claim holds, and where it does not.
        parts: questions that all have to hold, "question" or "question@set", and what a reader calls each; "{m}" stands
            for its modality, "" for its set. Empty: the question of its own id.
    """

    id: str
    text: str
    place: str
    picture: str = ""
    check: Callable[[], Finding] | None = None
    follows: str = ""
    yes: str = ""
    no: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)

    def of(self, modality: str) -> str:
        """Write the claim for one modality; "" means each of them."""
        return self.text.replace("{m}", modality or "each modality")


def _claim(check: dict | None = None, **entry) -> Claim:
    computed = partial(getattr(mathematics, check.pop("function")), **check) if check else None
    return Claim(**entry, check=computed)


_TEXT = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
CLAIMS = tuple(_claim(**entry) for entry in tomllib.loads(_TEXT)["claim"])


def claim_named(name: str) -> Claim:
    """Look up a claim by its id, or by that of one of its modalities ("alone-joint-audio").

    Raises:
        ValueError: there is none of that id; it has the nearest one.
    """
    found = [claim for claim in CLAIMS if name == claim.id or ("{m}" in claim.text and name.startswith(f"{claim.id}-"))]
    if not found:
        raise unknown_name("claim", name, [claim.id for claim in CLAIMS])
    return max(found, key=lambda claim: len(claim.id))
