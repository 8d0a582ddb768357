"""Show what stands beside the accuracies of Table 2: class balance, macro-F1, missing modalities, exclusions."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas

from dgl_core import data
from dgl_core.data.sets import mosi
from dgl_core.paper.experiments.table2 import exclusions
from dgl_core.paper.tables.differences import fused_rows
from dgl_core.paper.tables.results import ABSENT, NOT_RUN
from dgl_core.training.records import RunRecord, unpack
from dgl_core.verdicts.statistics import Rows, percent


def branch_without(record: RunRecord, modality: str) -> str:
    """Name the branch that is left when one modality is missing: of two modalities the other one's."""
    others = [m for m in record.data["modalities"] if m != modality]
    return others[0] if len(others) == 1 else f"without_{modality}"


def without(record: RunRecord, modality: str) -> float:
    """Read the test accuracy when one modality is missing at test time."""
    return record.score(branch_without(record, modality))


def constant_scores(counts: Sequence[int], named: int | None = None) -> tuple[float, float]:
    """Compute accuracy and macro-F1 (%) of always naming one class (by default the largest) from the classes' sizes."""
    share = (max(counts) if named is None else counts[named]) / sum(counts)
    return 100 * share, 100 * 2 * share / (1 + share) / len(counts)  # recall 1, precision share; other F1 are 0


def class_counts(dataset: str, **options: object) -> list[int]:
    """Count the samples of each class in the test part; of CMU-MOSI (all folds) they are known without the data."""
    if dataset == "mosi":
        return list(mosi.COUNTS["test"])
    loaded = data.load(dataset, **options)
    found = Counter(loaded.target[loaded.indices("test")].tolist())
    return [found[k] for k in range(len(loaded.classes))]


def balance_table(counts: Mapping[str, Sequence[int]]) -> pandas.DataFrame:
    """Show balance and the score of a constant prediction, one line per data set (title -> samples of each class)."""
    rows = {}
    for title, numbers in counts.items():
        accuracy, f1 = constant_scores(numbers)
        sizes = " / ".join(map(str, numbers)) if len(numbers) < 7 else f"{min(numbers)} to {max(numbers)}"
        rows[title] = [len(numbers), sizes, f"{accuracy:.1f}", f"{f1:.1f}"]
    columns = ["classes", "test samples of each", "majority rate", "macro-F1 of the majority"]
    return pandas.DataFrame.from_dict(rows, orient="index", columns=columns)


def f1_table(rows: Rows, branches: Sequence[str]) -> pandas.DataFrame:
    """Show accuracy / macro-F1 / share of the class that a branch names most, in per cent: means, last epoch."""

    def cell(records: Sequence[RunRecord], branch: str) -> str:
        if not records:
            return NOT_RUN
        if branch not in records[0].branches():
            return ABSENT
        scores = [(r.score(branch), r.score(branch, metric="macro_f1"), favourite_share(r, branch)) for r in records]
        return " / ".join(f"{100 * statistics.fmean(values):.1f}" for values in zip(*scores, strict=True))

    table = {b: [cell(records, b) for records in rows.values()] for b in branches}
    return pandas.DataFrame(table, index=list(rows))


def favourite_share(record: RunRecord, branch: str) -> float:
    """Measure the share of test samples that get the class which a branch names most: 1 if it says one class to all."""
    named = unpack(record.predictions["last"][branch])
    return max(Counter(named.tolist()).values()) / len(named)


def means_without(rows: Rows) -> pandas.DataFrame:
    """Show mean test accuracy in per cent with all modalities and without each, for every method that has several."""
    joint = fused_rows(rows)
    table = {"all": [f"{statistics.fmean(percent(v)):.1f}" for v in joint.values()]}
    for m in next(iter(joint.values()))[0].data["modalities"]:
        table[f"without {m}"] = [f"{100 * statistics.fmean(without(r, m) for r in v):.1f}" for v in joint.values()]
    return pandas.DataFrame(table, index=list(joint))


def exclusion_table() -> pandas.DataFrame:
    """Show which method has no row in which half of Table 2, in the words of the method itself."""
    found = [(network, row, why) for network, rows in exclusions().items() for row, why in rows.items()]
    return pandas.DataFrame(found, columns=["network", "method", "why it has no row"]).set_index("network")
