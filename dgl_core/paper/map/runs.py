"""Train the rows of the map in stacks and score them: a method is the losses it descends and what it truncates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dgl_core.data.tasks.classes import pooled
from dgl_core.diagnosis import Diagnosis, diagnose
from dgl_core.gradients import FUSED
from dgl_core.models import LateFusion
from dgl_core.paper.map.design import Map, Row, build, rate_at, registered, rows, sample, spec
from dgl_core.training.many import Stack, Weights, initial, logits_many, objective_of, slice_of, train_many
from dgl_core.training.records import RunSpec

DIAGNOSED = 300  # samples of a batch that ``diagnose`` looks at
WHOLE = ("fused", "additive", "overlap")
STATISTICS = ("accuracy", "R_q25", "R_q50", "R_q75", "suppressed", "joint", "own", "cosine")  # of each modality


@dataclass(frozen=True)
class Trained:
    """A stack of trained runs: one model for its structure, the weights of all."""

    model: LateFusion
    weights: Weights
    row: Row


def train_row(
    row: Row, head: str, data: Stack, seeds: Sequence[int], specification: RunSpec, finished: Trained | None = None
) -> Trained:
    """Train one row on a stack.

    Args:
        finished: the row that this one comes ``after``.
    """
    modalities = list(data.inputs["train"])
    if row.after:
        return _retrained(finished, data, seeds, specification)
    made = {seed: build(head, modalities, seed, row.own) for seed in set(seeds)}
    models = [made[seed] for seed in seeds]
    weights = initial(models)
    other = rows()
    stages = [*([other[row.before]] if row.before else []), row, *([other[row.then]] if row.then else [])]
    if len(stages) > 1:  # each has its half of the epochs, and its own schedule
        halves = tuple(m // 2 for m in specification.milestones)
        specification = specification.but(epochs=specification.epochs // 2, milestones=halves)
    for stage in stages:
        objective = objective_of(models[0], stage.alpha, stage.encoder_gate, stage.fusion_gate)
        if stage.multimodal:
            train_many(objective, weights, data, specification, seeds)
        else:
            train_many(
                objective, weights, data, specification, seeds, total=lambda losses: sum(losses.unimodal.values())
            )
    return Trained(models[0], weights, row)


def _retrained(finished: Trained, data: Stack, seeds: Sequence[int], specification: RunSpec) -> Trained:
    """Keep the encoders as they are and train the joining head, from its initial weights, by the fused loss."""
    weights = {name: values.detach().clone().requires_grad_() for name, values in finished.weights.items()}
    objective = objective_of(finished.model, 0.0, 0.0, 0.0)
    train_many(objective, weights, data, specification, seeds, moving=["fusion"])
    return Trained(finished.model, weights, Row(own=True))


def branches(modalities: Sequence[str]) -> tuple[str, ...]:
    """Name what is scored: the fused model, each modality alone and, of three, the model without each one."""
    without = [f"without_{m}" for m in modalities] if len(modalities) > 2 else []
    return (FUSED, *modalities, *without)


def absent(accuracy: Mapping[str, np.ndarray], modalities: Sequence[str]) -> np.ndarray:
    """Average accuracy over the modality that is missing; of two, what is left is the other one's branch."""
    left = [f"without_{m}" for m in modalities] if len(modalities) > 2 else modalities
    return np.mean([accuracy[branch] for branch in left], axis=0)


@torch.no_grad()
def right(trained: Trained, data: Stack, part: str) -> np.ndarray:
    """Count the samples of a part that each branch has right, ``[R, B]``; 65535 where training diverged."""
    model, weights, inputs = trained.model, trained.weights, data.inputs[part]
    modalities = list(inputs)
    alone = {m: logits_many(model, weights, inputs, (m,)) for m in modalities}
    apart = trained.row.own  # then every modality answers for itself, and some of them together by their average
    keeps = {b: [j for j in modalities if j != b.removeprefix("without_")] for b in branches(modalities) if "_" in b}
    together = {b: _averaged(alone, keep) if apart else logits_many(model, weights, inputs, keep)
                for b, keep in keeps.items()}  # fmt: skip
    fused = logits_many(model, weights, inputs) if trained.row.multimodal else _averaged(alone, modalities)
    found = {FUSED: fused} | alone | together
    hits = torch.stack([(found[b].argmax(dim=2) == data.target[part]).sum(dim=1) for b in branches(modalities)], dim=1)
    finite = torch.stack([values.isfinite().flatten(1).all(dim=1) for values in found.values()]).all(dim=0)
    return np.where(finite[:, None].numpy(), hits.numpy(), 65535).astype(np.uint16)


def _averaged(alone: Mapping[str, Tensor], keep: Sequence[str]) -> Tensor:
    """Average log-probabilities over modalities, [R, N, K]."""
    shape = alone[keep[0]].shape
    return pooled({m: alone[m].flatten(0, 1) for m in keep}).view(shape)


def statistics(trained: Trained, data: Stack) -> np.ndarray:
    """Run ``diagnose`` on every model of a stack and its test part, ``[R, 3 + 8 M]``; NaN where training diverged."""
    found, modalities = [], list(data.inputs["test"])
    for run in range(len(data)):
        weights = slice_of(trained.weights, run)
        if not all(values.isfinite().all() for values in weights.values()):
            found.append(np.full(len(WHOLE) + len(STATISTICS) * len(modalities), np.nan))
            continue
        trained.model.load_state_dict(weights)
        inputs = {m: x[run].split(DIAGNOSED) for m, x in data.inputs["test"].items()}
        target = data.target["test"][run].split(DIAGNOSED)
        loader = [({m: x[i] for m, x in inputs.items()}, y) for i, y in enumerate(target)]
        found.append(numbers(diagnose(trained.model, loader, share=0.25)))
    return np.asarray(found, dtype=np.float32)


def numbers(report: Diagnosis) -> np.ndarray:
    """Write a diagnosis as numbers: ``WHOLE`` of the model, then ``STATISTICS`` of each modality."""
    each = [[b.accuracy, *b.ratio, b.suppressed, b.joint, b.own, b.cosine] for b in report.branches.values()]
    return np.array([report.accuracy, report.additive, report.overlap, *np.ravel(each)])


def column(of: Map, synergy: float, rates: Mapping[str, Mapping[str, float]]) -> dict[str, np.ndarray]:
    """Train all rows of one column of a map, each at its own rate.

    Returns:
        "test/ROW" and "val/ROW", counts of right samples [I, D, B]; "rate/ROW"; "statistics" of vanilla [I, D, F].
    """
    first = registered()["first"]
    draws = range(first, first + of.draws)
    data, seeds = sample([(synergy, imbalance) for imbalance in of.imbalances], draws, of.modalities)
    shape = (len(of.imbalances), of.draws, -1)
    found, finished = {}, {}
    for name, row in rows().items():
        rate = rate_at(rates[name], synergy)
        finished[name] = train_row(row, of.head, data, seeds, spec(rate, row), finished.get(row.after))
        found[f"rate/{name}"] = np.array(rate)
        for part in ("val", "test"):
            found[f"{part}/{name}"] = right(finished[name], data, part).reshape(shape)
    found["statistics"] = statistics(finished["vanilla"], data).reshape(shape)
    return found


def diagnosed(of: Map, synergy: float, rate: float) -> np.ndarray:
    """Train the vanilla row of one column again and diagnose it, ``[I, D, F]``."""
    first, row = registered()["first"], rows()["vanilla"]
    draws = range(first, first + of.draws)
    data, seeds = sample([(synergy, imbalance) for imbalance in of.imbalances], draws, of.modalities)
    found = statistics(train_row(row, of.head, data, seeds, spec(rate, row)), data)
    return found.reshape(len(of.imbalances), of.draws, -1)


def pilot(of: Map, asked: Mapping[str, Row] | None = None) -> dict[str, dict[str, float]]:
    """Choose the rate of every row and pilot column by the mean fused validation accuracy: row -> synergy -> rate.

    ``asked``: the rows; by default those of the map.
    """
    body, asked = registered(), rows() if asked is None else asked
    imbalances = [i for i in body["pilot_imbalances"] if len(of.imbalances) > 1] or list(of.imbalances)
    points = [(s, i) for s in body["pilot_synergies"] for i in imbalances]
    data, seeds = sample(points, body["pilots"], of.modalities)
    scores: dict[str, list[np.ndarray]] = {name: [] for name in asked}
    for rate in of.rates:
        finished = {}
        for name, row in asked.items():
            finished[name] = train_row(row, of.head, data, seeds, spec(rate, row), finished.get(row.after))
            hits = right(finished[name], data, "val")[:, 0].astype(float)
            hits[hits == 65535] = 0.0
            scores[name].append(hits.reshape(len(body["pilot_synergies"]), -1).mean(axis=1))
    best = {name: np.argmax(values, axis=0) for name, values in scores.items()}
    return {name: {f"{s:g}": of.rates[best[name][j]] for j, s in enumerate(body["pilot_synergies"])} for name in best}
