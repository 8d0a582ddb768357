"""Draw Tables 1, 3 and 4: the ranking of all methods, the square of truncations, alpha, fusion heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dgl_core.figures import style
from dgl_core.figures.curves import Panels, dot_chart
from dgl_core.figures.style import Picture
from dgl_core.verdicts.statistics import percent


def _leave_out_the_far_left(axes, means: Sequence[float]) -> None:
    """Start the axis where the ranking is close; a mean (circle) further left becomes a number at the edge."""
    middle = float(np.median(means))
    edge = max(axes.get_xlim()[0], middle - 1.5 * (max(means) - middle + 1))
    axes.set_xlim(left=edge)
    for position, mean in enumerate(means):
        if mean < edge:
            axes.text(edge, position + 0.15, f" ◂ {mean:.1f}", color=style.BLUE, fontsize=8, va="center")


def all_methods(panels: Panels, tuned: Mapping[str, Mapping[str, tuple]], cost: Mapping[str, float]) -> Picture:
    """Draw all methods at the common learning rate and at each one's own, and what training with each costs.

    ``tuned``: data set -> row -> (rate chosen on validation, its records). ``cost``: relative to vanilla.
    """
    labels = [row for row in next(iter(panels.values())) if all(rows.get(row) for rows in panels.values())]
    order = sorted(labels, key=lambda row: sum(np.mean(percent(rows[row])) for rows in panels.values()))
    columns = len(panels) + 1
    figure, axes = style.new(1, columns, width=9.0 / columns, height=0.32 * len(order) + 1.0, sharey=True)
    said = []
    for ax, (title, rows) in zip(axes, panels.items(), strict=False):
        means = {}
        for position, row in enumerate(order):
            means[row] = style.dots(ax, position + 0.15, percent(rows[row]), style.BLUE, judged=True)
            text = f"{row} {means[row]:.1f}"
            if row in tuned.get(title, {}):
                rate, records = tuned[title][row]
                own = style.dots(ax, position - 0.15, percent(records), style.ORANGE, "D", judged=True)
                text += f" (own rate {rate:g}: {own:.1f})"
            said.append(f"{title}, {text}")
        _leave_out_the_far_left(ax, list(means.values()))
        ax.set_title(title, fontsize=9)
        ax.set_xlabel("fused test accuracy (%)")
    axes[-1].barh(range(len(order)), [cost.get(row, 0.0) for row in order], color=style.SKY, height=0.6)
    axes[-1].axvline(1.0, color="grey", linewidth=0.8)
    axes[-1].set_xlabel("cost of training / vanilla's")
    axes[0].set_yticks(range(len(order)), order)
    marks = {"common learning rate": (style.BLUE, "o"), "own rate, chosen on validation": (style.ORANGE, "D")}
    style.legend(figure, marks)
    costs = ", ".join(f"{row} {cost[row]:.1f}" for row in order if row in cost)
    return Picture(figure, "Fused test accuracy (%), worst to best: " + "; ".join(said) + f". Cost: {costs}.")


def alpha_sweep(panels: Panels, branch: str = "fused") -> Picture:
    """Draw Table 4: accuracy against alpha for DGL, G-Blending, and vanilla with the encoder rate times alpha.

    The upper axis is the encoders' rate, which alpha really sets under SGD; means are over seeds that every row has.
    """
    kinds = {
        "DGL": ("DGL, alpha {:g}", style.BLUE, "-o"),
        "G-Blending": ("G-Blending, alpha {:g}", style.PURPLE, ":s"),
        "vanilla, rate x alpha": ("vanilla, rate x {:g}", style.RED, "--^"),
    }
    alphas = np.arange(1.0, 6.0)
    figure, axes = style.row(panels, "alpha", f"{branch} test accuracy (%)", width=3.9, height=3.0)
    said = []
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        shared = set.intersection(*({record.spec.seed for record in records} for records in rows.values()))
        for name, (form, colour, line) in kinds.items():
            values = [percent([r for r in rows[form.format(a)] if r.spec.seed in shared], branch) for a in alphas]
            means = np.mean(values, axis=1)
            ax.plot(alphas, means, line, color=colour, label=name, markersize=4)
            if len(shared) > 1:
                spread = np.std(values, axis=1, ddof=1)
                ax.fill_between(alphas, means - spread, means + spread, color=colour, alpha=0.12)
            said.append(f"{title}, {name}: " + ", ".join(f"{m:.1f}" for m in means))
        lr = next(iter(rows.values()))[0].spec.lr
        upper = ax.secondary_xaxis("top", functions=(lambda a, lr=lr: a * lr, lambda r, lr=lr: r / lr))
        upper.set_xlabel("encoder learning rate")
        style.beside(ax)
    return Picture(figure, "Accuracy (%) at alpha 1 to 5. " + "; ".join(said) + ".")


def rows_as_dots(
    panels: Panels, branches: Sequence[str] = ("fused", "audio", "visual"), one_scale: bool = False
) -> Picture:
    """Draw rows by last-epoch test accuracy of each branch: dots for seeds, the mean with its 95 % interval.

    ``one_scale``: every panel has the same accuracies across, for panels of one data set.
    """
    size = {"width": 3.6, "height": 0.36, "sharex": one_scale}
    figure, found = dot_chart(panels, panels, branches, lambda _, *of: percent(*of), 0.25, True, **size)
    said = [f"{title}, {label}: {'/'.join(f'{mean:.1f}' for mean in means)}" for title, rows in found.items()
            for label, means in rows.items()]  # fmt: skip
    return Picture(figure, f"Test accuracy (%), {'/'.join(branches)}. " + "; ".join(said) + ".")
