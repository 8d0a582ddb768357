"""Load ImageNet weights for ESANet's encoders from a file the user has; names and shapes are checked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dgl_core.utils import data_roots

FOLDER = "weights"  # below a data root


def load_encoder(encoder: nn.Module, weights: str) -> None:
    """Put the weights of a file into one encoder.

    Two kinds of names are known: torchvision's ResNet (``layer1.0.conv1.weight``; needs block ``"basic"`` or
    ``"bottleneck"``), and the file of the ESANet authors for NonBottleneck1D blocks (a ``state_dict`` whose encoder
    entries read ``...encoder.layer1.0.conv3x1_1.weight``). The classifier of either is left out. For an encoder with
    one input channel the stem is summed over its input channels. ``weights`` is a file name below ``<data>/weights``,
    or a path.

    Raises:
        FileNotFoundError: no such file; the message says where it was looked for.
        ValueError: not a file of tensors, or names or shapes that do not fit: each is listed with the nearest match.

    **Source.** ESANet ``src/models/resnet.py:load_pretrained_with_different_encoder_block``.
    **Difference.** (1) The authors load with ``strict=False``, which lets a wrong file pass silently.
    """
    path = find_weights(weights)
    state = encoder_entries(read_tensors(path))
    own = encoder.state_dict()
    stem = state.get("conv1.weight")
    if stem is not None and own["conv1.weight"].shape[1] == 1 and stem.dim() == 4:
        state["conv1.weight"] = stem.sum(dim=1, keepdim=True)
    problems = mismatches(state, {name: value.shape for name, value in own.items()})
    if problems:
        shown = "\n".join(f"  {line}" for line in problems[:12])
        more = f"\n  and {len(problems) - 12} more" if len(problems) > 12 else ""
        raise ValueError(
            f"{path} does not fit this encoder; choose the model options block, blocks and width that belong to the "
            f"file:\n{shown}{more}"
        )
    encoder.load_state_dict(own | state)


def find_weights(weights: str) -> Path:
    """Find the file: a path, or a name below ``weights`` of a data root."""
    looked = [Path(weights), *(root / FOLDER / weights for root in data_roots())]
    for path in looked:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"Weights {weights!r} are not here: looked for {', '.join(map(str, looked))}. Put the file there (nothing is "
        "downloaded), or leave the option weights empty to train from scratch."
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the state dict in a file, without running anything in it."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on a file of another kind the unpickler fails in many ways
        raise ValueError(
            f"{path} cannot be read as tensors alone ({(str(error) or repr(error)).splitlines()[0]}); save its state "
            "dict again with torch.save(state_dict, path)."
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"{path} holds no state dict (names with tensors).")
    return dict(content)


def encoder_entries(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the entries as ``Encoder`` does; wrapper prefixes and the classifier (``fc``) are dropped."""
    if any("encoder." in name for name in state):
        return {name.split("encoder.")[-1]: value for name, value in state.items() if "encoder." in name}
    bare = {name.removeprefix("module."): value for name, value in state.items()}
    return {name: value for name, value in bare.items() if not name.startswith("fc.")}


def mismatches(state: Mapping[str, Tensor], own: Mapping[str, torch.Size]) -> list[str]:
    """List what keeps ``state`` from fitting a module with entries ``own`` (name -> shape), one line each.

    Files older than the batch counters of batch-norm may leave those out.
    """
    lines = []
    for name, value in state.items():
        if name not in own:
            near = difflib.get_close_matches(name, own, n=1, cutoff=0.4)
            lines.append(f"foreign name {name!r}" + (f", nearest here {near[0]!r}" if near else ""))
        elif value.shape != own[name]:
            lines.append(f"{name!r} is {list(value.shape)}, this encoder needs {list(own[name])}")
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    return lines + [f"missing {name!r}" for name in missing]
