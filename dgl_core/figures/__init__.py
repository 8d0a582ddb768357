"""Turn records into pictures: each module draws one part of the companion; public functions return a ``Picture``."""

from dgl_core.utils import needs

needs("Figures", "matplotlib", "PIL")
