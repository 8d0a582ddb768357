"""Models: the paper's encoder by its counts and shapes, masks, initial weights, and what a wrong call is told."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import FUSED, NAMES, arrays, batch, late, mlp
from torch import nn

from dgl_core import models
from dgl_core.models import FUSIONS, MODELS, ConcatFusion, LateFusion, MultimodalModel, ResNet, ResNet18, build
from dgl_core.models.initial import initialise
from dgl_core.training.train import fit

SHAPES = {"sound": (1, 32, 24), "face": (3, 32, 32)}


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# -- the encoder (METHODS 1.2) ---------------------------------------------------------------------------------------


def test_resnet18_counts():
    assert parameters(ResNet18(1)) == 11_170_240
    assert parameters(ResNet18(3)) == 11_176_512


def test_resnet18_map_sizes():
    """METHODS 1.2: 257x188 -> 9x6, 129x626 -> 5x20, 257x299 -> 9x10; features [B, 512]."""
    encoder = ResNet18(1).eval()
    maps = []
    encoder.layers.register_forward_hook(lambda *call: maps.append(tuple(call[2].shape)))
    with torch.no_grad():
        for height, width, size in [(257, 188, (9, 6)), (129, 626, (5, 20)), (257, 299, (9, 10))]:
            assert encoder(torch.randn(2, 1, height, width)).shape == (2, 512)
            assert maps[-1] == (2, 512, *size)
        assert ResNet18(3).eval()(torch.randn(1, 3, 224, 224)).shape == (1, 512)


def test_frames_are_the_mean_of_single_frames():
    """In evaluation mode a clip is the mean of its frames; in training batch-norm sees B x T images at once."""
    torch.manual_seed(0)
    encoder = ResNet(3, (4, 6, 8, 10), (1, 1, 1, 1), "small").double()
    clip = torch.randn(2, 3, 5, 33, 40, dtype=torch.float64)  # [B, C, T, H, W]
    for _ in range(3):
        encoder(torch.randn(8, 3, 33, 40, dtype=torch.float64))  # statistics away from 0 and 1
    encoder.eval()
    single = torch.stack([encoder(clip[:, :, t]) for t in range(5)]).mean(0)
    assert torch.allclose(encoder(clip), single, rtol=0, atol=1e-12)
    encoder.train()
    norm = encoder.stem[1]
    seen = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[0]))
    encoder(clip)
    assert seen == [10]


def test_pooling_is_over_space():
    """The features are the mean of the last map over height and width."""
    encoder = ResNet(1, (4, 4, 4, 6), (1, 1, 1, 1), "small").eval()
    maps = []
    encoder.layers.register_forward_hook(lambda *call: maps.append(call[2]))
    features = encoder(torch.randn(3, 1, 40, 56))
    assert maps[0].shape[2:] != (1, 1)
    assert torch.allclose(features, maps[0].flatten(2).mean(2), atol=1e-6)


def test_narrow_networks():
    encoder = ResNet(2, (4, 8), (1, 2), "small")
    assert encoder.width == 8 and encoder(torch.randn(2, 2, 20, 20)).shape == (2, 8)
    with pytest.raises(ValueError, match="stem is 'large'"):
        ResNet(1, stem="large")


def test_initial_weights():
    """Kaiming normal (fan out, ReLU) for convolutions, Xavier normal for linear layers, batch-norm 1 and 0."""
    torch.manual_seed(0)
    encoder = ResNet18(1)
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 30_000:
            expected = math.sqrt(2 / (module.out_channels * module.kernel_size[0] ** 2))
            assert module.weight.std().item() == pytest.approx(expected, rel=0.03)
            assert module.bias is None
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all()
    linear = nn.Linear(1024, 300)
    initialise(linear)
    assert linear.weight.std().item() == pytest.approx(math.sqrt(2 / 1324), rel=0.01)
    assert (linear.bias == 0).all()


# -- registered models -----------------------------------------------------------------------------------------------

# what a registered model is given where that is not pictures
INPUTS = {"mlp": {m: (7 + i,) for i, m in enumerate(SHAPES)}}
INPUTS["esanet"] = {m: (channels, 32, 64) for m, (channels, *_) in SHAPES.items()}  # sizes divisible by 32
NARROW = {"esanet": {"width": 4, "blocks": (1, 1, 1, 1), "decoder_blocks": 1}}  # 47 million parameters otherwise


def registered(name: str, shapes, classes: int = 3, seed: int = 5) -> MultimodalModel:
    """A registered model, small."""
    return build(name, shapes, classes, seed, **NARROW.get(name, {}))


@pytest.mark.parametrize("name", MODELS)
def test_a_registered_model_depends_on_its_seed_alone(name):
    """Neither on the random state of the caller, which it leaves alone, nor on the model built before."""
    torch.manual_seed(1)
    state = torch.get_rng_state()
    shapes = INPUTS.get(name, SHAPES)
    first = registered(name, shapes)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = registered(name, shapes), registered(name, shapes, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("modality", SHAPES)
def test_a_unimodal_model_starts_where_the_joint_model_starts(name, modality):
    """So runs of one seed are a pair: the encoder alone, in another order and beside another partner is the same."""
    shapes = INPUTS.get(name, SHAPES)
    joint = registered(name, shapes).encoders[modality].state_dict()
    alone = registered(name, {modality: shapes[modality]}).encoders[modality].state_dict()
    turned = registered(name, dict(reversed(shapes.items())), 7).encoders[modality].state_dict()
    for other in (alone, turned):
        assert joint.keys() == other.keys() and all(torch.equal(joint[k], other[k]) for k in joint)


def test_encoders_of_one_model_start_apart():
    same_shape = build("small", {"a": (1, 16, 16), "b": (1, 16, 16)}, 3, seed=0)
    a, b = same_shape.encoders.values()
    assert not torch.equal(a.stem[0].weight, b.stem[0].weight)


def test_table_1_network():
    model = build("resnet18", {"audio": (1, 257, 188), "visual": (3, 224, 224)}, 6, seed=0)
    assert parameters(model) == 11_170_240 + 11_176_512 + (1024 * 6 + 6)


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_a_masked_loss_teaches_its_own_encoder_alone(fusion):
    model = build("small", SHAPES, 4, seed=0, fusion=fusion, width=4)
    inputs = {m: torch.randn(5, *shape) for m, shape in SHAPES.items()}
    torch.nn.functional.cross_entropy(model(inputs, keep=("face",)), torch.arange(5) % 4).backward()
    assert model.encoders["face"].stem[0].weight.grad.abs().max() > 0
    grad = model.encoders["sound"].stem[0].weight.grad
    assert grad is None or not grad.any()


def test_unknown_names_get_the_nearest():
    for call, message in [
        (lambda: build("resnet8", SHAPES, 3, 0), "Unknown model 'resnet8': did you mean 'resnet18'"),
        (lambda: models.model_options("smal"), "Unknown model 'smal': did you mean 'small'"),
        (lambda: build("small", SHAPES, 3, 0, fusion="concatt"), "Unknown fusion 'concatt': did you mean 'concat'"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_model_options_declare_their_defaults():
    assert models.model_options("small").items() >= {"fusion": "concat", "width": 8}.items()
    with pytest.raises(ValueError, match="Unknown option of model 'small' 'widht': did you mean 'width'"):
        build("small", SHAPES, 3, 0, widht=4)
    assert models.REVISIONS.keys() == MODELS.keys()


# -- masks -----------------------------------------------------------------------------------------------------------


def test_masked_modalities_are_zero_at_the_fusion_input():
    model, (inputs, _) = late(3), batch(3)
    features = model.encode(inputs)
    for keep in [(), NAMES[:1], NAMES[1:3], NAMES[:3]]:
        zeroed = {m: z if m in keep else torch.zeros_like(z) for m, z in features.items()}
        assert torch.equal(model(inputs, keep=keep), model.fusion(zeroed))
    assert torch.equal(model(inputs, keep=NAMES[:3]), model(inputs))
    assert not torch.allclose(model(inputs, keep=NAMES[:1]), model(inputs))


def test_all_logits_runs_the_encoders_once():
    model, (inputs, _) = late(3), batch(3)
    calls = []
    for m, encoder in model.encoders.items():
        encoder.register_forward_hook(lambda *_, m=m: calls.append(m))
    logits = model.all_logits(inputs)
    assert calls == list(NAMES[:3]) and list(logits) == [FUSED, *NAMES[:3]]
    assert torch.equal(logits[NAMES[1]], model(inputs, keep=NAMES[1:2]))
    assert torch.equal(logits[FUSED], model(inputs))


def test_concat_keeps_its_own_order():
    """A batch whose dictionary is in another order gives the same logits."""
    model, (inputs, _) = late(3), batch(3)
    assert torch.equal(model(dict(reversed(inputs.items()))), model(inputs))


def test_any_module_can_be_the_fusion():
    """A plain module that maps the dictionary of features to logits gets masking for free."""

    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(2, 3)

        def forward(self, features):
            a, b = features.values()
            return self.head(a + b)

    head = Product()
    model = LateFusion({NAMES[0]: mlp(3, 2), NAMES[1]: mlp(4, 2)}, head).double()
    inputs, _ = batch(2)
    assert torch.equal(model(inputs, keep=NAMES[:1]), head.head(model.encoders[NAMES[0]](inputs[NAMES[0]])))


def test_a_fusion_may_define_its_own_unimodal_score():
    class Squared(ConcatFusion):
        def unimodal(self, features, modality):
            return super().unimodal(features, modality) ** 2

    head = Squared({NAMES[0]: 2, NAMES[1]: 3}, 3)
    model = LateFusion({NAMES[0]: mlp(3, 2), NAMES[1]: mlp(4, 3)}, head).double()
    inputs, _ = batch(2)
    zero = torch.zeros(8, 3, dtype=torch.float64)
    masked = head.join(model.encode(inputs) | {NAMES[1]: zero})
    assert torch.equal(model(inputs, keep=NAMES[:1]), masked**2)
    assert torch.equal(model(inputs), head.join(model.encode(inputs)))


# -- refusals --------------------------------------------------------------------------------------------------------


def test_missing_modality():
    model, (inputs, _) = late(2), batch(2)
    del inputs["face"]
    with pytest.raises(ValueError, match=r"The batch has no 'face'; this model needs \['sound', 'face'\]"):
        model(inputs)


def test_unknown_keep():
    model, (inputs, _) = late(2), batch(2)
    with pytest.raises(ValueError, match="keep names 'video', which is not a modality of this model"):
        model(inputs, keep=("sound", "video"))


def test_what_a_subclass_must_define():
    with pytest.raises(NotImplementedError, match=r"MultimodalModel must define forward\(inputs, keep=None\)"):
        MultimodalModel({"a": nn.Linear(1, 1)}, nn.Linear(1, 1))({})
    with pytest.raises(NotImplementedError, match=r"Fusion must define join\(features\)"):
        models.Fusion()({})


def test_a_shared_parameter_is_refused_at_construction():
    encoder = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="in several groups"):
        LateFusion({"a": encoder, "b": encoder}, ConcatFusion({"a": 2, "b": 2}, 2))


def encoders(*names: str) -> dict[str, nn.Module]:
    return {name: nn.Linear(3, 2) for name in names}


BAD_NAMES = ["fusion", "heads", "fused", "a/b", "two words", "without_a", "official_a", "a_reestimated", ""]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_would_never_be_trained_or_break_the_branches_are_refused(name):
    """``fusion`` and ``heads`` are groups of the optimiser: an encoder of that name was never trained, silently."""
    for make in [
        lambda: build("mlp", {"a": (3,), name: (3,)}, 3, 0),
        lambda: MultimodalModel(encoders("a", name), nn.Linear(2, 2)),
        lambda: LateFusion(encoders("a", name), nn.Linear(2, 2)),
        lambda: ConcatFusion({"a": 2, name: 2}, 3),
    ]:
        with pytest.raises(ValueError, match="A modality cannot be called") as error:
            make()
        assert repr(name) in str(error.value)


ONE = {"a": (1, 16, 16)}
WRONG_CALLS = {
    "width is 0; it must be at least 1": lambda: build("small", ONE, 3, 0, width=0),
    "width is -4; it must be at least 1": lambda: build("mmtm", ONE, 3, 0, width=-4),
    "'width' of model 'small' is '8'; it must be of type int": lambda: build("small", ONE, 3, 0, width="8"),
    "did you mean 'stem'": lambda: build("mmtm", ONE, 3, 0, split="stm"),
    "block'? 'basik': did you mean 'basic'|block 'basik': did you": lambda: build("esanet", ONE, 3, 0, block="basik"),
    "blocks is .1, 1.; give 4 numbers": lambda: build("esanet", {"a": (1, 32, 32)}, 3, 0, width=4, blocks=(1, 1)),
    "blocks is .1, 1, 0, 1.; each must be at least 1": lambda: build("esanet", ONE, 3, 0, blocks=(1, 1, 0, 1)),
    "classes is 1; it must be at least 2": lambda: build("small", ONE, 1, 0),
    "classes is 0; it must be at least 2": lambda: build("mlp", {"a": (3,)}, 0, 0),
    "resnet18 needs pictures .* modality 'a' has shape .20,.. Use model 'mlp'": lambda: build(
        "resnet18", {"a": (20,)}, 3, 0
    ),
    "mmtm needs pictures": lambda: build("mmtm", {"a": (20,)}, 3, 0),
    "esanet needs pictures": lambda: build("esanet", {"a": (20,)}, 3, 0),
    "'a' has shape .0,.; every length must be at least 1": lambda: build("mlp", {"a": (0,)}, 3, 0),
    "needs at least one modality": lambda: build("small", {}, 3, 0),
    "width of 'b' is 0; it must be at least 1": lambda: ConcatFusion({"a": 2, "b": 0}, 3),
    "width of 'a' is -1; it must be at least 1": lambda: FUSIONS["sum"]({"a": -1, "b": 2}, 3),
    "number of classes is 2.5; it must be at least 2, and whole": lambda: build("mlp", {"a": (3,)}, 2.5, 0),
    "width of 'a' is 1.5; it must be at least 1": lambda: ConcatFusion({"a": 1.5}, 3),
    "widths is .2, 2.; it must be a dictionary": lambda: ConcatFusion([2, 2], 3),
    "widths is None; it must be a dictionary": lambda: ConcatFusion(None, 3),
    "widths is {}; it must be a dictionary": lambda: ConcatFusion({}, 3),
    "encoders is None; it must be a dictionary": lambda: LateFusion(None, ConcatFusion({"a": 2}, 3)),
    "encoder of 'a' is 3; give": lambda: LateFusion({"a": 3}, ConcatFusion({"a": 2}, 3)),
    "fusion is 'concat'; give a head": lambda: LateFusion(encoders("a", "b"), "concat"),
    "inputs is None; it must be a dictionary": lambda: late(2)(None),
    "batch has 4 samples of 'sound', but 5 of 'face'": lambda: late(2)(
        {"sound": torch.zeros(4, 3), "face": torch.zeros(5, 4)}
    ),
    r"encoder of 'b' cannot take an input of shape \[4, 7\]": lambda: LateFusion(
        encoders("a", "b"), ConcatFusion({"a": 2, "b": 2}, 3)
    )({"a": torch.zeros(4, 3), "b": torch.zeros(4, 7)}),
    "number of classes is 0; it must be at least 1": lambda: FUSIONS["gated"]({"a": 2, "b": 2}, 0),
    r"encoders are \['a', 'b'\], but the fusion was made for \['a', 'c'\]": lambda: LateFusion(
        encoders("a", "b"), ConcatFusion({"a": 2, "c": 2}, 3)
    ),
    r"'b' has features of shape \[4, 2\], but this ConcatFusion was made for \[B, 5\]": lambda: LateFusion(
        encoders("a", "b"), ConcatFusion({"a": 2, "b": 5}, 3)
    )({m: torch.zeros(4, 3) for m in "ab"}),
    r"takes pictures \[B, 1, H, W\].*got \[4, 20\]": lambda: ResNet(1, (4,), (1,), "small")(torch.zeros(4, 20)),
    r"takes pictures \[B, 1, H, W\].*got \[4, 3, 8, 8\]": lambda: ResNet(1, (4,), (1,), "small")(
        torch.zeros(4, 3, 8, 8)
    ),
    "tells 2 classes apart, but the data set has 3: .* classes=3": lambda: fit(
        LateFusion({"sound": mlp(3, 2), "face": mlp(4, 2)}, ConcatFusion({"sound": 2, "face": 2}, 2)), "dgl", arrays()
    ),
}


@pytest.mark.parametrize("message", WRONG_CALLS)
def test_a_wrong_call_is_told_in_one_sentence_what_to_change(message):
    with pytest.raises(ValueError, match=message) as error:
        WRONG_CALLS[message]()
    assert "\n" not in str(error.value)
