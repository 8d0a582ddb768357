"""Read the registration: the questions, how each will be judged and on how many replicates, fixed before the runs.

``results/registration.toml`` is committed before the first confirming run; what is not in it is exploratory. A later
look at more replicates is allowed where it is written there, with the level that it spends.
"""

from __future__ import annotations

import functools
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dgl_core.utils import project_root, unknown_name
from dgl_core.verdicts.families import CORRECTIONS

CARRIED = Path(__file__).with_suffix(".toml")  # a copy for who has the package alone
PATH = project_root() / "results" / "registration.toml"
PATH = PATH if PATH.exists() else CARRIED


@dataclass(frozen=True)
class Look:
    """Judge once with the first ``replicates`` of them, at ``level``; the levels of all looks add up to 5 %."""

    replicates: int
    level: float


@dataclass(frozen=True)
class Family:
    """Questions that are judged together on one data set.

    Attributes:
        correction: a key of ``families.CORRECTIONS``. looks: when it is judged. size: how many questions it has.
    """

    name: str
    dataset: str
    correction: str
    looks: tuple[Look, ...]
    size: int


@dataclass(frozen=True)
class Question:
    """One question: is ``row`` better than ``than``, by the score of these branches?

    Attributes:
        id: as in the ledger. family: name of its family, on every set of ``sets``.
        row, than: rows of the confirming experiment; several of ``than`` are forms of one rival, of which the best
            counts. branch, other: of either row; "weakest" is the modality that is worst alone.
        asks: the question in words. says: what the paper says: better, equal, or nothing ("").
        measure: what is compared where that is not a score. delta: smallest difference that anyone would care about, in
            its unit; 0: that of the regime.
        modality: the one that a question for each modality is about.
    """

    id: str
    family: str
    sets: tuple[str, ...]
    row: str
    than: tuple[str, ...]
    asks: str
    says: str = "better"
    branch: str = "fused"
    other: str = "fused"
    measure: str = ""
    delta: float = 0.0
    modality: str = ""

    @property
    def of_branches(self) -> bool:
        """Say whether it compares what single modalities reach, not only fused models."""
        return {self.branch, self.other} != {"fused"}

    @property
    def base(self) -> str:
        """Its id without the modality: that of the block which asks the same of each."""
        return self.id.removesuffix(f"-{self.modality}") if self.modality else self.id


@functools.lru_cache(maxsize=4)
def body(path: Path = PATH) -> Mapping:
    """Read the file itself, once: its blocks by name."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


WEAKEST = "weakest"  # in place of a branch: that of the modality that is worst alone
EACH = "each"  # in place of a branch: one question for every modality of a regime, "{m}" standing for it


def _questions(block: Mapping, regimes: Mapping[str, Mapping]) -> list[Question]:
    """Read one block of the registration: a question, or one for every modality of its regimes."""
    than = (block["than"],) if isinstance(block["than"], str) else tuple(block["than"])
    whole = Question(**block | {"sets": tuple(block["sets"]), "than": than})
    if whole.branch != EACH:
        return [whole]
    sets = defaultdict(list)
    for name in whole.sets:
        for modality in regimes[name]["modalities"]:
            sets[modality].append(name)

    def of(m: str) -> Question:
        row, *forms = (text.replace("{m}", m) for text in (whole.row, *than))
        one, other = ("fused" if side.endswith(" alone") else m for side in (row, forms[0]))
        asks = whole.asks.replace("{m}", m)
        about = {"sets": tuple(sets[m]), "row": row, "than": tuple(forms), "asks": asks, "modality": m}
        return replace(whole, id=f"{whole.id}-{m}", branch=one, other=other, **about)

    return [of(modality) for modality in sets]


@dataclass(frozen=True)
class Registration:
    """All that was fixed before the confirming runs.

    Attributes:
        pilots: replicates that choose learning rates and are never used again. first: number of the first confirming
            replicate. regimes: the data sets, each with its network and schedule.
    """

    questions: tuple[Question, ...]
    families: Mapping[tuple[str, str], Family]
    pilots: tuple[int, ...]
    first: int
    regimes: tuple[str, ...]

    def question(self, name: str) -> Question:
        """Look up a question by its id.

        Raises:
            ValueError: it has no family, so nothing may be concluded about it.
        """
        for question in self.questions:
            if question.id == name:
                return question
        raise unknown_name("registered question", name, [question.id for question in self.questions])

    def of_family(self, family: Family) -> tuple[Question, ...]:
        """List the questions of a family, on its data set."""
        return tuple(q for q in self.questions if q.family == family.name and family.dataset in q.sets)


@functools.lru_cache(maxsize=4)
def registration(path: Path = PATH) -> Registration:
    """Read the registration.

    Raises:
        ValueError: a family whose size is not the number of its questions, levels above 5 %, or unknown names.
    """
    blocks = body(path)
    questions = tuple(q for block in blocks["questions"] for q in _questions(block, blocks["regimes"]))
    families = {}
    for name, block in blocks["families"].items():
        for dataset, size in block["sizes"].items():
            looks = tuple(Look(**look) for look in block["looks"])
            families[name, dataset] = Family(name, dataset, block["correction"], looks, size)
    found = Registration(questions, families, tuple(blocks["pilots"]), blocks["first"], tuple(blocks["regimes"]))
    _check(found)
    return found


def asked_of(base: str, modalities: Sequence[str], path: Path = PATH) -> list[Question]:
    """List what a registered block asks of a model of any modalities: one question, or one for each of them."""
    blocks = [block for block in body(path)["questions"] if block["id"] == base]
    return [q for block in blocks for q in _questions(block | {"sets": ["own"]}, {"own": {"modalities": modalities}})]


def _check(found: Registration) -> None:
    ids = [question.id for question in found.questions]
    for name in ids:
        if ids.count(name) > 1:
            raise ValueError(f"the registration has {ids.count(name)} questions {name!r}; give each an id of its own.")
    for question in found.questions:
        for dataset in question.sets:
            if (question.family, dataset) not in found.families:
                raise ValueError(f"question {question.id!r} on {dataset!r} has no family; give {question.family!r} a "
                                 "size there.")  # fmt: skip
    for family in found.families.values():
        if family.correction not in CORRECTIONS:
            raise unknown_name("correction", family.correction, CORRECTIONS)
        count = len(found.of_family(family))
        if count != family.size:
            raise ValueError(f"family {family.name!r} on {family.dataset!r} has {count} questions and a size of "
                             f"{family.size}; both are fixed before the runs.")  # fmt: skip
        if round(sum(look.level for look in family.looks), 6) > 0.05:
            raise ValueError(f"the looks of family {family.name!r} spend more than 5 % in sum.")
