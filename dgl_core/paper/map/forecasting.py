"""Fit the forecast on the map alone, and judge it on sets and heads that did not shape it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dgl_core import data, fit, models
from dgl_core.diagnosis import Branch, Diagnosis, Estimate, Trust, diagnose, estimates, foretell, gaps, traits
from dgl_core.gradients import FUSED
from dgl_core.paper.answers.regimes import Regime, confirming_root, rate_of, regime
from dgl_core.paper.map.design import RESULTS, registered
from dgl_core.paper.map.records import Record, available, record, synergies
from dgl_core.paper.map.runs import STATISTICS, WHOLE, absent, numbers
from dgl_core.runs import run
from dgl_core.training.records import RunRecord
from dgl_core.verdicts.registration import registration

TARGETS = ("fused", "absent")
WEIGHED = (
    "combination",
    "mean gap",
    "largest gap",
    "residual",
    "push",
    "overlap",
)  # zero where there is nothing to tell
PENALTY = 3.0  # of the ridge, in percent of the lines; of 3, 30 and 100 it erred least on what was left out of the map
MARGIN = 0.1  # of its range, by which a trait may leave the range of the map
COVERED = 0.9
CASES = RESULTS / "forecast_cases.json"


@dataclass(frozen=True)
class Table:
    """What the forecast is fitted on: one line a draw of joint training, with the mean gain of DGL at its point.

    Attributes:
        traits: name -> [N]. gains: target -> [N], points. group: what a line is held out with [N]: its map, or, as
            long as there are no three whole maps, its column of synergy.
    """

    traits: Mapping[str, np.ndarray]
    gains: Mapping[str, np.ndarray]
    group: np.ndarray


def diagnosis_of(found: np.ndarray, classes: int, samples: int) -> Diagnosis:
    """Rebuild a diagnosis from the numbers of a record."""
    each = found[len(WHOLE) :].reshape(-1, len(STATISTICS)).astype(float)
    branches = {str(m): Branch(v[0], (v[1], v[2], v[3]), v[4], v[5], v[6], v[7]) for m, v in enumerate(each)}
    return Diagnosis(samples, float(found[0]), branches, float(found[1]), classes, float(found[2]))


def table(records: Sequence[Record]) -> Table:
    """Collect the lines of some maps."""
    lines, gains, group = [], {target: [] for target in TARGETS}, []
    by_map = len([of for of in records if len(of.columns) == len(synergies())]) > 2
    for of in records:
        whole = of.arrays["statistics"]
        means = {target: of.difference("DGL", "vanilla", target).mean(axis=2) for target in TARGETS}
        for place in np.ndindex(whole.shape[:3]):
            if np.isfinite(whole[place]).all() and place[0] in of.columns:
                lines.append(traits(diagnosis_of(whole[place], 4, int(of.about["test"]))))
                group.append(of.name if by_map else str(place[0]))
                for target in TARGETS:
                    gains[target].append(means[target][place[:2]])
    columns = {name: np.array([line[name] for line in lines]) for name in lines[0]}
    return Table(columns, {target: np.array(values) for target, values in gains.items()}, np.array(group))


def regress(of: Table, rows: np.ndarray) -> dict:
    """Fit one ridge a target on some lines, every group with the same weight; without its error.

    There is no intercept: a model in which no trait stands out is foretold no change. With one, the mean of the map
    would be foretold to everybody, and errors on a map that was left out were larger by half.
    """
    names = [name for name in of.traits if name in WEIGHED]
    raw = np.stack([of.traits[name][rows] for name in names], axis=1)  # [N, F]
    scale = np.sqrt((raw**2).mean(axis=0))
    scale[scale == 0] = 1.0  # a head that is additive combines nothing
    counts = {name: (of.group[rows] == name).sum() for name in np.unique(of.group[rows])}
    weight = np.array([1 / counts[name] for name in of.group[rows]])
    weight *= len(weight) / weight.sum()
    found = {"scale": dict(zip(names, map(float, scale), strict=True)), "range": {}}
    for name, values in of.traits.items():
        low, high = float(values[rows].min()), float(values[rows].max())
        room = MARGIN * (high - low)
        found["range"][name] = [low - room, high + room]
    design = raw / scale
    left = (design * weight[:, None]).T
    penalty = PENALTY * len(weight) / 100 * np.eye(len(names))
    for target in TARGETS:
        solved = np.linalg.solve(left @ design + penalty, left @ of.gains[target][rows])
        found[target] = {"error": 0.0, "weights": dict(zip(names, map(float, solved), strict=True))}
    return found


def predicted(of: Table, rows: np.ndarray, fitted: Mapping) -> dict[str, np.ndarray]:
    """Predict the gains of some lines, their ranges left aside: target -> [N]."""
    found = [estimates({name: float(v[row]) for name, v in of.traits.items()}, fitted) for row in rows]
    return {target: np.array([one[target].mean for one in found]) for target in TARGETS}


def fit_forecast(records: Sequence[Record]) -> dict:
    """Fit the forecast on all maps; its interval comes from leaving out one group of lines after another.

    Returns:
        what ``dgl_core/forecast.toml`` holds: range of every trait, scale of those that are weighed; weights and error
        (the 90 % quantile of the absolute held-out errors) of every target.
    """
    of = table(records)
    missed = {target: [] for target in TARGETS}
    for name in np.unique(of.group):
        inside, outside = np.flatnonzero(of.group != name), np.flatnonzero(of.group == name)
        held = predicted(of, outside, regress(of, inside))
        for target in TARGETS:
            missed[target].append(np.abs(held[target] - of.gains[target][outside]))
    found = regress(of, np.arange(len(of.group)))
    for target in TARGETS:  # every group with the same weight
        quantiles = [np.quantile(errors, COVERED) for errors in missed[target]]
        found[target]["error"] = float(np.mean(quantiles))
        found[target]["held_out_error"] = float(np.mean([errors.mean() for errors in missed[target]]))
    return found


def fit_alone(records: Sequence[Record]) -> dict:
    """Fit what is foretold from models of one modality: one slope a target, through the origin, on maps of two.

    Returns:
        target -> "slope" of the gain over the gap (``diagnosis.gaps``), "error" and "range" of the gap.
    """
    found = {}
    for target in TARGETS:
        pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}  # column -> gap and gain, one entry a map
        for of in records:
            gap = of.difference(ENSEMBLE, "vanilla", target)
            gain = of.difference("DGL", "vanilla", target).mean(axis=2, keepdims=True) + 0 * gap
            for s in of.columns if len(of.modalities) == 2 else ():
                pairs.setdefault(str(s), []).append((gap[s].ravel(), gain[s].ravel()))
        missed = []
        for left in pairs:
            slope = slope_of([pair for s, lines in pairs.items() if s != left for pair in lines])
            missed += [np.abs(slope * gap - gain) for gap, gain in pairs[left]]
        every = [pair for lines in pairs.values() for pair in lines]
        low, high = (float(edge([gap for gap, _ in every])) for edge in (_lowest, _highest))
        room, whole = MARGIN * (high - low), np.concatenate(missed)
        found[target] = {
            "slope": slope_of(every),
            "error": float(np.quantile(whole, COVERED)),
            "held_out_error": float(whole.mean()),
            "range": [low - room, high + room],
        }
    return found


def slope_of(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Fit gain = slope x gap by least squares."""
    return float(sum((gap * gain).sum() for gap, gain in pairs) / sum((gap**2).sum() for gap, _ in pairs))


def _lowest(values: Sequence[np.ndarray]) -> float:
    return min(x.min() for x in values)


def _highest(values: Sequence[np.ndarray]) -> float:
    return max(x.max() for x in values)


def as_toml(found: Mapping, about: Mapping[str, object]) -> str:
    """Write a fitted forecast with where it comes from."""

    def number(value: float) -> str:
        return f"{value:.6g}"

    lines = ["# What diagnose(...).forecast() knows; fitted on the map of notebook 09 alone by",
             "# 'python -m tools.map forecast'. Traits are divided by their scale before they are weighed.",
             ""]  # fmt: skip
    lines += [f"{key} = {json.dumps(value)}" for key, value in about.items()]
    lines += ["", "[scale]", *(f'"{name}" = {number(value)}' for name, value in found["scale"].items())]
    lines += ["", "[range]", *(f'"{n}" = [{number(a)}, {number(b)}]' for n, (a, b) in found["range"].items())]
    for target, block in found.get("alone", {}).items():
        lines += ["", f"[alone.{target}]"]
        lines += [f"{key} = {number(block[key])}" for key in ("slope", "error", "held_out_error")]
        lines += [f"range = [{', '.join(map(number, block['range']))}]", f"[alone.{target}.trust]"]
        lines += [f"{term} = {number(v)}" for term, v in block["trust"].items()]
    for target in TARGETS:
        block = found[target]
        lines += ["", f"[{target}]", *(f"{key} = {number(v)}" for key, v in block.items() if not isinstance(v, dict))]
        for part in ("weights", "trust"):
            lines += [f"[{target}.{part}]", *(f'"{term}" = {number(v)}' for term, v in block[part].items())]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Case:
    """One network on one set that did not shape the forecast.

    Attributes:
        name: set, head. numbers: the diagnosis of the jointly trained model (``runs.numbers``), one entry a replicate.
        gains: target -> points, one entry a replicate, of which there may be more. classes: how many. samples: that
            ``diagnose`` saw. alone: accuracies of the unimodal ensemble, fused and of every modality, one entry a
            diagnosed replicate; empty where none was trained.
    """

    name: str
    numbers: list[list[float]]
    gains: dict[str, list[float]]
    classes: int
    samples: int
    alone: list[list[float]] = field(default_factory=list)

    @property
    def gaps(self) -> dict[str, float]:
        """Average the gaps between models of one modality and the joint one, in points; nothing where unknown."""
        lines = []
        for one, known in zip(self.numbers, self.alone, strict=False):
            report = diagnosis_of(np.array(one), self.classes, self.samples)
            lines.append(gaps(report, dict(zip((FUSED, *report.branches), known, strict=True))))
        return {name: float(np.mean([line[name] for line in lines])) for name in (lines[0] if lines else ())}

    @property
    def traits(self) -> list[dict[str, float]]:
        """Reduce the diagnoses to what forecasts are made of."""
        return [traits(diagnosis_of(np.array(one), self.classes, self.samples)) for one in self.numbers]

    @property
    def shaped(self) -> bool:
        """Say whether this set had a say in which traits there are."""
        return self.name.split(", ")[0] in SHAPED

    def gain(self, target: str) -> float:
        """Average the gain over replicates, in points."""
        return float(np.mean(self.gains[target]))

    def estimates(self, fitted: Mapping, target: str) -> list[Estimate]:
        """Foretell the gain of every replicate, whether or not the forecast would refuse it."""
        return [estimates(line, fitted)[target] for line in self.traits]

    def foretold(self, fitted: Mapping, target: str) -> float:
        """Average what is foretold over replicates, in points."""
        return float(np.mean([one.mean for one in self.estimates(fitted, target)]))

    def refused(self, fitted: Mapping) -> int:
        """Count the replicates that the forecast refuses, because a trait leaves the range of the map."""
        return sum(_refuses(line, fitted) for line in self.traits)


def _refuses(line: Mapping[str, float], fitted: Mapping) -> bool:
    try:
        foretell(line, fitted)
    except ValueError:
        return True
    return False


@dataclass(frozen=True)
class Trial:
    """What is asked of one set.

    Attributes:
        heads: that are tried, the registered regime's own first. replicates: jointly trained models that are diagnosed.
        like: regime whose network, schedule and rates are taken over, where the set has none of its own.
    """

    heads: tuple[str, ...]
    replicates: int
    like: str = ""


# Other heads take over the rates of the set's own, which the registered pilots chose.
SETS = {
    "triplet": Trial(("mlp", "concat"), 5),
    "triplet_plain": Trial(("mlp", "concat"), 5),
    "mosi": Trial(("mlp", "concat", "attention"), 5),
    "grid_letters": Trial(("concat", "mlp"), 2),
    "emotions": Trial(("concat", "mlp"), 2),
    "grid_digits": Trial(("concat", "mlp"), 2, like="grid_letters"),
    "grid_words": Trial(("concat", "mlp"), 2, like="grid_letters"),
}
SHAPED = ("triplet", "triplet_plain")  # a first forecast failed on them, and traits were changed: they had a say
PAIR = ("DGL", "vanilla")
ENSEMBLE = "unimodal ensemble"
SAME = 0.5  # points by which a model that is trained again may differ from its record


def trial(name: str) -> tuple[Regime, dict[str, float]]:
    """Look up the regime of a set, and the rates that its pilots chose for DGL and joint training."""
    like = SETS[name].like
    of, rates = regime(like or name), {row: rate_of(like or name, row) for row in PAIR}
    if like:
        folds = of.folds if "fold" in data.DATASETS[name].options else 0  # a set with a list of its own has none
        of = replace(of, name=name, dataset=name, folds=folds)
    return of, rates


def trained(of: Regime, head: str, row: str, replicate: int, rate: float) -> tuple[RunRecord, Diagnosis | None]:
    """Train one run of a case; also diagnose a jointly trained one on its test part."""
    spec = of.run(row, replicate, rate)
    dataset = data.load(of.dataset, **spec.dataset_options)
    options = {"fusion": head} | dict(spec.model_options)
    model = models.build(spec.model, dataset.shapes, len(dataset.classes), replicate, **options)
    settings = {key: getattr(spec, key) for key in ("epochs", "milestones", "batch_size", "seed")}
    found = fit(model, spec.method, dataset, lr=rate, evaluate_every=spec.epochs, **settings, **spec.method_options)
    if row != "vanilla":
        return found, None
    batches = [dataset.batch(rows) for rows in dataset.indices("test").split(100)]
    return found, diagnose(model, batches, share=0.25)


def gains_of(dgl: RunRecord, joint: RunRecord) -> dict[str, float]:
    """Subtract test scores of two runs, in points: the fused model, and the mean over the absent modality."""
    modalities = joint.data["modalities"]
    found = {}
    for record_ in (dgl, joint):
        names = [*modalities, *(f"without_{m}" for m in modalities if len(modalities) > 2)]
        percent = {name: np.array(100 * record_.score(name)) for name in names}
        found[record_ is dgl] = {"fused": 100 * record_.score(), "absent": float(absent(percent, modalities))}
    return {target: found[True][target] - found[False][target] for target in TARGETS}


def confirmed(name: str) -> list[tuple[RunRecord, RunRecord]]:
    """List the committed confirming runs of a registered set: pairs of DGL and joint training, in order."""
    if SETS[name].like:
        return []
    of, rates = trial(name)
    found = []
    for replicate in itertools.count(registration().first):
        pair = [run.find(of.run(row, replicate, rates[row]), confirming_root() / name) for row in PAIR]
        if None in pair:
            return found
        found.append(tuple(pair))


def make_case(name: str, head: str) -> Case:
    """Make one case: diagnose jointly trained models, and take DGL's gain from confirming records or train it.

    Raises:
        ValueError: a model that is trained again is not the recorded one.
    """
    of, rates = trial(name)
    known = confirmed(name) if head == SETS[name].heads[0] else []
    lines, gains = [], {target: [] for target in TARGETS}
    for number in range(SETS[name].replicates):
        replicate = registration().first + number
        joint, report = trained(of, head, "vanilla", replicate, rates["vanilla"])
        lines.append([float(f"{v:.6g}") for v in numbers(report)])
        if number < len(known):
            apart = 100 * abs(known[number][1].score() - joint.score())
            if apart > SAME:
                raise ValueError(
                    f"{name}: joint training of replicate {replicate} is {apart:.1f} points off its record."
                )
        else:
            dgl, _ = trained(of, head, "DGL", replicate, rates["DGL"])
            add(gains, gains_of(dgl, joint))
    for pair in known:
        add(gains, gains_of(*pair))
    return Case(f"{name}, {head}", lines, gains, report.classes, report.samples)


def add(gains: Mapping[str, list[float]], gain: Mapping[str, float]) -> None:
    """Append the gain of one replicate to every target."""
    for target, values in gains.items():
        values.append(round(gain[target], 4))


def renewed(case: Case) -> Case:
    """Take the gains of a case from the confirming records anew, where they are its own, and the models alone."""
    name, head = case.name.split(", ")
    known = confirmed(name) if head == SETS[name].heads[0] else []
    gains: dict[str, list[float]] = {target: [] for target in TARGETS}
    for pair in known:
        add(gains, gains_of(*pair))
    return replace(case, gains=gains if known else case.gains, alone=alone(case))


def alone(case: Case) -> list[list[float]]:
    """List accuracies of the unimodal ensemble on the replicates that were diagnosed: its records, or trained here."""
    if len(case.alone) == len(case.numbers):
        return case.alone
    name = case.name.split(", ")[0]
    of, _ = trial(name)
    rate = rate_of(SETS[name].like or name, ENSEMBLE)
    found = []
    for number in range(len(case.numbers)):
        replicate = registration().first + number
        made = run.find(of.run(ENSEMBLE, replicate, rate), confirming_root() / name)
        made = made or trained(of, SETS[name].heads[0], ENSEMBLE, replicate, rate)[0]
        found.append([round(made.score(branch), 6) for branch in (FUSED, *of.modalities)])
    return found


def cases() -> list[Case]:
    """Read the cases that were made."""
    return [Case(**block) for block in json.loads(CASES.read_text())["cases"]] if CASES.exists() else []


def asked() -> list[tuple[str, str]]:
    """List sets with heads in the order in which they are made: every set's own head before others."""
    most = max(len(trial.heads) for trial in SETS.values())
    return [(name, trial.heads[i]) for i in range(most) for name, trial in SETS.items() if i < len(trial.heads)]


def missing_cases() -> list[str]:
    """Name the cases that were not made yet."""
    known = {case.name for case in cases()}
    return [f"{name}, {head}" for name, head in asked() if f"{name}, {head}" not in known]


def area(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Compute the area under the ROC curve: the chance that a positive has the higher score, ties half."""
    scores, positive = np.asarray(scores), np.asarray(positive, dtype=bool)
    up, down = scores[positive], scores[~positive]
    if not len(up) or not len(down):
        return float("nan")
    return float(((up[:, None] > down).mean() + (up[:, None] >= down).mean()) / 2)


def predictors(cases_: Sequence[Case], fitted: Mapping, target: str, delta: float) -> dict[str, np.ndarray]:
    """Compute what each predictor says of every case, in points; of the last three only the order means something."""
    slope = fitted["alone"][target]["slope"]
    return {
        "models of one modality": np.array([slope * case.gaps.get(target, math.nan) for case in cases_]),
        "one look": np.array([case.foretold(fitted, target) for case in cases_]),
        "always no": np.zeros(len(cases_)),
        "always yes": np.full(len(cases_), 2 * delta),
        "branch gap alone": np.array([100 * np.mean([line["largest gap"] for line in case.traits]) for case in cases_]),
    }


NO_POINTS = ("always yes", "branch gap alone")


def verdict_of(cases_: Sequence[Case], fitted: Mapping, target: str, delta: float) -> dict[str, dict[str, float]]:
    """Compare predictors with what happened, one case one observation (means over replicates).

    Returns:
        name of a predictor -> "networks" that it says something of, "AUC" for "gains more than delta", "error" (mean
        absolute, points), "right" (share).
    """
    real, found = np.array([case.gain(target) for case in cases_]), {}
    for name, told in predictors(cases_, fitted, target, delta).items():
        known = np.isfinite(told)
        positive = real[known] > delta
        error = math.nan if name in NO_POINTS or not known.any() else float(np.abs(told - real)[known].mean())
        right = float(((told[known] > delta) == positive).mean()) if known.any() else math.nan
        found[name] = {"networks": int(known.sum()), "AUC": area(told[known], positive), "error": error, "right": right}
    return found


def trusted(cases_: Sequence[Case], told: Sequence[float], target: str, delta: float) -> Trust:
    """Judge what was foretold of some cases; a failure on a set that had a say counts like any other."""
    pairs = [(case.gain(target), one) for case, one in zip(cases_, told, strict=True) if math.isfinite(one)]
    if not pairs:
        return Trust(0, 0, delta, math.nan, math.nan, math.nan)
    real, known = np.array(pairs).T
    errors = float(np.abs(real - known).mean()), float(np.abs(real).mean())
    return Trust(len(real), int((real > delta).sum()), delta, area(known, real > delta), *errors)


def fitted_on_maps() -> dict:
    """Fit on every map that is recorded, and judge the fit on the cases that had no say in it."""
    known, judges = [record(name) for name in available()], cases()
    found = fit_forecast(known) | {"alone": fit_alone(known)}
    for target, delta in registered()["delta"].items():
        told = predictors(judges, found, target, delta)
        for block, name in ((found[target], "one look"), (found["alone"][target], "models of one modality")):
            block["trust"] = dataclasses.asdict(trusted(judges, told[name], target, delta))
    return found
