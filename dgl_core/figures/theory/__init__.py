"""Draw the theory (notebook 02), with sliders."""

from dgl_core.utils import needs

needs("Figures of the theory", "ipywidgets")
