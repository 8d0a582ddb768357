"""Write the page "The paper, sentence by sentence": each in our words, with its verdict and what that rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dgl_core.reproduce.report.cells import Page
from dgl_core.reproduce.report.markup import Links
from dgl_core.reproduce.report.templates import render

if TYPE_CHECKING:  # judging takes seconds to import, which a page with failed notebooks alone should not cost
    from dgl_core.paper.claims.judging import Line
    from dgl_core.paper.claims.ledger import Claim

CHECKED = "02_gradient_theory"  # the notebook whose checks settle what mathematics can settle
SECTIONS = {
    "1": "Abstract and introduction",
    "3.1": "3.1 Why encoders are under-optimised",
    "3.2": "3.2 Disentangled gradient learning",
    "4.2": "4.2 Comparison with other methods",
    "4.3": "4.3 Ablations",
    "": "Not in the paper: our controls",
}
PLACE = re.compile(r"(Abstract|Algorithm|Sec|Eq|Fig|Tables?|not in the paper)[. ]*(\d+(?:\.\d)?)?")


@dataclass(frozen=True)
class Item:
    """One sentence of the page.

    Attributes:
        says, place: our wording, and where the paper says it.
        verdicts: (word, what it holds of, what follows for a user). numbers: (word, set and measurement).
        links: (name, address). command: what earns the verdict again.
    """

    id: str
    says: str
    place: str
    verdicts: list[tuple[str, str, str]]
    links: list[tuple[str, str]]
    numbers: list[tuple[str, str]] = field(default_factory=list)
    command: str = ""


def section_of(place: str) -> str:
    """Name the section of the paper that a place such as "Eq. 5, Fig. 3(a)" begins in; "" if it is not in the paper."""
    kind, number = PLACE.match(place).groups()
    sections = {
        "Abstract": "1",
        "Sec": number,
        "Eq": "3.1" if number in ("1", "2", "3", "4", "5", "6", "7", "8") else "3.2",
        "Algorithm": "3.2",
        "Fig": {"1": "1", "2": "3.2", "3": "4.3"}.get(number),
        "Table": "4.2" if number in ("1", "2") else "4.3",
        "not in the paper": "",
    }
    return sections[kind.rstrip("s")]


def proved(pages: Sequence[Page]) -> list[Item]:
    """List the sentences that mathematics settles, with the checks of the notebook that settle them."""
    from dgl_core.paper.theory.sentences import SENTENCES

    there = {number for page in pages if page.name == CHECKED for number in page.numbers}
    items = []
    for number, sentence in enumerate(SENTENCES, 1):
        checks = re.findall(r"\d+\.\d+[a-z]?", sentence.settled)
        links = [(f"proof {check}", f"{CHECKED}.html#check-{check}") for check in checks if check in there]
        place = sentence.where if not sentence.where[0].isdigit() else f"Sec. {sentence.where}"
        verdicts = [(sentence.verdict, sentence.holds, "")]
        items.append(Item(f"mathematics-{number}", sentence.says, place, verdicts, links))
    return items


def tested(links: Links, pages: Sequence[Page]) -> list[Item]:
    """List the registered claims and what came of them on every set, from the digest of the confirming records."""
    from dgl_core.paper.answers.regimes import TITLES
    from dgl_core.paper.claims import digest
    from dgl_core.paper.claims.ledger import CLAIMS, claim_named

    folders = {title: f"results/confirming/{name}" for name, title in TITLES.items()}
    shown = {f"{page.name}#{figure.id}" for page in pages for figure in page.figures}
    by_claim: dict[str, list[Line]] = {}
    for line in digest.lines(CLAIMS):
        by_claim.setdefault(claim_named(line.id).id, []).append(line)
    items = []
    for claim in CLAIMS:
        lines = by_claim.get(claim.id, [])
        found = [("picture", claim.picture.replace("#", ".html#"))] if claim.picture in shown else []
        if claim.check is not None:
            found.append(("proof", links.source("dgl_core/paper/claims/mathematics.py")))
        else:
            found.append(("registered", links.source("results/registration.toml")))
        sets = dict.fromkeys(line.dataset for line in lines if line.dataset in folders and "n = " in line.detail)
        found += [(f"records: {title}", links.source(folders[title])) for title in sets]
        numbers = [(line.outcome, f"{_where(line, claim)}: {line.detail}") for line in lines]
        command = f"python -m dgl_core claims {claim.id}{'' if claim.check else ' --rerun'}"
        items.append(Item(claim.id, claim.of(""), claim.place, _verdicts(lines, claim), found, numbers, command))
    return items


def _verdicts(lines: Sequence[Line], claim: Claim) -> list[tuple[str, str, str]]:
    """Gather where a claim came to the same word, and what follows from it."""
    places: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        decided = line.outcome not in ("undecided", "not tested here")
        places.setdefault((line.outcome, line.follows if decided else ""), []).append(_where(line, claim))
    return [(word, ", ".join(of), follows) for (word, follows), of in places.items()]


def _where(line: Line, claim: Claim) -> str:
    """Name the set of a line, with the modality where the claim is about each of them."""
    modality = line.id.removeprefix(claim.id).removeprefix("-").replace("_", " ")
    return f"{line.dataset} ({modality})" if modality else line.dataset


def page(links: Links, pages: Sequence[Page]) -> str:
    """Write the page as Markdown.

    Args:
        links: of the report folder. pages: the notebooks that are in it, to which proofs and pictures are linked.
    """
    items = [*proved(pages), *tested(links, pages)]
    sections = [{"title": title, "entries": of} for number, title in SECTIONS.items()
                if (of := [item for item in items if section_of(item.place) == number])]  # fmt: skip
    return render("paper.md.jinja", sections=sections, signs=("reproduced", "contradicted", "undecided"))
