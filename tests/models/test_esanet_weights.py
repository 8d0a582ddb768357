"""ImageNet weights from a file of the user: torchvision's names, the authors' names, and everything that is neither."""

from __future__ import annotations

import pytest
import torch

from dgl_core.data.recipe import random_split
from dgl_core.models.esanet.network import Encoder, esanet
from dgl_core.models.esanet.weights import load_encoder, mismatches


def torchvision_names(blocks, convs: int, channels: int = 3, width: int = 4):
    """A state dict as torchvision names it, from random numbers; expansion 4 for three convolutions a block."""
    expansion = 4 if convs == 3 else 1
    state = {
        "conv1.weight": torch.randn(width, channels, 7, 7),
        "fc.weight": torch.randn(9, 9),
        "fc.bias": torch.randn(9),
    }

    def norm(name, count):
        state.update({f"{name}.{k}": torch.rand(count) for k in ("weight", "bias", "running_mean", "running_var")})

    norm("bn1", width)
    inner = width
    for layer, count in enumerate(blocks):
        out = width << layer
        for number in range(count):
            name = f"layer{layer + 1}.{number}"
            kernels = [(inner, 1), (out, 3), (out, 1)] if convs == 3 else [(inner, 3), (out, 3)]
            for k, (i, size) in enumerate(kernels, start=1):
                last = out * expansion if k == convs else out
                state[f"{name}.conv{k}.weight"] = torch.randn(last, i, size, size)
                norm(f"{name}.bn{k}", last)
            if not number and (layer or expansion > 1):
                state[f"{name}.downsample.0.weight"] = torch.randn(out * expansion, inner, 1, 1)
                norm(f"{name}.downsample.1", out * expansion)
            inner = out * expansion
    return state


@pytest.mark.parametrize("block, convs, blocks", [("basic", 2, (3, 4, 6, 3)), ("bottleneck", 3, (3, 4, 6, 3))])
def test_a_torchvision_state_dict_fits_and_the_depth_stem_is_the_channel_sum(tmp_path, block, convs, blocks):
    state = torchvision_names(blocks, convs)
    torch.save(state, tmp_path / "resnet.pth")
    options = {"width": 4, "blocks": blocks, "block": block, "weights": str(tmp_path / "resnet.pth")}
    model = esanet({"rgb": (3, 32, 32), "depth": (1, 32, 32)}, 5, 0, **options)
    rgb, depth = (model.encoders[m].state_dict() for m in ("rgb", "depth"))
    assert all(torch.equal(rgb[n], v) for n, v in state.items() if not n.startswith("fc."))
    assert torch.equal(depth["conv1.weight"], state["conv1.weight"].sum(1, keepdim=True))
    assert torch.equal(depth["layer4.0.conv2.weight"], state["layer4.0.conv2.weight"])


def test_the_authors_file_fits_and_another_block_is_refused_with_the_nearest_names(tmp_path, monkeypatch):
    source = Encoder(3, [4, 8, 16, 32], (1,) * 4, "nonbottleneck1d")
    content = {f"module.encoder.{n}": v for n, v in source.state_dict().items()} | {"module.fc.weight": torch.ones(3)}
    (tmp_path / "weights").mkdir()
    torch.save({"epoch": 3, "state_dict": content}, tmp_path / "weights" / "r34.pth")
    monkeypatch.setenv("DGL_DATA", str(tmp_path))
    target = Encoder(3, [4, 8, 16, 32], (1,) * 4, "nonbottleneck1d")
    load_encoder(target, "r34.pth")
    assert all(torch.equal(v, source.state_dict()[n]) for n, v in target.state_dict().items())
    with pytest.raises(
        ValueError, match=r"foreign name 'layer1.0.conv3x1_1.weight', nearest here 'layer\d.0.conv\d.weight'"
    ):
        load_encoder(Encoder(3, [4, 8, 16, 32], (1,) * 4, "basic"), "r34.pth")
    with pytest.raises(ValueError, match=r"'conv1.weight' is \[4, 3, 7, 7\], this encoder needs \[8, 3, 7, 7\]"):
        load_encoder(Encoder(3, [8, 16, 32, 64], (1,) * 4, "nonbottleneck1d"), "r34.pth")


def test_every_mismatch_is_a_line():
    own = {"conv1.weight": torch.Size([2]), "bn1.bias": torch.Size([2]), "bn1.num_batches_tracked": torch.Size([])}
    lines = mismatches({"conv1.wieght": torch.ones(2), "bn1.bias": torch.ones(3)}, own)
    assert lines == [
        "foreign name 'conv1.wieght', nearest here 'conv1.weight'",
        "'bn1.bias' is [3], this encoder needs [2]",
        "missing 'conv1.weight'",
    ]


def test_files_that_are_no_weights_are_refused(tmp_path):
    encoder = Encoder(1, [4, 8, 16, 32], (1,) * 4, "basic")
    (tmp_path / "text.pth").write_text("hello")
    torch.save({"hook": random_split}, tmp_path / "code.pth")  # a function: would run code when unpickled freely
    torch.save([1, 2], tmp_path / "list.pth")
    for name, message in (
        ("text", "cannot be read as tensors alone"),
        ("code", "cannot be read"),
        ("list", "no state dict"),
    ):
        with pytest.raises(ValueError, match=message):
            load_encoder(encoder, str(tmp_path / f"{name}.pth"))
    with pytest.raises(FileNotFoundError, match="nothing is downloaded"):
        load_encoder(encoder, "absent.pth")
