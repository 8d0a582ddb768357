"""Draw what ``diagnose`` found, as three panels."""

from __future__ import annotations

import numpy as np

from dgl_core.diagnosis import Diagnosis
from dgl_core.figures import style
from dgl_core.figures.style import Picture


def panels(found: Diagnosis) -> Picture:
    """Draw the suppression ratio R (quartiles), the gradients of the two losses, the accuracy of every branch."""
    names = list(found.branches)
    places, branches = np.arange(len(names)), found.branches.values()
    figure, (left, middle, right) = style.new(1, 3, width=2.9, height=0.45 * len(names) + 1.4, sharey=False)
    for place, branch in zip(places, branches, strict=True):
        low, centre, high = branch.ratio
        left.plot([low, high], [place, place], "-", color=style.BLUE, linewidth=4, alpha=0.4)
        left.plot(centre, place, "o", color=style.BLUE)
        left.annotate(f"{100 * branch.suppressed:.0f} %", (1.02, place), xycoords=("axes fraction", "data"),
                      va="center", fontsize=8)  # fmt: skip
        said = " frozen" if branch.frozen else f" cos {branch.cosine:.2f}"
        middle.annotate(said, (max(branch.joint, branch.own), place), va="center", fontsize=8)
    left.axvline(1.0, color="grey", linewidth=0.8)
    left.set(xscale="log", xlabel="R, median and quartiles (right: R < 1)")
    style.plain_numbers(left.xaxis)
    joint, own = [b.joint for b in branches], [b.own for b in branches]
    middle.barh(places - 0.2, own, 0.36, color=style.GREEN)
    middle.barh(places + 0.2, joint, 0.36, color=style.RED, hatch="///", edgecolor="white")
    middle.set(xlim=(0, 1.35 * max(joint + own + [1e-12])), xlabel="gradient norm at the encoder")
    right.barh(places, [100 * b.accuracy for b in branches], 0.5, color=style.SKY)
    right.axvline(100 * found.accuracy, color=style.BLACK, linewidth=1.2)
    right.set(xlim=(0, 100), xlabel="accuracy, others zero (%)\nline: fused")
    titles = ("residual left by fusion", "fused loss (hatched), own loss (plain)", "what each branch knows")
    for axes, title in zip((left, middle, right), titles, strict=True):
        axes.set_title(title, fontsize=8)
        axes.set_yticks(places, names if axes is left else [""] * len(names))
        axes.set_ylim(len(names) - 0.5, -0.5)
    return Picture(figure, str(found))
