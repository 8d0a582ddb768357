"""Let modalities multiply each other: bilinear, FiLM and gated heads.

Where one factor is zero, so is the gradient of the other. The zero mask of Eq. 12 therefore silences encoders here, and
each class says which and when; the official code avoids it by letting a lone modality multiply itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dgl_core.models.fusion.base import Fusion


class BilinearFusion(Fusion):
    """All products of two feature vectors: ``l = W_o (W vec(x y^T) + c) + b`` (called ``film`` in the official code).

    With a zero partner every product is zero, so under the zero mask of Eq. 12 **no encoder receives a gradient from
    its unimodal loss, ever**, and DGL trains no encoder at all. The official variant replaces the partner by the
    modality itself.

    Args:
        widths: modality -> feature width; exactly two modalities (of the same width for the official variant).
        classes: number of classes K.
        official: unimodal logits from ``x x^T`` instead of ``x 0^T``, as in the official code.

    Raises:
        ValueError: another number of modalities, or different widths with ``official``.

    **Source.** Official ``models/fusion_modules.py:FiLM_DGL`` (two linear maps, nothing between them, 512 hidden
    units).
    **Difference.** (1) As many hidden units as the wider feature vector has entries.
    """

    def __init__(self, widths: Mapping[str, int], classes: int, official: bool = False):
        super().__init__(widths, classes)
        if len(widths) != 2:
            raise ValueError(
                f"Bilinear fusion multiplies exactly two modalities; this model has {list(widths)}. Use fusion="
                "'gated', 'film' or 'attention' for more, 'concat' for one."
            )
        if official and len(set(widths.values())) > 1:
            raise ValueError(f"The official bilinear mask x x^T needs equal feature widths; these are {dict(widths)}.")
        self.modalities, self.official = tuple(widths), official
        hidden = max(widths.values())
        first, second = widths.values()
        self.hidden = nn.Linear(first * second, hidden)
        self.head = nn.Linear(hidden, classes)

    def _product(self, x: Tensor, y: Tensor) -> Tensor:
        products = x.unsqueeze(2) * y.unsqueeze(1)  # [B, D_x, D_y]
        return self.head(self.hidden(products.flatten(1)))  # [B, K]

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        return self._product(*(features[m] for m in self.modalities))

    def unimodal(self, features: Mapping[str, Tensor], modality: str) -> Tensor:
        if self.official:
            return self._product(features[modality], features[modality])
        return super().unimodal(features, modality)


class FiLMFusion(Fusion):
    """Feature-wise linear modulation: the last modality y is scaled and shifted by the others x.

    ``gamma, beta = W_f x + b_f``; ``l = W_o (gamma * y + beta) + b_o``. Under the zero mask the modulating modalities
    learn through beta; y has gamma = b_f, which starts at zero, so **y receives no gradient at initialisation** and
    learns only as the multimodal loss moves b_f.

    Args:
        widths: modality -> feature width; at least two. With more, all but the last modulate together (concatenated).
        classes: number of classes K.

    Raises:
        ValueError: fewer than two modalities.

    **Source.** Perez et al., AAAI 2018, in the form of OGM-GE ``models/fusion_modules.py:FiLM``. The official DGL code
    has this form only as a comment; what it calls FiLM is ``BilinearFusion``.
    """

    def __init__(self, widths: Mapping[str, int], classes: int):
        super().__init__(widths, classes)
        *self.modulating, self.modulated = _at_least_two(widths, "FiLM")
        width = widths[self.modulated]
        self.film = nn.Linear(sum(widths[m] for m in self.modulating), 2 * width)
        self.head = nn.Linear(width, classes)

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        condition = torch.cat([features[m] for m in self.modulating], dim=1)
        gamma, beta = self.film(condition).chunk(2, dim=1)  # [B, D] each
        return self.head(gamma * features[self.modulated] + beta)


class GatedFusion(Fusion):
    """The last modality y passes a gate that the others x open: ``l = W_o (sigmoid(u_x) * u_y) + b_o``, u = W z + b.

    Under the zero mask y passes half open (sigmoid(0) = 1/2) and learns; with y masked, u_y = b_y, which starts at
    zero, so **x receives no gradient at initialisation** and learns only as the multimodal loss moves b_y. The
    official variant lets a lone modality gate itself: ``W_o (sigmoid(u) * u) + b_o``.

    Args:
        widths: modality -> feature width; at least two. With more, the u of all but the last add up inside the sigmoid.
        classes: number of classes K.
        official: unimodal logits by self-gating, as in the official code.

    Raises:
        ValueError: fewer than two modalities.

    **Source.** Kiela et al., AAAI 2018, as in OGM-GE ``models/fusion_modules.py:GatedFusion``; official
    ``GatedFusion_DGL``.
    **Difference.** (1) The official code detaches the *projections* u for the multimodal loss, and clears what the
    unimodal losses left on them, so they stay at their initial values for ever. Here truncation is at the features, so
    that the multimodal loss trains the projections, with and without ``official``.
    """

    def __init__(self, widths: Mapping[str, int], classes: int, official: bool = False):
        super().__init__(widths, classes)
        *self.gating, self.gated = _at_least_two(widths, "Gated")
        self.official = official
        hidden = max(widths.values())
        self.projections = nn.ModuleDict({m: nn.Linear(width, hidden) for m, width in widths.items()})
        self.head = nn.Linear(hidden, classes)

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        u = {m: project(features[m]) for m, project in self.projections.items()}  # {m: [B, D]}
        return self.head(torch.sigmoid(sum(u[m] for m in self.gating)) * u[self.gated])

    def unimodal(self, features: Mapping[str, Tensor], modality: str) -> Tensor:
        if self.official:
            u = self.projections[modality](features[modality])
            return self.head(torch.sigmoid(u) * u)
        return super().unimodal(features, modality)


def _at_least_two(widths: Mapping[str, int], kind: str) -> list[str]:
    if len(widths) < 2:
        raise ValueError(
            f"{kind} fusion lets modalities act on each other and needs at least two; this model has {list(widths)}. "
            "Use fusion='concat' for one."
        )
    return list(widths)
