"""The real data sets, one file each."""

from dgl_core.utils import needs

needs("Data sets by name", "PIL")
