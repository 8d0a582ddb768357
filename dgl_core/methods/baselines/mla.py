"""MLA: one modality after the other, through one shared head (Zhang, Yoon, Bansal, Yao, CVPR 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.gradients import FUSED
from dgl_core.methods.base import Batch, Method, State, option
from dgl_core.methods.heads import common_width, encode
from dgl_core.methods.scores import check_target


def entropy_weights(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weigh modalities by confidence, per sample: ``w_m = exp(max_j H_j - H_m) / sum_i exp(max_j H_j - H_i)``.

    From {m: [B, K]} to {m: [B, 1]}; H_m is the entropy of ``softmax(logits[m])`` over the classes, in nats. (The
    maximum cancels: this is a softmax of -H.)
    """
    log_p = torch.stack([F.log_softmax(values, dim=1) for values in logits.values()])  # [M, B, K]
    entropy = -(log_p.exp() * log_p).sum(dim=2)  # [M, B]
    return dict(zip(logits, torch.softmax(-entropy, dim=0).unsqueeze(2), strict=True))


def forgetting(step: int, steps: int) -> float:
    """lambda of batch ``step`` of ``steps``: ``0.1 ** (step / steps + 1)``, from 0.1 down to 0.01 within an epoch."""
    return 0.1 ** (step / steps + 1)


def projector_update(projector: Tensor, mean: Tensor, damping: float) -> Tensor:
    """Take one step of recursive least squares: ``k = P r``, ``P <- P - k k^T / (damping + r^T k)``.

    P [D, D] is symmetric, r [D] the mean feature of a batch, lambda the damping. ``P r`` shrinks to
    ``lambda / (lambda + r^T P r)`` of what it was: directions that were used are closed.
    """
    gain = projector @ mean  # [D]
    return projector - torch.outer(gain, gain) / (damping + mean @ gain)


@dataclass
class MLA(Method):
    """Multimodal learning with alternating unimodal adaptation.

    **Idea.** Each modality has its own update, and all go through one head h. A projection keeps an update of the head
    for one modality from undoing what it learnt from another; at test time each sample trusts the surer modality.

    **Step** (M updates per batch).

    1. One forward pass of all encoders: z_m, before any update.
    2. For each modality in order: L_m = CE(h(z_m), y); backward pass (into encoder m and h, nothing else);
       with ``projection``, the head gradient G <- G P^T (the bias is left alone); one optimiser step. So the loss of
       the second modality sees the head that the first has changed.
    3. P starts as the identity and is updated before it is used, except at the very first update of the run: r = mean
       of z_m over the batch, k = P r, P <- P - k k^T / (lambda + r^T k), P <- P / ||P||_F, lambda from 0.1 to 0.01
       within each epoch.
    4. Test: l = sum_m w_m h(z_m), w_m = softmax over modalities of minus the entropy of softmax(h(z_m)), per sample.

    **Source.** Xiaohui Zhang, Jaehong Yoon, Mohit Bansal, Huaxiu Yao, "Multimodal representation learning by
    alternating unimodal adaptation", CVPR 2024; official ``main.py``, ``utils/utils.py``
    (Cecile-hi/Multimodal-Learning-with-Alternating-Unimodal-Adaptation, ab6c184).

    **Difference.** (1) In the released code the projection never runs: it looks for a parameter named
    ``module.weight`` and gets one named ``weight``. ``projection=False`` is what it does, the default is what it means.
    Dividing P by its norm makes the head learn about sqrt(D) times more slowly. (2) Were it to run there, it would
    divide by a matrix element by element; here by the scalar of recursive least squares. (3) Entropies over classes for
    each sample; in ``main.py`` over the batch axis, one number per batch. (4) As with torch >= 2 there, encoder j does
    not move in the update of modality m (older versions moved it by momentum and weight decay). (5) The fusion module
    of the model is not used and not trained; a masked modality is left out of the weighted sum. (6) Clipping and
    schedule are those of all methods here.

    Args:
        projection: project the gradient of the head.
        weights: fixed test-time weights in the order of the modalities, instead of entropies; the official ones are
            (0.55, 0.45) for audio and visual and (0.35, 0.25, 0.40) for audio, visual and text. Empty: entropies.
    """

    projection: bool = True
    weights: tuple[float, ...] = option((), above=0)
    TITLE: ClassVar[str] = "MLA"
    SEVERAL: ClassVar[bool] = True
    OFFICIAL: ClassVar[str] = "the shared head on z_m, whole bias"
    UPDATES: ClassVar[int] = 2  # one per modality, and so two or more
    MEMORY: ClassVar[dict[str, object]] = {"_projector": None, "_started": False}  # P; is the very first update done?

    def modalities(self, available: Sequence[str]) -> tuple[str, ...]:
        if self.weights and len(self.weights) != len(available):
            raise ValueError(f"MLA: {len(self.weights)} weights for the {len(available)} modalities {list(available)}.")
        return super().modalities(available)

    def heads(self, model: nn.Module, classes: int) -> nn.ModuleDict:
        return nn.ModuleDict({"shared": nn.Linear(common_width(model, self.TITLE), classes)})

    def step(self, state: State, batch: Batch) -> dict[str, Tensor]:
        head = state.heads["shared"]
        check_target(batch.target)
        logits, losses = {}, {}
        for m, z in encode(state.model, batch.inputs).items():
            logits[m] = head(z)
            losses[m] = F.cross_entropy(logits[m], batch.target)
            state.backward(losses[m])
            if self.projection:
                self._project(head.weight, z.detach(), forgetting(state.step, state.steps_per_epoch))
            state.update()
            torch.clear_autocast_cache()  # or the next modality would meet a low-precision copy of the old head
        with torch.no_grad():
            multimodal = F.cross_entropy(self._fuse(state, logits), batch.target)
        return {"multimodal": multimodal} | losses

    def _project(self, weight: nn.Parameter, z: Tensor, damping: float) -> None:
        """Update P [D, D] with the features z [B, D], not in the first update of the run, then G <- G P^T, [K, D]."""
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            if self._projector is None:
                self._projector = torch.eye(z.shape[1], dtype=weight.dtype, device=weight.device)
            if self._started:
                updated = projector_update(self._projector, z.to(weight.dtype).mean(dim=0), damping)
                self._projector = updated / torch.linalg.matrix_norm(updated)
                weight.grad = weight.grad @ self._projector.T
            self._started = True

    def _fuse(self, state: State, logits: Mapping[str, Tensor]) -> Tensor:
        """Average logits: l = sum_m w_m l_m, [B, K], over the modalities in ``logits``; the weights add up to 1."""
        if self.weights:
            fixed = dict(zip(state.model.encoders, self.weights, strict=True))
            weights = {m: fixed[m] / sum(fixed[j] for j in logits) for m in logits}
        else:
            weights = entropy_weights(logits)
        return sum(weights[m] * values for m, values in logits.items())

    def logits(self, state: State, inputs: Mapping[str, Tensor], keep: Sequence[str] | None = None) -> Tensor:
        return self._fuse(state, {m: state.heads["shared"](z) for m, z in encode(state.model, inputs, keep).items()})

    def all_logits(self, state: State, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        branches = self.official_unimodal(state, inputs)
        return {FUSED: self._fuse(state, branches)} | branches

    def official_unimodal(self, state: State, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {m: state.heads["shared"](z) for m, z in encode(state.model, inputs).items()}
