"""Collects what ``diagnosis.diagnose`` reports: batch by batch, without training, and without a trace on the model."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.gradients import FUSED
from dgl_core.segmentation import VOID, at_size
from dgl_core.theory import suppression_ratio

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
