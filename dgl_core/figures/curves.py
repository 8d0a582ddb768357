"""Draw Figures 1 and 3 of the paper from run records: branches, encoders, gradients, suppression.

``panels`` are title -> row label -> one record per seed. Lines are means over seeds, bands the range of the seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dgl_core.figures import style
from dgl_core.figures.style import Picture
from dgl_core.paper.experiments.profiles import TITLES
from dgl_core.training.records import RunRecord
from dgl_core.verdicts.statistics import percent

Rows = Mapping[str, Sequence[RunRecord]]
Panels = Mapping[str, Rows]

# row label -> (colour, line style): the same everywhere
LINES = {
    "alone": (style.GREEN, "-"),
    "vanilla": (style.RED, "--"),
    "DGL": (style.BLUE, "-."),
    "G-Blending": (style.PURPLE, ":"),
}
COMPARED = ("vanilla", "DGL")


def side_by_side(reference: Panels, this_run: Panels, profile: str, yours: Panels | None = None) -> dict[str, Rows]:
    """Collect the panels of a figure from data set -> rows: every reference that is whole, this run, the reader's own.

    A smoke run is two short trainings: it gets a panel where there is no reference or the reader's own stands beside
    it (``yours``, title -> rows), and ``in_a_line`` elsewhere.
    """
    whole = {dataset: rows for dataset, rows in reference.items() if rows and all(rows.values())}
    panels = {f"{TITLES[dataset]}, reference": rows for dataset, rows in whole.items()}
    if profile == "smoke" and not yours:
        this_run = {dataset: rows for dataset, rows in this_run.items() if dataset not in whole}
    return panels | {f"{TITLES[d]}, this run ({profile})": rows for d, rows in this_run.items()} | (yours or {})


def in_a_line(this_run: Panels, profile: str, score: str = "accuracy") -> str:
    """Say in one line what this execution's vanilla and DGL came to, for pictures that show the reference alone."""
    said = []
    for dataset, found in this_run.items():
        scores = {row: percent(found[row]) for row in COMPARED if found.get(row)}
        told = ", ".join(f"{row} {np.mean(values):.1f}" for row, values in scores.items())
        seeds = max(map(len, scores.values()), default=0)
        said.append(f"{TITLES[dataset]}, {told} ({seeds} seeds)" if told else f"{TITLES[dataset]}, no runs")
    return f"this run ({profile}), fused test {score} in %: " + "; ".join(said)


def series(records: Sequence[RunRecord], column: str) -> np.ndarray:
    """Stack one column of several records, [seeds, epochs]."""
    return np.array([record.curves[column] for record in records], dtype=float)


def band(axes, values: np.ndarray, colour: str, line: str, label: str, centre=np.mean, epochs=None, **marks) -> None:
    """Draw the mean (or another centre) over seeds as a line, their range as a band; ``values`` [seeds, epochs]."""
    epochs = np.arange(1, values.shape[1] + 1) if epochs is None else epochs
    axes.plot(epochs, centre(values, axis=0), line, color=colour, label=label, **marks)
    if len(values) > 1:
        axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)


def _row(panels: Panels, ylabel: str):
    seeds = {title: max(map(len, rows.values()), default=0) for title, rows in panels.items()}
    return style.row([style.heading(*panel) for panel in seeds.items()], "epoch", ylabel, width=3.9, height=2.6)


def _curves(panels: Panels, ylabel: str, lines: Sequence[tuple], text: str, log: bool = False) -> Picture:
    """Draw ``lines`` (label, row, column of its curves, look) in each panel, and say where each of them ends."""
    figure, axes = _row(panels, ylabel)
    said = []
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        ends = []
        for label, row, column, look in lines:
            values = series(rows[row], column) * (1 if log else 100)
            band(ax, values, *look, label)
            ends.append(f"{label.partition(' (')[0]} {values[:, -1].mean():.{2 if log else 1}f}")
        if log:
            ax.set_yscale("log")
            style.plain_numbers(ax.yaxis)
        else:
            ax.set_ylim(0, 100)
        said.append(f"{title}: {', '.join(ends)}")
        style.beside(ax)
    return Picture(figure, f"{text}. {'; '.join(said)}.")


def branch_curves(panels: Panels) -> Picture:
    """Draw Fig. 1(a): accuracy of the fused model and of its zero-masked branches during training."""
    branches = ("fused", *next(iter(panels.values()))["vanilla"][0].data["modalities"])
    lines = [(branch, "vanilla", f"test/{branch}/accuracy", style.MODALITY[branch]) for branch in branches]
    return _curves(panels, "test accuracy (%)", lines, "Test accuracy (%) of vanilla training at the last epoch")


def encoder_curves(panels: Panels, modality: str, rows_shown: Sequence[str]) -> Picture:
    """Draw Fig. 1(b): one modality trained alone against the same modality's branch inside joint models."""
    what = f"{modality} test accuracy (%)"
    lines = [("alone", f"{modality} alone", "test/fused/accuracy", LINES["alone"])]
    lines += [(f"in {row}", row, f"test/{modality}/accuracy", LINES[row]) for row in rows_shown]
    return _curves(panels, what, lines, f"{what.capitalize()} at the last epoch")


def gradient_curves(panels: Panels, modality: str, rows_shown: Sequence[str] = ("alone", "vanilla")) -> Picture:
    """Draw Fig. 1(c) and 3(b): L2 norm of the gradient that reaches one encoder, mean over the steps of an epoch."""
    lines = []
    for shown in rows_shown:
        row = f"{modality} alone" if shown == "alone" else shown
        weighed = panels.values() if shown in ("DGL", "G-Blending") else ()
        alphas = sorted({rows[row][0].spec.method_options.get("alpha", 4.0) for rows in weighed})
        times = f" (x alpha = {' or '.join(f'{alpha:g}' for alpha in alphas)})" if alphas else ""
        lines.append((shown + times, row, f"gradient/{modality}", LINES[shown]))
    text = f"Gradient norm at the {modality} encoder, last epoch"
    return _curves(panels, f"gradient norm, {modality} encoder", lines, text, log=True)


def suppression_curves(panels: Panels, modality: str) -> Picture:
    """Draw Fig. 3(a) by s-bar (METHODS T2): how much the partner modality shrinks this one's residual.

    Below: share of training samples with s-bar < 1, and (dotted) with every s_k < 1, as the paper claims for all.
    """
    figure, axes = style.new(2, len(panels), width=3.9, height=2.2, squeeze=False, sharex="col")
    said = []
    for column, (title, rows) in enumerate(panels.items()):
        upper, lower = axes[:, column]
        ends = []
        for row in COMPARED:
            colour, line = LINES[row]
            middle = series(rows[row], f"suppression/{modality}/s_bar_q50")
            share = 100 * series(rows[row], f"suppression/{modality}/suppressed")
            every = 100 * series(rows[row], f"suppression/{modality}/all_margins")
            band(upper, middle, colour, line, row, centre=np.median)
            band(lower, share, colour, line, rf"{row}, $\bar s<1$")
            every_k = rf"{row}, all $s_k<1$"
            lower.plot(np.arange(1, every.shape[1] + 1), every.mean(0), ":", color=colour, label=every_k)
            ends.append(f"{row} s-bar {np.median(middle[:, -1]):.2g}, suppressed {share[:, -1].mean():.0f} %")
        upper.axhline(1.0, color="grey", linewidth=0.8)
        upper.set(yscale="log", ylim=(0.05, 20.0))
        style.plain_numbers(upper.yaxis)
        upper.set_title(style.heading(title, len(rows["vanilla"])), fontsize=9)
        lower.set(ylim=(0, 102), xlabel="epoch")
        style.beside(upper)
        style.beside(lower)
        said.append(f"{title}: {'; '.join(ends)}")
    axes[0, 0].set_ylabel(r"median $\bar s$")
    axes[1, 0].set_ylabel("share of samples (%)")
    return Picture(figure, f"Suppression at the {modality} encoder, last epoch. " + ". ".join(said) + ".")


def ratio_curves(panels: Panels, modality: str) -> Picture:
    """Draw median and quartiles over training samples of R = (1 - p_fused) / (1 - p_unimodal) per epoch."""
    figure, axes = _row(panels, f"R at the {modality} branch")
    said = []
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        ends = []
        for row in COMPARED:
            quartiles = [series(rows[row], f"suppression/{modality}/R_q{q}").mean(0) for q in (25, 50, 75)]
            band(ax, np.stack(quartiles), *LINES[row], row, centre=np.median)
            low, middle, high = (quartile[-1] for quartile in quartiles)
            ends.append(f"{row} median {middle:.2f}, quartiles {low:.2f} to {high:.2f}")
        ax.axhline(1.0, color="grey", linewidth=0.8)
        ax.set_ylim(0, None)
        style.beside(ax)
        said.append(f"{title}: {'; '.join(ends)}")
    return Picture(figure, f"Suppression ratio R of {modality}, last epoch. " + ". ".join(said) + ".")


def dot_chart(panels: Panels, headings, branches: Sequence[str], values: Callable, apart: float, judged: bool, **size):
    """Draw dots of ``values(label, records, branch)``, a row a label; return figure and title -> label -> means."""
    labels = list(next(iter(panels.values())))
    size["height"] = size["height"] * len(labels) + 1.0
    figure, axes = style.row(headings, "test accuracy (%)", **size, sharey=True)
    means = {title: {label: [] for label in labels} for title in panels}
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        for place, label in enumerate(labels):
            for offset, branch in zip(np.linspace(-apart, apart, len(branches)), branches, strict=True):
                scores, colour = values(label, rows[label], branch), style.MODALITY[branch][0]
                if scores:
                    means[title][label].append(style.dots(ax, place + offset, scores, colour, judged=judged))
        ax.set_yticks(range(len(labels)), labels)
    axes[0].invert_yaxis()
    style.legend(figure, {branch: (style.MODALITY[branch][0], "o") for branch in branches})
    return figure, means


def row_overview(
    panels: Panels, branches: Sequence[str] = ("fused", "audio", "visual"), one_scale: bool = False
) -> Picture:
    """Draw the last-epoch test accuracy of every row and branch: one small dot a seed, one large dot the mean.

    ``one_scale``: every panel has the same accuracies across, for panels of one data set.
    """

    def scores(label: str, records: Sequence[RunRecord], branch: str) -> list[float]:
        if " alone" in label:
            return percent(records) if label.startswith(f"{branch} ") else []
        return percent(records, branch)

    size = {"width": 3.4, "height": 0.32, "sharex": one_scale}
    figure, found = dot_chart(panels, map(style.heading, panels), branches, scores, 0.2, False, **size)
    said = [f"{title}, {label}: fused {means[0]:.1f}" for title, rows in found.items()
            for label, means in rows.items() if means and " alone" not in label]  # fmt: skip
    return Picture(figure, "Last-epoch test accuracy (%). " + "; ".join(said) + ".")
