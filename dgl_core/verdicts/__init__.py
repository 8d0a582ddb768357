"""Compare any runs on any data: paired statistics, one judge, one chooser. Knows no table of the paper."""

from dgl_core.utils import needs

needs("Verdicts", "scipy")
