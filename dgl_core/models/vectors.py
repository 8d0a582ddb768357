"""Models for feature vectors and feature sequences, three modalities or any number (Table 2, right: "MLP fusion").

The paper gives no network, features or optimiser for MOSI; it cites CubeMLP. ``cubemlp`` is that network on sequences,
``mlp`` the light form for one feature vector per utterance.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.models.fusion import CubeFusion, make_fusion
from dgl_core.models.initial import initialise, seeded
from dgl_core.models.multimodal import LateFusion

Shapes = Mapping[str, tuple[int, ...]]


class VectorEncoder(nn.Module):
    """Dropout, then linear layers with ReLU: [B, D] -> [B, width]. A bag of words goes in as well as features do.

    Source: ReconBoost ``models/subNets/FeatureNets.py:SubNet`` (dropout 0.2, three layers of 128). Difference: the data
    set standardises the features, not a batch-norm here.
    """

    def __init__(self, inputs: int, width: int, layers: int, dropout: float):
        super().__init__()
        self.width = width
        parts: list[nn.Module] = [nn.Dropout(dropout)]
        for layer in range(layers):
            parts += [nn.Linear(width if layer else inputs, width), nn.ReLU()]
        self.layers = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class SequenceEncoder(nn.Module):
    """Two-layer bidirectional GRU, directions added, LayerNorm, ReLU, dropout: [B, L, D] -> [B, L, width].

    Steps of zeros are padding: what the GRU says there is set to zero.

    Source: CubeMLP ``Model.py`` (audio and video). Difference: it packs sequences by length instead.
    """

    def __init__(self, inputs: int, width: int, dropout: float):
        super().__init__()
        self.width = width
        self.gru = nn.GRU(inputs, width, num_layers=2, bidirectional=True, batch_first=True)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        there = x.ne(0).any(dim=2, keepdim=True)  # [B, L, 1]
        states = self.gru(x)[0].unflatten(2, (2, self.width)).sum(dim=2)  # [B, L, width]
        return self.dropout(F.relu(self.norm(states)) * there)


class StepEncoder(nn.Module):
    """A linear map of every step, no bias, dropout: [B, L, D] -> [B, L, width]; for steps that know their context.

    Source: CubeMLP ``Model.py`` (text: the last hidden states of BERT).
    """

    def __init__(self, inputs: int, width: int, dropout: float):
        super().__init__()
        self.width = width
        self.project = nn.Linear(inputs, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.project(x))


def mlp(
    shapes: Shapes,
    classes: int,
    seed: int,
    *,
    fusion: str = "mlp",
    official: bool = False,
    width: int = 128,
    layers: int = 3,
    dropout: float = 0.2,
) -> LateFusion:
    """One feature vector per modality: a perceptron for each, then any fusion head.

    Args:
        shapes: modality -> (D,). classes: number of classes K. seed: of the initial weights.
        fusion: a key of ``FUSIONS``; "mixer" mixes along modality and channel as CubeMLP does.
        official: as for the other models.
        width: of the features and of every layer. layers: per encoder. dropout: of the inputs, in training.

    Raises:
        ValueError: a modality that is not a vector, or an unknown head.
    """
    _check_shapes("mlp", shapes, 1, "feature vectors (D,)")
    encoders: dict[str, nn.Module] = {}
    for m, shape in shapes.items():
        with seeded(seed, f"encoder/{m}"):
            encoders[m] = VectorEncoder(shape[0], width, layers, dropout).apply(initialise)
    with seeded(seed, "fusion"):
        head = make_fusion(fusion, dict.fromkeys(shapes, width), classes, official=official).apply(initialise)
    return LateFusion(encoders, head)


def cubemlp(
    shapes: Shapes,
    classes: int,
    seed: int,
    *,
    width: int = 128,
    time: tuple[int, ...] = (50, 10),
    channels: tuple[int, ...] = (128, 32),
    contextual: tuple[str, ...] = ("text",),
    dropout: float = 0.1,
) -> LateFusion:
    """CubeMLP on sequences of one length: encoders per step, then mixing along time, modality and channel.

    Args:
        shapes: modality -> (L, D_m), L the same for all. classes: number of classes K. seed: of the initial weights.
        width, time, channels: sizes, see ``CubeFusion``; the defaults are the official ones for L = 100.
        contextual: modalities whose steps already know their context (BERT); they get a linear map, not a GRU.
        dropout: after the encoders and inside the blocks, in training.

    Raises:
        ValueError: modalities that are not sequences of one length.

    Source: CubeMLP ``Model.py``, ``Parameters.py``. Difference: PyTorch's initial weights as there, but seeded part by
    part; BERT itself is not trained.
    """
    _check_shapes("cubemlp", shapes, 2, "feature sequences (L, D)")
    lengths = {m: shape[0] for m, shape in shapes.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"cubemlp mixes step with step, so all sequences need one length; they have {lengths}. Set the data set's "
            "option steps, or align the sequences."
        )
    encoders: dict[str, nn.Module] = {}
    for m, (_, inputs) in shapes.items():
        with seeded(seed, f"encoder/{m}"):
            kind = StepEncoder if m in contextual else SequenceEncoder
            encoders[m] = kind(inputs, width, dropout)
    with seeded(seed, "fusion"):
        head = CubeFusion(tuple(shapes), classes, next(iter(lengths.values())), width, time, channels, dropout)
    return LateFusion(encoders, head)


def _check_shapes(model: str, shapes: Shapes, dimensions: int, wanted: str) -> None:
    other = {1: "mlp", 2: "cubemlp", 3: "small"}
    for m, shape in shapes.items():
        if len(shape) != dimensions:
            hint = other.get(len(shape), "small")
            raise ValueError(f"{model} needs {wanted}; modality {m!r} has shape {tuple(shape)}. Use model {hint!r}.")
