"""ESANet: sizes, counts, masks, the forward pass against one written by the book, weights from a file."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dgl_core.gradients import check_partition
from dgl_core.models.esanet.decoder import LearnedUpsampling, PyramidPooling, SqueezeExcite
from dgl_core.models.esanet.network import Encoder, ESANet, esanet

SMALL = {"width": 4, "blocks": (1, 1, 1, 1), "decoder_blocks": 1}


def tiny(classes: int = 5, size: tuple[int, int] = (32, 64), seed: int = 0, **options) -> ESANet:
    """A float64 ESANet with random batch-norm parameters and statistics, so that nothing is trivially 1 or 0."""
    model = esanet({"rgb": (3, *size), "depth": (1, *size)}, classes, seed, **(SMALL | options)).double()
    generator = torch.Generator().manual_seed(seed)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        for tensor in (norm.weight.data, norm.running_var):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        for tensor in (norm.bias.data, norm.running_mean):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / 4)
    return model


def pictures(batch: int = 3, size: tuple[int, int] = (32, 64), classes: int = 5, seed: int = 1):
    generator = torch.Generator().manual_seed(seed)
    shape = {"rgb": (batch, 3, *size), "depth": (batch, 1, *size)}
    inputs = {m: torch.randn(s, generator=generator, dtype=torch.float64) for m, s in shape.items()}
    return inputs, torch.randint(classes, (batch, *size), generator=generator)


# -- structure --------------------------------------------------------------------------------------------------------


def test_the_published_network_has_the_counted_parameters_and_scales():
    def conv(i, o, *kernel, bias=0):
        return i * o * kernel[0] * kernel[-1] + bias * o

    def block(i, o):  # NonBottleneck1D: four factorised convolutions with bias, two batch-norms, 1x1 shortcut
        body = conv(i, o, 3, 1, bias=1) + 3 * conv(o, o, 3, 1, bias=1) + 4 * o
        return body + (conv(i, o, 1) + 2 * o if i != o else 0)

    def unit(i, o, k):  # convolution, batch-norm
        return conv(i, o, k) + 2 * o

    widths, layers, classes = (64, 128, 256, 512), (3, 4, 6, 3), 40
    encoder = 0
    for i, o, count in zip((64, *widths), widths, layers, strict=False):
        encoder += block(i, o) + (count - 1) * block(o, o)
    encoders = 2 * encoder + unit(3, 64, 7) + unit(1, 64, 7)
    excite = sum(2 * (conv(c, c // 16, 1, bias=1) + conv(c // 16, c, 1, bias=1)) for c in (64, *widths))
    skips = unit(64, 128, 1) + unit(128, 256, 1) + unit(256, 512, 1)
    context = 2 * unit(512, 256, 1) + unit(1024, 512, 1)
    decoder = 0
    for i, o in ((512, 512), (512, 256), (256, 128)):
        decoder += unit(i, o, 3) + 3 * block(o, o) + conv(o, classes, 1, bias=1) + 10 * o
    head = conv(128, classes, 3, bias=1) + 2 * 10 * classes
    model = esanet({"rgb": (3, 64, 96), "depth": (1, 64, 96)}, classes, 0)
    total = encoders + excite + skips + context + decoder + head
    assert sum(p.numel() for p in model.parameters()) == total == 46_955_840
    with torch.no_grad():
        sizes = [tuple(x.shape) for x in model({m: x.float() for m, x in pictures(2, (64, 96))[0].items()})]
    assert sizes == [(2, 40, 64 // s, 96 // s) for s in (1, 8, 16, 32)]


@pytest.mark.parametrize("stride, size", [(2, (64, 96)), (1, (16, 48))])
@pytest.mark.parametrize(
    "block, blocks", [("nonbottleneck1d", (1, 2, 1, 1)), ("basic", (1,) * 4), ("bottleneck", (1,) * 4)]
)
def test_training_gives_four_scales_and_evaluation_the_full_one(stride, size, block, blocks):
    model = tiny(size=size, stem_stride=stride, block=block, blocks=blocks)
    inputs, _ = pictures(2, size)
    scales = [tuple(x.shape[-2:]) for x in model(inputs)]
    assert scales == [(size[0] // s, size[1] // s) for s in (1, 4 * stride, 8 * stride, 16 * stride)]
    assert model.eval()(inputs).shape == (2, 5, *size)


def test_zero_stays_zero_and_a_constant_stays_constant():
    gate = SqueezeExcite(64)
    assert gate.squeeze.out_channels == 4 and torch.equal(gate(torch.zeros(2, 64, 3, 3)), torch.zeros(2, 64, 3, 3))
    up = LearnedUpsampling(3).double()(torch.ones(1, 3, 4, 5, dtype=torch.float64)).detach()
    assert up.shape == (1, 3, 8, 10) and torch.equal(up[..., 1:-1, 1:-1], torch.ones(1, 3, 6, 8).double())
    assert (up[..., [0, 0, -1, -1], [0, -1, 0, -1]] == 0.5625).all() and (up[..., 0, 1:-1] == 0.75).all()


def test_learned_upsampling_starts_as_bilinear_interpolation():
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64)
    found = LearnedUpsampling(2).double()(x)[..., 1:-1, 1:-1]
    assert torch.allclose(found, F.interpolate(x, scale_factor=2, mode="bilinear")[..., 1:-1, 1:-1], atol=1e-12)


def test_each_parameter_is_in_one_group_and_the_encoder_convolutions_are_kaiming():
    model = esanet({"rgb": (3, 32, 32), "depth": (1, 32, 32)}, 5, 0, width=32, blocks=(1,) * 4)
    check_partition(model)
    rooms = {name.split(".")[1] for name, _ in model.named_parameters() if name.startswith("fusion.")}
    assert rooms == {"se_layers", "skips", "context", "decoder", "classifier", "upsample"}
    weight = model.encoders["rgb"].layer4[0].conv1x3_2.weight  # fan out = 256 * 3
    assert abs(weight.std().item() / (2 / (256 * 3)) ** 0.5 - 1) < 0.05


def test_initial_weights_of_an_encoder_depend_on_its_name_and_the_seed_alone():
    both = esanet({"rgb": (3, 32, 32), "depth": (1, 32, 32)}, 5, 3, **SMALL)
    alone = esanet({"depth": (1, 32, 32)}, 5, 3, **SMALL)
    assert all(
        torch.equal(a, b)
        for a, b in zip(both.encoders["depth"].parameters(), alone.encoders["depth"].parameters(), strict=True)
    )
    assert alone.eval()({"depth": torch.randn(1, 1, 32, 32)}).shape == (1, 5, 32, 32)


# -- forward pass -----------------------------------------------------------------------------------------------------


def by_the_book(model: ESANet, inputs, survive: dict[str, float]):
    """The network step by step: both encoders always run, masked maps are multiplied by 0 at each fusion."""
    rgb, depth, fusion = model.encoders["rgb"], model.encoders["depth"], model.fusion

    def se(module, x):
        weight = torch.sigmoid(module.excite(torch.relu(module.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        return weight * x

    def fuse(stage, r, d):
        pair = fusion.se_layers[stage]
        return se(pair["rgb"], survive["rgb"] * r) + se(pair["depth"], survive["depth"] * d)

    r, d = (torch.relu(e.bn1(e.conv1(inputs[m]))) for m, e in model.encoders.items())
    f0 = fuse(0, r, d)
    r, d = rgb.layer1(F.max_pool2d(f0, 3, 2, 1)), depth.layer1(F.max_pool2d(d, 3, 2, 1))
    f1 = fuse(1, r, d)
    r, d = rgb.layer2(f1), depth.layer2(d)
    f2 = fuse(2, r, d)
    r, d = rgb.layer3(f2), depth.layer3(d)
    f3 = fuse(3, r, d)
    f4 = fuse(4, rgb.layer4(f3), depth.layer4(d))
    x, sides = fusion.context(f4), []
    for module, skip in zip(
        fusion.decoder, (fusion.skips[2](f3), fusion.skips[1](f2), fusion.skips[0](f1)), strict=True
    ):
        x = module.blocks(module.conv(x))
        sides.append(module.side(x))
        x = module.upsample(x) + skip
    full = fusion.upsample[1](fusion.upsample[0](fusion.classifier(x)))
    return [full, *reversed(sides)] if model.training else [full]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("keep", [None, ("rgb",), ("depth",)])
def test_the_forward_pass_is_the_published_one(keep, training):
    model, (inputs, _) = tiny(size=(64, 64)).train(training), pictures(size=(64, 64))
    survive = {m: float(keep is None or m in keep) for m in model.encoders}
    with torch.no_grad():
        found = model(inputs, keep=keep)
        expected = by_the_book(model, inputs, survive)
    for a, b in zip(found if training else [found], expected, strict=True):
        assert torch.allclose(a, b, atol=1e-12, rtol=1e-10)


def test_pyramid_pooling_of_a_constant_map_is_a_constant_map():
    module = PyramidPooling(8, 4).eval()
    out = module(torch.ones(1, 8, 3, 7))
    assert out.shape == (1, 4, 3, 7) and torch.allclose(out, out[..., :1, :1].expand_as(out))


@pytest.mark.parametrize("keep, idle", [("depth", "rgb"), ("rgb", "depth")])
def test_a_masked_encoder_is_not_run(keep, idle):
    model, (inputs, _) = tiny(), pictures()
    before = {n: b.clone() for n, b in model.encoders[idle].named_buffers()}
    model({keep: inputs[keep]}, keep=(keep,))  # the other picture is not even needed
    assert all(torch.equal(b, before[n]) for n, b in model.encoders[idle].named_buffers())


def test_detach_stops_the_gradient_at_every_fusion():
    model, (inputs, _) = tiny(), pictures()
    model(inputs, detach=True)[0].sum().backward()
    assert not any(p.grad is not None for p in model.encoders.parameters())
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(model(inputs), model(inputs, detach=True), strict=True))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: esanet({"rgb": (3, 60, 80)}, 5, 0), "60 x 80.*divisible by 32.*64 x 96"),
        (lambda: tiny()(pictures(size=(32, 80))[0]), "divisible by 32"),
        (lambda: tiny()(pictures()[0], keep=("dept",)), "keep names 'dept'"),
        (lambda: tiny()(pictures()[0], keep=()), "keep is empty"),
        (lambda: tiny()({"rgb": pictures()[0]["rgb"]}), "no 'depth'"),
        (lambda: tiny(block="basik"), "did you mean 'basic'"),
        (lambda: tiny(stem_stride=4), "stem_stride is 4"),
        (
            lambda: ESANet({m: Encoder(1, [w] * 4, [1] * 4, "basic") for m, w in (("a", 4), ("b", 8))}, 3),
            "'b' has widths",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_training(call, message):
    with pytest.raises(ValueError, match=message):
        call()
