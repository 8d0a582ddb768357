"""Give every figure one look: colour-blind palette, fixed sizes, line style besides colour, a text alternative."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator
from PIL import Image

from dgl_core.verdicts.statistics import DECIDING, mean_interval

# Okabe-Ito colours: distinguishable with every common form of colour blindness.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#8A8A8A"  # of lines that only help the eye
MODALITY = {
    "fused": (BLACK, "-"),
    "audio": (BLUE, "--"),
    "visual": (ORANGE, "-."),
    "text": (GREEN, ":"),
    "rgb": (ORANGE, "--"),
    "depth": (BLUE, "-."),
}  # modality -> (colour, line style)
CYCLE = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK, YELLOW]
DPI = 100


def apply() -> None:
    """Set the matplotlib defaults of this project (called by ``dgl_core.start``)."""
    matplotlib.rcParams.update(
        {
            "figure.dpi": DPI,
            "savefig.dpi": DPI,
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "legend.frameon": False,
            "axes.prop_cycle": matplotlib.cycler(color=CYCLE),
            "svg.hashsalt": "dgl",  # the same figure gives the same SVG bytes
            "image.cmap": "viridis",
        }
    )


def new(rows: int = 1, columns: int = 1, width: float = 3.2, height: float = 2.5, **options):
    """Make a figure off pyplot's stack and, as ``Figure.subplots``, axes of ``width x height`` inches each."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **options)


def row(headings: Iterable[str], xlabel: str = "", ylabel: str = "", **options):
    """Lay out one axes per heading, side by side, labelled; return ``(figure, axes)``, an array even of one."""
    headings = list(headings)
    figure, axes = new(1, len(headings), squeeze=False, **options)
    for axis, text in zip(axes[0], headings, strict=True):
        axis.set_title(text, fontsize=9)
        axis.set_xlabel(xlabel)
    axes[0, 0].set_ylabel(ylabel)
    return figure, axes[0]


def heading(title: str, seeds: int | None = None) -> str:
    """Break a panel's title in two lines: the data set, then which runs and, if given, how many seeds."""
    return (title if seeds is None else f"{title}, n = {seeds}").replace(", ", "\n", 1)


def dots(axes, place: float, values: Sequence[float], colour: str, marker: str = "o", *, judged: bool = False) -> float:
    """Draw one row of a dot chart at the height ``place``: dots for seeds, a mark for their mean; return the mean.

    A ``judged`` row has its 95 % interval too, and a hollow mark where fewer than ``DECIDING`` seeds decide nothing.
    """
    interval = mean_interval(values)
    decides = interval.n >= DECIDING
    axes.plot(values, [place] * len(values), ".", color=colour, markersize=3, alpha=0.4 if judged else 0.5)
    if judged and decides:
        axes.plot([interval.low, interval.high], [place] * 2, "-", color=colour, linewidth=1.2, alpha=0.7)
    fill = colour if decides or not judged else "white"
    axes.plot(interval.mean, place, marker, color=colour, markersize=6 if judged else 5, markerfacecolor=fill)
    return interval.mean


def legend(figure, marks: Mapping[str, tuple[str, str]], most: int = 8) -> None:
    """Explain marks (label -> colour, marker) below a figure, at most so many beside each other."""
    axes = figure.axes[0]
    handles = [axes.plot([], [], marker, color=colour, label=label)[0] for label, (colour, marker) in marks.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), most))


def heat(axes, values: np.ndarray, x: Sequence[float], y: Sequence[float], limits: tuple[float, float]):
    """Draw a map ``values`` [y, x] with its numbers written in, cells without one grey; return the image."""
    image = axes.imshow(np.ma.masked_invalid(values), origin="lower", aspect="auto", vmin=limits[0], vmax=limits[1])
    axes.set_facecolor("0.85")
    axes.grid(False)
    axes.set_xticks(range(len(x)), [f"{v:g}" for v in x])
    axes.set_yticks(range(len(y)), [f"{v:g}" for v in y])
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            dark = value < (limits[0] + limits[1]) / 2
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=8, color="w" if dark else "k")
    return image


def limits(arrays: Iterable[np.ndarray]) -> tuple[float, float]:
    """Find common colour limits of several maps: their smallest and largest number, never the same one."""
    known = np.concatenate([a[np.isfinite(a)] for a in arrays])
    low, high = float(known.min()), float(known.max())
    return low, high if high > low else low + 1.0


def plain_numbers(axis, within: Sequence[float] = (1.0, 2.0, 5.0)) -> None:
    """Label a logarithmic axis 0.5, 1, 2 instead of with powers of ten; ``within`` are the ticks of a decade."""
    axis.set_major_locator(LogLocator(subs=within))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(LogLocator(subs=()))


def bare(axis) -> None:
    """Leave nothing of an axes but what it shows."""
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)


@dataclass(frozen=True)
class Picture:
    """A finished figure and its text alternative, made from the plotted numbers: what a notebook cell ends with."""

    figure: Figure
    alt: str

    def png(self) -> bytes:
        """Encode as PNG with few colours, a third of the size, so that notebooks with many figures stay light."""
        full, small = io.BytesIO(), io.BytesIO()
        self.figure.savefig(full, format="png", metadata={"Software": None})
        self._fewer_colours(Image.open(full).convert("RGB")).save(small, "PNG", optimize=True)
        return small.getvalue()

    def _fewer_colours(self, image):
        return image.quantize(128, dither=0)

    def svg(self) -> str:
        buffer = io.StringIO()
        self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return buffer.getvalue()

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include=None, exclude=None):
        png = base64.b64encode(self.png()).decode()
        return {"image/png": png, "text/plain": self.alt}, {"image/png": {"alt": self.alt}}


class Photograph(Picture):
    """A figure that shows pictures. A small palette turns skin and lips into patches; 5 bits a colour do not."""

    def _fewer_colours(self, image):
        return image.point(lambda value: (value & 0b11111000) | (value >> 5))
