"""Draw Table 2: every branch of every method, what a missing modality costs, accuracy beside macro-F1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dgl_core.figures import style
from dgl_core.figures.curves import Panels, Rows
from dgl_core.figures.style import Picture
from dgl_core.paper.tables.balance import without
from dgl_core.verdicts.statistics import mean_interval, percent

MARKERS = ("o", "s", "^", "D", "v", "P")
HOLLOW = {"markersize": 6, "fillstyle": "none", "markeredgewidth": 1.5}
OTHERS = (style.BLUE, style.ORANGE, style.GREEN, style.PURPLE, style.SKY)


def marks(modalities: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Choose colour and marker of the fused model and of each modality; known modalities keep their colour."""
    others = dict(zip(modalities, OTHERS, strict=False))
    colours = [style.MODALITY[m][0] if m in style.MODALITY else others[m] for m in ("fused", *modalities)]
    return dict(zip(("fused", *modalities), zip(colours, MARKERS, strict=False), strict=True))


def modalities_of(rows: Rows) -> list[str]:
    """Name the modalities of the row that has most of them."""
    return max((list(r.data["modalities"]) for records in rows.values() for r in records[:1]), key=len)


def _mean(axes, position: float, values: Sequence[float], colour: str, marker: str) -> float:
    """Draw and return a mean, with a bar for its 95 % interval from three values on (two make it endless)."""
    interval = mean_interval(values)
    if interval.n > 2:
        axes.plot([interval.low, interval.high], [position] * 2, "-", color=colour, linewidth=1.0, alpha=0.6)
    axes.plot(interval.mean, position, marker, color=colour, markersize=5)
    return interval.mean


def _frame(panels: Panels, lines: Mapping[str, float] | None, height: float):
    """Lay out one axes per panel with all labels on the y axis; ``lines`` (title -> a constant's score) are dashed."""
    labels = list(dict.fromkeys(label for rows in panels.values() for label in rows))
    height, headings = height * len(labels) + 1.3, map(style.heading, panels)
    figure, axes = style.row(headings, "test accuracy (%)", width=3.7, height=height, sharey=True)
    for ax, title in zip(axes, panels, strict=True):
        if title in (lines or {}):
            ax.axvline(lines[title], color="grey", linestyle="--", linewidth=0.9)
    axes[0].set(yticks=range(len(labels)), yticklabels=labels, ylim=(len(labels) - 0.4, -0.6))
    return figure, axes, labels


def branch_dots(panels: Panels, lines: Mapping[str, float] | None = None) -> Picture:
    """Draw every row's mean accuracy, fused and of each modality under the zero mask, with 95 % intervals."""
    figure, axes, labels = _frame(panels, lines, 0.36)
    said = []
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        looks = marks(modalities_of(rows))
        for label, records in rows.items():
            means = {}
            for offset, (branch, mark) in zip(np.linspace(-0.27, 0.27, len(looks)), looks.items(), strict=True):
                known = records and branch in records[0].branches()
                if known and not (branch == "fused" and label.endswith(" alone")):
                    means[branch] = _mean(ax, labels.index(label) + offset, percent(records, branch), *mark)
            said.append(f"{title}, {label}: " + ", ".join(f"{b} {v:.1f}" for b, v in means.items()))
    style.legend(figure, marks(modalities_of(next(iter(panels.values())))), most=2 * len(axes))
    return Picture(figure, "Mean test accuracy (%). " + "; ".join(said) + ".")


def missing_modality(panels: Panels, lines: Mapping[str, float] | None = None) -> Picture:
    """Draw every method's accuracy with all modalities, and with each one of them missing at test time."""
    shown = {t: {k: v for k, v in rows.items() if v and not k.endswith(" alone")} for t, rows in panels.items()}
    figure, axes, labels = _frame(shown, lines, 0.28)
    said = []
    for ax, (title, rows) in zip(axes, shown.items(), strict=True):
        for label, records in rows.items():
            place, means = labels.index(label), {}
            for name, (colour, marker) in marks(modalities_of(rows)).items():
                values = [100 * (r.score() if name == "fused" else without(r, name)) for r in records]
                means[name] = float(np.mean(values))
                ax.plot(means[name], place, marker, color=colour, **HOLLOW)
            ax.plot([min(means.values()), max(means.values())], [place] * 2, color="grey", linewidth=0.6, zorder=0)
            lost = ", ".join(f"without {m} {v:.1f}" for m, v in means.items() if m != "fused")
            said.append(f"{title}, {label}: all {means['fused']:.1f}, {lost}")
    looks = marks(modalities_of(next(iter(shown.values()))))
    named = {
        "all modalities" if name == "fused" else f"without {name}": (*mark, HOLLOW) for name, mark in looks.items()
    }
    style.legend(figure, named, most=2 * len(axes))
    return Picture(figure, "Mean test accuracy (%) with a modality missing. " + "; ".join(said) + ".")


def accuracy_and_f1(
    rows: Rows, constants: Mapping[str, tuple[float, float]], paper: Mapping[str, Sequence[float]]
) -> Picture:
    """Place each branch of every method by accuracy and macro-F1: which of them say more than one class?

    In per cent: ``constants``, class -> both scores of naming it always; ``paper``, modality -> its accuracies (ticks).
    """
    figure, ax = style.new(width=5.6, height=3.8)
    said, reach, metrics = [], [x for x, _ in constants.values()], ("accuracy", "macro_f1")
    for name, (colour, marker) in marks(modalities_of(rows)).items():
        known = [v for k, v in rows.items() if v and name in v[0].branches() and (name != "fused" or " alone" not in k)]
        x, y = 100 * np.array([[np.mean([r.score(name, metric=m) for r in v]) for v in known] for m in metrics])
        ax.plot(x, y, marker, color=colour, fillstyle="none", label=name)
        said.append(f"{name} accuracy {x.min():.1f} to {x.max():.1f}, macro-F1 {y.min():.1f} to {y.max():.1f}")
        ticks = paper.get(name, ())
        ax.vlines(ticks, 0, 0.05, transform=ax.get_xaxis_transform(), color=colour, linewidth=1.2)
        reach += [*x, *ticks]
    ax.set(xlim=(min(reach) - 2, max(reach) + 2), ylabel="macro-F1 (%)")
    for (name, (x, y)), colour in zip(constants.items(), (style.RED, "grey", *OTHERS), strict=False):
        ax.plot(x, y, "*", color=colour, markersize=12, label=f"always {name}")
        ax.axvline(x, color=colour, linestyle="--", linewidth=0.9)
        said.append(f"always {name} {x:.1f} and {y:.1f}")
    ax.set_xlabel("test accuracy (%)" + ("; ticks: the paper's" if any(paper.values()) else ""))
    ax.legend(fontsize=8, loc="center right")
    return Picture(figure, f"Accuracy and macro-F1 (%) of every branch over methods: {'; '.join(said)}.")
