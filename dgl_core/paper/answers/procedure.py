"""Try the judge on planted differences, with the spread of the confirming records: wrong words, and power."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pandas

from dgl_core.data.files.atomic import write_atomic
from dgl_core.paper.answers.followup import studies
from dgl_core.paper.answers.regimes import TITLES
from dgl_core.paper.answers.verdicts import answers, registered_answers
from dgl_core.utils import ROOT
from dgl_core.verdicts.calibration import planted_differences, rates
from dgl_core.verdicts.families import Member
from dgl_core.verdicts.registration import Family, registration

FILE = ROOT / "results" / "procedure.json"
PLANTED = ("0", "delta / 2", "2", "4")  # points: names of ``planted_differences``


def families() -> dict[Family, dict[str, Member]]:
    """List the registered families and those of the follow-up studies, each with its questions and their evidence."""
    found = {}
    for of in registration().families.values():
        found[of] = {q.id: registered_answers()[q.id, of.dataset].judged.member for q in registration().of_family(of)}
    for study in studies():
        found[study.family] = {q.id: answers()[q.id, study.family.dataset].judged.member for q in study.questions}
    return found


def tried(of: Family, members: Mapping[str, Member], times: int = 100) -> dict[str, tuple[float, float]]:
    """Try one family: planted difference -> share of wrong words, and of decided ones; empty without records."""
    members = {name: member for name, member in members.items() if member.evidence is not None}
    if not members:
        return {}
    found = {}
    for place, name in enumerate(PLANTED):
        planted = {q: planted_differences(member.delta)[place] for q, member in members.items()}
        result = rates(members, of.size, of.correction, planted, times)
        found[name] = (result.wrong, result.decided)
    return found


def renew() -> None:
    """Try all families and keep what came out: ``python -m tools.confirm procedure``."""
    kept = [
        {
            "family": of.name,
            "dataset": of.dataset,
            "planted": planted,
            "wrong": round(wrong, 4),
            "decided": round(power, 4),
        }
        for of, members in families().items()
        for planted, (wrong, power) in tried(of, members).items()
    ]
    write_atomic(FILE, json.dumps(kept, indent=1) + "\n")


def table() -> pandas.DataFrame:
    """Show per cent of wrong words and of decided questions, one row a family and set, by planted difference."""
    rows = pandas.DataFrame(json.loads(FILE.read_text(encoding="utf-8")))
    rows["set"] = rows["dataset"].map(TITLES)
    shown = {"wrong": "wrong words, %", "decided": "decided, %"}
    wide = rows.pivot(index=["family", "set"], columns="planted", values=list(shown))
    return (100 * wide).round(1).rename(columns=shown, level=0).map("{:.1f}".format).reset_index().set_index("family")
