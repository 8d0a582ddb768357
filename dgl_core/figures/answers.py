"""Draw the verdicts: the questions that a user has, one row each, one panel a data set."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes

from dgl_core.figures import style
from dgl_core.figures.comparison import COLOURS
from dgl_core.figures.style import Picture
from dgl_core.paper.answers.regimes import TITLES
from dgl_core.paper.answers.verdicts import NOT_TESTED
from dgl_core.paper.claims.judging import Line
from dgl_core.verdicts.families import BETTER, EQUAL, UNDECIDED, WORSE

MARKERS = {BETTER: ">", WORSE: "<", EQUAL: "D", UNDECIDED: "o"}  # so that no verdict hangs on a colour alone
TICKS = (-20, -2, 0, 2, 20)  # points; the axis is linear between -2 and 2 and logarithmic beyond
WIDEST = 40.0  # points; an interval beyond is cut at the edge of its panel


def verdicts(lines: Sequence[Line]) -> Picture:
    """Draw the mean difference and its interval of every line that rests on one question; write the others.

    Args:
        lines: of the ledger, claim by claim; those of one claim share a row.
    """
    texts = list(dict.fromkeys(line.text for line in lines))
    sets = [title for title in TITLES.values() if any(line.dataset == title for line in lines)]
    figure, axes = style.new(1, len(sets), width=1.9, height=0.42 * len(texts) + 0.9, sharey=True, squeeze=False)
    for panel, title in zip(axes[0], sets, strict=True):
        panel.axvline(0.0, color="grey", linewidth=0.8)
        panel.set_xscale("symlog", linthresh=2, linscale=0.6)
        panel.set(xlim=(-WIDEST, WIDEST), xlabel="points")
        panel.set_xticks(TICKS, TICKS)
        panel.set_xticks([], minor=True)
        panel.set_title(textwrap.fill(title, 14), fontsize=9)
        for line in lines:
            if line.dataset == title:
                _line(panel, texts.index(line.text), line)
    axes[0, 0].set_yticks(range(len(texts)), [textwrap.fill(text, 44) for text in texts])
    axes[0, 0].set_ylim(len(texts) - 0.5, -0.5)
    marks = [
        figure.axes[0].plot([], [], marker=marker, color=COLOURS[word], linestyle="-", label=word)[0]
        for word, marker in MARKERS.items()
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False)
    return Picture(figure, "; ".join(f"{line.text}, {line.dataset}: {line}" for line in lines))


def _line(panel: Axes, place: int, line: Line) -> None:
    """Draw one line of the ledger: an interval with its mark, or a word where there is no single difference."""
    judged = line.answers[0].judged if len(line.answers) == 1 else None
    if line.outcome == NOT_TESTED or judged is None or judged.member.evidence is None:
        word = "yes" if line.holds else "no" if line.holds is False else "not run yet" if judged else "undecided"
        panel.text(0, place, NOT_TESTED if line.outcome == NOT_TESTED else word, ha="center", va="center", fontsize=7,
                   color=style.GREY, backgroundcolor="white")  # fmt: skip
        return
    colour, delta = COLOURS[judged.word], judged.member.delta
    panel.fill_betweenx([place - 0.4, place + 0.4], -delta, delta, color="grey", alpha=0.15, linewidth=0)
    panel.plot([judged.low, judged.high], [place, place], "-", color=colour, linewidth=2)
    panel.plot(judged.member.evidence.mean, place, MARKERS[judged.word], color=colour, markersize=6)
