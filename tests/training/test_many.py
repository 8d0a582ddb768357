"""A slice of a stack is the run that the ordinary loop makes, for every method, head and optimiser of the map."""

from __future__ import annotations

import pytest
import torch

from dgl_core import data, fit
from dgl_core.data.generated.dial import NAMES
from dgl_core.models import build as build_model
from dgl_core.paper.map import runs
from dgl_core.paper.map.design import HEADS, Row, build, rows
from dgl_core.training.many import initial, objective_of, slice_of, stack, train_many
from dgl_core.training.records import RunSpec

SEEDS = (3, 4)
SETTINGS = {"epochs": 3, "milestones": (2,), "batch_size": 16, "clip": 0.0, "lr": 0.02, "precision": "fp64"}
METHODS = {
    "vanilla": ("vanilla", {}),
    "vanilla, rate x alpha": ("vanilla", {}),
    "G-Blending": ("gblend", {"alpha": 2.0}),
    "DGL": ("dgl", {"alpha": 2.0}),
    "UT alone": ("partial", {"alpha": 2.0, "encoder_gate": 1.0, "fusion_gate": 0.0}),
    "gate .5": ("partial", {"alpha": 2.0, "encoder_gate": 0.5, "fusion_gate": 0.5}),
}
ROWS = {name: row for name, row in rows().items() if name in METHODS} | {"gate .5": Row(2.0, 0.5, 0.5)}


def sets(modalities: int):
    options = {"samples": 160, "test": 0.4, "modalities": modalities, "synergy": 0.6, "imbalance": 0.4}
    return [data.load("dial", seed=seed, **options) for seed in SEEDS]


def as_house(row: str, head: str, seed: int, dataset, **more) -> dict[str, torch.Tensor]:
    method, options = METHODS[row]
    model = build(head, dataset.modalities, seed)
    scale = 2.0 if ROWS[row].scaled else 1.0
    fit(model, method, dataset, seed=seed, encoder_lr_scale=scale, **SETTINGS | more, **options)
    return model.state_dict()


@pytest.mark.parametrize("head, modalities", [*((head, 2) for head in HEADS), ("hidden", 3)])
@pytest.mark.parametrize("row", METHODS)
def test_a_slice_is_the_run_of_the_ordinary_loop(row, head, modalities):
    drawn = sets(modalities)
    models = [build(head, NAMES[:modalities], seed).double() for seed in SEEDS]
    weights, of = initial(models), ROWS[row]
    objective = objective_of(models[0], of.alpha, of.encoder_gate, of.fusion_gate)
    spec = RunSpec("dial", encoder_lr_scale=2.0 if of.scaled else 1.0, **SETTINGS)
    train_many(objective, weights, stack(drawn, torch.float64), spec, SEEDS)
    for run, seed in enumerate(SEEDS):
        wanted = as_house(row, head, seed, drawn[run])
        for name, values in slice_of(weights, run).items():
            torch.testing.assert_close(values, wanted[name], rtol=1e-9, atol=1e-10)


def test_a_slice_under_adamw_is_the_run_of_the_ordinary_loop():
    drawn, more = sets(2), {"optimizer": "adamw", "lr": 0.01}
    models = [build("hidden", NAMES[:2], seed).double() for seed in SEEDS]
    weights = initial(models)
    data_ = stack(drawn, torch.float64)
    train_many(objective_of(models[0], 2.0, 0.0, 0.0), weights, data_, RunSpec("dial", **SETTINGS | more), SEEDS)
    wanted = as_house("DGL", "hidden", SEEDS[1], drawn[1], **more)
    for name, values in slice_of(weights, 1).items():
        torch.testing.assert_close(values, wanted[name], rtol=1e-7, atol=1e-9)


def test_the_ensemble_of_a_slice_is_each_encoder_trained_alone():
    """The rows that have own heads: nothing flows between modalities, so each branch is a model of one modality."""
    drawn = sets(2)
    data_ = stack(drawn, torch.float64)
    row = rows()["unimodal ensemble"]
    made = [build("hidden", NAMES[:2], seed, own=True).double() for seed in SEEDS]
    weights = initial(made)
    objective = objective_of(made[0], row.alpha, row.encoder_gate, row.fusion_gate)
    train_many(objective, weights, data_, RunSpec("dial", **SETTINGS), SEEDS, lambda x: sum(x.unimodal.values()))
    alone = build("hidden", NAMES[:2], SEEDS[0], own=True).double()
    optimizer = torch.optim.SGD(alone.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    m, inputs, target = "second", data_.inputs["train"]["second"][0], data_.target["train"][0]
    from dgl_core.training.many import _orders

    for epoch in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 if epoch < 2 else 0.002
        for rows_ in _orders(SEEDS, epoch, len(target))[0].split(16)[: len(target) // 16]:
            optimizer.zero_grad()
            logits = alone.fusion.own[m](alone.encoders[m](inputs[rows_]))
            torch.nn.functional.cross_entropy(logits, target[rows_]).backward()
            optimizer.step()
    found = slice_of(weights, 0)
    for name, values in alone.encoders[m].state_dict().items():
        torch.testing.assert_close(found[f"encoders.{m}.{name}"], values, rtol=1e-9, atol=1e-10)


def test_under_sgd_alpha_is_a_rate_of_the_encoders_weight_for_weight():
    """DGL at alpha 4 is DGL at alpha 1 whose encoders learn four times as fast, with any head."""
    data_ = stack(sets(2), torch.float64)
    for head in ("concat", "hidden"):
        found = []
        for alpha, scale in ((4.0, 1.0), (1.0, 4.0)):
            models = [build(head, NAMES[:2], seed).double() for seed in SEEDS]
            weights = initial(models)
            spec = RunSpec("dial", encoder_lr_scale=scale, weight_decay=0.0, **SETTINGS | {"lr": 0.03})
            train_many(objective_of(models[0], alpha, 0.0, 0.0), weights, data_, spec, SEEDS)
            found.append(weights)
        for name in found[0]:
            torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-9, atol=1e-10)


def test_frozen_encoders_stay_and_the_head_moves():
    drawn = stack(sets(2))
    of = {name: rows()[name] for name in ("unimodal ensemble", "frozen encoders, new head")}
    spec = RunSpec("dial", **SETTINGS | {"precision": "fp32"})
    first = runs.train_row(of["unimodal ensemble"], "hidden", drawn, SEEDS, spec)
    then = runs.train_row(of["frozen encoders, new head"], "hidden", drawn, SEEDS, spec, first)
    for name, values in then.weights.items():
        assert torch.equal(values, first.weights[name]) == (not name.startswith("fusion.inner")), name


def test_what_cannot_be_stacked_is_refused():
    with pytest.raises(ValueError, match="sizes differ"):
        stack([data.load("dial", samples=160), data.load("dial", samples=164)])
    with pytest.raises(ValueError, match="clip is 40"):
        model = build("concat", NAMES[:2], 0)
        train_many(objective_of(model, 0.0, 1.0, 1.0), initial([model]), stack(sets(2)[:1]), RunSpec("dial"), (3,))
    with pytest.raises(ValueError, match="buffers"):
        initial([build_model("small", {"audio": (1, 32, 32)}, 4, 0)])
