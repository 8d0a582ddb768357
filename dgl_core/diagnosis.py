"""A meter for anyone's model: what does fusion do to each modality, and to the gradient of its encoder?

``diagnose(model, loader)`` looks at a trained or half-trained model, once, over the batches of ``loader``. It trains
nothing and leaves the model as it found it.

Any ``MultimodalModel`` works. A foreign model needs two functions: ``encoders(model)`` says which parameters belong to
which modality, ``forward(model, inputs, keep)`` gives the logits when only the modalities in ``keep`` (all for None)
survive and the features of the others are zero.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.data.tasks.label_maps import VOID, at_size
from dgl_core.gradients import FUSED, check_partition
from dgl_core.suppression import suppression_ratio

if TYPE_CHECKING:
    import pandas


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


PIXELS = 1024  # of every dense prediction, evenly spaced


class Meter:
    """Sums over batches.

    Args:
        model: in evaluation mode (``untouched``). parts: modality -> trainable parameters of its encoder.
        forward: ``forward(model, inputs, keep)`` of a foreign model, None for a ``MultimodalModel``.
    """

    def __init__(self, model: nn.Module, parts: dict[str, list[Tensor]], forward: Callable | None):
        self.model, self.parts, self.forward = model, parts, forward
        self.right = dict.fromkeys((FUSED, *parts), 0)
        self.ratio: dict[str, list[Tensor]] = {m: [] for m in parts}
        self.suppressed = dict.fromkeys(parts, 0)
        self.samples = self.differentiated = 0
        self.kept: list[tuple[Mapping[str, Tensor], Tensor]] = []
        zeros = {m: [torch.zeros_like(p) for p in group] for m, group in parts.items()}
        self.joint, self.own = zeros, {m: [z.clone() for z in group] for m, group in zeros.items()}

    def logits(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Fused and zero-masked logits."""
        if self.forward is None:
            return self.model.all_logits(inputs)
        return {FUSED: self.forward(self.model, inputs, None)} | {
            m: self.forward(self.model, inputs, (m,)) for m in self.parts
        }

    @torch.no_grad()
    def score(self, inputs: Mapping[str, Tensor], target: Tensor) -> None:
        logits, target = _rows(self.logits(inputs), target)
        self.samples += len(target)
        for branch, values in logits.items():
            self.right[branch] += int((values.argmax(1) == target).sum())
        for m in self.parts:
            ratio, s_bar = suppression_ratio(logits[FUSED], logits[m], target)
            self.ratio[m].append(ratio.cpu())
            self.suppressed[m] += int((s_bar < 1).sum())

    def collect(self, inputs: Mapping[str, Tensor], target: Tensor, enough: int) -> None:
        """Keep samples for ``differentiate``, which costs less for ``enough`` of them at once."""
        self.kept.append((inputs, target))
        if sum(len(y) for _, y in self.kept) >= enough:
            self.differentiate()

    def differentiate(self) -> None:
        """Add the gradients of the summed losses of what was kept; ``.grad`` of the parameters is never touched."""
        if not self.kept:
            return
        inputs = {m: torch.cat([x[m] for x, _ in self.kept]) for m in self.kept[0][0]}
        target = torch.cat([y for _, y in self.kept])
        self.kept.clear()
        with torch.enable_grad():
            logits, target = _rows(self.logits(inputs), target)
            losses = {branch: F.cross_entropy(values, target, reduction="sum") for branch, values in logits.items()}
        everything = [p for group in self.parts.values() for p in group]
        self._add(self.joint.values(), losses[FUSED], everything)
        for m, group in self.parts.items():
            self._add([self.own[m]], losses[m], group)
        self.differentiated += len(target)

    def _add(self, sums: Iterable[list[Tensor]], loss: Tensor, parameters: list[Tensor]) -> None:
        if not parameters or not loss.requires_grad:
            return
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        for total, gradient in zip((s for group in sums for s in group), found, strict=True):
            if gradient is not None:
                total += gradient

    def accuracy(self, branch: str) -> float:
        return self.right[branch] / self.samples

    def branch(self, m: str) -> dict[str, object]:
        """The attributes of one ``diagnosis.Branch``."""
        ratio = torch.cat(self.ratio[m]).sort().values
        joint, own = (_flat(sums[m]) / self.differentiated for sums in (self.joint, self.own))
        product = (joint.norm() * own.norm()).item()
        return {
            "accuracy": self.accuracy(m),
            "ratio": tuple(_quantile(ratio, q) for q in (0.25, 0.5, 0.75)),
            "suppressed": self.suppressed[m] / self.samples,
            "joint": joint.norm().item(),
            "own": own.norm().item(),
            "cosine": (joint @ own).item() / product if product else math.nan,
        }


def _rows(logits: dict[str, Tensor], target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Everything as [N, K] and [N]: dense predictions give some of their pixels, those with a label."""
    fused = logits[FUSED]
    if fused.dim() > 2:
        target = at_size(target, fused.shape[-2:]).flatten(1)  # [B, h w]
        step = math.ceil(target.shape[1] / PIXELS)
        target = target[:, ::step]
        known = target != VOID
        logits = {b: x.flatten(2)[:, :, ::step].movedim(1, 2)[known] for b, x in logits.items()}
        target = target[known]
    classes = logits[FUSED].shape[-1]
    if len(target) != len(logits[FUSED]) or (len(target) and not 0 <= int(target.min()) <= int(target.max()) < classes):
        raise ValueError(
            f"{len(target)} labels do not fit logits of shape {list(logits[FUSED].shape)}: give one class from 0 to "
            f"{classes - 1} per sample."
        )
    return logits, target


@contextlib.contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; then mode of every part and all buffers as before."""
    modes = {module: module.training for module in model.modules()}
    buffers = {buffer: buffer.clone() for buffer in model.buffers()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        with torch.no_grad():
            for buffer, before in buffers.items():
                buffer.copy_(before)


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.flatten().double() for t in tensors]) if tensors else torch.zeros(1, dtype=torch.float64)


def _quantile(ordered: Tensor, q: float) -> float:
    """As ``torch.quantile``, which refuses more than 16 million values."""
    place = q * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return (ordered[low] + (place - low) * (ordered[high] - ordered[low])).item()


def load(place: str) -> tuple[nn.Module, Iterable[tuple[Mapping[str, Tensor], Tensor]]]:
    """Call the function that ``FILE.py:NAME`` names; it returns a model and a loader.

    Raises:
        ValueError: a place of another form, a file or a function that is not there, or another result.
    """
    file, _, name = place.rpartition(":")
    if not file or not Path(file).is_file():
        raise ValueError(f"{place!r} names no file; write FILE.py:NAME, NAME being a function in it.")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(made := getattr(module, name, None)):
        raise ValueError(f"{file} has no function {name!r}; write one that returns (model, loader).")
    found = made()
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], nn.Module):
        raise ValueError(f"{place} returned {type(found).__name__}; it must return (model, loader), see 'diagnose'.")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """``dgl diagnose FILE.py:NAME``: 0 done, 2 it was asked for something that does not exist."""
    parser = argparse.ArgumentParser(prog="dgl diagnose", description="How far does fusion suppress each encoder?")
    parser.add_argument("place", metavar="FILE.py:NAME", help="a function that returns (model, loader)")
    parser.add_argument("--share", type=float, default=0.125, help="of every batch on which gradients are measured")
    options = parser.parse_args(arguments)
    try:
        found = diagnose(*load(options.place), share=options.share)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(found.table().to_string(), found, sep="\n\n")
    return 0
