"""Write a trained model for other programs: as a program of torch (``*.pt2``), or as ONNX (``*.onnx``)."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from dgl_core.data.files.atomic import explained
from dgl_core.data.files.tensors import REMEDY
from dgl_core.utils import needs


class Answer(nn.Module):
    """The outputs of a predictor as one module: stored values {m: [B, ...]} in, logits [B, K] out."""

    def __init__(self, predictor: Any, keep: Collection[str] | None):
        super().__init__()
        self.model, self.heads, self.preparation = predictor.model, predictor.heads, predictor.preparation
        self.predictor, self.keep = predictor, None if keep is None else tuple(keep)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.predictor.answer(inputs, self.keep)


def export(predictor: Any, path: Path, keep: Collection[str] | None = None) -> Path:
    """Write the network of a ``weights.Predictor`` for any batch size, as the ending of ``path`` says.

    Both kinds take stored values {m: [B, ...]} in the order of the modalities, and give what
    ``predictor.outputs(inputs, keep)`` gives: ``torch.export.load(path).module()(inputs)``, or an ONNX runtime with one
    named input a modality. ``keep`` is fixed in the file.

    Raises:
        ValueError: another ending.
        MissingPackage: ONNX without the packages by which torch writes it (the extra ``export``).
    """
    writers = {".pt2": _write_torch, ".onnx": _write_onnx}
    if path.suffix not in writers:
        raise ValueError(f"{path.name!r} ends in {path.suffix!r}; end it in '.pt2' (torch.export) or '.onnx'.")
    if path.suffix == ".onnx":
        needs("ONNX files", "onnx", "onnxscript")
    predictor = copy.deepcopy(predictor).to("cpu")
    module = Answer(predictor, keep).eval()
    for network in (predictor.model, predictor.heads, predictor.preparation):
        network.requires_grad_(False)
    example = {m: torch.zeros(2, *shape, dtype=dtype) for m, (shape, dtype) in predictor.stored.items()}
    with explained(path.parent, REMEDY), torch.no_grad():
        path.parent.mkdir(parents=True, exist_ok=True)
        writers[path.suffix](module, example, path)
    return path


def _write_torch(module: Answer, example: Mapping[str, Tensor], path: Path) -> None:
    batch = Dim("batch")
    program = torch.export.export(module, (example,), dynamic_shapes=({m: {0: batch} for m in example},))
    torch.export.save(program, path)


def _write_onnx(module: Answer, example: Mapping[str, Tensor], path: Path) -> None:
    batch = Dim("batch")
    torch.onnx.export(
        module, (), str(path), kwargs={"inputs": dict(example)}, dynamo=True, external_data=False, verbose=False,
        input_names=list(example), output_names=["outputs"],
        dynamic_shapes={"inputs": {m: {0: batch} for m in example}},
    )  # fmt: skip
