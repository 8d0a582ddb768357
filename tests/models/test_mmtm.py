"""MMTM: the exchange, both readings of "encoder" (METHODS 3.4), and what DGL does in each."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny import by_hand, gradients
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dgl_core import models
from dgl_core.gradients import FUSED, DisentangledObjective, disentangled_loss
from dgl_core.models import ResNet, build, initial
from dgl_core.models.mmtm.blocks import Exchange, per_frame, pool

ALPHA = 3.0
SHAPES = {"sound": (1, 20, 24), "face": (3, 16, 16)}
THREE = SHAPES | {"depth": (1, 16, 12)}
SPLITS = ("stem", "parameter")
both = pytest.mark.parametrize("split", SPLITS)


def network(split: str = "stem", shapes=SHAPES, seed: int = 0, **options) -> models.MultimodalModel:
    model = build("mmtm", shapes, 3, seed, **{"width": 2, "blocks": 1, "split": split} | options).double()
    generator = torch.Generator().manual_seed(9)
    stems, tails, interaction = parts(model)
    modules = [interaction, *stems.values(), *{id(tail): tail for tail in tails.values()}.values()]
    with torch.no_grad():  # away from zero biases and unit scales, which hide mistakes; in one order for both splits
        for parameter in (p for module in modules for p in module.parameters()):
            parameter += 0.1 * torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator)
    return model


def batch(shapes=SHAPES, size: int = 5, seed: int = 1) -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = {m: torch.randn(size, *s, dtype=torch.float64, generator=generator) for m, s in shapes.items()}
    return inputs, torch.arange(size) % 3


def parts(model) -> tuple[dict[str, nn.Module], dict[str, list[nn.Module]], nn.Module]:
    """Stems, tails and interaction of either split."""
    if hasattr(model, "encode"):
        return dict(model.encoders), model.fusion._tail(), model.fusion.interaction
    return {m: e.stem for m, e in model.encoders.items()}, {m: e.tail for m, e in model.encoders.items()}, model.fusion


def spelled_out(model, inputs: dict[str, Tensor], keep=None) -> Tensor:
    """The same network with every branch computed and zeros written out at the input of every fusion operation."""
    stems, tails, interaction = parts(model)

    def mask(maps):
        return {m: x if keep is None or m in keep else torch.zeros_like(x) for m, x in maps.items()}

    maps = {m: stem(inputs[m]) for m, stem in stems.items()}
    for number, exchange in enumerate(interaction.exchanges):
        if number:
            maps = {m: tails[m][number - 1](x) for m, x in maps.items()}
        maps = exchange(mask(maps))
    return interaction.head(torch.cat([x.mean(dim=(2, 3)) for x in mask(maps).values()], dim=1))


# -- the exchange -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio, width", [(2, 256), (4, 128), (3, 170)])
def test_width_of_the_squeezed_vector(ratio, width):
    """d = floor(2 (C + C') / r): C + C' in the official code (r = 2), half of it in the MMTM authors' (r = 4)."""
    exchange = Exchange({"sound": 128, "face": 128}, ratio)
    assert exchange.squeeze.weight.shape == (width, 256)
    assert {m: tuple(e.weight.shape) for m, e in exchange.excite.items()} == dict.fromkeys(SHAPES, (128, width))


def test_exchange_by_hand():
    torch.manual_seed(0)
    exchange = Exchange({"sound": 2, "face": 3}, 2).double()
    maps = {"sound": torch.randn(4, 2, 5, 6).double(), "face": torch.randn(4, 3, 2, 2).double()}
    out = exchange(maps)
    for i in range(4):
        squeezed = torch.tensor([maps[m][i, c].mean() for m, count in exchange.channels.items() for c in range(count)])
        joint = (exchange.squeeze.weight @ squeezed + exchange.squeeze.bias).clamp(min=0)
        for m, excite in exchange.excite.items():
            for c, e in enumerate(excite.weight @ joint + excite.bias):
                torch.testing.assert_close(out[m][i, c], maps[m][i, c] / (1 + torch.exp(-e)))


def test_gates():
    torch.manual_seed(0)
    exchange = Exchange({"sound": 2, "face": 3}, 2)
    maps = {"sound": 3 * torch.randn(4, 2, 5, 6), "face": 3 * torch.randn(4, 3, 2, 2)}
    assert all(((0 < g) & (g < 1)).all() and g.std() > 0 for g in exchange.gates(maps).values())
    assert {m: x.shape for m, x in exchange(maps).items()} == {m: x.shape for m, x in maps.items()}
    for excite in exchange.excite.values():
        nn.init.zeros_(excite.weight)
        nn.init.zeros_(excite.bias)
    for m, x in exchange(maps).items():
        assert torch.equal(x, maps[m] / 2)  # no excitation, gate one half


def test_absent_is_zero():
    torch.manual_seed(0)
    exchange = Exchange({"sound": 2, "face": 3}, 2)
    x = torch.randn(4, 2, 5, 6)
    assert torch.equal(
        exchange({"sound": x})["sound"], exchange({"sound": x, "face": torch.zeros(4, 3, 7, 7)})["sound"]
    )


# -- the network ------------------------------------------------------------------------------------------------------


@both
def test_swapping_modalities_with_their_weights_swaps_nothing_else(split):
    shapes = {"sound": (3, 16, 16), "face": (3, 16, 16)}
    model, (inputs, _) = network(split, shapes), batch(shapes)
    swapped = network(split, dict(reversed(shapes.items())), seed=7)
    weights = {}
    for name, value in model.state_dict().items():
        if split == "stem":  # tails are numbered in the order of the modalities
            name = name.replace("tails.0.", "tails._.").replace("tails.1.", "tails.0.").replace("tails._.", "tails.1.")
        if "squeeze.weight" in name or "head.weight" in name:  # [d, C + C']: the halves change places
            value = torch.cat(list(reversed(value.chunk(2, dim=1))), dim=1)
        weights[name] = value
    swapped.load_state_dict(weights)
    torch.testing.assert_close(swapped(inputs), model(inputs))
    for m in shapes:
        torch.testing.assert_close(swapped(inputs, keep=(m,)), model(inputs, keep=(m,)))


def test_both_splits_are_one_network():
    """Same seed: same weights, same logits, same vanilla gradients; only the owners of layers 3 and 4 differ."""
    stem, parameter = network("stem"), network("parameter")
    inputs, target = batch()
    for model in (stem, parameter):
        disentangled_loss(model, inputs, target, alpha=0.0, encoder_gate=1.0).total.backward()
    (stems, tails, interaction), (others, other_tails, other_interaction) = parts(stem), parts(parameter)
    pairs = [(interaction, other_interaction)]
    pairs += [(stems[m], others[m]) for m in SHAPES] + [(tails[m], other_tails[m]) for m in SHAPES]
    for one, other in pairs:
        other_values = dict(other.named_parameters())
        for name, p in one.named_parameters():
            assert torch.equal(p.detach(), other_values[name].detach())
            torch.testing.assert_close(p.grad, other_values[name].grad)
    assert sum(p.numel() for p in stem.encoders.parameters()) < sum(p.numel() for p in parameter.encoders.parameters())


def test_the_network_of_the_paper():
    """Two ResNet-18 with a 3 x 3 stem, exchanges of width 256, 512, 1024, a classifier on 1024 features."""
    model = build("mmtm", {"audio": (1, 257, 188), "visual": (3, 224, 224)}, 6, 0, split="parameter")
    for channels, encoder in zip((1, 3), model.encoders.values(), strict=True):
        alone = ResNet(channels, stem="small")
        assert sum(p.numel() for p in encoder.parameters()) == sum(p.numel() for p in alone.parameters())
        assert encoder.stem(torch.randn(1, channels, 224, 224)).shape == (1, 128, 28, 28)
    assert [e.squeeze.out_features for e in model.fusion.exchanges] == [256, 512, 1024]
    assert model.fusion.head.weight.shape == (6, 1024)


@both
@pytest.mark.parametrize("shapes", [SHAPES, THREE], ids=["two", "three"])
def test_masked_modalities_are_zero_at_every_fusion_operation(split, shapes):
    model, (inputs, _) = network(split, shapes).eval(), batch(shapes)
    torch.testing.assert_close(model(inputs), spelled_out(model, inputs))
    for keep in [(m,) for m in shapes] + [tuple(shapes)[1:]]:
        torch.testing.assert_close(model(inputs, keep=keep), spelled_out(model, inputs, keep))
        junk = {m: x if m in keep else torch.full_like(x, torch.nan) for m, x in inputs.items()}
        assert torch.equal(model(junk, keep=keep), model(inputs, keep=keep))
    everything = {FUSED: model(inputs)} | {m: model(inputs, keep=(m,)) for m in shapes}
    torch.testing.assert_close(model.all_logits(inputs), everything)


@both
def test_pooled_features_are_what_the_classifier_sees(split):
    model, (inputs, _) = network(split).eval(), batch()
    for keep in (None, ("face",)):
        features = model.pooled(inputs, keep)
        assert {m: tuple(z.shape) for m, z in features.items()} == dict.fromkeys(SHAPES, (5, 16))
        torch.testing.assert_close(model.classify(features), model(inputs, keep=keep))
    assert features["sound"].count_nonzero() == 0


@both
def test_one_modality_is_its_resnet(split):
    shapes = {"face": SHAPES["face"]}
    model, (inputs, _) = build("mmtm", shapes, 3, 0, width=2, blocks=1, split=split).double().eval(), batch(shapes)
    with initial.seeded(0, "encoder/face"):
        encoder = ResNet(3, (2, 4, 8, 16), (1, 1, 1, 1), stem="small").double().eval()
    torch.testing.assert_close(model(inputs), parts(model)[2].head(encoder(inputs["face"])))


def test_clips():
    """Frames are images for the convolutions and are averaged with space; one frame is an image."""
    shapes = {"sound": (1, 20, 24), "face": (3, 4, 16, 16)}
    model, (inputs, _) = network(shapes=shapes).eval(), batch(shapes)
    stems, tails, _ = parts(model)
    clip, frames = stems["face"](inputs["face"]), [stems["face"](inputs["face"][:, :, t]) for t in range(4)]
    torch.testing.assert_close(clip, torch.stack(frames, dim=2))
    torch.testing.assert_close(per_frame(tails["face"][0], clip)[:, :, 2], tails["face"][0](clip[:, :, 2]))
    torch.testing.assert_close(pool({"face": clip}, {"face": 4})["face"], torch.stack(frames).mean(dim=(0, 3, 4)))
    still = inputs | {"face": inputs["face"][:, :, :1]}
    picture = inputs | {"face": inputs["face"][:, :, 0]}
    torch.testing.assert_close(model(still), model(picture))
    assert model.train()(inputs).shape == (5, 3)


def test_official_sharing():
    """One layer 3 and one layer 4 for both branches, those of the first network."""
    shared, separate = network(share_tail=True), network()
    tails = parts(shared)[1]
    assert tails["sound"] is tails["face"]
    size = sum(p.numel() for p in tails["face"].parameters())
    assert sum(p.numel() for p in separate.parameters()) - sum(p.numel() for p in shared.parameters()) == size
    built = {s: build("mmtm", SHAPES, 3, 0, width=2, blocks=1, share_tail=s) for s in (True, False)}
    for a, b in zip(
        parts(built[True])[1]["face"].parameters(), parts(built[False])[1]["sound"].parameters(), strict=True
    ):
        assert torch.equal(a, b)
    inputs, target = batch()
    disentangled_loss(shared, inputs, target, alpha=ALPHA).total.backward()
    counts = {b.item() for n, b in shared.named_buffers() if n.startswith("fusion.") and "num_batches" in n}
    assert counts == {2}  # both modalities in the multimodal pass, nothing else


# -- gradients --------------------------------------------------------------------------------------------------------


@both
def test_a_masked_branch_receives_exactly_no_gradient(split):
    model, (inputs, target) = network(split), batch()
    stems, tails, _ = parts(model)
    loss = F.cross_entropy(model(inputs, keep=("face",)), target)
    masked = [*stems["sound"].parameters(), *tails["sound"].parameters()]
    assert all(g is None for g in torch.autograd.grad(loss, masked, retain_graph=True, allow_unused=True))
    active = [*stems["face"].parameters(), *tails["face"].parameters()]
    assert all(g is not None and g.count_nonzero() for g in torch.autograd.grad(loss, active))


@both
@pytest.mark.parametrize("shapes", [SHAPES, THREE], ids=["two", "three"])
@pytest.mark.parametrize("encoder_gate, fusion_gate", [(0, 0), (0, 1), (1, 0), (1, 1), (0.25, 0.5)])
def test_one_backward_gives_each_part_its_gradient(split, shapes, encoder_gate, fusion_gate):
    """encoder m: alpha grad L_m + e grad L_multi; fusion: grad L_multi + f alpha sum grad L_m, losses one by one."""
    model, (inputs, target) = network(split, shapes), batch(shapes)
    gates = {"encoder_gate": encoder_gate, "fusion_gate": fusion_gate}
    disentangled_loss(model, inputs, target, alpha=ALPHA, **gates).total.backward()
    got = gradients(model)
    for name, wanted in by_hand(model, inputs, target, ALPHA, **gates).items():
        torch.testing.assert_close(got.get(name, torch.zeros_like(wanted)), wanted, msg=name)


@both
def test_encoders_do_not_see_the_other_input(split):
    model, (inputs, target) = network(split), batch()
    other = inputs | {"face": torch.randn_like(inputs["face"])}
    seen = []
    for given in (inputs, other):
        model.zero_grad()
        disentangled_loss(model, given, target, alpha=ALPHA).total.backward()
        seen.append(gradients(model))
    own = [n for n in seen[0] if n.startswith("encoders.sound.")]
    assert own and all(torch.equal(seen[0][n], seen[1][n]) for n in own)
    assert not torch.allclose(
        seen[0]["encoders.face." + own[0].split(".", 2)[2]], seen[1]["encoders.face." + own[0].split(".", 2)[2]]
    )


def test_the_splits_differ_in_who_trains_layers_3_and_4():
    inputs, target = batch()
    tail_gradients = {}
    for split in SPLITS:
        model = network(split)
        disentangled_loss(model, inputs, target, alpha=ALPHA).total.backward()
        tail_gradients[split] = [p.grad for p in parts(model)[1]["sound"].parameters()]
    reference = network("stem")
    multimodal = torch.autograd.grad(
        F.cross_entropy(reference(inputs), target), list(parts(reference)[1]["sound"].parameters())
    )
    own = torch.autograd.grad(
        ALPHA * F.cross_entropy(reference(inputs, keep=("sound",)), target),
        list(parts(reference)[1]["sound"].parameters()),
    )
    for s, p, by_multimodal, by_own in zip(*tail_gradients.values(), multimodal, own, strict=True):
        torch.testing.assert_close(s, by_multimodal)
        torch.testing.assert_close(p, by_own)


@both
def test_batch_statistics_move_in_the_multimodal_pass_only(split):
    trained, once = network(split), network(split)
    inputs, target = batch()
    DisentangledObjective(trained, ALPHA)(inputs, target).total.backward()
    once(inputs)
    buffers = dict(once.named_buffers())
    assert len(buffers) > 20
    for name, value in trained.named_buffers():
        torch.testing.assert_close(value, buffers[name], msg=name)
        if "num_batches" in name:
            assert value == 1


# -- cost -------------------------------------------------------------------------------------------------------------


def flops(work) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def test_a_step_costs_what_it_must():
    """Stems once; tails once in full, and once more forward and backward to their input, without weight gradients.

    With s and t forward operations in stems and behind them, a vanilla step takes 3 s + 3 t and the stem split
    3 s + 5 t; only squeeze and classifier (j), which all modalities share, run once per mask.
    """
    shapes = {"sound": (1, 32, 32), "face": (3, 32, 32)}
    model = build("mmtm", shapes, 3, 0, width=8, blocks=1)
    inputs, target = {m: torch.randn(4, *s) for m, s in shapes.items()}, torch.arange(4) % 3
    maps = model.encode(inputs)
    s, t = flops(lambda: model.encode(inputs)), flops(lambda: model.fuse(maps))
    first = flops(lambda: [model.encoders[m].layers[0][0](x) for m, x in inputs.items()])  # inputs need no gradient
    shared = [model.fusion.interaction.head, *(e.squeeze for e in model.fusion.interaction.exchanges)]
    j = sum(flops(lambda layer=layer: layer(torch.randn(4, layer.in_features))) for layer in shared)
    dgl, vanilla = DisentangledObjective(model, ALPHA), DisentangledObjective(model, 0.0, encoder_gate=1.0)
    assert flops(lambda: vanilla(inputs, target).total.backward()) == 3 * s + 3 * t - first
    assert flops(lambda: dgl(inputs, target).total.backward()) == pytest.approx(3 * s + 5 * t + 2 * j - first, rel=2e-3)


# -- names and errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shapes, options, message",
    [
        (SHAPES, {"split": "stm"}, "did you mean 'stem'"),
        (SHAPES, {"split": "parameter", "share_tail": True}, "no owner"),
        (SHAPES, {"ratio": 0}, "ratio is 0"),
        (SHAPES, {"ratio": 100}, "between 1 and 16"),
        ({"sound": (73,), "face": (3, 16, 16)}, {}, r"modality 'sound' has shape \(73,\).*'mlp'"),
    ],
)
def test_clear_errors(shapes, options, message):
    with pytest.raises(ValueError, match=message):
        build("mmtm", shapes, 3, 0, **{"width": 2, "blocks": 1} | options)


@both
def test_bad_batches(split):
    model, (inputs, _) = network(split), batch()
    with pytest.raises(ValueError, match="no 'face'"):
        model({"sound": inputs["sound"]})
    with pytest.raises(ValueError, match="keep names 'smell'"):
        model(inputs, keep=("smell",))
    with pytest.raises(ValueError, match="keep is empty"):
        model(inputs, keep=())
