"""Read the claims from ``ledger.toml``: our wording, the place in the paper, the test and its threshold."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dgl_core.paper.claims import mathematics, measures
from dgl_core.paper.claims.mathematics import Finding
from dgl_core.paper.claims.measures import Part, at_rates
from dgl_core.paper.experiments.late_fusion import LEARNING_RATES, head_names
from dgl_core.paper.experiments.table2 import RATES
from dgl_core.utils import unknown_name

NOT_IN_THE_PAPER = "not in the paper: our control"
MMTM, NESTED = "MMTM", "CMU-MOSI, nested"  # families: the two verdict tables of notebook 06
GRIDS = {"tuned_difference": LEARNING_RATES, "nested_difference": RATES}  # measure -> rates of the rows that it reads


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper that records, or a computation, can decide."""

    id: str
    text: str  # our wording
    place: str  # in the paper
    parts: tuple[Part, ...] = ()  # comparisons of run records, all of which have to hold
    check: Callable[[], Finding] | None = None  # the computation that decides where there are no parts
    unit: str = "points"  # of the differences
    threshold: float = 0.0  # what their mean has to exceed
    added: str = ""  # why it was added after the first outcomes were seen; empty for a claim from before
    family: str = ""  # a table judged by itself on each data set; empty: the whole ledger

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the experiments that its parts compare."""
        return tuple(dict.fromkeys(part.experiment for part in self.parts))


def _parts(*, each_head: bool = False, **entry) -> list[Part]:
    """Make the part of an entry, or one for each registered fusion head, whose name then stands for ``{}``."""
    return [_part(head, **entry) for head in (head_names() if each_head else ("{}",))]


def _part(head: str, compare=(), label="", experiment="branches", measure="paired", rows=(), **options) -> Part:
    function, compare = getattr(measures, measure), [row.replace("{}", head) for row in compare]
    needed = at_rates(compare, GRIDS[measure]) if measure in GRIDS else (*compare, *rows)
    return Part(experiment, needed, lambda found: function(found, *compare, **options), label.replace("{}", head))


def _claim(parts: Sequence[dict] = (), check: dict | None = None, **entry) -> Claim:
    computed = partial(getattr(mathematics, check.pop("function")), **check) if check else None
    return Claim(**entry, parts=tuple(part for each in parts for part in _parts(**each)), check=computed)


_TEXT = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
CLAIMS = tuple(_claim(**entry) for entry in tomllib.loads(_TEXT)["claim"])


def claim_named(name: str) -> Claim:
    """Look up a claim by its id; raise a ``ValueError`` that has the nearest one if there is none of that id."""
    claims = {claim.id: claim for claim in CLAIMS}
    if name not in claims:
        raise unknown_name("claim", name, claims)
    return claims[name]
