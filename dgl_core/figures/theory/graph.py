"""Draw Fig. 2 from the truth: which loss trains which part, read off the autograd graph of a real objective.

Arrows are gradients that arrive; red crosses stand where none does, but one would if nothing were truncated.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from matplotlib.patches import FancyBboxPatch
from torch import Tensor, nn

from dgl_core.figures.style import BLACK, CYCLE, GREY, RED, Picture, new
from dgl_core.figures.theory.toy import LOOK
from dgl_core.gradients import FUSED

FUSION = "fusion"


@dataclass(frozen=True)
class Edge:
    """Hold what one loss does to one part of the model."""

    loss: str  # "fused" (L_multi) or a modality (L_m)
    part: str  # "fusion" or a modality (its encoder)
    reached: int  # parameter tensors of the part with a path in the graph from the loss
    plain: int  # those with a path if nothing were truncated
    norm: float  # of the gradient that arrives

    @property
    def arrives(self) -> bool:
        return self.norm > 0

    @property
    def cut(self) -> bool:
        return self.plain > 0 and not self.arrives


def reached_parameters(loss: Tensor) -> set[int]:
    """``id`` of every leaf that the autograd graph of ``loss`` accumulates a gradient into."""
    leaves, seen, stack = set(), set(), [loss.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):  # AccumulateGrad: the end of a path
            leaves.add(id(node.variable))
        stack.extend(following for following, _ in node.next_functions)
    return leaves


def gradient_edges(objective: nn.Module, inputs: Mapping[str, Tensor], target: Tensor) -> list[Edge]:
    """Measure every pair of loss and part of a copy of ``objective`` (as ``DisentangledObjective``) on one batch."""
    objective = deepcopy(objective)
    model = objective.model
    modules = dict(model.encoders.items()) | {FUSION: model.fusion}
    parts = {name: list(module.parameters()) for name, module in modules.items()}
    returned = objective(inputs, target)
    edges = []
    for name, loss in ({FUSED: returned.multimodal} | dict(returned.unimodal)).items():
        plain_loss = objective.criterion(model(inputs, keep=None if name == FUSED else (name,)), target)
        reached, plain = reached_parameters(loss), reached_parameters(plain_loss)
        for part, parameters in parts.items():
            received = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            norm = sum(float(g.double().square().sum()) for g in received if g is not None) ** 0.5
            counts = [sum(id(p) in found for p in parameters) for found in (reached, plain)]
            edges.append(Edge(name, part, *counts, norm))
    return edges


def gradient_paths(objectives: Mapping[str, nn.Module], inputs: Mapping[str, Tensor], target: Tensor) -> Picture:
    """Draw encoders, fusion module and losses, a panel an objective; arrows are gradients, red crosses truncations."""
    figure, axes = new(1, len(objectives), width=4.4, height=3.0, squeeze=False)
    parts = []
    for panel, (title, objective) in zip(axes[0], objectives.items(), strict=True):
        edges = gradient_edges(objective, inputs, target)
        _draw(panel, edges, getattr(objective, "alpha", 1.0))
        panel.set_title(title)
        arriving = ", ".join(f"{' trains '.join(_names(edge))} ({edge.norm:.2f})" for edge in edges if edge.arrives)
        cut = ", ".join(" to ".join(_names(edge)) for edge in edges if edge.cut)
        parts.append(f"{title}: {arriving}; cut: {cut or 'nothing'}")
    return Picture(figure, "Norm of the gradient in brackets. " + ". ".join(parts) + ".")


def _names(edge: Edge) -> tuple[str, str]:
    loss = "L_multi" if edge.loss == FUSED else f"L_{edge.loss}"
    return loss, FUSION if edge.part == FUSION else f"encoder {edge.part}"


def _box(axes, x: float, y: float, width: float, height: float, text: str) -> None:
    style = {"boxstyle": "round,pad=0,rounding_size=0.02", "facecolor": "#F1F1F1", "edgecolor": GREY, "linewidth": 1.2}
    axes.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, zorder=2, **style))
    axes.text(x, y, text, ha="center", va="center", fontsize=9, zorder=5)


def _arrow(axes, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    arrow = {"arrowstyle": "-|>", "color": color, "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=arrow, zorder=3)


def _draw(axes, edges: list[Edge], alpha: float) -> None:
    """Draw encoders left, fusion in the middle, losses right; gradients run leftwards, each loss on its lane.

    Where the unimodal losses have a weight, it stands beside them and beside the gradients that it multiplies.
    """
    losses = list(dict.fromkeys(edge.loss for edge in edges))
    modalities = [edge.part for edge in edges if edge.loss == FUSED and edge.part != FUSION]
    height = {m: 1 - (i + 0.5) / len(modalities) for i, m in enumerate(modalities)}
    lane = {FUSED: 0.5} | height  # L_m at the height of its encoder, L_multi between two of them
    if len(modalities) % 2 and len(losses) > 1:
        lane[FUSED] += 0.5 / len(modalities)
    color = {FUSED: BLACK} | dict(zip(modalities, itertools.cycle(CYCLE))) | {m: LOOK[m]["color"] for m in LOOK}
    cross = {"color": RED, "markersize": 11, "markeredgewidth": 3, "zorder": 6}
    axes.set(xlim=(-0.02, 1.03), ylim=(-0.14, 1.02), xticks=[], yticks=[])
    axes.set_axis_off()
    for m in modalities:
        _box(axes, 0.13, height[m], 0.26, 0.22, f"encoder\n{m}")
    _box(axes, 0.63, 0.5, 0.16, 0.98, "")
    axes.text(0.63, -0.02, "fusion and classifier", ha="center", va="top", fontsize=9)
    for edge in edges:
        y, ink = lane[edge.loss], color[edge.loss]
        weighted = edge.loss != FUSED and alpha not in (0.0, 1.0)
        told = rf"${alpha:g}\times{edge.norm:.2f}$" if weighted else f"{edge.norm:.2f}"
        if edge.part == FUSION:
            symbol = "L^{multi}" if edge.loss == FUSED else rf"L^{{{edge.loss}}}"
            symbol = rf"\alpha\,{symbol}" if weighted else symbol
            axes.text(0.93, y, f"${symbol}$", ha="center", va="center", color=ink, fontsize=11, zorder=5,
                      bbox={"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": ink})  # fmt: skip
            _arrow(axes, (0.865, y), (0.71, y), ink)
            if edge.arrives:
                axes.plot(0.63, y, "o", color=ink, markersize=9, zorder=6)
                axes.text(0.63, y + 0.045, told, ha="center", color=ink, fontsize=8, zorder=6)
            elif edge.cut:
                axes.plot(0.63, y, "x", **cross)
            continue
        apart = 0.06 if edge.loss == FUSED and len(losses) > 1 else 0.0  # L_multi arrives beside L_m, not on top of it
        start, end = (0.55, y), (0.26, height[edge.part] + (apart if y > height[edge.part] else -apart))
        if edge.arrives:
            _arrow(axes, start, end, ink)
            axes.text(0.39, end[1] + (0.39 - 0.26) / (0.55 - 0.26) * (y - end[1]), told, ha="center",
                      va="center", color=ink, fontsize=8, zorder=6,
                      bbox={"facecolor": "white", "linewidth": 0, "pad": 0.8})  # fmt: skip
        elif edge.cut:
            axes.plot([start[0], end[0]], [start[1], end[1]], ":", color=ink, linewidth=1.5, alpha=0.6, zorder=3)
            axes.plot(start[0] + 0.6 * (end[0] - start[0]), start[1] + 0.6 * (end[1] - start[1]), "x", **cross)
