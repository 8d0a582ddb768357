"""Classify feature vectors, one per modality and any number of them (Table 2, right: "MLP fusion").

The paper gives no network, features or optimiser for MOSI; it cites CubeMLP. This is the light form of METHODS 4.2.
"""

from __future__ import annotations

from torch import Tensor, nn

from dgl_core.models.building import Shapes, checked, late_fusion
from dgl_core.models.initial import initialise
from dgl_core.models.multimodal import LateFusion
from dgl_core.utils import Range


class VectorEncoder(nn.Module):
    """Dropout, then linear layers with ReLU: [B, D] -> [B, width]. A bag of words goes in as well as features do.

    **Source.** ReconBoost ``models/subNets/FeatureNets.py:SubNet`` (dropout 0.2, three layers of 128).
    **Difference.** (1) The data set standardises the features, not a batch-norm here.
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


@checked(1, width=Range(low=1), layers=Range(low=1), dropout=Range(low=0, below=1))
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
    """Build a perceptron for the feature vector of each modality, then any fusion head.

    ``width`` is that of the features and of every layer of an encoder; ``dropout`` that of the inputs, in training.
    """
    encoder = lambda inputs: VectorEncoder(inputs, width, layers, dropout).apply(initialise)  # noqa: E731
    return late_fusion(shapes, classes, seed, fusion, official, encoder)
