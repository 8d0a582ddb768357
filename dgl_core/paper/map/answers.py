"""Say what the map answers: tables and sentences of notebook 09, generated from verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas
import torch

from dgl_core.diagnosis import Trust, fitted
from dgl_core.models import LateFusion
from dgl_core.paper.map import forecasting, records, verdicts
from dgl_core.paper.map.design import TITLES, maps, registered
from dgl_core.paper.map.forecasting import Case
from dgl_core.paper.map.verdicts import FAILED, HELD, Outcome
from dgl_core.training.many import Stack, initial, objective_of, train_many
from dgl_core.training.records import RunSpec
from dgl_core.verdicts.families import BETTER, EQUAL, UNDECIDED, Judged, signed

WANTED = 0.8  # AUC that the forecast was meant to reach


def predictions_table(outcomes: Sequence[Outcome]) -> pandas.DataFrame:
    """Show every prediction on every map: what was asked, what became of it, and what speaks against it."""
    lines = []
    for of in outcomes:
        against = ", ".join(f"{s:g}: {verdicts.in_words(of.columns[s])}" for s in of.against[:3])
        where = f"zero at {of.where[0]:.2f} [{of.where[1]:.2f}, {of.where[2]:.2f}]" if of.where else ""
        lines.append([of.prediction.asks, TITLES[of.map], of.word, "; ".join(x for x in (where, against) if x)])
    columns = ["prediction", "head", "outcome", "where, and which columns do not agree"]
    return pandas.DataFrame(lines, columns=columns).set_index("prediction")


def columns_table(name: str, pairs: Sequence[tuple[str, str]]) -> pandas.DataFrame:
    """Show the verdicts of some comparisons (row, than) on one map, one line a column of synergy."""
    of = records.record(name)
    found = {f"{row} - {than}": verdicts.columns(of, row, than) for row, than in pairs}
    lines = {title: {f"{s:g}": verdicts.in_words(j) for s, j in judged.items()} for title, judged in found.items()}
    return pandas.DataFrame(lines).rename_axis(index="synergy")


def law_table() -> pandas.DataFrame:
    """Show the verdicts on the law, one column a head."""
    found = {
        TITLES[head]: {name: verdicts.in_words(j) for name, j in judged.items()}
        for head, judged in verdicts.law().items()
    }
    return pandas.DataFrame(found).rename_axis(index="difference (points)")


def forecast_table(cases: Sequence[Case]) -> pandas.DataFrame:
    """Show how both forecasts and the baselines did on cases, one line a gain and predictor."""
    lines = {}
    for target, limit in registered()["delta"].items():
        for name, scores in forecasting.verdict_of(cases, fitted(), target, limit).items():
            error = "-" if np.isnan(scores["error"]) else f"{scores['error']:.1f}"
            area = "-" if np.isnan(scores["AUC"]) else f"{scores['AUC']:.2f}"
            right = "-" if np.isnan(scores["right"]) else f"{100 * scores['right']:.0f}"
            known = {"networks": scores["networks"], "AUC": area, "error (points)": error, "right (%)": right}
            lines[target, name] = known
    index = pandas.MultiIndex.from_tuples(lines, names=["gain", "predictor"])
    return pandas.DataFrame(list(lines.values()), index=index)


def cases_table(cases: Sequence[Case]) -> pandas.DataFrame:
    """Show foretold and measured gains of every case, in points, and how many of its models one look refuses."""
    lines = {}
    for case in cases:
        line = {}
        for target, delta in registered()["delta"].items():
            told = forecasting.predictors([case], fitted(), target, delta)
            for name in ("models of one modality", "one look"):
                line[f"{target}: {name}"] = "-" if np.isnan(told[name][0]) else f"{told[name][0]:+.1f}"
            line[f"{target}: measured"] = f"{case.gain(target):+.1f}, n = {len(case.gains[target])}"
        line["refused"] = f"{case.refused(fitted())} of {len(case.numbers)}"
        lines[case.name] = line | {"had a say": "in one look" if case.shaped else "none"}
    return pandas.DataFrame.from_dict(lines, orient="index").rename_axis(index="set, head")


def remedy_table() -> pandas.DataFrame:
    """Show every candidate at every point against the better of DGL and G-Blending."""
    found = {}
    for name, points in verdicts.remedies().items():
        found[name] = {
            f"synergy {r.point[0]:g} (against {r.rival})": f"fused {verdicts.in_words(r.fused)}; weakest "
            f"{verdicts.in_words(r.weakest)}" + ("; survives" if r.survives else "")
            for r in points
        }
    return pandas.DataFrame.from_dict(found, orient="index").rename_axis(index="candidate")


def alpha_is_a_rate(model: LateFusion, data: Stack, seed: int) -> dict[str, float]:
    """Train DGL at alpha 4, and at alpha 1 with encoders four times as fast; name of a weight -> largest difference."""
    one = Stack(*({p: _doubled(v) for p, v in part.items()} for part in (data.inputs, data.target)))
    found = []
    for alpha, scale in ((4.0, 1.0), (1.0, 4.0)):
        weights = initial([model])
        settings = {"epochs": 2, "milestones": (1,), "clip": 0.0, "weight_decay": 0.0, "precision": "fp64"}
        spec = RunSpec("dial", lr=0.01, encoder_lr_scale=scale, **settings)
        train_many(objective_of(model, alpha, 0.0, 0.0), weights, one, spec, [seed])
        found.append(weights)
    return {name: (found[0][name] - found[1][name]).abs().max().item() for name in found[0]}


def _doubled(values: torch.Tensor | dict) -> torch.Tensor | dict:
    """Take the first run of a stack, in float64."""
    if isinstance(values, dict):
        return {name: _doubled(x) for name, x in values.items()}
    return values[:1].double() if values.is_floating_point() else values[:1]


def in_sentences(outcomes: Sequence[Outcome], cases: Sequence[Case]) -> list[str]:
    """Answer the question of the notebook from its verdicts, one sentence or two a line."""
    said = []
    verb = {HELD: "held", FAILED: "failed", UNDECIDED: "is undecided"}
    for name in dict.fromkeys(of.prediction.id for of in outcomes):
        of = [one for one in outcomes if one.prediction.id == name]
        parts = [f"{verb[one.word]} for {TITLES[one.map]}{why(one)}" for one in of]
        asks = of[0].prediction.asks
        said.append(f"{asks[0].upper()}{asks[1:]} The prediction {'; it '.join(parts)}.")
    if absent := [TITLES[name] for name in maps() if name not in records.available()]:
        said.append(f"These heads were not run: {'; '.join(absent)}.")
    for name in ("law", "remedy"):
        if absent := records.missing(name):
            said.append(absent)
    said += [] if records.missing("law") else law_sentences()
    return said + forecast_sentences(cases) + ([] if records.missing("remedy") else remedy_sentences())


def why(of: Outcome) -> str:
    """Name the columns that speak against a prediction, or where its difference crosses zero instead."""
    if of.word == HELD:
        return ""
    asked, run = of.prediction, {f"{s:g}" for s in of.columns}
    where = [f"{s:g}" for s in of.against] or []
    said = [f"synergy {', '.join(where)}"] if where else []
    if of.where and not asked.crossing[0] <= of.where[0] <= asked.crossing[1]:
        said.append(f"zero is crossed at {of.where[0]:.2f}")
    return f" ({'; '.join(said)})" if said else f" ({len(run)} columns were run)"


def law_sentences() -> list[str]:
    """Say what became of the law, head by head."""
    said = []
    for head, judged in verdicts.law().items():
        branches = {name: one for name, one in judged.items() if "alone" in name}
        flat = [one for name, one in judged.items() if name not in branches]
        words = "; ".join(f"{name.split(',')[0]} {in_short(one)}, {one.word}" for name, one in branches.items())
        equal = sum(one.word == EQUAL or one.small for one in flat)
        said.append(f"The law, {TITLES[head]}: DGL less the encoder alone at alpha times the rate is, {words}. Under "
                    f"AdamW {equal} of {len(flat)} differences between alphas are practically equal to 0.")  # fmt: skip
    return said


def forecast_sentences(cases: Sequence[Case]) -> list[str]:
    """Say how far either forecast can be trusted, and where it is not given."""
    said = []
    for title, blocks in {"From models of one modality": fitted()["alone"], "From one look": fitted()}.items():
        for target, what in {"fused": "the fused model", "absent": "a modality absent"}.items():
            known = Trust(**blocks[target]["trust"])
            line = f"{title}, {what}: {known}."
            if not known.area >= WANTED and not np.isnan(known.area):
                line += f" That is less than the AUC of {WANTED} that this project asked for."
            if known.misleads:
                line += " 'Nothing changes' is the better forecast there, so forecast() gives none."
            said.append(line)
    own = [case for case in cases if case.name in {f"{name}, {t.heads[0]}" for name, t in forecasting.SETS.items()}]
    gaining = sum(case.gain("fused") > registered()["delta"]["fused"] for case in own)
    chance = math.comb(len(own), gaining)
    said.append(f"That is little evidence: the networks come from {len(own)} sets, of which {gaining} gained; a random "
                f"order would put those on top once in {chance} times.")  # fmt: skip
    return said


def remedy_sentences() -> list[str]:
    """Say which candidates survive, where, and by how much."""
    known = verdicts.remedies()
    survivors = [(name, of) for name, points in known.items() for of in points if of.survives]
    said = [f"Remedy: of {sum(map(len, known.values()))} pairs of a candidate and a point {len(survivors)} survive."]
    large = 0
    for name, of in survivors:
        better = {
            what: one for what, one in (("fused", of.fused), ("weakest branch", of.weakest)) if one.word == BETTER
        }
        large += any(not one.small for one in better.values())
        numbers = ", ".join(f"{what} {in_short(one)}" for what, one in better.items())
        said.append(f"The candidate '{name}' beats {of.rival} at synergy {of.point[0]:g}: {numbers}.")
    if not large:
        said.append(
            "So nothing was found that beats the better of DGL and G-Blending by as much as anyone would care about."
        )
    return said


def in_short(found: Judged) -> str:
    """Write a verdict's numbers, and whether they matter."""
    small = ", less than anyone would care about" if found.small else ""
    return f"{signed(found.member.evidence.mean)} [{signed(found.low)}, {signed(found.high)}] points{small}"
