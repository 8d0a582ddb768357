"""The paper's section 3.1 as exact statements in float64: each function names its theorem (T1-T8, D1-D6)."""

from dgl_core.theory.residual import log_odds, suppression_ratio

__all__ = ["log_odds", "suppression_ratio"]
