"""Draw Figures 1 and 3 of the paper from run records: branches, encoders, gradients, suppression.

Every function takes ``panels``: title -> rows, where rows map a row label of ``experiments.branches`` to one record per
seed. Lines are means over seeds, bands reach from the lowest to the highest seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def side_by_side(reference: Panels, this_run: Panels, profile: str) -> dict[str, Rows]:
    """Collect the panels of a figure from data set -> rows: every reference that is whole, then this run."""
    whole = {dataset: rows for dataset, rows in reference.items() if rows and all(rows.values())}
    panels = {f"{TITLES[dataset]}, reference": rows for dataset, rows in whole.items()}
    return panels | {f"{TITLES[dataset]}, this run ({profile})": rows for dataset, rows in this_run.items()}


def series(records: Sequence[RunRecord], column: str) -> np.ndarray:
    """Stack one column of several records, [seeds, epochs]."""
    return np.array([record.curves[column] for record in records], dtype=float)


def band(axes, values: np.ndarray, colour: str, line: str, label: str, centre=np.mean) -> None:
    """Draw the mean (or another centre) over seeds as a line, their range as a band; ``values`` [seeds, epochs]."""
    epochs = np.arange(1, values.shape[1] + 1)
    axes.plot(epochs, centre(values, axis=0), line, color=colour, label=label)
    if len(values) > 1:
        axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)


def _row(panels: Panels, ylabel: str):
    seeds = {title: max(map(len, rows.values()), default=0) for title, rows in panels.items()}
    return style.row([style.heading(*panel) for panel in seeds.items()], "epoch", ylabel, height=2.6)


def _log_axis(axes) -> None:
    axes.set_yscale("log")
    style.plain_numbers(axes.yaxis)


def _end(values: np.ndarray, form: str = "{:.1f}") -> str:
    return form.format(values[:, -1].mean())


def branch_curves(panels: Panels, row: str = "vanilla") -> Picture:
    """Draw Fig. 1(a): accuracy of the fused model and of its zero-masked branches during training."""
    figure, axes = _row(panels, "test accuracy (%)")
    said = []
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        ends = []
        for branch in ("fused", *rows[row][0].data["modalities"]):
            values = 100 * series(rows[row], f"test/{branch}/accuracy")
            band(ax, values, *style.MODALITY[branch], branch)
            ends.append(f"{branch} {_end(values)}")
        ax.set_ylim(0, 100)
        said.append(f"{title}: {', '.join(ends)}")
    axes[0].legend(loc="lower right")
    return Picture(figure, f"Test accuracy (%) of {row} training at the last epoch. " + "; ".join(said) + ".")


def encoder_curves(panels: Panels, modality: str = "audio", rows_shown: Sequence[str] = ("vanilla",)) -> Picture:
    """Draw Fig. 1(b): one modality trained alone against the same modality's branch inside joint models."""
    figure, axes = _row(panels, f"{modality} test accuracy (%)")
    said = []
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        alone = 100 * series(rows[f"{modality} alone"], "test/fused/accuracy")
        band(ax, alone, *LINES["alone"], "alone")
        ends = [f"alone {_end(alone)}"]
        for row in rows_shown:
            values = 100 * series(rows[row], f"test/{modality}/accuracy")
            band(ax, values, *LINES[row], f"in {row}")
            ends.append(f"in {row} {_end(values)}")
        ax.set_ylim(0, 100)
        said.append(f"{title}: {', '.join(ends)}")
    axes[0].legend(loc="lower right")
    return Picture(figure, f"{modality.capitalize()} test accuracy (%) at the last epoch. " + "; ".join(said) + ".")


def gradient_curves(
    panels: Panels, modality: str = "audio", rows_shown: Sequence[str] = ("alone", "vanilla")
) -> Picture:
    """Draw Fig. 1(c) and 3(b): L2 norm of the gradient that reaches one encoder, mean over the steps of an epoch."""
    figure, axes = _row(panels, f"gradient norm, {modality} encoder")
    said = []
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        ends = []
        for row in rows_shown:
            records = rows[f"{modality} alone" if row == "alone" else row]
            values = series(records, f"gradient/{modality}")
            alpha = records[0].spec.method_options.get("alpha", 4.0) if row in ("DGL", "G-Blending") else None
            band(ax, values, *LINES[row], f"{row} (x alpha = {alpha:g})" if alpha else row)
            ends.append(f"{row} {_end(values, '{:.2f}')}")
        _log_axis(ax)
        said.append(f"{title}: {', '.join(ends)}")
    axes[0].legend()
    return Picture(figure, f"Gradient norm at the {modality} encoder, last epoch. " + "; ".join(said) + ".")


def suppression_curves(
    panels: Panels, modality: str = "audio", rows_shown: Sequence[str] = ("vanilla", "DGL")
) -> Picture:
    """Draw Fig. 3(a) by s-bar: how much the partner modality shrinks this one's residual, for how many samples.

    Upper row: median over samples of s-bar, the exact form of the paper's s (METHODS T2). Lower row: share of training
    samples with s-bar < 1, and (dotted) with every s_k < 1, which is what the paper claims for all samples.
    """
    figure, axes = style.new(2, len(panels), height=2.2, squeeze=False, sharex="col")
    said = []
    for column, (title, rows) in enumerate(panels.items()):
        upper, lower = axes[:, column]
        ends = []
        for row in rows_shown:
            colour, line = LINES[row]
            middle = series(rows[row], f"suppression/{modality}/s_bar_q50")
            share = 100 * series(rows[row], f"suppression/{modality}/suppressed")
            every = 100 * series(rows[row], f"suppression/{modality}/all_margins")
            band(upper, middle, colour, line, row, centre=np.median)
            band(lower, share, colour, line, f"{row}: s-bar < 1")
            lower.plot(np.arange(1, every.shape[1] + 1), every.mean(0), ":", color=colour, label=f"{row}: all s_k < 1")
            ends.append(f"{row} s-bar {np.median(middle[:, -1]):.2g}, suppressed {_end(share, '{:.0f}')} %")
        upper.axhline(1.0, color="grey", linewidth=0.8)
        _log_axis(upper)
        upper.set_ylim(0.05, 20.0)
        upper.set_title(style.heading(title, len(rows[rows_shown[0]])), fontsize=9)
        lower.set(ylim=(0, 102), xlabel="epoch")
        said.append(f"{title}: {'; '.join(ends)}")
    axes[0, 0].set_ylabel("median s-bar")
    axes[1, 0].set_ylabel("share of samples (%)")
    axes[0, 0].legend()
    axes[1, 0].legend(fontsize=7)
    return Picture(figure, f"Suppression at the {modality} encoder, last epoch. " + ". ".join(said) + ".")


def ratio_curves(panels: Panels, modality: str = "audio", rows_shown: Sequence[str] = ("vanilla", "DGL")) -> Picture:
    """Draw median and quartiles over training samples of R = (1 - p_fused) / (1 - p_unimodal) per epoch."""
    figure, axes = _row(panels, f"R at the {modality} branch")
    said = []
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        ends = []
        for row in rows_shown:
            colour, line = LINES[row]
            low, middle, high = (series(rows[row], f"suppression/{modality}/R_q{q}").mean(0) for q in (25, 50, 75))
            epochs = np.arange(1, len(middle) + 1)
            ax.plot(epochs, middle, line, color=colour, label=row)
            ax.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
            ends.append(f"{row} median {middle[-1]:.2f}, quartiles {low[-1]:.2f} to {high[-1]:.2f}")
        ax.axhline(1.0, color="grey", linewidth=0.8)
        ax.set_ylim(0, None)
        said.append(f"{title}: {'; '.join(ends)}")
    axes[0].legend()
    return Picture(figure, f"Suppression ratio R of {modality}, last epoch. " + ". ".join(said) + ".")


def row_overview(panels: Panels, branches: Sequence[str] = ("fused", "audio", "visual")) -> Picture:
    """Draw the last-epoch test accuracy of every row and branch: one small dot a seed, one large dot the mean."""
    labels = list(next(iter(panels.values())))
    size = {"width": 3.4, "height": 0.32 * len(labels) + 1.0}
    figure, axes = style.row(map(style.heading, panels), "test accuracy (%)", **size, sharey=True)
    said = []
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        for position, label in enumerate(labels):
            records, alone = rows[label], " alone" in label
            for offset, branch in zip((-0.2, 0.0, 0.2), branches, strict=False):
                if records and (not alone or label.startswith(f"{branch} ")):
                    scores = percent(records, "fused" if alone else branch)
                    style.dots(ax, position + offset, scores, style.MODALITY[branch][0])
            if records and not alone:
                said.append(f"{title}, {label}: fused {np.mean(percent(records)):.1f}")
        ax.set_yticks(range(len(labels)), labels)
    axes[0].invert_yaxis()
    style.legend(figure, {branch: (style.MODALITY[branch][0], "o") for branch in branches})
    return Picture(figure, "Last-epoch test accuracy (%). " + "; ".join(said) + ".")
