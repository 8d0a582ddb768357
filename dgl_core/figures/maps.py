"""Draw notebook 08: maps of learning rates and of gates, protocols against gaps, seeds, two processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from dgl_core.figures import style
from dgl_core.figures.curves import Panels
from dgl_core.figures.style import Picture
from dgl_core.paper.experiments import beyond
from dgl_core.paper.tables import protocols
from dgl_core.verdicts import statistics

LINES = ("-", "--", "-.", ":")


def rate_maps(rows: statistics.Rows, title: str, rates: Sequence[Sequence[float]], path: float = 0.0) -> Picture:
    """Map fused test accuracy over encoder rate (across) and fusion rate (up): vanilla, DGL, G-Blending on one scale.

    ``path``: the fusion rate along which alpha runs in the paper.
    """
    y, x = rates  # of the fusion module, of the encoders
    maps = {m: protocols.mean_scores(rows, [[beyond.cell(m, e, f) for e in x] for f in y]) for m in beyond.MAPPED}
    limits = style.limits(maps.values())
    figure, axes = style.row(maps, "encoder rate", "fusion rate", width=2.9, height=2.6, sharey=True)
    said = []
    for ax, (method, values) in zip(axes, maps.items(), strict=True):
        image = style.heat(ax, values, x, y, limits)
        best = np.unravel_index(np.nanargmax(values), values.shape)
        said.append(f"{method} best {values[best]:.1f} at encoder {x[best[1]]:g}, fusion {y[best[0]]:g}")
        if path and method == "DGL":
            at = np.interp(np.log(path * np.arange(1.0, 6.0)), np.log(x), np.arange(len(x)))
            height = np.interp(np.log(path), np.log(y), np.arange(len(y))) + 0.3
            ax.plot(at, [height] * 5, "-", color="white", linewidth=4)
            ax.plot(at, [height] * 5, "o-", color=style.RED, markersize=6, linewidth=1.8, markeredgecolor="white")
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": style.RED, "linewidth": 0.8}
            for place, text, side in ((at[0] - 0.1, r"$\alpha=1$", "right"), (at[-1] + 0.1, "$5$", "left")):
                ax.text(place, height, text, fontsize=7.5, color="black", ha=side, va="center", bbox=box)
    figure.colorbar(image, ax=list(axes), label="test accuracy (%)", shrink=0.8)
    figure.suptitle(f"{title}, alpha 1", fontsize=9)
    return Picture(figure, f"{title}: fused test accuracy (%) by learning rates; " + "; ".join(said) + ".")


def gate_square(rows: statistics.Rows, title: str) -> Picture:
    """Draw the square of gates for the fused model and its branches, and the moving gates beside it."""
    gates = beyond.GATES
    branches = ("fused", *next(found for found in rows.values() if found)[0].data["modalities"])
    figure, axes = style.row([*branches, "moving gates"], "encoder gate", "fusion gate", width=2.6, height=2.6)
    said = []
    for ax, branch in zip(axes, branches, strict=False):
        values = protocols.mean_scores(rows, [[beyond.point(e, f) for e in gates] for f in gates], branch)
        style.heat(ax, values, gates, gates, style.limits([values]))
        known = [f"{beyond.point(e, f)}: {values[j, i]:.1f}" for j, f in enumerate(gates) for i, e in enumerate(gates)
                 if math.isfinite(values[j, i])]  # fmt: skip
        said.append(f"{branch} " + ", ".join(known))
    last, labels = axes[-1], [beyond.point(0, 0), *beyond.MOVING_GATES]
    for place, label in enumerate(labels):
        for offset, branch in zip(np.linspace(-0.2, 0.2, len(branches)), branches, strict=True):
            if scores := statistics.percent(rows.get(label, ()), branch):
                mean = style.dots(last, place + offset, scores, style.MODALITY[branch][0])
                said.append(f"{label} {branch} {mean:.1f}")
    names = ["DGL", *(label.replace(" ", "\n", 1) for label in beyond.MOVING_GATES)]
    last.set_yticks(range(len(labels)), names, fontsize=7)
    last.set(ylim=(len(labels) - 0.5, -0.5), xlabel="accuracy (%)")
    figure.suptitle(title, fontsize=9)
    return Picture(figure, f"{title}, test accuracy (%) by encoder / fusion gate: " + "; ".join(said) + ".")


def chosen_gates(panels: Panels) -> Picture:
    """Draw the encoder gates that the adaptive rules chose, epoch by epoch: one line a gate, of the first seed."""
    shown = {title: chosen for title, rows in panels.items() if (chosen := gates_of(rows))}
    figure, axes = style.row([title.replace(", ", "\n", 1) for title in shown], "epoch", "encoder gate", width=3.6)
    said = []
    for ax, (title, chosen) in zip(axes, shown.items(), strict=True):
        for (name, values), colour, line in zip(chosen.items(), style.CYCLE, LINES * 2, strict=False):
            ax.plot(np.arange(1, len(values) + 1), values, line, color=colour, label=name)
        ax.set_ylim(-0.02, 1.02)
        style.beside(ax)
        said += [f"{title}, {name}: from {values[0]:.2f} to {values[-1]:.2f}" for name, values in chosen.items()]
    return Picture(figure, "Encoder gates chosen by adaptive rules. " + "; ".join(said) + ".")


def gates_of(rows: statistics.Rows) -> dict[str, Sequence[float]]:
    """Name the gates that a run set for itself -> their values, one an epoch; of the first seed of each rule."""
    chosen = {}
    for row in beyond.MEASURED_GATES:
        for record in rows.get(row, ())[:1]:
            curves = {name: values for name, values in record.curves.items() if "encoder_gate" in name}
            for name, values in curves.items():
                _, _, modality = name.removeprefix("loss/").partition("encoder_gate")
                chosen[f"for {modality.strip('/_')}" if modality else "for all"] = values
    return chosen


def protocol_gains(panels: Panels, gaps: Mapping[str, float]) -> Picture:
    """Draw what choosing the epoch on test or on validation adds to the last epoch, against the paper's gaps."""
    figure, axes = style.row(panels, "points above the last epoch", "runs", width=3.6, height=2.8, sharey=True)
    said = []
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        for protocol, colour, hatch in (("best_test", style.RED, ""), ("best_val", style.BLUE, "///")):
            found = protocols.gains(rows, protocol)
            ax.hist(found, bins=np.arange(-8, 10, 1), color=colour, alpha=0.5, hatch=hatch, edgecolor="white",
                    label=f"{protocols.SHOWN[protocol]}, median {np.median(found):+.1f}")  # fmt: skip
            said.append(f"{title}, {protocols.SHOWN[protocol]} {np.median(found):+.1f}")
        for gap in gaps.values():
            ax.axvline(gap, color="k", linewidth=0.8, linestyle=":")
        ax.legend(fontsize=7, loc="upper left")
    axes[0].set_ylim(0, 1.3 * axes[0].get_ylim()[1])  # shared: room for the legends
    listed = ", ".join(f"{gap:.2f}" for gap in gaps.values())
    return Picture(figure, f"Points above the last epoch: {'; '.join(said)}. Gaps of the paper: {listed}.")


def seeds(deviations: Mapping[str, float], gaps: Mapping[str, float]) -> Picture:
    """Draw how many pairs of seeds a gap needs (80 % power, 5 % level), for measured deviations of pairs."""
    figure, ax = style.new(width=6.0, height=3.0)
    x = np.linspace(0.4, 8.0, 60)
    said = []
    for (title, sd), colour, line in zip(deviations.items(), style.CYCLE, LINES, strict=False):
        ax.plot(x, [statistics.seeds_needed(gap, sd) for gap in x], line, color=colour,
                label=f"{title.partition(',')[0]},\ndeviation {sd:.1f}")  # fmt: skip
        needs = [statistics.seeds_needed(gap, sd) for gap in gaps.values()]
        ax.plot(list(gaps.values()), needs, "o", color=colour, markersize=4)
        said.append(f"{title} (deviation {sd:.1f}): {', '.join(map(str, needs))}")
    ax.axhline(1, color="grey", linewidth=0.8)
    xlabel = "true gap (points); dots: the gaps of the paper, which reports one run each"
    ax.set(yscale="log", xlabel=xlabel, ylabel="seeds needed")
    style.plain_numbers(ax.yaxis)
    style.beside(ax)
    listed = ", ".join(f"{gap:.2f}" for gap in gaps.values())
    return Picture(figure, f"Seeds needed for the gaps {listed}: {'; '.join(said)}.")


def process_errors(errors: Mapping[str, Mapping[str, float]]) -> Picture:
    """Draw the relative error of the gradients on two processes, both forms of the step, logarithmic."""
    figure, ax = style.new(width=5.0, height=2.2)
    said = []
    for place, (form, parts) in enumerate(errors.items()):
        for part, offset, colour, hatch in (("encoders", -0.18, style.BLUE, ""), ("fusion", 0.18, style.RED, "///")):
            length, size = max(parts[part], 1e-17), f"{100 * parts[part]:.0f} %" if parts[part] > 1e-9 else "rounding"
            look = {"left": 1e-18, "color": colour, "hatch": hatch, "edgecolor": "white"}
            ax.barh(place + offset, length, 0.32, **look, label=part if not place else None)
            ax.text(length * 2, place + offset, size, va="center", fontsize=8)
            said.append(f"{form}, {part}: {size}")
    ax.set(xscale="log", xlim=(1e-18, 1e3), yticks=range(len(errors)), yticklabels=list(errors))
    style.plain_numbers(ax.xaxis)
    ax.set_xlabel("largest error / largest gradient of the whole batch")
    ax.legend(fontsize=7, loc="lower right")
    return Picture(figure, "Gradients on two processes against the whole batch: " + "; ".join(said) + ".")
