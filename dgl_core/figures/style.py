"""One look for every figure: colour-blind palette, fixed sizes, line style besides colour, a text alternative."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import matplotlib

# Okabe-Ito colours: distinguishable with every common form of colour blindness.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
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
    """A figure off pyplot's stack with ``rows x columns`` axes of ``width x height`` inches each.

    Returns:
        ``(figure, axes)``; ``axes`` is a single Axes for 1 x 1, else the array of ``Figure.subplots``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **options)


@dataclass(frozen=True)
class Picture:
    """A finished figure with its text alternative: what a notebook cell ends with.

    The text is made from the plotted numbers, so a reader without the image learns what it shows, and a strict
    comparison of notebook outputs notices when the plotted data change (image bytes are not compared there).
    """

    figure: matplotlib.figure.Figure
    alt: str

    def png(self) -> bytes:
        """PNG with a palette of 128 colours, a third of the size: notebooks with many figures stay light."""
        from PIL import Image

        full, small = io.BytesIO(), io.BytesIO()
        self.figure.savefig(full, format="png", metadata={"Software": None})
        picture = Image.open(full).convert("RGB")
        picture.quantize(128, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
        return small.getvalue()

    def svg(self) -> str:
        buffer = io.StringIO()
        self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return buffer.getvalue()

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include=None, exclude=None):
        png = base64.b64encode(self.png()).decode()
        return {"image/png": png, "text/plain": self.alt}, {"image/png": {"alt": self.alt}}
