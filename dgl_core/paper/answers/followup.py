"""Read the follow-up study: questions that the registered looks left open, to be asked again on fresh replicates.

``results/confirming/followup.toml`` was committed before the first of its runs, as the registration was before its own.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path

from dgl_core.paper.answers.regimes import confirming_root
from dgl_core.utils import unknown_name
from dgl_core.verdicts.families import CORRECTIONS
from dgl_core.verdicts.registration import Family, Look, Question, registration

NAME = "followup.toml"  # in the folder of the confirming records


@dataclass(frozen=True)
class Study:
    """Questions of one set that are asked again: a family of their own, judged once.

    Attributes:
        first: number of the first replicate; none of them served before.
    """

    family: Family
    questions: tuple[Question, ...]
    first: int

    @property
    def replicates(self) -> int:
        """Count the replicates that it fixed."""
        return self.family.looks[0].replicates


@functools.lru_cache(maxsize=4)
def studies(path: Path | None = None) -> tuple[Study, ...]:
    """Read the studies, one a set; none where the file is absent, as in the package alone.

    Raises:
        ValueError: a question that is not registered on the set, an unknown correction, or replicates that served
            before.
    """
    path = path or confirming_root() / NAME
    if not path.exists():
        return ()
    body = tomllib.loads(path.read_text(encoding="utf-8"))
    first, correction, level = (body.pop(name) for name in ("first", "correction", "level"))
    if correction not in CORRECTIONS:
        raise unknown_name("correction", correction, CORRECTIONS)
    used = registration().first + max(look.replicates for f in registration().families.values() for look in f.looks)
    if first < used:
        raise ValueError(f"{path.name} starts at replicate {first}, which may have served before; start at {used} or "
                         "later.")  # fmt: skip
    found = []
    for dataset, block in body.items():
        questions = tuple(map(registration().question, block["questions"]))
        for question in questions:
            if dataset not in question.sets:
                raise ValueError(f"{path.name} asks {question.id!r} of {dataset!r}, where it is not registered.")
        looks = (Look(block["replicates"], level),)
        found.append(Study(Family("follow-up", dataset, correction, looks, len(questions)), questions, first))
    return tuple(found)
