"""Draw the inequality of section 3.1: where it holds, by how much, and for which vectors.

The modality alone (zero-masked) is blue and dashed, the fused model black and solid, what an equation prints red.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.colors import ListedColormap
from torch import Tensor

from dgl_core.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    Picture,
    bare,
    beside,
    ink,
    new,
    plain_numbers,
)
from dgl_core.paper.theory.cases import Case
from dgl_core.paper.theory.feature import printed_gradient
from dgl_core.paper.theory.residual import closed_form_ratio


def _numbers(values: Tensor | Sequence[float], digits: int = 2) -> str:
    return "(" + ", ".join(f"{round(float(value), digits) + 0.0:.{digits}f}" for value in values) + ")"


def _arrow(axes, vector: Tensor, color: str, label: str | None = None, style: str = "-", width: float = 2.0) -> None:
    """Draw an arrow from the origin, or a dot where the vector is zero."""
    x, y = vector.tolist()
    if vector.norm() < 1e-9:
        axes.plot(0, 0, "o", color=color, markersize=7, markerfacecolor="none", markeredgewidth=width, label=label)
        return
    arrow = {"arrowstyle": "-|>", "color": color, "linestyle": style, "linewidth": width, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x, y), (0, 0), arrowprops=arrow, zorder=3)
    axes.plot([], [], color=color, linestyle=style, linewidth=width, label=label)


def _plane(axes, case: Case) -> None:
    """Draw the rows of W^m as grey spokes, on axes of equal scale."""
    for k, row in enumerate(case.weight.tolist()):
        name = "y" if k == case.target else str(k + 1)
        axes.plot([0, row[0]], [0, row[1]], color=GREY, linewidth=1, zorder=1)
        axes.plot(*row, "o", color=GREY, markersize=4)
        beside = (9 if row[0] >= 0 else -9, 9 if row[1] >= 0 else -9)
        axes.annotate(f"$W_{name}$", row, textcoords="offset points", xytext=beside, color="#555555", ha="center",
                      va="center")  # fmt: skip
    axes.set(xlim=(-1.35, 1.35), ylim=(-0.95, 1.4), aspect="equal")
    bare(axes)


def printed_against_exact(case: Case) -> Picture:
    """Draw minus the gradient at the feature, as printed in Eq. 4 and 7, and exactly (T1). K = 3 rows in the plane."""
    figure, axes = new(1, 2, width=3.5, height=2.9)
    parts = []
    sides = (7, case.logits, case.g_uni), (4, case.logits + case.other_logits, case.g_multi)
    for panel, (equation, logits, exact) in zip(axes, sides, strict=True):
        printed = printed_gradient(logits, case.weight, case.y)
        _plane(panel, case)
        _arrow(panel, -exact, BLACK, "exact (T1)")
        _arrow(panel, -printed, RED, f"Eq. {equation} as printed", "--")
        panel.set_title(f"Eq. {equation}, {'modality alone' if equation == 7 else 'fused'}")
        panel.legend(loc="lower center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=8)
        parts.append(f"Eq. {equation} prints {_numbers(-printed)}, exact is {_numbers(-exact)}")
    return Picture(figure, "Two planes with the three class rows and the push on the feature, minus the gradient: "
                   + "; ".join(parts) + ".")  # fmt: skip


def suppression_region(beliefs: Sequence[Sequence[float]], cases: Mapping[str, Case], limit: float = 3.0) -> Picture:
    """Map where in the plane of margins fusion shrinks the residual, K = 3, for several unimodal beliefs ``p^uni``.

    A belief is (p_y, p_2, p_3), but only p_2 : p_3 matters; a case is drawn in the first panel that has its p_2 : p_3.
    """
    figure, axes = new(1, len(beliefs), width=3.1, height=3.0, sharey=True, squeeze=False)
    grid = torch.linspace(-limit, limit, 301, dtype=torch.float64)
    second, third = torch.meshgrid(grid, grid, indexing="xy")  # margins v_y - v_2 and v_y - v_3
    parts, left = [], dict(cases)
    for panel, belief in zip(axes[0], beliefs, strict=True):
        q = belief[1] / (belief[1] + belief[2])
        s_bar = q * (-second).exp() + (1 - q) * (-third).exp()
        inside = (s_bar < 1).double()
        panel.pcolormesh(grid, grid, inside, cmap=ListedColormap(["#F7E3D4", "#D3E6F3"]), rasterized=True)
        panel.contour(grid, grid, s_bar, levels=[1.0], colors=[BLUE], linewidths=2)
        panel.fill_between([0, limit], 0, limit, facecolor="none", edgecolor=GREY, hatch="///", linewidth=0.0)
        panel.plot([0, 0, limit], [limit, 0, 0], color=GREY, linewidth=1)
        for name in [n for n, c in left.items() if abs(float(c.p_uni[1] / (c.p_uni[1] + c.p_uni[2])) - q) < 1e-9]:
            point = -left.pop(name).s[1:].log()
            panel.plot(*point.tolist(), "o", color=BLACK, markersize=5)
            panel.annotate(name, point.tolist(), textcoords="offset points", xytext=(6, 0), fontsize=8, va="center",
                           bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5})  # fmt: skip
        panel.set(xlabel="margin $v_y - v_2$", aspect="equal", xlim=(-limit, limit), ylim=(-limit, limit))
        panel.set_title(rf"$q = ({q:.2f},\ {1 - q:.2f})$")
        panel.text(2.2, 2.3, "Eq. 5", ha="center", va="center", bbox={"facecolor": "white", "alpha": 0.85, "lw": 0})
        panel.grid(False)
        parts.append(f"belief {q:.2f} to {1 - q:.2f} among the wrong classes: {100 * inside.mean().item():.0f} %")
    axes[0, 0].set_ylabel("margin $v_y - v_3$")
    for x, text, color in ((1.7, "$\\bar s<1$\nsuppressed", BLUE), (-1.6, "$\\bar s>1$\namplified", RED)):
        axes[0, -1].text(x, -1.2, text, fontsize=9, ha="center", va="center", color=color)
    return Picture(figure, "Share of the drawn square of margins in which fusion shrinks the residual, "
                   + "; ".join(parts) + "; the quadrant of Eq. 5 is 25 %.")  # fmt: skip


def ratio_curves() -> Picture:
    """Draw R against p for fixed s-bar, R against s-bar for fixed p, and the gap p^multi - p^uni (T3)."""
    figure, axes = new(1, 3, width=3.5, height=2.7)
    p = torch.linspace(0.0, 1.0, 401, dtype=torch.float64)
    s = torch.logspace(-2, 1, 301, dtype=torch.float64)
    looks = {0.05: (BLUE, "-"), 0.2: (SKY, "--"), 0.5: (GREEN, "-."), 1.0: (GREY, ":"), 2.0: (RED, "-")}
    peaks = []
    for s_bar, (color, style) in looks.items():
        ratio = closed_form_ratio(p, torch.tensor(s_bar, dtype=torch.float64))
        gap = (1 - p) * (1 - ratio)
        name = rf"$\bar s={s_bar:g}$"
        axes[0].plot(p, ratio, color=color, linestyle=style, label=name)
        axes[2].plot(p, gap, color=color, linestyle=style)
        if s_bar < 1:
            peak = gap.argmax()
            axes[2].plot(p[peak], gap[peak], "o", color=color, markersize=4)
            axes[2].annotate(name, (p[peak], gap[peak]), xytext=(4, 3), textcoords="offset points", fontsize=8,
                             color=ink(color))  # fmt: skip
            peaks.append(f"s-bar {s_bar:g}: {gap[peak]:.2f} at p = {p[peak]:.2f}")
    for confidence, color, style in zip((0.1, 0.5, 0.9), (PURPLE, ORANGE, BLACK), ("-", "--", "-."), strict=True):
        axes[1].plot(s, closed_form_ratio(torch.tensor(confidence), s), color=color, linestyle=style,
                     label=f"$p={confidence:g}$")  # fmt: skip
    axes[0].set(xlabel="$p$, unimodal confidence", ylabel="suppression ratio $R$", title=r"$R$ for fixed $\bar s$")
    axes[1].set(xlabel=r"$\bar s$", xscale="log", title="$R$ for fixed $p$", yscale="log")
    axes[2].set(xlabel="$p$, unimodal confidence", title=r"gap $p^{multi}-p^{uni}$")
    axes[2].set_ylim(top=0.75)  # room for the names of the peaks
    for axis in (axes[1].xaxis, axes[1].yaxis):
        plain_numbers(axis)
    for panel in axes[:2]:
        beside(panel)
    return Picture(figure, "R starts at 1 for p = 0 and ends at s-bar for p = 1; the gap between the two probabilities "
                   "is largest inside: " + "; ".join(peaks) + ".")  # fmt: skip


def norms_against_ratio(panels: Mapping[str, Mapping[str, Tensor]], limit: Mapping[str, float]) -> Picture:
    """Draw the norm ratio of feature gradients against R, a dot a draw: diagonal where vectors follow the scalar.

    A panel has ``ratio``, ``norm_ratio`` and ``marked`` [draws] (a condition holds); ``limit`` is ``D / delta`` of T7.
    """
    figure, axes = new(1, len(panels), width=3.2, height=3.0, sharey=True, squeeze=False)
    parts = []
    for panel, (title, drawn) in zip(axes[0], panels.items(), strict=True):
        ratio, norm_ratio, marked = drawn["ratio"], drawn["norm_ratio"], drawn["marked"]
        for at, color, alpha in ((~marked, ORANGE, 0.5), (marked, BLUE, 0.6)):
            panel.plot(ratio[at], norm_ratio[at], ".", color=color, alpha=alpha, markersize=3.5, rasterized=True)
        line = torch.tensor([1e-2, 10.0])
        panel.plot(line, line, color=BLACK, linewidth=0.8, zorder=1)
        if title in limit:
            panel.plot(line, line * limit[title], color=BLACK, linewidth=1, linestyle=":", label=r"$R\,D/\delta$ (T7)")
            panel.plot(line, line / limit[title], color=BLACK, linewidth=1, linestyle=":")
            panel.legend(loc="upper left", fontsize=8)
        panel.axhline(1, color=GREY, linewidth=1)
        panel.axvline(1, color=GREY, linewidth=1)
        panel.fill_between([1e-2, 1], 1, 10, color=RED, alpha=0.08, linewidth=0)
        panel.set(xscale="log", yscale="log", xlim=(0.03, 8), ylim=(0.03, 8), xlabel="$R$, residual", title=title)
        for axis in (panel.xaxis, panel.yaxis):
            plain_numbers(axis)
        grown, among = (100 * (norm_ratio[draws] > 1).double().mean() for draws in (ratio < 1, (ratio < 1) & marked))
        parts.append(f"{title}: of the draws with R < 1 the norm grows in {grown:.0f} %, "
                     f"of the marked ones among them in {among:.0f} %")  # fmt: skip
    axes[0, 0].set_ylabel(r"$\|g^{multi}\| / \|g^{uni}\|$, feature")
    return Picture(figure, "; ".join(parts) + ".")


def belief_and_push(cases: Mapping[str, Case]) -> Picture:
    """Draw the beliefs of modality and fused model, and the push that each sends to the feature (K = 3), by case."""
    shape = (1, 2) if len(cases) == 1 else (2, len(cases))
    figure, axes = new(*shape, width=3.2, height=2.3, squeeze=False)
    parts = []
    for (top, bottom), (title, case) in zip(axes.reshape(2, -1).T, cases.items(), strict=True):
        alone, fused = case.p_uni, case.p_multi
        places = np.arange(len(alone))
        top.bar(places - 0.2, alone.tolist(), 0.38, color="white", edgecolor=BLUE, hatch="///", label="$p^{uni}$")
        top.bar(places + 0.2, fused.tolist(), 0.38, color=BLACK, label="$p^{multi}$")
        names = ["$y$" if k == case.target else f"${k + 1}$" for k in range(len(alone))]
        title_shown = f"{title}\n" + rf"$\bar s = {case.s_bar:.2f}$,  $R = {case.ratio:.2f}$"
        top.set(ylim=(0, 1), xticks=places, xticklabels=names, title=title_shown)
        top.legend(fontsize=8)
        _plane(bottom, case)
        _arrow(bottom, -case.g_uni, BLUE, rf"$-g^{{uni}}$, norm {case.g_uni.norm():.2f}", "--", 2.4)
        _arrow(bottom, -case.g_multi, BLACK, rf"$-g^{{multi}}$, norm {case.g_multi.norm():.2f}")
        bottom.legend(loc="lower center", bbox_to_anchor=(0.5, -0.28), ncols=2, fontsize=8, columnspacing=1.0)
        parts.append(f"{title}: p alone {_numbers(alone)}, fused {_numbers(fused)}, s-bar {case.s_bar:.2f}, R "
                     f"{case.ratio:.2f}, gradient {_numbers(case.g_uni)} becomes {_numbers(case.g_multi)}")  # fmt: skip
    return Picture(figure, "; ".join(parts) + ".")


def counterexamples(c1: Case, c2: Mapping[str, Tensor], c3: tuple[Tensor, Tensor]) -> Picture:
    """Draw C1: a gradient that grows from zero; C2: how often norms grow; C3: shrinking samples, growing batch."""
    figure, axes = new(1, 3, width=3.2, height=2.7)
    _plane(axes[0], c1)
    _arrow(axes[0], -c1.g_uni, BLUE, rf"$-g^{{uni}}$, norm {c1.g_uni.norm():.2f}")
    _arrow(axes[0], -c1.g_multi, BLACK, rf"$-g^{{multi}}$, norm {c1.g_multi.norm():.2f}")
    axes[0].legend(loc="lower center", fontsize=8)
    axes[0].set_title("C1  Eq. 5 holds, the norm grows")
    shares = []
    edges = torch.logspace(-1, 0.6, 33).tolist()
    for name, chosen, style in (
        (r"$\bar s<1$", c2["ratio"] < 1, {"color": SKY, "alpha": 0.9}),
        ("Eq. 5", c2["margins"], {"histtype": "step", "color": BLUE, "linewidth": 1.5}),
    ):
        values = c2["norm_ratio"][chosen]
        shares.append(100 * (values > 1).double().mean().item())
        axes[1].hist(values.tolist(), bins=edges, label=f"{name}: {shares[-1]:.0f} % grow", **style)
    axes[1].axvline(1, color=RED, linewidth=1.5)
    axes[1].set(xscale="log", xlabel=r"$\|g^{multi}\|/\|g^{uni}\|$", ylabel="draws", title="C2  random heads")
    plain_numbers(axes[1].xaxis)
    axes[1].legend(fontsize=8, loc="upper left")
    axes[1].set_ylim(top=axes[1].get_ylim()[1] * 1.35)
    before, after = c3
    places = np.array([0, -1, -2])
    for values, shift, color, label in ((before, 0.17, BLUE, "alone"), (after, -0.17, BLACK, "fused")):
        lengths = [*values.tolist(), values.sum().item()]
        axes[2].barh(places + shift, lengths, 0.3, color=color, label=label)
        for place, length in zip(places, lengths, strict=True):
            axes[2].annotate(f"{length + 0.0:.1f}", (length, place + shift), textcoords="offset points", fontsize=8,
                             xytext=(-12 if length < 0 else 12, 0), ha="center", va="center", color=color)  # fmt: skip
    axes[2].set(yticks=places, yticklabels=["sample 1", "sample 2", "batch"], xlabel="gradient (one dimension)")
    axes[2].set(title="C3  samples shrink, batch grows", xlim=(-1.35, 1.35))
    axes[2].legend(fontsize=8, loc="lower left")
    return Picture(figure, f"C1: norm {c1.g_uni.norm():.2f} becomes {c1.g_multi.norm():.2f}; C2: the norm grows in "
                   f"{shares[0]:.0f} % of draws with s-bar < 1 and in {shares[1]:.0f} % of those that satisfy Eq. 5; "
                   f"C3: {_numbers(before, 1)} sum to {before.sum():.1f}, "
                   f"{_numbers(after, 1)} to {after.sum():.1f}.")  # fmt: skip


def bias_split(shares: Tensor, ratios: Mapping[str, Tensor]) -> Picture:
    """Draw R of both modalities of one sample against the share c of the bias counted as the modality's own."""
    figure, axes = new(1, 1, width=3.9, height=2.5)
    parts = []
    for (name, ratio), color, style in zip(ratios.items(), (BLUE, ORANGE), ("--", "-."), strict=True):
        axes.plot(shares, ratio, color=color, linestyle=style, linewidth=2, label=name)
        parts.append(f"{name}: R goes from {ratio[0]:.2f} (c = {shares[0]:g}) to {ratio[-1]:.2f} (c = {shares[-1]:g})")
    axes.axhline(1, color=GREY, linewidth=1)
    for c, label in ((0.5, "OGM: c = 1/2"), (1.0, "zero mask: c = 1")):
        axes.axvline(c, color=GREY, linewidth=1, linestyle=":")
        axes.annotate(label, (c, 0.98), xycoords=("data", "axes fraction"), rotation=90, fontsize=8, va="top",
                      xytext=(-3, 0), textcoords="offset points", ha="right", color="#555555")  # fmt: skip
    axes.set(xlabel="share $c$ of the bias counted as the modality's own", ylabel="suppression ratio $R$")
    beside(axes)
    return Picture(figure, "; ".join(parts) + ".")
