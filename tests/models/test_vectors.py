"""The model for feature vectors (METHODS 4.2): masks, encoders, gradients, and what a wrong call is told."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny import by_hand, gradients
from torch import Tensor, nn

from dgl_core import data, models
from dgl_core.gradients import disentangled_loss
from dgl_core.models import build
from dgl_core.models.fusion import zero_mask
from dgl_core.training.train import fit

ALPHA = 2.0
SHAPES = {"audio": (7,), "visual": (5,), "text": (9,)}


def network(shapes=SHAPES, **options) -> models.LateFusion:
    return build("mlp", shapes, 2, 0, **{"width": 8} | options).double()


def batch(shapes=SHAPES, size: int = 6, seed: int = 1) -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = {m: torch.randn(size, *s, dtype=torch.float64, generator=generator) for m, s in shapes.items()}
    return inputs, torch.arange(size) % 2


# -- masks and gradients ----------------------------------------------------------------------------------------------


def test_masks():
    """Zero slabs before the head: finite, blind to the other modalities, and the masks add up to the input."""
    model = network().eval()
    (inputs, _), (other, _) = batch(), batch(seed=2)
    features = model.encode(inputs)
    masked = [zero_mask(features, (m,)) for m in inputs]
    for j, z in features.items():
        assert torch.equal(sum(mask[j] for mask in masked), z)
    for m in inputs:
        logits = model(inputs, keep=(m,))
        assert logits.isfinite().all()
        assert torch.equal(logits, model(other | {m: inputs[m]}, keep=(m,)))
        assert not torch.allclose(logits, model(inputs))
        zeros = {j: z if j == m else torch.zeros_like(z) for j, z in features.items()}
        torch.testing.assert_close(model.fuse(features, (m,)), model.fusion.join(zeros))


def test_encoders_do_not_see_the_other_inputs():
    """With dropout on, as in training: the same random numbers, another input of the others, the same gradient."""
    model = network(dropout=0.3)
    (inputs, target), (other, _) = batch(), batch(seed=2)
    seen = []
    for given in (inputs, other | {"text": inputs["text"]}):
        model.zero_grad()
        torch.manual_seed(4)
        disentangled_loss(model, given, target, alpha=ALPHA).total.backward()
        seen.append(gradients(model))
    for n in seen[0]:
        if n.startswith("encoders.text."):
            assert seen[0][n].count_nonzero() and torch.equal(seen[0][n], seen[1][n])
        elif n.endswith("weight") and n.startswith("encoders.audio."):
            assert not torch.equal(seen[0][n], seen[1][n])


@pytest.mark.parametrize("modalities", [2, 3, 4, 5])
def test_one_backward_gives_each_part_its_gradient(modalities):
    model = network({f"m{i}": (7,) for i in range(modalities)}, dropout=0.0)
    inputs, target = batch({m: (7,) for m in model.encoders})
    disentangled_loss(model.eval(), inputs, target, alpha=ALPHA).total.backward()
    torch.testing.assert_close(gradients(model), by_hand(model, inputs, target, ALPHA, 0.0, 0.0))


def test_a_linear_layer_on_word_counts_is_an_embedding_bag():
    """What METHODS calls an embedding bag is the first layer of the text encoder when the input counts words."""
    torch.manual_seed(0)
    bag = nn.EmbeddingBag(9, 4, mode="sum")
    layer = nn.Linear(9, 4, bias=False)
    layer.weight = nn.Parameter(bag.weight.T.clone())
    words = torch.tensor([[1, 4, 4], [0, 8, 2]])
    torch.testing.assert_close(layer(F.one_hot(words, 9).sum(dim=1).float()), bag(words))


# -- trained ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modalities", [3, 4, 5])
@pytest.mark.parametrize("method", ["vanilla", "dgl"])
def test_several_modalities_learn(modalities, method):
    dataset = data.load("triplet", samples=400, modalities=modalities)
    model = build("mlp", dataset.shapes, 4, 0, width=32, layers=2)
    record = fit(model, method, dataset, epochs=6, lr=0.03, batch_size=16, milestones=(5,), device="cpu")
    assert set(record.branches()) >= {"fused", *dataset.modalities}
    assert record.score("fused", part="train") > 0.5  # chance is a quarter


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shapes, options, message",
    [
        ({"audio": (7,), "visual": (3, 16, 16)}, {}, r"'visual' has shape \(3, 16, 16\)\. Use .*'small' for pictures"),
        ({"audio": (6, 7)}, {}, r"'audio' has shape \(6, 7\)"),
        (SHAPES, {"fusion": "mpl"}, "did you mean 'mlp'"),
        (SHAPES, {"width": 0}, "width is 0; it must be at least 1"),
        (SHAPES, {"layers": 0}, "layers is 0; it must be at least 1"),
        (SHAPES, {"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and below 1"),
    ],
)
def test_a_wrong_call_is_told_what_to_change(shapes, options, message):
    with pytest.raises(ValueError, match=message):
        network(shapes, **options)
