"""A meter for anyone's model: what does fusion do to each modality, and to the gradient of its encoder?

``diagnose(model, loader)`` looks at a trained or half-trained model, once, over the batches of ``loader``. It trains
nothing and leaves the model as it found it.

Any ``MultimodalModel`` works. A foreign model needs two functions: ``encoders(model)`` says which parameters belong to
which modality, ``forward(model, inputs, keep)`` gives the logits when only the modalities in ``keep`` (all for None)
survive and the features of the others are zero.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dgl_core.gradients import FUSED, check_partition
from dgl_core.meter import Meter, untouched

if TYPE_CHECKING:
    import pandas

    from dgl_core.figures.style import Picture

Parts = Mapping[str, nn.Module | Iterable[nn.Parameter]]
Encoders = Callable[[nn.Module], Parts]
Forward = Callable[[nn.Module, Mapping[str, Tensor], Collection[str] | None], Tensor]


@dataclass(frozen=True)
class Branch:
    """What fusion does to one modality.

    Attributes:
        accuracy: of the zero-masked branch, as a fraction.
        ratio: quartiles (25, 50, 75 %) over samples of R = (1 - p_fused) / (1 - p_branch) (METHODS T3).
        suppressed: share of samples with s-bar < 1, where fusion shrinks the residual (T2), that is R < 1.
        joint, own: norm of the gradient of the multimodal loss and of the branch's own loss at the encoder.
        cosine: between these two gradients; NaN if one of them is zero.
    """

    accuracy: float
    ratio: tuple[float, float, float]
    suppressed: float
    joint: float
    own: float
    cosine: float


@dataclass(frozen=True)
class Diagnosis:
    """What ``diagnose`` found; prints as a plain paragraph.

    Attributes:
        samples: how many were looked at (dense predictions: pixels). accuracy: of the fused model, as a fraction.
        branches: one entry per modality.
    """

    samples: int
    accuracy: float
    branches: dict[str, Branch]

    def __str__(self) -> str:
        lines = [f"Fused accuracy {100 * self.accuracy:.1f} % on {self.samples} samples."]
        for m, b in self.branches.items():
            ratio = f"{b.joint / b.own:.2f} times" if b.own else "no part of"
            lines.append(
                f"{m}: fusion shrinks the residual of {100 * b.suppressed:.0f} % of the samples (median R "
                f"{b.ratio[1]:.2g}); the encoder gets {ratio} the gradient of its own loss (cosine {b.cosine:.2f}); "
                f"with the other modalities at zero {100 * b.accuracy:.1f} % are right."
            )
        most = min(self.branches, key=lambda m: self.branches[m].ratio[1])
        middle = self.branches[most].ratio[1]
        lines.append(f"Most suppressed: {most}." if middle < 1 else "No median R is below 1: nothing is suppressed.")
        return " ".join(lines)

    def table(self) -> pandas.DataFrame:
        """One row per modality, as strings."""
        import pandas

        rows = {
            m: {
                "accuracy, others zero": f"{100 * b.accuracy:.1f} %",
                "median R (quartiles)": "{1:.2g} ({0:.2g} to {2:.2g})".format(*b.ratio),
                "samples with s-bar < 1": f"{100 * b.suppressed:.0f} %",
                "gradient of the fused loss": f"{b.joint:.3g}",
                "gradient of its own loss": f"{b.own:.3g}",
                "cosine": f"{b.cosine:.2f}",
            }
            for m, b in self.branches.items()
        }
        return pandas.DataFrame.from_dict(rows, orient="index")

    def plot(self) -> Picture:
        """Suppression, gradients and accuracies side by side."""
        from dgl_core.figures.diagnosis import panels

        return panels(self)


def diagnose(
    model: nn.Module,
    loader: Iterable[tuple[Mapping[str, Tensor], Tensor]],
    *,
    encoders: Encoders | None = None,
    forward: Forward | None = None,
    share: float = 0.125,
) -> Diagnosis:
    """Measure suppression, gradients and branches of a model, in one pass over ``loader``.

    The model runs in evaluation mode (no dropout, running batch-norm statistics), so a step of training, in which
    batch-norm uses the batch, has gradients of somewhat other size. Cost: a plain evaluation of all branches, plus
    forward and backward passes on ``share`` of the samples; together under three evaluations at the default.

    Args:
        model: a ``MultimodalModel``, or any module together with the two functions below.
        loader: yields ``(inputs, target)``: {modality: [B, ...]} and class indices [B] (dense: [B, H, W], 255 = void).
        encoders: for a foreign model: modality -> module or parameters, no parameter in two of them.
        forward: for a foreign model: ``forward(model, inputs, keep)`` -> logits [B, K] (dense: [B, K, h, w]).
        share: of every batch on which gradients are measured, in (0, 1].

    Raises:
        ValueError: a model without the contract and without both functions, encoders that share a parameter, fewer than
            two modalities, a loader without labels or without batches, labels that do not fit the logits.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share is {share}; it is the part of every batch to differentiate, above 0 and at most 1.")
    parts = _parts(model, encoders, forward)
    meter = Meter(model, parts, forward)
    stride = round(1 / share)
    with untouched(model), torch.random.fork_rng(devices=[]):
        for batch in loader:
            inputs, target = _labelled(batch, next(model.parameters()).device)
            meter.score(inputs, target)
            meter.collect({m: x[::stride] for m, x in inputs.items()}, target[::stride], len(target))
        meter.differentiate()
    if not meter.samples:
        raise ValueError("The loader gave no labelled sample; nothing can be diagnosed.")
    return Diagnosis(meter.samples, meter.accuracy(FUSED), {m: Branch(**meter.branch(m)) for m in parts})


def _parts(model: nn.Module, encoders: Encoders | None, forward: Forward | None) -> dict[str, list[Tensor]]:
    """Modality -> trainable parameters of its encoder."""
    if (encoders is None) != (forward is None):
        raise ValueError("A foreign model needs both functions, encoders(model) and forward(model, inputs, keep).")
    if encoders is None:
        if not hasattr(model, "all_logits"):
            raise ValueError(
                f"{type(model).__name__} is no MultimodalModel: pass encoders=, which says what belongs to which "
                "modality, and forward=, which gives logits with the other modalities' features at zero."
            )
        check_partition(model)
    given = model.encoders if encoders is None else encoders(model)
    parts = {m: list(part.parameters() if isinstance(part, nn.Module) else part) for m, part in given.items()}
    if len(parts) < 2:
        raise ValueError(f"The model has the modalities {list(parts)}; suppression by fusion needs at least two.")
    names, owners = {id(p): n for n, p in model.named_parameters()}, {}
    for m, group in parts.items():
        for p in group:
            if owners.setdefault(id(p), m) != m:
                where = f"{owners[id(p)]!r} and {m!r}"
                raise ValueError(f"Parameter {names.get(id(p), '?')!r} belongs to the encoders of both {where}.")
    return {m: [p for p in group if p.requires_grad] for m, group in parts.items()}


def _labelled(batch: object, device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs and target of one batch, on the device of the model."""
    pair = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)
    inputs, target = pair
    wanted = "The loader must give (inputs, target): a dictionary modality -> tensor, and integer classes"
    if target is None:
        raise ValueError(f"{wanted}; it gave {type(batch).__name__} without labels.")
    if not isinstance(inputs, Mapping) or not isinstance(target, Tensor) or target.is_floating_point():
        kind = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise ValueError(f"{wanted}; it gave inputs of type {type(inputs).__name__} and a target of {kind}.")
    return {m: x.to(device) for m, x in inputs.items()}, target.to(device).long()
