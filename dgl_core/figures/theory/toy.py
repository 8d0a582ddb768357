"""Draw the toy trainings: what happens to s-bar, R and the gradients while two or three encoders learn."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from matplotlib.colors import LinearSegmentedColormap
from torch import Tensor

from dgl_core.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, RED, Picture, beside, new, plain_numbers
from dgl_core.paper.theory.toy import Curves, toy_data, toy_model, train_toy

_LOOKS = {"easy": (BLUE, "--"), "medium": (GREEN, ":"), "hard": (ORANGE, "-."), "fused": (BLACK, "-")}
LOOK = {name: {"color": color, "linestyle": style} for name, (color, style) in _LOOKS.items()}


def _modalities(curves: Curves) -> list[str]:
    return [name.split("/")[1] for name in curves if name.endswith("/share")]


def _branches(axis, curves: Curves, column: str) -> str:
    """Draw one column ("test/{}/accuracy") of every branch, and say where each one ends."""
    drawn = {name: curves[column.format(name)] for name in (*_modalities(curves), "fused")}
    for name, values in drawn.items():
        axis.plot(curves["step"], values, **LOOK[name], label=name)
    return ", ".join(f"{name} {values[-1]:.2f}" for name, values in drawn.items())


def training(runs: Mapping[str, Curves]) -> Picture:
    """Draw suppression, gradients at the encoders and accuracy of each branch over steps, one row a method."""
    figure, axes = new(len(runs), 4, width=2.55, height=2.0, sharex=True, sharey="col", squeeze=False)
    own = {"linestyle": "-", "alpha": 0.35, "linewidth": 3}  # of the unimodal losses
    parts = []
    for row, (method, curves) in zip(axes, runs.items(), strict=True):
        step, modalities = curves["step"], _modalities(curves)
        for m in modalities:
            row[0].plot(step, curves[f"suppression/{m}/share"], **LOOK[m], label=m)
            row[1].plot(step, curves[f"suppression/{m}/R_total"], **LOOK[m], label=m)
            row[2].plot(step, curves[f"gradient/{m}/multimodal"], **LOOK[m])
            row[2].plot(step, curves[f"gradient/{m}/unimodal"], **(LOOK[m] | own))
        ends = _branches(row[3], curves, "test/{}/accuracy")
        for axis in row[1:3]:
            axis.set_yscale("log")
            plain_numbers(axis.yaxis)
        row[0].set(ylabel=method, ylim=(0.35, 1.03))
        row[1].axhline(1, color=GREY, linewidth=1)
        row[3].set(ylim=(0.15, 1.02))
        totals = ", ".join(f"{m} {curves[f'suppression/{m}/R_total'][-1]:.2f}" for m in modalities)
        parts.append(f"{method}: R of the batch ends at {totals}; accuracy ends at {ends}")
    titles = (r"share of samples with $\bar s<1$", "$R$ of the batch", "gradient at the encoder", "test accuracy")
    for top, bottom, title in zip(axes[0], axes[-1], titles, strict=True):
        top.set_title(title)
        bottom.set_xlabel("step")
    axes[-1, 2].plot([], [], color=BLACK, linestyle="--", label="$L^{multi}$")
    axes[-1, 2].plot([], [], color=BLACK, **own, label="$L^m$")
    axes[-1, 2].legend(fontsize=8, loc="upper right")
    for axis in (*axes[:, 0], *axes[:, 1], *axes[:, 3]):
        beside(axis)
    return Picture(figure, "; ".join(parts) + ".")


def gates(settings: Mapping[str, tuple[float, float, float]], steps: int = 300) -> Picture:
    """Train the toy model at each ``(alpha, encoder_gate, fusion_gate)`` and draw accuracy and training loss."""
    single = len(settings) == 1
    size = {"width": 3.3, "height": 2.4} if single else {"width": 2.55, "height": 1.9, "sharey": "row"}
    figure, axes = new(*((1, 2) if single else (2, len(settings))), sharex=True, squeeze=False, **size)
    axes, parts = axes.reshape(2, -1), []
    for column, (title, (alpha, encoder_gate, fusion_gate)) in zip(axes.T, settings.items(), strict=True):
        data = toy_data()
        curves = train_toy(toy_model(data), data, alpha=alpha, encoder_gate=encoder_gate, fusion_gate=fusion_gate,
                           steps=steps, every=max(1, steps // 30))  # fmt: skip
        parts.append(f"{title}: accuracy ends at {_branches(column[0], curves, 'test/{}/accuracy')}")
        _branches(column[1], curves, "train/{}/loss")
        column[0].set(ylim=(0.15, 1.02), title=title, xlabel="step" if single else None)
        column[1].set(yscale="log", xlabel="step")
        plain_numbers(column[1].yaxis)
    axes[0, 0].set_ylabel("test accuracy")
    axes[1, 0].set_ylabel("training loss")
    for axis in axes[:, -1]:
        beside(axis)
    return Picture(figure, "; ".join(parts) + ".")


def asymmetries(jacobians: Mapping[str, Tensor], encoders: int) -> Picture:
    """Draw ``|J - J^T|`` [P, P] of each update, the ``encoders`` parameters first; a gradient's is white (D5)."""
    figure, axes = new(1, len(jacobians), width=3.0, height=2.9, squeeze=False)
    shades = LinearSegmentedColormap.from_list("asymmetry", ["white", RED])
    parts, top = [], max((j - j.T).abs().max().item() for j in jacobians.values())
    for panel, (method, jacobian) in zip(axes[0], jacobians.items(), strict=True):
        difference = (jacobian - jacobian.T).abs()
        image = panel.imshow(difference, cmap=shades, vmin=0, vmax=top, interpolation="nearest")
        panel.axhline(encoders - 0.5, color=BLACK, linewidth=1)
        panel.axvline(encoders - 0.5, color=BLACK, linewidth=1)
        ticks = [encoders / 2, (encoders + len(jacobian)) / 2]
        panel.set(xticks=ticks, xticklabels=["encoders", "fusion"], title=method)
        panel.set_yticks(ticks, ["encoders", "fusion"], rotation=90, va="center")
        panel.grid(False)
        parts.append(f"{method}: largest asymmetry {difference.max().item():.2f}")
    figure.colorbar(image, ax=axes[0].tolist(), shrink=0.7, label="$|J - J^T|$")
    return Picture(figure, "; ".join(parts) + ".")


def alpha_controls(panels: Mapping[str, Mapping[str, Curves]], column: str) -> Picture:
    """Draw one curve of several trainings, a panel an optimiser: alpha against the encoder learning rate (D4)."""
    figure, axes = new(1, len(panels), width=4.4, height=2.6, squeeze=False)
    parts = []
    looks = [(RED, "-", 4.5, 0.35), (BLACK, "--", 1.5, 1.0), (BLUE, ":", 1.5, 1.0)]
    for panel, (title, runs) in zip(axes[0], panels.items(), strict=True):
        for (name, curves), (color, style, width, opacity) in zip(runs.items(), looks, strict=False):
            panel.plot(curves["step"], curves[column], color=color, linestyle=style, linewidth=width, alpha=opacity,
                       label=name)  # fmt: skip
        panel.set(xlabel="step", title=title)
        beside(panel)
        (first, start), *others = [(name, torch.tensor(curves[column])) for name, curves in runs.items()]
        gaps = {name: (values - start).abs().max().item() for name, values in others}
        sizes = {name: "less than 1e-6" if gap < 1e-6 else f"up to {gap:.2f}" for name, gap in gaps.items()}
        parts.append(f"{title}: " + ", ".join(f"{name} differs from {first} by {size}" for name, size in sizes.items()))
    part, branch, metric = column.split("/")
    axes[0, 0].set_ylabel(f"{metric} of {branch}, {part} part")
    return Picture(figure, "; ".join(parts) + ".")
