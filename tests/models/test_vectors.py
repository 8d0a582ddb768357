"""CubeMLP and the light form for feature vectors (METHODS 4): shapes, counts, masks, encoders."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny import gradients
from torch import Tensor, nn

from dgl_core import data, models
from dgl_core.gradients import disentangled_loss
from dgl_core.models import build
from dgl_core.models.fusion import CubeFusion, MixerFusion, zero_mask
from dgl_core.models.fusion.mixing import AxisMLP
from dgl_core.models.vectors import SequenceEncoder, StepEncoder
from dgl_core.training.train import fit

ALPHA = 2.0
VECTORS = {"audio": (7,), "visual": (5,), "text": (9,)}
SEQUENCES = {"audio": (6, 7), "visual": (6, 5), "text": (6, 9)}
SMALL = {"mlp": {"width": 8}, "cubemlp": {"width": 8, "time": (4, 2), "channels": (8, 5)}}
SHAPES = {"mlp": VECTORS, "cubemlp": SEQUENCES}
each = pytest.mark.parametrize("name", SHAPES)


def network(name: str, shapes=None, **options) -> models.LateFusion:
    return build(name, shapes or SHAPES[name], 2, 0, **SMALL[name] | options).double()


def batch(shapes, size: int = 6, seed: int = 1) -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = {m: torch.randn(size, *s, dtype=torch.float64, generator=generator) for m, s in shapes.items()}
    return inputs, torch.arange(size) % 2


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# -- the cube ---------------------------------------------------------------------------------------------------------


def test_official_shapes_and_parameters():
    """B x 100 x 3 x 128 -> B x 10 x 3 x 32, 73 298 parameters, classifier on 96."""
    model = build("cubemlp", {"text": (100, 768), "audio": (100, 74), "visual": (100, 47)}, 2, 0)
    assert count(model.fusion.blocks) == 73_298
    assert model.fusion.blocks(torch.randn(2, 100, 3, 128)).shape == (2, 10, 3, 32)
    assert model.fusion.head.weight.shape == (2, 96)
    assert [layer.axis for layer in model.fusion.blocks] == [1, -2, -1] * 2  # time, modality, channel
    assert type(model.encoders["text"]) is StepEncoder and count(model.encoders["text"]) == 768 * 128
    gru = model.encoders["audio"].gru
    assert (gru.input_size, gru.hidden_size, gru.num_layers, gru.bidirectional) == (74, 128, 2, True)
    assert count(CubeFusion("abcde", 2, 100, 128).blocks) > 73_298  # five modalities fit as well


def test_axis_by_hand():
    torch.manual_seed(0)
    layer = AxisMLP(1, 4, 3, dropout=0.5).double().eval()
    x = torch.randn(2, 4, 5).double()
    out = layer(x)
    assert out.shape == (2, 3, 5)
    line = x[1, :, 2]
    normed = (line - line.mean()) / (line.var(correction=0) + 1e-6).sqrt() * layer.norm.weight + layer.norm.bias
    hidden = F.gelu(layer.first.weight @ normed + layer.first.bias)
    torch.testing.assert_close(
        out[1, :, 2], layer.second.weight @ hidden + layer.second.bias + layer.shortcut.weight @ line
    )


def test_the_cube_mixes_every_axis_and_no_sample():
    """Each output of a block depends on every step, modality and channel of its own sample only."""
    torch.manual_seed(0)
    fusion = CubeFusion("ab", 2, 4, 3, time=(4,), channels=(3,)).double().eval()
    x = torch.randn(2, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(fusion.blocks(x)[0, 1, 0, 2], x)
    assert (grad[0] != 0).all() and grad[1].count_nonzero() == 0


def test_light_form_is_the_cube_without_time():
    torch.manual_seed(0)
    fusion = MixerFusion({"a": 4, "b": 4, "c": 4}, 2).double().eval()
    z = {m: torch.randn(5, 4).double() for m in "abc"}
    assert [layer.axis for layer in fusion.blocks] == [-2, -1]
    cube = torch.stack(list(z.values()), dim=1)
    torch.testing.assert_close(fusion(z), fusion.head(fusion.blocks[1](fusion.blocks[0](cube)).flatten(1)))
    with pytest.raises(ValueError, match="features of one width.*'b': 5"):
        MixerFusion({"a": 4, "b": 5}, 2)


# -- masks and gradients ----------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("fusion", ["mlp", "mixer"])
def test_masks(name, fusion):
    """Zero slabs before the first block: finite, blind to the other modalities, and the masks add up to the input."""
    options = {"fusion": fusion} if name == "mlp" else {}
    model = network(name, **options).eval()
    (inputs, _), (other, _) = batch(SHAPES[name]), batch(SHAPES[name], seed=2)
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


@each
def test_encoders_do_not_see_the_other_inputs(name):
    """With dropout on, as in training: the same random numbers, another input of the others, the same gradient."""
    model = network(name, dropout=0.3)
    (inputs, target), (other, _) = batch(SHAPES[name]), batch(SHAPES[name], seed=2)
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


@each
@pytest.mark.parametrize("modalities", [2, 3, 4, 5])
def test_one_backward_gives_each_part_its_gradient(name, modalities):
    shape = (7,) if name == "mlp" else (6, 7)
    model = network(name, {f"m{i}": shape for i in range(modalities)}, dropout=0.0)
    inputs, target = batch({m: shape for m in model.encoders})
    disentangled_loss(model.eval(), inputs, target, alpha=ALPHA).total.backward()
    got = gradients(model)
    for m, encoder in model.encoders.items():
        loss = ALPHA * F.cross_entropy(model(inputs, keep=(m,)), target)
        wanted = torch.autograd.grad(loss, list(encoder.parameters()))
        for (n, _), w in zip(encoder.named_parameters(), wanted, strict=True):
            torch.testing.assert_close(got[f"encoders.{m}.{n}"], w)
    constant = {m: z.detach() for m, z in model.encode(inputs).items()}
    wanted = torch.autograd.grad(F.cross_entropy(model.fuse(constant), target), list(model.fusion.parameters()))
    for (n, _), w in zip(model.fusion.named_parameters(), wanted, strict=True):
        torch.testing.assert_close(got[f"fusion.{n}"], w)


# -- encoders ---------------------------------------------------------------------------------------------------------


def test_sequence_encoder_adds_the_directions():
    torch.manual_seed(0)
    encoder = SequenceEncoder(3, 4, dropout=0.0)
    x = torch.randn(2, 5, 3)
    both = encoder.gru(x)[0]
    torch.testing.assert_close(encoder(x), F.relu(F.layer_norm(both[..., :4] + both[..., 4:], (4,), eps=1e-6)))


def test_padding_says_nothing():
    encoder = SequenceEncoder(3, 4, dropout=0.0)
    nn.init.ones_(encoder.norm.bias)
    x = torch.randn(2, 5, 3)
    x[1, 2:] = 0
    out = encoder(x)
    assert out[1, 2:].count_nonzero() == 0 and (out[0] > 0).any() and (out[1, :2] > 0).any()


def test_contextual_modalities_get_a_linear_map():
    model = network("cubemlp", contextual=("audio", "text"))
    kinds = {m: type(e) for m, e in model.encoders.items()}
    assert kinds == {"audio": StepEncoder, "visual": SequenceEncoder, "text": StepEncoder}
    assert model.encoders["audio"].project.bias is None


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


def test_cubemlp_learns_sequences():
    """Sixty DGL steps on the same 64 sequences bring the fused loss and the strong modality's own well down."""
    dataset = data.load("triplet", samples=120, steps=6)
    inputs, target = dataset.batch(dataset.indices("train")[:64])
    model = build("cubemlp", dataset.shapes, 4, 0, width=16, time=(4, 2), channels=(16, 8), contextual=(), dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        losses.append(disentangled_loss(model, inputs, target, alpha=1.0))
        optimizer.zero_grad()
        losses[-1].total.backward()
        optimizer.step()
    assert losses[-1].multimodal < 0.5 * losses[0].multimodal
    assert losses[-1].unimodal["strong"] < 0.5 * losses[0].unimodal["strong"]


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, shapes, message",
    [
        ("mlp", {"audio": (7,), "visual": (3, 16, 16)}, r"'visual' has shape \(3, 16, 16\). Use model 'small'"),
        ("mlp", {"audio": (6, 7)}, r"'audio' has shape \(6, 7\). Use model 'cubemlp'"),
        ("cubemlp", {"audio": (7,)}, r"'audio' has shape \(7,\). Use model 'mlp'"),
        ("cubemlp", {"audio": (6, 7), "text": (5, 7)}, "one length; they have {'audio': 6, 'text': 5}.*steps"),
    ],
)
def test_wrong_shapes(name, shapes, message):
    with pytest.raises(ValueError, match=message):
        build(name, shapes, 2, 0, **SMALL[name])


def test_wrong_options():
    with pytest.raises(ValueError, match="time .* and channels .* one entry per block"):
        network("cubemlp", time=(4,))
    with pytest.raises(ValueError, match="did you mean 'mixer'"):
        network("mlp", fusion="mixr")
