"""What stands beside the accuracies of Table 2: class balance, macro-F1, missing modalities, exclusions, verdicts."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas

from dgl_core.paper.tables.results import ABSENT, NOT_RUN
from dgl_core.training.records import RunRecord, unpack
from dgl_core.verdicts import statistics as verdicts
from dgl_core.verdicts.statistics import Pairing, paired

Rows = Mapping[str, Sequence[RunRecord]]


def without(record: RunRecord, modality: str) -> float:
    """Test accuracy when one modality is missing at test time; of two modalities that is the other one's branch."""
    others = [m for m in record.data["modalities"] if m != modality]
    return record.score(others[0] if len(others) == 1 else f"without_{modality}")


# -- class balance ----------------------------------------------------------------------------------------------------


def constant_scores(counts: Sequence[int], named: int | None = None) -> tuple[float, float]:
    """Accuracy and macro-F1, in per cent, of a model that names one class, whatever it is shown.

    Args:
        counts: test samples of each class. named: that class; by default the most frequent one.
    """
    share = (max(counts) if named is None else counts[named]) / sum(counts)
    return 100 * share, 100 * 2 * share / (1 + share) / len(counts)  # recall 1, precision share; other F1 are 0


def class_counts(dataset: str, **options: object) -> list[int]:
    """Samples of each class in the test part; of CMU-MOSI (all folds together) known without the data."""
    from dgl_core.data import load
    from dgl_core.data.sets import mosi

    if dataset == "mosi":
        return list(mosi.COUNTS["test"])
    loaded = load(dataset, **options)
    found = Counter(loaded.target[loaded.indices("test")].tolist())
    return [found[k] for k in range(len(loaded.classes))]


def balance_table(counts: Mapping[str, Sequence[int]]) -> pandas.DataFrame:
    """One line per data set (title -> test samples of each class): balance, and what a constant prediction scores."""
    rows = {}
    for title, numbers in counts.items():
        accuracy, f1 = constant_scores(numbers)
        sizes = " / ".join(map(str, numbers)) if len(numbers) < 7 else f"{min(numbers)} to {max(numbers)}"
        rows[title] = [len(numbers), sizes, f"{accuracy:.1f}", f"{f1:.1f}"]
    columns = ["classes", "test samples of each", "majority rate", "macro-F1 of the majority"]
    return pandas.DataFrame.from_dict(rows, orient="index", columns=columns)


def f1_table(rows: Rows, branches: Sequence[str]) -> pandas.DataFrame:
    """Accuracy / macro-F1 / share of the class that a branch names most, in per cent: means, last epoch."""

    def cell(records: Sequence[RunRecord], branch: str) -> str:
        if not records:
            return NOT_RUN
        if branch not in records[0].branches():
            return ABSENT
        means = [statistics.fmean(r.score(branch, metric=m) for r in records) for m in ("accuracy", "macro_f1")]
        means.append(statistics.fmean(favourite_share(r, branch) for r in records))
        return " / ".join(f"{100 * mean:.1f}" for mean in means)

    table = {b: [cell(records, b) for records in rows.values()] for b in branches}
    return pandas.DataFrame(table, index=list(rows))


def favourite_share(record: RunRecord, branch: str) -> float:
    """Share of the test samples to which a branch gives the class that it names most: 1 if it says one class to all."""
    named = unpack(record.predictions["last"][branch])
    return max(Counter(named.tolist()).values()) / len(named)


def missing_table(rows: Rows) -> pandas.DataFrame:
    """Mean test accuracy in per cent with all modalities and without each, for every method that has several."""
    joint = {label: records for label, records in rows.items() if records and len(records[0].data["modalities"]) > 1}
    modalities = next(iter(joint.values()))[0].data["modalities"]
    table = {"all": [f"{100 * statistics.fmean(r.score() for r in v):.1f}" for v in joint.values()]}
    for m in modalities:
        table[f"without {m}"] = [f"{100 * statistics.fmean(without(r, m) for r in v):.1f}" for v in joint.values()]
    return pandas.DataFrame(table, index=list(joint))


def exclusion_table() -> pandas.DataFrame:
    """Which method has no row in which half of Table 2, in the words of the method itself."""
    from dgl_core.paper.experiments.table2 import exclusions

    found = [(network, row, why) for network, rows in exclusions().items() for row, why in rows.items()]
    return pandas.DataFrame(found, columns=["network", "method", "why it has no row"]).set_index("network")


# -- verdicts ---------------------------------------------------------------------------------------------------------

RIVALS = {  # what DGL is said to beat, and where
    "vanilla": "joint training (Table 2)",
    "G-Blending": "G-Blending (Table 2)",
    "vanilla, rate x alpha": "joint training whose encoders also learn alpha times faster (our control)",
}


def claims(rows: Rows, row: str = "DGL", control: str = "vanilla, rate x alpha") -> list[tuple[str, str, str, str]]:
    """(text, worse row, branch of ``row``, branch of the worse row) of everything Table 2 says of one DGL row."""
    said = [(f"{row} is better than {text}", control if "alpha" in rival else rival, "fused", "fused")
            for rival, text in RIVALS.items()]  # fmt: skip
    for label in rows:
        if label.endswith(" alone"):
            m = label.removesuffix(" alone")
            said.append((f"{row}'s {m} branch is better than {m} trained alone (Table 2)", label, m, m))
    return said


def verdict_table(rows: Rows, asked: Mapping[str, str], pairing: Pairing = paired) -> pandas.DataFrame:
    """Verdicts on every claim about every DGL row, 95 % intervals corrected for all of them together.

    Args:
        rows: label -> records. asked: DGL row -> its learning-rate control.
        pairing: from rows to paired differences: by seed, or ``nested.fold_differences``.
    """
    said = [(row, claim) for row, control in asked.items() for claim in claims(rows, row, control)]
    table = {}
    for row, (text, worse, branch, other) in said:
        found = pairing(rows, row, worse, branch, other) if rows.get(row) and rows.get(worse) else []
        verdict = verdicts.judge(text, found, comparisons=len(said))
        mean, low, high = (f"{round(v, 1) + 0.0:+.1f}" for v in (verdict.mean, verdict.low, verdict.high))  # never -0.0
        interval = f"{mean} [{low}, {high}]" if verdict.n > 1 else ABSENT
        table[text] = [verdict.outcome.lower() if verdict.n else "needs records", interval, str(verdict.n)]
    columns = ["verdict", "difference in points", "pairs"]
    return pandas.DataFrame.from_dict(table, orient="index", columns=columns)
