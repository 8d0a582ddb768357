"""Read the reader's own run records: what can be judged, as rows of our experiments, and what is not used, and why."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dgl_core.paper.answers.evidence import measured
from dgl_core.paper.answers.regimes import needed
from dgl_core.paper.claims.ledger import Claim
from dgl_core.paper.claims.reading import read
from dgl_core.paper.experiments.late_fusion import RATE_CONTROL, TABLE_1
from dgl_core.paper.experiments.profiles import ALPHA
from dgl_core.training.records import RunRecord
from dgl_core.verdicts.families import Judged, Member, judge
from dgl_core.verdicts.inference import Evidence
from dgl_core.verdicts.registration import Question, asked_of, registration
from dgl_core.verdicts.selection import best
from dgl_core.verdicts.statistics import DECIDING, fold_of, processes_of


@dataclass
class Group:
    """Records of the reader's that may be compared with each other, rows named as ours.

    Attributes:
        rows: row -> one record a seed. problems: why some of them could not be compared.
    """

    rows: dict[str, list[RunRecord]]
    problems: dict[str, None] = field(default_factory=dict)

    @property
    def modalities(self) -> list[str]:
        """List the modalities of the model that has most."""
        return max((r.data["modalities"] for records in self.rows.values() for r in records), key=len)


@dataclass
class Folder:
    """What a folder of the reader's holds."""

    groups: dict[str, Group] = field(default_factory=dict)  # title -> records that may be compared
    unused: dict[str, str] = field(default_factory=dict)  # file -> why it is not used


def records_in(folder: Path) -> Folder:
    """Read a folder: one record of each run, grouped by what may be compared.

    A group has one data set with one content, one model, one set of modalities, one score, one revision of each part
    and one number of processes; in it every row has one setting and one run of each seed. Whatever else lies in the
    folder is named with the reason why it is not used.
    """
    if not folder.is_dir():
        raise ValueError(f"No run records in {str(folder)!r}: it is no folder that can be read.")
    found, usable = Folder(), {}
    for path in _paths(folder, found):
        name = str(path.relative_to(folder))
        try:
            usable[name] = read(path)
        except (OSError, ValueError) as error:
            found.unused[name] = _reason(error)
    for title, files in _groups(_without_copies(usable, found), found).items():
        rows = _rows(files, found)
        if any(rows.values()):
            found.groups[title] = Group(rows)
    return found


def judged_in(folder: Path, claims: Iterable[Claim]) -> tuple[dict[tuple[str, str], tuple[str, Judged]], Folder]:
    """Judge the records of a folder by the registered rule, as members of families of the registered size.

    Returns:
        (group, question) -> the claim in words and its verdict; and what the folder held.
    """
    found, judged = records_in(folder), {}
    for title, group in found.groups.items():
        for claim in claims:
            for question in asked_of(claim.id, group.modalities):
                if (evidence := _evidence(question, group)) is not None:
                    families = [f for (name, _), f in registration().families.items() if name == question.family]
                    size, correction = max(family.size for family in families), families[0].correction
                    member = Member(evidence, question.delta or (2.0 if question.of_branches else 1.0))
                    text = f"{claim.of(question.modality)} ({claim.place})"
                    judged[title, question.id] = text, judge({0: member}, size, correction)[0]
    return judged, found


def _evidence(question: Question, group: Group) -> Evidence | None:
    """Measure a question on a group; None where rows are missing or must not be compared (a problem says why).

    A reader's replicates are draws where each has data of its own; else test items and seeds are resampled.
    """
    than = next((row for row in question.than if row == "alone" or group.rows.get(row)), None)
    if than is None:
        return None
    asked = replace(question, than=(than,))
    rows = {row: group.rows.get(row) for row in needed(asked, group.modalities)}
    if not all(rows.values()):
        return None
    contents = {r.spec.seed: r.data["fingerprint"] for records in rows.values() for r in records}
    try:
        drawn = len(contents) > 1 and len(set(contents.values())) == len(contents)
        found = measured(asked, rows, group.modalities, drawn)
        if found.n >= DECIDING:
            return found
        reason = f"{found.n} replicates; fewer than {DECIDING} decide nothing"
    except (ValueError, ArithmeticError) as error:
        reason = str(error)
    except KeyError:  # a column or branch that these records do not have
        return None
    group.problems[f"rows {', '.join(map(repr, rows))} cannot be compared: {reason}"] = None
    return None


def _paths(folder: Path, found: Folder) -> Iterator[Path]:
    """Walk over what is named *.json below a folder, in order; links to folders are not followed."""

    def unreadable(error: OSError) -> None:
        found.unused[os.path.relpath(error.filename, folder)] = _reason(error)

    for place, folders, files in os.walk(folder, onerror=unreadable):
        folders.sort()
        yield from (Path(place, name) for name in sorted(folders + files) if name.endswith(".json"))


def _reason(error: Exception) -> str:
    return (error.strerror or "it cannot be read") if isinstance(error, OSError) else str(error)


def _without_copies(usable: dict[str, RunRecord], found: Folder) -> dict[str, RunRecord]:
    """Keep one record of each run: a copy, or the same run made once more, is no further seed."""
    first: dict[tuple, str] = {}
    for name, record in usable.items():
        run = (record.spec.identity(), *_made_of(record), record.data["fingerprint"], tuple(record.data["modalities"]))
        if first.setdefault(run, name) != name:
            found.unused[name] = f"it is the same run as {first[run]}"
    return {name: usable[name] for name in first.values()}


def _made_of(record: RunRecord) -> tuple:
    """List what two records must share to be compared, whatever their methods; the content of the data comes later."""
    spec = record.spec
    kept = {name: value for name, value in spec.dataset_options.items() if name not in ("fold", "seed")}
    options = ", ".join(f"{name} {value}" for name, value in kept.items())
    revisions = tuple(record.revisions.get(part) for part in ("dataset", "model", "loop"))
    return spec.dataset, options, spec.model, record.selecting, revisions, processes_of(record)


Files = Sequence[tuple[str, RunRecord]]


def _sorted(files: Iterable[tuple[str, RunRecord]], key: Callable[[RunRecord], Any]) -> dict[Any, Files]:
    """Sort files by what their records have in common, in order."""
    groups = defaultdict(list)
    for name, record in files:
        groups[key(record)].append((name, record))
    return groups


def _groups(records: dict[str, RunRecord], found: Folder) -> dict[str, Files]:
    """Sort records into groups that may be compared; titles differ by what tells the groups apart."""
    groups: dict[tuple, Files] = {}
    for made_of, files in _sorted(records.items(), _made_of).items():
        named = {name for _, record in files for name in record.spec.dataset_options}
        if "seed" in named:  # every replicate draws data of its own
            contents = {"": files}
        elif "fold" in named:
            contents = {"": _one_content_a_fold(files, found)}
        else:
            contents = _sorted(files, lambda r: r.data["fingerprint"])
        for content, of in contents.items():
            for modalities, together in _by_modalities(of).items():
                groups[*made_of, content, modalities] = together
    return dict(zip(_titles(list(groups)), groups.values(), strict=True))


def _one_content_a_fold(files: Files, found: Folder) -> Files:
    """Leave out the folds that were recorded on different data, and the seeds that stand for different folds."""
    contents: dict[int, set[object]] = defaultdict(set)
    folds: dict[int, set[int]] = defaultdict(set)
    for _, record in files:
        contents[fold_of(record)].add(record.data["fingerprint"])
        folds[record.spec.seed].add(fold_of(record))
    kept = []
    for name, record in files:
        fold, seed = fold_of(record), record.spec.seed
        if len(contents[fold]) > 1:
            found.unused[name] = f"fold {fold} was recorded on different data; use one folder for each"
        elif len(folds[seed]) > 1:
            found.unused[name] = f"seed {seed} was used on several folds; give each fold seeds of its own"
        else:
            kept.append((name, record))
    return kept


def _by_modalities(files: Files) -> dict[tuple[str, ...], Files]:
    """Sort by the modalities of the model; one modality alone goes with every model that has it."""
    sets = [tuple(record.data["modalities"]) for _, record in files]
    joint = dict.fromkeys(names for names in sets if len(names) > 1)
    single = dict.fromkeys(names for names in sets if not any(set(names) <= set(other) for other in joint))
    return {
        names: [item for item, own in zip(files, sets, strict=True) if own == names or own in [(m,) for m in names]]
        for names in (*joint, *single)
    }


def _titles(groups: Sequence[tuple]) -> list[str]:
    """Name every group by data set and model, and by whatever else differs between groups of that name."""

    def words(group: tuple) -> list[str]:
        _, options, _, score, revisions, processes, content, modalities = group
        data = f"data {content[:8]}" if content else ""
        return [options, score, f"revisions {revisions}", f"{processes} processes", data, " + ".join(modalities)]

    titles = []
    for group in groups:
        rivals = [words(other) for other in groups if (other[0], other[2]) == (group[0], group[2])]
        differing = [
            word for word, others in zip(words(group), zip(*rivals, strict=True), strict=True) if {word} < set(others)
        ]
        titles.append(f"{group[0]} ({', '.join([group[2], *filter(None, differing)])})")
    return titles


def labels_of(record: RunRecord) -> list[str]:
    """Name the rows of our experiments that a run belongs to."""
    spec = record.spec
    alpha = float(spec.method_options.get("alpha", ALPHA))
    if spec.method == "unimodal":
        base = f"{record.data['modalities'][0]} alone"
        return [base if spec.encoder_lr_scale == 1 else f"{base}, rate x alpha"]
    if spec.method == "vanilla":
        scale = spec.encoder_lr_scale
        return ["vanilla"] if scale == 1 else [RATE_CONTROL, f"vanilla, rate x {scale:g}"]
    if spec.method in ("dgl", "dgl_dense", "gblend"):
        label = "G-Blending" if spec.method == "gblend" else "DGL"
        return [label, f"{label}, alpha {alpha:g}", *(["DGL, dense"] if spec.method == "dgl_dense" else [])]
    if spec.method == "partial":
        gates = (spec.method_options.get("encoder_gate", 0.0), spec.method_options.get("fusion_gate", 0.0))
        return [{(0.0, 1.0): "MT alone", (1.0, 0.0): "UT alone"}.get(gates, f"gates {gates[0]:g} and {gates[1]:g}")]
    return [label for label, (method, _) in TABLE_1.items() if method == spec.method] or [spec.method]


def _rows(files: Files, found: Folder) -> dict[str, list[RunRecord]]:
    """Name the rows of a group. Each has one setting, one revision of its method, and one run of a seed.

    Of several alphas a row that names none means the paper's.
    """
    rows: dict[str, list[tuple[str, RunRecord]]] = defaultdict(list)
    for name, record in files:
        for label in labels_of(record):
            rows[label].append((name, record))
    named: dict[str, list[RunRecord]] = {}
    for label, items in rows.items():
        if len({_setting(record) for _, record in items}) > 1:
            items = [item for item in items if _has_the_papers_alpha(item[1])] or items
        items = _at_own_rate(label, items, found)
        if len({_setting(record) for _, record in items}) > 1:
            reason = f"row {label!r} has runs of different settings; use one folder for each"
            found.unused |= {name: reason for name, _ in items}
            continue
        by_seed: dict[int, tuple[str, RunRecord]] = {}
        for name, record in items:
            kept, _ = by_seed.setdefault(record.spec.seed, (name, record))
            if kept != name:
                found.unused[name] = f"row {label!r} has seed {record.spec.seed} already, in {kept}"
        named[label] = [record for _, record in by_seed.values()]
    return named


def _at_own_rate(label: str, items: list[tuple[str, RunRecord]], found: Folder) -> list[tuple[str, RunRecord]]:
    """Keep the runs of the rate that is best on validation, where runs of a row differ in nothing but the rate.

    Only rates that have every seed of the row are compared; ``compare`` leaves such folders.
    """
    alike = {(record.spec.but(lr=0.0, seed=0, dataset_options={}).identity(), record.revisions.get("method"))
             for _, record in items}  # fmt: skip
    rates = _sorted(items, lambda record: record.spec.lr)
    seeds = {record.spec.seed for _, record in items}
    whole = {rate: [r for _, r in of] for rate, of in sorted(rates.items()) if {r.spec.seed for _, r in of} == seeds}
    scored = all(f"val/fused/{record.selecting}" in record.curves for _, record in items)
    if len(alike) > 1 or len(rates) < 2 or not whole or not scored:
        return items
    chosen = best(whole)
    for name, record in items:
        if record.spec.lr != chosen:
            found.unused[name] = (
                f"row {label!r} does better on validation at rate {chosen:g} than at {record.spec.lr:g}"
            )
    return [item for item in items if item[1].spec.lr == chosen]


def _has_the_papers_alpha(record: RunRecord) -> bool:
    return record.spec.method_options.get("alpha", ALPHA) == ALPHA and record.spec.encoder_lr_scale in (1.0, ALPHA)


def _setting(record: RunRecord) -> tuple[str, object]:
    return record.spec.but(seed=0, dataset_options={}).identity(), record.revisions.get("method")
