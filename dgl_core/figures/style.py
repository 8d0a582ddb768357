"""Give every figure one look: colour-blind palette, fixed sizes, line style besides colour, a text alternative."""

from __future__ import annotations

import base64
import functools
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, NullLocator
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
DPI = 100  # of the size at which a picture is shown
COMMONEST, COLOURS, APART = 48, 200, 10  # of a PNG: kept exactly, at most, and how far any other may lie from them
MARGIN = 2  # points beside a panel that is shown alone
DECADES = ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5), tuple(range(1, 10)))  # ticks of a decade, from few to many


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


def row(headings: Iterable[str], xlabel: str = "", ylabel: str = "", most: int = 8, **options):
    """Lay out one axes per heading, side by side, labelled; return ``(figure, axes)``, an array even of one.

    More than ``most`` of them go on below, in a second row and so on.
    """
    headings = list(headings)
    columns = min(len(headings), most)
    figure, axes = new(math.ceil(len(headings) / columns), columns, squeeze=False, **options)
    for axis, text in zip(axes.flat, headings, strict=False):
        axis.set_title(text, fontsize=9)
        axis.set_xlabel(xlabel)
    for axis in axes.flat[len(headings) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel(ylabel)
    return figure, axes.flat[: len(headings)]


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


def legend(figure, marks: Mapping[str, tuple], most: int = 8) -> None:
    """Explain marks (label -> colour, marker and, if it needs one, a look) below a figure, ``most`` beside each other.

    The look is what the picture gives to ``plot``, so that a hollow mark is hollow here, too.
    """
    axes, handles = figure.axes[0], []
    for label, (colour, marker, *look) in marks.items():
        handles += axes.plot([], [], marker, color=colour, label=label, **(look[0] if look else {}))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), most))


def ink(colour: str) -> str:
    """Darken a colour of a line until text in it can be read on white (4.5 to 1)."""
    red, green, blue = to_rgb(colour)
    while True:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
        if 1.05 / (np.dot((0.2126, 0.7152, 0.0722), linear) + 0.05) >= 4.5:
            return "#" + "".join(f"{round(255 * c):02x}" for c in (red, green, blue))
        red, green, blue = 0.95 * red, 0.95 * green, 0.95 * blue


def apart(places: Sequence[float], gap: float, bottom: float = -math.inf, top: float = math.inf) -> list[float]:
    """Move numbers as little as it takes until no two are closer than ``gap``; order and limits are kept."""
    order, clusters = np.argsort(places, kind="stable"), []
    for number in order:
        clusters.append([[number], places[number]])  # its members from below, and the middle of them
        while len(clusters) > 1 and clusters[-1][1] - clusters[-2][1] < gap * (
            (len(clusters[-1][0]) + len(clusters[-2][0])) / 2
        ):
            (upper, high), (lower, low) = clusters.pop(), clusters.pop()
            members = lower + upper
            clusters.append([members, (low * len(lower) + high * len(upper)) / len(members)])
    found = [0.0] * len(places)
    for members, middle in clusters:
        for step, number in enumerate(members):
            found[number] = middle + gap * (step - (len(members) - 1) / 2)
    for step, number in enumerate(order[::-1]):
        found[number] = min(found[number], top - gap * step)
    for step, number in enumerate(order):
        found[number] = max(found[number], bottom + gap * step)
    return found


def beside(axes, size: float = 8.0) -> None:
    """Write the name of each labelled line beside its right end, in its colour: call it when the limits are set."""
    lines = [line for line in axes.lines if not line.get_label().startswith("_")]
    axes.get_xlim(), axes.get_ylim()  # now, or the ends are where the limits used to be
    height = 72 * axes.figure.get_size_inches()[1] * axes.get_position().height  # points, before the layout
    ends = []
    for line in lines:
        points = line.get_xydata()
        end = axes.transData.transform(points[np.isfinite(points).all(1)][-1])
        ends.append(float(np.clip(axes.transAxes.inverted().transform(end)[1], 0.0, 1.0)))
    rows = max((line.get_label().count("\n") + 1 for line in lines), default=1)
    for line, place in zip(lines, apart(ends, 1.25 * rows * size / height, 0.0, 1.0), strict=True):
        axes.annotate(line.get_label(), (1.0, place), xycoords="axes fraction", xytext=(3, 0), va="center",
                      textcoords="offset points", fontsize=size, color=ink(line.get_color()))  # fmt: skip


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


class Decades(Locator):
    """Place ticks on a logarithmic axis: three or four at least, whatever part of a decade is seen, eight at most."""

    def __call__(self):
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        low, high = sorted((vmin, vmax))
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for within in DECADES:
            ticks = [part * 10.0**decade for decade in decades for part in within]
            ticks = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
            if len(ticks) >= (4 if len(within) < 4 else 3):
                return ticks[:: math.ceil(len(ticks) / 8)]
        return [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]


def plain_numbers(axis) -> None:
    """Label a logarithmic axis 0.5, 1, 2 instead of with powers of ten."""
    axis.set_major_locator(Decades())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def bare(axis) -> None:
    """Leave nothing of an axes but what it shows."""
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def columns(figure: Figure) -> list[tuple[float, float]]:
    """Find the left and right ends, in points, of the columns of a drawn figure that can stand below each other.

    There are none where columns need each other: by a scale, a legend or a title that belongs to several of them.
    """
    scales = {any(label.get_text() for label in axes.get_yticklabels()) for axes in figure.axes}
    bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    if len(scales) > 1 or bars or figure.legends or figure.texts:
        return []
    found: list[list[float]] = []
    for box in sorted((axes.get_tightbbox() for axes in figure.axes), key=lambda box: box.x0):
        if found and box.x0 < found[-1][1]:
            found[-1][1] = max(found[-1][1], box.x1)
        else:
            found.append([box.x0, box.x1])
    points = 72 / figure.dpi
    return [(left * points, right * points) for left, right in found] if len(found) > 1 else []


@dataclass(frozen=True)
class Picture:
    """A finished figure and its text alternative, made from the plotted numbers: what a notebook cell ends with."""

    figure: Figure
    alt: str
    finer: ClassVar[int] = 2  # pixels of the PNG for one at which it is shown, across and down

    def png(self) -> bytes:
        """Encode as PNG with few colours, a third of the size, so that notebooks with many figures stay light."""
        return self._png

    @functools.cached_property
    def _png(self) -> bytes:
        """Draw once, for the notebook and for the report."""
        full, small = io.BytesIO(), io.BytesIO()
        self.figure.savefig(full, format="png", dpi=self.finer * DPI, metadata={"Software": None})
        self._fewer_colours(Image.open(full).convert("RGB")).save(small, "PNG", optimize=True)
        return small.getvalue()

    def width(self) -> int:
        """Width at which the picture is shown, in pixels of a page; the PNG has ``finer`` times as many."""
        return round(self.figure.get_size_inches()[0] * DPI)

    def _fewer_colours(self, image):
        """Keep the commonest colours as they are, so that a thin line and a pale band look as drawn.

        Others join until each lies within ``APART`` (of 255) of one that is kept: a colour bar has rare ones too.
        """
        pixels = np.asarray(image).reshape(-1, 3)
        codes, place, count = np.unique(pixels @ [65536, 256, 1], return_inverse=True, return_counts=True)
        colours = codes[:, None] // [65536, 256, 1] % 256  # [U, 3]
        palette = list(np.argsort(-count, kind="stable")[:COMMONEST])
        far = np.square(colours[:, None] - colours[palette]).sum(2)  # [U, kept]
        nearest, far = far.argmin(1), far.min(1)
        while far.max() > APART**2 and len(palette) < COLOURS:
            palette.append(int(far.argmax()))
            now = np.square(colours - colours[palette[-1]]).sum(1)
            nearest[now < far] = len(palette) - 1
            far = np.minimum(now, far)
        small = Image.frombytes("P", image.size, nearest[place].astype(np.uint8).tobytes())
        small.putpalette(colours[palette].astype(np.uint8).tobytes())
        return small

    def svg(self) -> str:
        """Draw as SVG; its views ``panel-1``, ``panel-2``, ... show one column each, for a narrow screen."""
        self.png()  # arranges the figure; nothing is arranged a second time
        self.figure.set_layout_engine("none")
        buffer = io.StringIO()
        self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        height, views = 72 * self.figure.get_size_inches()[1], ""
        for number, (left, right) in enumerate(columns(self.figure), 1):
            frame = f"{left - MARGIN:.1f} 0 {right - left + 2 * MARGIN:.1f} {height:.1f}"
            views += f' <view id="panel-{number}" viewBox="{frame}"/>\n'
        return buffer.getvalue().replace("</svg>", f"{views}</svg>")

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include=None, exclude=None):
        png = base64.b64encode(self.png()).decode()
        return {"image/png": png, "text/plain": self.alt}, {"image/png": {"alt": self.alt, "width": self.width()}}


class Photograph(Picture):
    """A figure that shows pictures; with twice the pixels it would have three times the bytes and show no more.

    A small palette turns skin and lips into patches; 5 bits a colour do not.
    """

    finer: ClassVar[int] = 1

    def _fewer_colours(self, image):
        return image.point(lambda value: (value & 0b11111000) | (value >> 5))
