"""Draw what ``compare`` found: every row's scores, and its difference from the first row with its verdict."""

from __future__ import annotations

import math

from dgl_core.figures import style
from dgl_core.figures.style import Picture
from dgl_core.verdicts.comparison import Comparison
from dgl_core.verdicts.families import BETTER, EQUAL, UNDECIDED, WORSE

COLOURS = {BETTER: style.GREEN, WORSE: style.RED, EQUAL: style.BLUE, UNDECIDED: style.GREY}


def panels(found: Comparison) -> Picture:
    """Draw test scores (dots for seeds, the mean) and, beside them, the interval of each difference."""
    names = list(found.rows)
    figure, (left, right) = style.new(1, 2, width=4.2, height=0.32 * len(names) + 1.2, sharey=True)
    for place, name in enumerate(names):
        row = found.rows[name]
        style.dots(left, place, row.percent(), style.BLACK if row.verdict is None else style.BLUE)
        if row.verdict is not None and row.verdict.member.evidence is not None:
            colour, verdict = COLOURS[row.verdict.word], row.verdict
            if math.isfinite(verdict.low) and math.isfinite(verdict.high):
                right.plot([verdict.low, verdict.high], [place, place], "-", color=colour, linewidth=2)
            right.plot(verdict.member.evidence.mean, place, "o", color=colour)
            right.annotate(verdict.word, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    right.axvline(0.0, color="grey", linewidth=0.8)
    right.axvspan(-found.delta, found.delta, color="grey", alpha=0.12)
    left.set(xlabel=f"test {found.score} (%)", title="at each row's own rate")
    right.set(xlabel="points", title=f"minus {found.baseline}; grey: too small to matter")
    left.set_yticks(range(len(names)), names)
    left.set_ylim(len(names) - 0.5, -0.5)
    return Picture(figure, str(found))
