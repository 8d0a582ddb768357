"""Every registered method on the networks of Table 2, or a clear refusal where the method cannot work there."""

from __future__ import annotations

import pytest
import torch
from tiny import NAMES, images

from dgl_core import methods, models
from dgl_core.data import ArrayDataset
from dgl_core.methods import METHODS
from dgl_core.training.train import fit


def vectors(samples: int = 24) -> ArrayDataset:
    """Three modalities, [N, D]."""
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(samples) % 3
    inputs = {m: torch.randn(samples, 3 + i, generator=generator) + target[:, None] for i, m in enumerate(NAMES[:3])}
    return ArrayDataset(inputs, target, (["train", "val", "train", "test"] * samples)[:samples])


MMTM = {"width": 2, "blocks": 1}
NETWORKS = {  # data, model, options
    "mmtm stem": (images, "mmtm", MMTM | {"split": "stem"}),
    "mmtm parameter": (images, "mmtm", MMTM | {"split": "parameter"}),
    "mlp": (vectors, "mlp", {"width": 8}),
}
OWN_HEAD = ("mla", "reconboost", "ensemble", "frozen_encoders")  # in the place of the fusion module
LINEAR = "needs the fusion 'concat' or 'sum'"  # it normalises one linear classifier per modality
END = "fuses its encoders at the end, where all forms agree: use the method 'dgl'"
LATE = "mixes modalities before that"  # it puts one head on the features of every modality
EXCLUDED = {(network, "mmcosine"): LINEAR for network in NETWORKS} | {
    (f"mmtm {split}", method): LATE for split in ("stem", "parameter") for method in OWN_HEAD
}
EXCLUDED |= {(network, "dgl_dense"): END for network in NETWORKS if network != "mmtm parameter"}


def prepare(network: str, method: str):
    make, model, options = NETWORKS[network]
    dataset = make()
    wanted = methods.build(method).modalities(dataset.modalities)
    return dataset, models.build(model, {m: dataset.shapes[m] for m in wanted}, 3, 0, **options)


EPOCHS = {"relearn": 3, "reconboost": 9}  # until encoders are pulled back once; until each modality had its turn


def run(network: str, method: str):
    dataset, model = prepare(network, method)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    record = fit(
        model, method, dataset, epochs=EPOCHS.get(method, 1), lr=0.02, batch_size=4, milestones=(), device="cpu"
    )
    return record, {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_method_trains_or_says_why_not(network, method):
    if (network, method) in EXCLUDED:
        with pytest.raises(ValueError, match=EXCLUDED[network, method]):
            run(network, method)
        return
    record, moved = run(network, method)
    branches = [b for b in record.branches() if not b.startswith(("official_", "without_"))]
    for branch in branches:
        assert 0 <= record.score(branch) <= 1
    for part in [f"encoders.{m}." for m in branches if m != "fused"]:
        assert any(name.startswith(part) for name in moved), part
    assert any(name.startswith("fusion.") for name in moved) is (method not in OWN_HEAD)


def test_exclusions_are_not_out_of_date():
    assert {method for _, method in EXCLUDED} <= set(METHODS)


@pytest.mark.parametrize("split", ["stem", "parameter"])
def test_baselines_on_mmtm_reach_the_branches(split):
    """D&R pulls back, MMPareto and OGM rescale what is called an encoder: whole branches in the parameter split."""
    _, model = prepare(f"mmtm {split}", "relearn")
    tail = [name for name, _ in model.named_parameters() if name.startswith("encoders.") and ".tail." in name]
    assert bool(tail) is (split == "parameter")
