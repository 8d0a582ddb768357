"""The paper's section 3.1 as exact statements in float64: each function names its theorem (T1-T8, D1-D6).

``residual``: scalars at the logits (T2, T3, T4). ``feature``: vectors at a feature (T1, T5-T8). ``cases``: single
samples and counterexamples (C1-C3). ``field``: the DGL update as a vector field (D1-D6). ``toy``: a task to watch.
"""

from dgl_core.theory.cases import (
    OPPOSED,
    TRIANGLE,
    Case,
    amplified,
    growing_batch,
    growing_norm,
    random_heads,
    silent_feature,
    suppressed,
    vanishing_gradient,
)  # fmt: skip
from dgl_core.theory.feature import (
    acute_differences,
    class_differences,
    evenly_suppressed,
    feature_gradient,
    nearest_in_hull,
    norm_range,
    partial_logits,
    printed_gradient,
    simplex_etf,
)  # fmt: skip
from dgl_core.theory.field import asymmetry, field_jacobian, multimodal_slope, update_field
from dgl_core.theory.residual import (
    closed_form_ratio,
    log_odds,
    mean_partial_score,
    partial_scores,
    residual,
    residual_norm_bounds,
    suppressed_share,
    suppression_ratio,
)  # fmt: skip
from dgl_core.theory.sentences import SENTENCES, verdict_table
from dgl_core.theory.toy import THREE, TWO, toy_data, toy_model, train_toy

__all__ = [
    "OPPOSED", "SENTENCES", "THREE", "TRIANGLE", "TWO", "Case", "acute_differences", "amplified", "asymmetry",
    "class_differences", "closed_form_ratio", "evenly_suppressed", "feature_gradient", "field_jacobian",
    "growing_batch", "growing_norm", "log_odds", "mean_partial_score", "multimodal_slope", "nearest_in_hull",
    "norm_range", "partial_logits", "partial_scores", "printed_gradient", "random_heads", "residual",
    "residual_norm_bounds", "silent_feature", "simplex_etf", "suppressed", "suppressed_share", "suppression_ratio",
    "toy_data", "toy_model", "train_toy", "update_field", "vanishing_gradient", "verdict_table",
]  # fmt: skip
