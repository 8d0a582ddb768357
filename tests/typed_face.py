"""Use every public name as a reader's own project does; the type checker reads this file, nothing runs it.

``mypy`` (its settings are in pyproject.toml) fails where a name lost its type or takes what it should refuse: an
"ignore" that ignores nothing is an error too.
"""

from __future__ import annotations

from typing import assert_type

import numpy as np
import torch
from torch import Tensor, nn

import dgl_core
from dgl_core import (
    METHODS,
    ArrayDataset,
    ConcatFusion,
    DisentangledObjective,
    LateFusion,
    MultimodalModel,
    RunSpec,
    check,
    compare,
    diagnose,
    disentangled_logits,
    disentangled_loss,
    fit,
    load_model,
    load_or_run,
    random_split,
    reference,
)
from dgl_core.diagnosis import Diagnosis
from dgl_core.gradients import Losses
from dgl_core.training import RunRecord
from dgl_core.training.saving.weights import Prediction, Predictor
from dgl_core.verdicts.comparison import Comparison

encoders = {"audio": nn.Linear(20, 16), "face": nn.Linear(30, 16)}
model = LateFusion(encoders, ConcatFusion({"audio": 16, "face": 16}, classes=6))
inputs, target = {"audio": torch.randn(8, 20), "face": torch.randn(8, 30)}, torch.arange(8) % 6

losses = disentangled_loss(model, inputs, target, alpha=4.0)
assert_type(losses, Losses)
assert_type(losses.total, Tensor)
assert_type(losses.unimodal, dict[str, Tensor])
assert_type(disentangled_logits(inputs, nn.Linear(50, 6)), dict[str, Tensor])
base: MultimodalModel = model
objective: nn.Module = DisentangledObjective(base, alpha=4.0, encoder_gate={"audio": 0.0, "face": 0.1})
assert_type(diagnose(model, [(inputs, target)]), Diagnosis)

split = random_split(target, val=0.2, test=0.2)
assert_type(split, list[str])
dataset = ArrayDataset({"audio": np.zeros((8, 20))}, target, split, classes=list("abcdef"))
record = fit(model, "dgl", dataset, epochs=2, alpha=2.0)
assert_type(record, RunRecord)
assert_type(load_model("weights"), Predictor)
assert_type(load_model("weights").predict({"audio": np.zeros((8, 20))}, keep=("audio",)), Prediction)
assert_type(compare(lambda: model, dataset, ["vanilla", ("dgl", {"alpha": 2.0})], rates=[0.01], seeds=2), Comparison)
assert_type(load_or_run([RunSpec("triplet", "dgl", "mlp")]), list[RunRecord])
assert_type(reference([RunSpec("triplet", "dgl", "mlp")]), list[RunRecord])
assert_type("dgl" in METHODS, bool)
check("a contract", True)

disentangled_loss(model, inputs, target)  # type: ignore[call-arg]  # alpha has no default
disentangled_loss(model, inputs, target, alpha="4")  # type: ignore[arg-type]
fit(model, "dgl", [1, 2])  # type: ignore[arg-type]
ArrayDataset([1, 2], target, split)  # type: ignore[arg-type]
dgl_core.nonsense  # type: ignore[attr-defined]  # noqa: B018
