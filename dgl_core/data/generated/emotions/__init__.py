"""Generated emotions: synthetic voices and drawn faces in the layout of CREMA-D."""

from dgl_core.utils import needs

needs("Data sets by name", "scipy", "PIL")
