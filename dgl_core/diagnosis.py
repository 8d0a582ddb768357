"""Measure on anyone's model what fusion does to each modality, and to the gradient of its encoder.

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
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.data.tasks.label_maps import VOID, at_size
from dgl_core.gradients import FUSED, check_partition
from dgl_core.suppression import suppression_ratio
from dgl_core.utils import Range, brief, check_modality_names

if TYPE_CHECKING:
    import pandas


Parts = Mapping[str, nn.Module | Iterable[nn.Parameter]]
Encoders = Callable[[nn.Module], Parts]
Forward = Callable[[nn.Module, Mapping[str, Tensor], Collection[str] | None], Tensor]
PIXELS = 1024  # of every dense prediction, evenly spaced


@dataclass(frozen=True)
class Branch:
    """What fusion does to one modality.

    Attributes:
        accuracy: of the zero-masked branch, as a fraction.
        ratio: quartiles (25, 50, 75 %) over samples of R = (1 - p_fused) / (1 - p_branch) (METHODS T3).
        suppressed: share of samples with s-bar < 1, where fusion shrinks the residual (T2), that is R < 1.
        joint, own: norm of the gradient of the multimodal loss and of the branch's own loss at the encoder.
        cosine: between these two gradients; NaN if one of them is zero.
        frozen: whether no parameter of the encoder is trained, so that there is no gradient to compare.
    """

    accuracy: float
    ratio: tuple[float, float, float]
    suppressed: float
    joint: float
    own: float
    cosine: float
    frozen: bool = False

    def gradient(self) -> str:
        """Say what gradient the encoder gets."""
        if self.frozen:
            return "the encoder is frozen and gets no gradient"
        ratio = f"{self.joint / self.own:.2f} times" if self.own else "no part of"
        return f"the encoder gets {ratio} the gradient of its own loss (cosine {self.cosine:.2f})"


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
            lines.append(
                f"{m}: fusion shrinks the residual of {100 * b.suppressed:.0f} % of the samples (median R "
                f"{b.ratio[1]:.2g}); {b.gradient()}; "
                f"with the other modalities at zero {100 * b.accuracy:.1f} % are right."
            )
        most = min(self.branches, key=lambda m: self.branches[m].ratio[1])
        middle = self.branches[most].ratio[1]
        lines.append(f"Most suppressed: {most}." if middle < 1 else "No median R is below 1: nothing is suppressed.")
        return " ".join(lines)

    def table(self) -> pandas.DataFrame:
        """Make a table with one row per modality, as strings."""
        import pandas

        rows = {
            m: {
                "accuracy, others zero": f"{100 * b.accuracy:.1f} %",
                "median R (quartiles)": "{1:.2g} ({0:.2g} to {2:.2g})".format(*b.ratio),
                "samples with s-bar < 1": f"{100 * b.suppressed:.0f} %",
                "gradient of the fused loss": "frozen" if b.frozen else f"{b.joint:.3g}",
                "gradient of its own loss": "frozen" if b.frozen else f"{b.own:.3g}",
                "cosine": "frozen" if b.frozen else f"{b.cosine:.2f}",
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
            two modalities, a loader without labels or without batches, inputs or logits that are not finite, logits of
            another form, labels that do not fit them.
    """
    Range(above=0, high=1).check("share", share)
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        raise ValueError(f"The loader is {type(loader).__name__}; give a DataLoader, or a list of (inputs, target).")
    parts = _parts(model, encoders, forward)
    meter = Meter(model, parts, forward)
    stride = round(1 / share)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with untouched(model), torch.random.fork_rng(devices=[]):
        for batch in loader:
            inputs, target = _labelled(batch, device)
            meter.score(inputs, target)
            meter.collect({m: x[::stride] for m, x in inputs.items()}, target[::stride], len(target))
        meter.differentiate()
    if not meter.differentiated:
        raise ValueError("The loader gave no labelled sample to differentiate: give labels, or a larger share.")
    return Diagnosis(meter.samples, meter.right[FUSED] / meter.samples, {m: meter.branch(m) for m in parts})


def _parts(model: nn.Module, encoders: Encoders | None, forward: Forward | None) -> dict[str, list[Tensor]]:
    """Find the trainable parameters of each modality's encoder."""
    if (encoders is None) != (forward is None):
        raise ValueError("A foreign model needs both functions, encoders(model) and forward(model, inputs, keep).")
    for name, function in (("encoders", encoders), ("forward", forward)):
        if function is not None and not callable(function):
            raise ValueError(f"{name} is {brief(function)}; give a function of the model, see 'diagnose'.")
    if encoders is None:
        if not hasattr(model, "all_logits"):
            raise ValueError(
                f"{type(model).__name__} is no MultimodalModel: pass encoders=, which says what belongs to which "
                "modality, and forward=, which gives logits with the other modalities' features at zero."
            )
        check_partition(model)
    given = model.encoders if encoders is None else encoders(model)
    if not hasattr(given, "items"):
        raise ValueError(f"encoders(model) gave {type(given).__name__}: it must give modality -> module or parameters.")
    parts = {m: _parameters(m, part) for m, part in given.items()}
    check_modality_names(parts)
    if len(parts) < 2:
        raise ValueError(f"The model has the modalities {list(parts)}; suppression by fusion needs at least two.")
    names, owners = {id(p): n for n, p in model.named_parameters()}, {}
    for m, group in parts.items():
        for p in group:
            if owners.setdefault(id(p), m) != m:
                where = f"{owners[id(p)]!r} and {m!r}"
                raise ValueError(f"Parameter {names.get(id(p), '?')!r} belongs to the encoders of both {where}.")
    return {m: [p for p in group if p.requires_grad] for m, group in parts.items()}


def _parameters(m: str, part: nn.Module | Iterable[nn.Parameter]) -> list[Tensor]:
    if isinstance(part, nn.Module):
        return list(part.parameters())
    group = list(part) if isinstance(part, Iterable) else [part]
    if not all(isinstance(p, Tensor) and p.is_leaf for p in group):
        raise ValueError(f"encoders(model) gave {type(part).__name__} for {m!r}: it must give a module or parameters.")
    return group


def _labelled(batch: object, device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """Check inputs and target of one batch and move them to the device of the model."""
    inputs, target = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)
    wanted = "The loader must give (inputs, target): a dictionary modality -> tensor, and integer classes"
    if target is None:
        raise ValueError(f"{wanted}; it gave {type(batch).__name__} without labels.")
    integers = isinstance(target, Tensor) and not target.is_floating_point() and not target.is_complex()
    if not integers or not isinstance(inputs, Mapping) or not all(isinstance(x, Tensor) for x in inputs.values()):
        kind = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise ValueError(f"{wanted}; it gave inputs of type {type(inputs).__name__} and a target of {kind}.")
    for m, x in inputs.items():
        if x.is_complex() or not x.isfinite().all():
            what = "complex" if x.is_complex() else "NaN or infinite"
            raise ValueError(f"The inputs of {m!r} hold {what} values; mend or leave out those samples first.")
    return {m: x.to(device) for m, x in inputs.items()}, target.to(device).long()


class Meter:
    """Add up over batches what ``diagnose`` reports.

    Args:
        model: in evaluation mode (``untouched``). parts: modality -> trainable parameters of its encoder.
        forward: ``forward(model, inputs, keep)`` of a foreign model, None for a ``MultimodalModel``.
    """

    def __init__(self, model: nn.Module, parts: dict[str, list[Tensor]], forward: Forward | None):
        self.model, self.parts, self.forward = model, parts, forward
        self.samples = self.differentiated = 0
        self.right, self.suppressed = dict.fromkeys((FUSED, *parts), 0), dict.fromkeys(parts, 0)
        self.ratio: dict[str, list[Tensor]] = {m: [] for m in parts}
        self.kept: list[tuple[Mapping[str, Tensor], Tensor]] = []
        self.joint, self.own = ({m: torch.zeros(()).double() for m in parts} for _ in range(2))  # sums over samples

    def rows(self, inputs: Mapping[str, Tensor], target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Compute fused and zero-masked logits {branch: [N, K]} and classes [N] of what has a label."""
        if self.forward is None:
            return _rows(self.model.all_logits(inputs), target)
        keeps = {FUSED: None} | {m: (m,) for m in self.parts}
        return _rows({branch: self.forward(self.model, inputs, keep) for branch, keep in keeps.items()}, target)

    @torch.no_grad()
    def score(self, inputs: Mapping[str, Tensor], target: Tensor) -> None:
        """Count what is right and what is suppressed in one batch."""
        logits, target = self.rows(inputs, target)
        self.samples += len(target)
        for branch, values in logits.items():
            self.right[branch] += int((values.argmax(1) == target).sum())
        for m in self.parts:
            ratio, s_bar = suppression_ratio(logits[FUSED], logits[m], target)
            self.ratio[m].append(ratio.cpu())
            self.suppressed[m] += int((s_bar < 1).sum())

    def collect(self, inputs: Mapping[str, Tensor], target: Tensor, enough: int) -> None:
        """Keep samples until there are ``enough`` to differentiate at once, which costs less than one by one."""
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
            logits, target = self.rows(inputs, target)
            losses = {branch: F.cross_entropy(values, target, reduction="sum") for branch, values in logits.items()}
        joint = _gradient(losses[FUSED], [p for group in self.parts.values() for p in group])
        for m, own in {m: _gradient(losses[m], group) for m, group in self.parts.items()}.items():
            self.joint[m] = self.joint[m] + joint[: len(own)]
            self.own[m] = self.own[m] + own
            joint = joint[len(own) :]
        self.differentiated += len(target)

    def branch(self, m: str) -> Branch:
        """Sum up what was found of one modality."""
        joint, own = self.joint[m] / self.differentiated, self.own[m] / self.differentiated
        product = (joint.norm() * own.norm()).item()
        return Branch(
            accuracy=self.right[m] / self.samples,
            ratio=tuple(np.quantile(torch.cat(self.ratio[m]).numpy(), (0.25, 0.5, 0.75)).tolist()),
            suppressed=self.suppressed[m] / self.samples,
            joint=joint.norm().item(),
            own=own.norm().item(),
            cosine=(joint @ own).item() / product if product else math.nan,
            frozen=not self.parts[m],
        )


def _gradient(loss: Tensor, parameters: list[Tensor]) -> Tensor:
    """Compute the gradient of a loss as one float64 vector; it is zero where the loss does not reach."""
    if not parameters or not loss.requires_grad:
        return torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64, device=loss.device)
    found = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
    return torch.cat([g.flatten().double() for g in found])


def _rows(logits: Mapping[str, Tensor], target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Check logits and labels and make them [N, K] and [N]; dense predictions give some of their labelled pixels."""
    for branch, values in logits.items():
        shape = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        if not isinstance(values, Tensor) or values.dim() not in (2, 4) or values.shape[1] < 2:
            raise ValueError(f"The logits of {branch!r} are {shape}; give a tensor [B, K] with K > 1, or [B, K, h, w].")
        if not values.is_floating_point():
            raise ValueError(f"The logits of {branch!r} are {values.dtype}; give floating-point numbers.")
        if not values.isfinite().all():
            raise ValueError(f"The logits of {branch!r} hold NaN or infinite values: the model has diverged.")
        if target.dim() != values.dim() - 1 or len(target) != len(values):
            wanted = "give one class per sample [B], or per pixel [B, H, W]"
            raise ValueError(f"Labels of shape {list(target.shape)} do not fit logits of shape {shape}: {wanted}.")
    if logits[FUSED].dim() == 4:
        target = at_size(target, logits[FUSED].shape[-2:]).flatten(1)  # [B, h w]
        step = math.ceil(target.shape[1] / PIXELS)
        target = target[:, ::step]
        known = target != VOID
        logits = {b: x.flatten(2)[:, :, ::step].movedim(1, 2)[known] for b, x in logits.items()}
        target = target[known]
    classes = logits[FUSED].shape[1]
    if len(target) and not 0 <= int(target.min()) <= int(target.max()) < classes:
        raise ValueError(
            f"Labels from {int(target.min())} to {int(target.max())} do not fit logits of {classes} classes: number "
            f"the classes from 0 to {classes - 1}, or give the model more of them."
        )
    return logits, target


@contextlib.contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a while, then restore the mode of every part and all buffers."""
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


def load(place: str) -> tuple[nn.Module, Iterable[tuple[Mapping[str, Tensor], Tensor]]]:
    """Call the function that ``FILE.py:NAME`` names; it returns a model and a loader.

    Raises:
        ValueError: a place of another form, a file or a function that is not there, or another result.
    """
    file, _, name = place.rpartition(":")
    if not file.endswith(".py") or not Path(file).is_file():
        raise ValueError(f"{place!r} names no file; write FILE.py:NAME, NAME being a function in it.")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ValueError(f"{file} cannot be imported: SyntaxError: {error}.") from None
    if not callable(made := getattr(module, name, None)):
        raise ValueError(f"{file} has no function {name!r}; write one that returns (model, loader).")
    found = made()
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], nn.Module):
        raise ValueError(f"{place} returned {type(found).__name__}; it must return (model, loader), see 'diagnose'.")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``dgl diagnose FILE.py:NAME``; 0 is done, 2 means that something does not exist or does not work."""
    parser = argparse.ArgumentParser(prog="dgl diagnose", description="How far does fusion suppress each encoder?")
    parser.add_argument("place", metavar="FILE.py:NAME", help="a function that returns (model, loader)")
    parser.add_argument("--share", type=float, default=0.125, help="of every batch on which gradients are measured")
    options = parser.parse_args(arguments)
    try:
        found = diagnose(*load(options.place), share=options.share)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception as error:  # whatever goes wrong in the reader's own model or loader
        last = traceback.extract_tb(error.__traceback__)[-1]
        said = next(iter(str(error).splitlines()), "")
        print(f"error: {type(error).__name__} at {last.filename}:{last.lineno}: {said}", file=sys.stderr)
        return 2
    print(found.table().to_string(), found, sep="\n\n")
    return 0
