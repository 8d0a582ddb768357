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
    its unimodal loss, ever**, and DGL trains no encoder at all. The ``official`` unimodal logits are made of ``x x^T``
    instead of ``x 0^T``. It refuses other numbers of modalities, and different widths with ``official``.

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

    def official_unimodal(self, features: Mapping[str, Tensor], modality: str) -> Tensor:
        return self._product(features[modality], features[modality])


class FiLMFusion(Fusion):
    """Feature-wise linear modulation: the last modality y is scaled and shifted by the others x.

    ``gamma, beta = W_f x + b_f``; ``l = W_o (gamma * y + beta) + b_o``. Under the zero mask the modulating modalities
    learn through beta; y has gamma = b_f, which starts at zero, so **y receives no gradient at initialisation** and
    learns only as the multimodal loss moves b_f.

    Of three or more modalities all but the last modulate together (concatenated); a lone one is refused.

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
    zero, so **x receives no gradient at initialisation** and learns only as the multimodal loss moves b_y. With
    ``official`` a modality gates itself for its unimodal logits: ``W_o (sigmoid(u) * u) + b_o``. Of three or more
    modalities the u of all but the last add up inside the sigmoid; a lone one is refused.

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

    def official_unimodal(self, features: Mapping[str, Tensor], modality: str) -> Tensor:
        u = self.projections[modality](features[modality])
        return self.head(torch.sigmoid(u) * u)


class LiteralGatedFusion(GatedFusion):
    """``GatedFusion`` with the official masks, and projections that stay at their initial values, as DGL's code has it.

    **Source.** Official ``GatedFusion_DGL``: the multimodal loss sees detached projections, and what the unimodal
    losses leave on them is cleared before the update.
    """

    def __init__(self, widths: Mapping[str, int], classes: int):
        super().__init__(widths, classes, official=True)
        self.projections.requires_grad_(False)


def _at_least_two(widths: Mapping[str, int], kind: str) -> list[str]:
    if len(widths) < 2:
        raise ValueError(
            f"{kind} fusion lets modalities act on each other and needs at least two; this model has {list(widths)}. "
            "Use fusion='concat' for one."
        )
    return list(widths)
