"""The ledger: what the paper claims, how we test each claim, and what the records say.

Every claim names its place in the paper, the quantity that decides it (one paired difference per seed) and the
threshold, all written before looking at the outcome. A verdict is the 95 % interval of the mean difference, corrected
for the number of claims and data sets judged together (Bonferroni): above the threshold the claim is reproduced, below
it is contradicted, across it is undecided.

``python -m dgl_core.claims`` prints the ledger; README, notebook 00 and the report show the same table.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas

from dgl_core import verdicts
from dgl_core.records import RunRecord

Rows = Mapping[str, Sequence[RunRecord]]
BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper that runs can decide.

    Attributes:
        id: short name, for command lines and links.
        text: our wording of it. place: where it stands in the paper.
        measure: rows of ``experiments.branches`` -> one difference per seed; the claim says that their mean exceeds
            ``threshold``. unit: of the differences.
        ours: True for a question that the paper does not ask.
    """

    id: str
    text: str
    place: str
    measure: Callable[[Rows], list[float]]
    unit: str = "points"
    threshold: float = 0.0
    ours: bool = False


def paired(rows: Rows, better: str, worse: str, branch: str = "fused", other: str = "fused") -> list[float]:
    """Last-epoch test accuracy of ``better``'s branch minus that of ``worse``'s, in points, paired by seed."""
    partner = {record.spec.seed: record for record in rows[worse]}
    pairs = [(record, partner[record.spec.seed]) for record in rows[better] if record.spec.seed in partner]
    return [100 * (a.score(branch) - b.score(other)) for a, b in pairs]


def mean_curve(record: RunRecord, column: str, start: float = 0.0, stop: float = 1.0) -> float:
    """Mean of a column over a stretch of the run, given as fractions of its epochs."""
    values = record.curves[column]
    part = values[int(start * len(values)) : max(int(start * len(values)) + 1, math.ceil(stop * len(values)))]
    return sum(part) / len(part)


def smaller_gradient(rows: Rows, modality: str) -> list[float]:
    """By how many percent the mean gradient norm at an encoder is smaller in the joint model than alone."""
    partner = {record.spec.seed: record for record in rows["vanilla"]}
    column = f"gradient/{modality}"
    return [
        100 * (1 - mean_curve(partner[alone.spec.seed], column) / mean_curve(alone, column))
        for alone in rows[f"{modality} alone"]
        if alone.spec.seed in partner
    ]


def growing_suppression(rows: Rows, modality: str) -> list[float]:
    """Drop of the mean R of vanilla training from the first to the last fifth of the epochs, in hundredths."""
    column = f"suppression/{modality}/R_mean"
    return [100 * (mean_curve(r, column, 0.0, 0.2) - mean_curve(r, column, 0.8, 1.0)) for r in rows["vanilla"]]


def always_below_one(rows: Rows, modality: str) -> list[float]:
    """Share of training samples with every s_k < 1, last epoch of vanilla training."""
    return [100 * r.curves[f"suppression/{modality}/all_margins"][-1] for r in rows["vanilla"]]


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "audio-gradient",
        "The audio encoder receives a smaller gradient in the joint model than alone",
        "Sec. 1, Fig. 1(c), Eq. 8",
        lambda rows: smaller_gradient(rows, "audio"),
        unit="% smaller",
    ),
    Claim(
        "visual-gradient",
        "The visual encoder receives a smaller gradient in the joint model than alone",
        "Sec. 3.1, Eq. 8",
        lambda rows: smaller_gradient(rows, "visual"),
        unit="% smaller",
    ),
    Claim(
        "s-below-one",
        "s < 1 always: for every training sample the partner's logits favour the true class",
        "Eq. 5, Fig. 3(a)",
        lambda rows: always_below_one(rows, "audio"),
        unit="% of samples",
        threshold=99.9,
    ),
    Claim(
        "suppression-grows",
        "Suppression of the audio encoder grows during joint training",
        "Sec. 3.1, Fig. 3(a)",
        lambda rows: growing_suppression(rows, "audio"),
        unit="hundredths of R",
    ),
    Claim(
        "audio-branch",
        "The audio branch of the joint model is worse than audio trained alone",
        "Fig. 1(b), Table 1",
        lambda rows: paired(rows, "audio alone", "vanilla", other="audio"),
    ),
    Claim(
        "visual-branch",
        "The visual branch of the joint model is worse than visual trained alone",
        "Table 1",
        lambda rows: paired(rows, "visual alone", "vanilla", other="visual"),
    ),
    Claim(
        "dgl-audio",
        "DGL's audio branch is better than the joint model's",
        "Table 1",
        lambda rows: paired(rows, "DGL", "vanilla", "audio", "audio"),
    ),
    Claim(
        "dgl-visual",
        "DGL's visual branch is better than the joint model's",
        "Table 1",
        lambda rows: paired(rows, "DGL", "vanilla", "visual", "visual"),
    ),
    Claim(
        "dgl-audio-alone",
        "DGL's audio branch is better than audio trained alone",
        "Sec. 4.2, Table 1",
        lambda rows: paired(rows, "DGL", "audio alone", "audio"),
    ),
    Claim(
        "dgl-visual-alone",
        "DGL's visual branch is better than visual trained alone",
        "Sec. 4.2, Table 1",
        lambda rows: paired(rows, "DGL", "visual alone", "visual"),
    ),
    Claim("dgl-vanilla", "DGL is better than joint training", "Table 1", lambda rows: paired(rows, "DGL", "vanilla")),
    Claim(
        "dgl-gblend",
        "DGL is better than G-Blending at the same alpha",
        "Tables 1 and 4",
        lambda rows: paired(rows, "DGL", "G-Blending"),
    ),
    Claim(
        "dgl-rate-control",
        "DGL is better than joint training whose encoders also learn alpha times faster",
        "not in the paper: our control",
        lambda rows: paired(rows, "DGL", "vanilla, rate x alpha"),
        ours=True,
    ),
    Claim(
        "dgl-audio-alone-rate-control",
        "DGL's audio branch is better than audio alone with the learning rate of its encoder times alpha",
        "not in the paper: our control",
        lambda rows: paired(rows, "DGL", "audio alone, rate x alpha", "audio"),
        ours=True,
    ),
    Claim(
        "dgl-visual-alone-rate-control",
        "DGL's visual branch is better than visual alone with the learning rate of its encoder times alpha",
        "not in the paper: our control",
        lambda rows: paired(rows, "DGL", "visual alone, rate x alpha", "visual"),
        ours=True,
    ),
)


def claim_named(name: str) -> Claim:
    from dgl_core.records import unknown_name

    for claim in CLAIMS:
        if claim.id == name:
            return claim
    raise unknown_name("claim", name, [claim.id for claim in CLAIMS])


def judge(claim: Claim, rows: Rows, comparisons: int) -> verdicts.Verdict:
    """The verdict of one claim on one data set ; records of different runs are never mixed.

    Raises:
        ValueError: the records come from different data (fingerprints differ beyond the fold) or revisions.
    """
    consistent(rows)
    complete = all(rows.values())
    differences = claim.measure(rows) if complete else []
    return verdicts.judge(claim.text, differences, unit=claim.unit, comparisons=comparisons, threshold=claim.threshold)


def consistent(rows: Rows) -> None:
    """Refuse records of mixed revisions, or seeds whose rows were trained on different data."""
    revisions, fingerprints = {}, {}
    for label, records in rows.items():
        for record in records:
            loop = (record.revisions.get("dataset"), record.revisions.get("loop"))
            known = revisions.setdefault("all", loop)
            if loop != known:
                raise ValueError(f"Row {label!r} mixes revisions {known} and {loop} of data and loop; run it again.")
            mark = fingerprints.setdefault(record.spec.seed, record.data["fingerprint"])
            if mark != record.data["fingerprint"]:
                raise ValueError(f"Row {label!r}, seed {record.spec.seed}: trained on other data than its partners.")


def ledger(groups: Mapping[str, Rows]) -> list[tuple[Claim, dict[str, verdicts.Verdict]]]:
    """Every claim with its verdict on every data set. ``groups``: title -> rows of ``experiments.branches``."""
    comparisons = max(1, len(CLAIMS) * len(groups))
    return [(claim, {title: judge(claim, rows, comparisons) for title, rows in groups.items()}) for claim in CLAIMS]


def reference_groups() -> dict[str, Rows]:
    """Committed reference records of every data set that has them, by title."""
    from dgl_core import experiments, runs

    groups = {}
    for dataset in experiments.REFERENCE_DATASETS:
        rows = runs.reference(experiments.branches("cpu", dataset, experiments.REFERENCE_SEEDS))
        if any(rows.values()):
            groups[experiments.TITLES[dataset]] = rows
    return groups


def table(groups: Mapping[str, Rows]) -> pandas.DataFrame:
    """The ledger as a table of strings: one row per claim, its place in the paper, one verdict per data set."""
    judged = ledger(groups)
    columns = {"in the paper": [claim.place for claim, _ in judged]}
    columns |= {title: [_cell(by_title[title]) for _, by_title in judged] for title in groups}
    return pandas.DataFrame(columns, index=pandas.Index([claim.text for claim, _ in judged], name="claim"))


def _cell(verdict) -> str:
    if verdict.n == 0:
        return "needs records"
    if verdict.n == 1:
        return f"{verdict.outcome.lower()}: one run"
    interval = f"{verdict.mean:+.1f} [{verdict.low:+.1f}, {verdict.high:+.1f}] {verdict.unit}"
    return f"{verdict.outcome.lower()}: {interval}, n = {verdict.n}"


def replace_block(text: str, begin: str, end: str, content: str) -> str:
    """``text`` with what stands between two marker lines replaced.

    Raises:
        ValueError: a marker is missing.
    """
    if begin not in text or end not in text:
        raise ValueError(f"no block to renew: put the lines {begin!r} and {end!r} where it belongs.")
    head, rest = text.split(begin, 1)
    return f"{head}{begin}\n{content.strip()}\n{end}{rest.split(end, 1)[1]}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dgl_core.claims", description=__doc__.splitlines()[0])
    parser.add_argument("id", nargs="?", help="show one claim only")
    options = parser.parse_args(arguments)
    groups = reference_groups()
    wanted = [claim_named(options.id)] if options.id else CLAIMS
    for claim, judged in ledger(groups):
        if claim in wanted:
            print(f"{claim.id}  ({claim.place})")
            for title, verdict in judged.items():
                print(f"  {title}: {verdict}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
