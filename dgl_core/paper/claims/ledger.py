"""List the claims: our wording, the place in the paper, the test and its threshold, all written before the outcome.

A claim is never taken away and its threshold never changed; a better test of the same sentence is added beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from dgl_core.paper.claims import mathematics
from dgl_core.paper.claims.mathematics import Finding
from dgl_core.paper.claims.measures import (
    Part,
    always_below_one,
    at_rates,
    better,
    dominant_lags,
    faster_alone,
    growing_suppression,
    larger_gradient,
    near_zero,
    nested_difference,
    slope,
    smaller_gradient,
    tuned_difference,
    weakest_branch,
)
from dgl_core.paper.experiments.late_fusion import LEARNING_RATES, RATE_CONTROL, TABLE_1, TABLE_4_ALPHAS, head_names
from dgl_core.paper.experiments.table2 import RATES, SPLITS
from dgl_core.paper.printed import paper_rows
from dgl_core.utils import unknown_name

NOT_IN_THE_PAPER = "not in the paper: our control"
MMTM, NESTED = "MMTM", "CMU-MOSI, nested"  # families: the two verdict tables of notebook 06


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper that records, or a computation, can decide.

    Attributes:
        id: short name, for command lines and links.
        text: our wording of it. place: where it stands in the paper.
        parts: comparisons of run records, all of which have to hold; empty for a claim that mathematics decides.
        check: that computation. unit: of the differences. threshold: what their mean has to exceed.
        added: why it was added after the first outcomes were seen; empty for a claim from before.
        family: a table whose claims are judged together, on each data set by themselves; empty: the whole ledger.
    """

    id: str
    text: str
    place: str
    parts: tuple[Part, ...] = ()
    check: Callable[[], Finding] | None = None
    unit: str = "points"
    threshold: float = 0.0
    added: str = ""
    family: str = ""

    @property
    def experiments(self) -> tuple[str, ...]:
        """Names of the experiments that its parts compare."""
        return tuple(dict.fromkeys(part.experiment for part in self.parts))


def _branches(measure: Callable, *rows: str) -> tuple[Part, ...]:
    return (Part("branches", rows, measure),)


def _gradient(m: str) -> tuple[Part, ...]:
    return _branches(lambda rows: smaller_gradient(rows, m), f"{m} alone", "vanilla")


def _tuned(row: str, than: str) -> tuple[Part, ...]:
    rows = at_rates((row, than), LEARNING_RATES)
    return (Part("table1_grid", rows, lambda found: tuned_difference(found, row, than)),)


def _nested(row: str, than: str, branch: str = "fused", other: str = "fused") -> Part:
    rows = at_rates((row, than), RATES)
    return Part("table2_nested", rows, lambda found: nested_difference(found, row, than, branch, other))


def _weakest(experiment: str, row: str, than: str) -> tuple[Part, ...]:
    return (Part(experiment, (row, than), lambda found: weakest_branch(found, row, than)),)


def _table_2(
    family: str, name: str, row: str, control: str, modalities: Sequence[str], compare: Callable[..., Part]
) -> tuple[Claim, ...]:
    """List all that Table 2 says of one row of DGL, and our control.

    Args:
        name: how the ids begin. control: the row with the learning rate of the encoders times alpha.
        compare: (row, than, branch, other branch) -> part.
    """
    faster = "joint training whose encoders also learn alpha times faster"
    rivals = (
        ("vanilla", "vanilla", "joint training", "Table 2"),
        ("gblend", "G-Blending", "G-Blending", "Table 2"),
        ("rate-control", control, faster, NOT_IN_THE_PAPER),
    )
    fused = (
        Claim(f"{name}-{rival}", f"{row} is better than {said}", place, (compare(row, than),), family=family)
        for rival, than, said, place in rivals
    )
    branches = (
        Claim(f"{name}-{m}-alone", f"{row}'s {m} branch is better than {m} trained alone", "Table 2",
              (compare(row, f"{m} alone", m, m),), family=family)
        for m in modalities
    )  # fmt: skip
    return (*fused, *branches)


ALPHAS = {alpha: f"DGL, alpha {alpha:g}" for alpha in TABLE_4_ALPHAS}
HEADS = head_names()
PRINTED = paper_rows(1, "CREMA-D")
JUDGED_APART = ("audio alone", "visual alone", "vanilla", "G-Blending", "DGL")  # by claims of their own, above
RIVALS = tuple(row for row in TABLE_1 if row in PRINTED and row not in JUDGED_APART)
CURVES = "Sec. 3.1, Fig. 3(a)"

CLAIMS: tuple[Claim, ...] = (
    # -- section 3.1: the analysis ------------------------------------------------------------------------------------
    Claim("eq-4", "In the joint model the gradient at a feature is (p_y - 1) W_y", "Eq. 4",
          check=lambda: mathematics.printed_gradient(joint=True)),
    Claim("eq-7", "In the unimodal model it is (p_y - 1) W_y, with the other p_y", "Eq. 7",
          check=lambda: mathematics.printed_gradient(joint=False)),
    Claim("eq-5", "s_k < 1 for every wrong class, of every sample", "Eq. 5", check=mathematics.every_score_below_one),
    Claim("eq-8-scalar", "Where every s_k < 1, the factor 1 - p_y is smaller in the joint model", "Eq. 8",
          check=mathematics.residual_shrinks),
    Claim("eq-8", "Where every s_k < 1, the gradient at the feature is smaller in the joint model", "Eq. 8",
          check=mathematics.norm_shrinks),
    Claim("eq-8-positive", "The gradient of the joint model is never zero while p_y < 1", "Eq. 8",
          check=mathematics.never_zero),
    Claim("only-zero", "The only way to s = 1 is a partner with z = 0", "Sec. 3.1", check=mathematics.only_zero),
    Claim("audio-gradient", "The audio encoder receives a smaller gradient in the joint model than alone",
          "Sec. 1, Fig. 1(c), Eq. 8", _gradient("audio"), unit="% smaller"),
    Claim("visual-gradient", "The visual encoder receives a smaller gradient in the joint model than alone",
          "Sec. 3.1, Eq. 8", _gradient("visual"), unit="% smaller"),
    Claim("s-below-one", "s < 1 always: for every training sample the partner's logits favour the true class",
          "Eq. 5, Fig. 3(a)", _branches(lambda rows: always_below_one(rows, "audio"), "vanilla"),
          unit="% of samples", threshold=99.9),
    Claim("s-near-zero", "s comes close to 0: its median is below 0.1 in the last fifth of joint training",
          "Sec. 4.3, Fig. 3(a)", _branches(lambda rows: near_zero(rows, "audio"), "vanilla"),
          unit="hundredths below 0.1"),
    Claim("suppression-grows", "Suppression of the audio encoder grows during joint training", CURVES,
          _branches(lambda rows: growing_suppression(rows, "audio"), "vanilla"), unit="hundredths of R"),
    Claim("suppression-grows-median", "Suppression of the audio encoder grows, by the median of R over samples", CURVES,
          _branches(lambda rows: growing_suppression(rows, "audio", "q50"), "vanilla"), unit="hundredths of R",
          added="the mean of R hangs on a few samples, so its test could not decide"),
    Claim("converges-faster", "Each encoder fits the training data faster alone than in the joint model", "Sec. 3.1",
          tuple(Part("branches", (f"{m} alone", "vanilla"), lambda rows, m=m: faster_alone(rows, m), m)
                for m in ("audio", "visual"))),
    Claim("audio-branch", "The audio branch of the joint model is worse than audio trained alone",
          "Fig. 1(b), Table 1", (better("branches", "audio alone", "vanilla", other="audio"),)),
    Claim("visual-branch", "The visual branch of the joint model is worse than visual trained alone", "Table 1",
          (better("branches", "visual alone", "vanilla", other="visual"),)),
    Claim("dominant-branch", "Even the dominant branch of the joint model is worse than that modality alone",
          "Abstract, Sec. 3.1", _branches(dominant_lags, "audio alone", "visual alone", "vanilla")),
    # -- section 3.2: the method --------------------------------------------------------------------------------------
    Claim("unimodal-gradient", "Under DGL an encoder gets exactly alpha times its unimodal gradient", "Eq. 11-14",
          check=mathematics.unimodal_gradient),
    Claim("no-interference", "Under DGL no modality disturbs the gradient of another one's encoder", "Sec. 3.2",
          check=mathematics.no_interference),
    Claim("no-parameters", "DGL adds no parameters", "Sec. 3.2", check=mathematics.no_parameters),
    Claim("alpha-is-a-rate", "Under SGD alpha is a factor of the encoders' learning rate, no more",
          "not in the paper: Sec. 3.2 calls it calibration", check=mathematics.alpha_is_a_rate),
    Claim("dgl-gradient", "Late in training DGL sends the audio encoder a larger gradient than joint training",
          "Sec. 4.3, Fig. 3(b)", _branches(lambda rows: larger_gradient(rows, "audio"), "DGL", "vanilla"),
          unit="% larger"),
    Claim("dgl-gradient-per-alpha",
          "DGL's gradient at the audio encoder is larger late in training even without the factor alpha",
          NOT_IN_THE_PAPER,
          _branches(lambda rows: larger_gradient(rows, "audio", per_alpha=True), "DGL", "vanilla"), unit="% larger"),
    # -- Table 1 ------------------------------------------------------------------------------------------------------
    Claim("dgl-audio", "DGL's audio branch is better than the joint model's", "Table 1",
          (better("branches", "DGL", "vanilla", "audio", "audio"),)),
    Claim("dgl-visual", "DGL's visual branch is better than the joint model's", "Table 1",
          (better("branches", "DGL", "vanilla", "visual", "visual"),)),
    Claim("dgl-audio-alone", "DGL's audio branch is better than audio trained alone", "Sec. 4.2, Table 1",
          (better("branches", "DGL", "audio alone", "audio"),)),
    Claim("dgl-visual-alone", "DGL's visual branch is better than visual trained alone", "Sec. 4.2, Table 1",
          (better("branches", "DGL", "visual alone", "visual"),)),
    Claim("dgl-vanilla", "DGL is better than joint training", "Table 1", (better("branches", "DGL", "vanilla"),)),
    Claim("dgl-gblend", "DGL is better than G-Blending at the same alpha", "Tables 1 and 4",
          (better("branches", "DGL", "G-Blending"),)),
    *(Claim(f"dgl-{row.lower().replace('&', 'n')}", f"DGL is better than {row}", "Table 1",
            (better("table1", "DGL", row),)) for row in RIVALS),
    Claim("dgl-rate-control", "DGL is better than joint training whose encoders also learn alpha times faster",
          NOT_IN_THE_PAPER, (better("branches", "DGL", "vanilla, rate x alpha"),)),
    Claim("dgl-audio-alone-rate-control",
          "DGL's audio branch is better than audio alone with the learning rate of its encoder times alpha",
          NOT_IN_THE_PAPER, (better("branches", "DGL", "audio alone, rate x alpha", "audio"),)),
    Claim("dgl-visual-alone-rate-control",
          "DGL's visual branch is better than visual alone with the learning rate of its encoder times alpha",
          NOT_IN_THE_PAPER, (better("branches", "DGL", "visual alone, rate x alpha", "visual"),)),
    *(Claim(f"dgl-{name}-tuned", f"DGL is better than {said}, each at its own best learning rate", NOT_IN_THE_PAPER,
            _tuned("DGL", row))
      for name, said, row in (("vanilla", "joint training", "vanilla"), ("gblend", "G-Blending", "G-Blending"),
                              ("rate-control", "joint training with the encoder rate times alpha",
                               "vanilla, rate x alpha"))),
    # -- Tables 3 and 4 -----------------------------------------------------------------------------------------------
    Claim("mt", "Multimodal truncation alone is better than the baseline", "Table 3",
          (better("table3", "+MT", "vanilla"),)),
    Claim("ut", "Unimodal truncation alone is better than the baseline", "Table 3",
          (better("table3", "+UT", "vanilla"),)),
    Claim("mt-and-ut", "Both truncations together are better than each alone", "Table 3",
          (better("table3", "DGL", "+MT", label="MT alone"), better("table3", "DGL", "+UT", label="UT alone"))),
    Claim("alpha-trend", "DGL gets better as alpha grows from 1 to 5", "Sec. 4.3, Table 4",
          (Part("table4", tuple(ALPHAS.values()), lambda rows: slope(rows, ALPHAS)),), unit="points per unit of alpha"),
    Claim("dgl-gblend-every-alpha", "DGL is better than G-Blending at every alpha", "Table 4",
          tuple(better("table4", row, f"G-Blending, alpha {a:g}", label=f"alpha {a:g}") for a, row in ALPHAS.items())),
    # -- generality ---------------------------------------------------------------------------------------------------
    Claim("fusion-agnostic", "DGL is better than joint training with every fusion head", "Sec. 1, Sec. 4.3",
          tuple(better("fusion_heads", f"DGL, {h}", f"vanilla, {h}", label=h) for h in HEADS)),
    Claim("dense-interaction", "With MMTM, DGL (stem split) is better than joint training", "Table 2",
          (better("table2_dense", "DGL-S", "vanilla"),)),
    Claim("dense-interaction-p", "With MMTM, DGL (parameter split) is better than joint training", "Table 2",
          (better("table2_dense", "DGL-P", "vanilla"),)),
    Claim("dense-alone", "With MMTM, each branch of DGL (parameter split) is better than that modality alone",
          "Sec. 4.3, Table 2", tuple(better("table2_dense", "DGL-P", f"{m} alone", m, label=m)
                                     for m in ("audio", "visual"))),
    Claim("three-modalities", "With three modalities DGL is better than joint training", "Table 2",
          (better("table2_features", "DGL", "vanilla"),)),
    Claim("three-gblend", "With three modalities DGL is better than G-Blending", "Table 2",
          (better("table2_features", "DGL", "G-Blending"),)),
    Claim("three-branches", "With three modalities each branch of DGL is better than that of the joint model",
          "Table 2", _weakest("table2_features", "DGL", "vanilla")),
    Claim("dense-prediction", "In RGB-D segmentation DGL is better than joint training (mean IoU)", "Table 5",
          (better("table5", "DGL", "vanilla"),)),
    Claim("model-agnostic", "DGL is better than joint training with late fusion and with MMTM",
          "Sec. 1, contribution 3", (better("branches", "DGL", "vanilla", label="late fusion"),
                                     better("table2_dense", "DGL-P", "vanilla", label="MMTM"))),
    Claim("modality-agnostic",
          "DGL is better than joint training on sound and picture, on three feature vectors and on colour and depth",
          "Sec. 1, contribution 3",
          (better("branches", "DGL", "vanilla", label="sound and picture"),
           better("table2_features", "DGL", "vanilla", label="features"),
           better("table5", "DGL", "vanilla", label="colour and depth"))),
    # -- Table 2 by itself, as notebook 06 shows it -------------------------------------------------------------------
    *(claim for row in SPLITS for claim in _table_2(
        MMTM, f"mmtm-{row[-1].lower()}", row, f"{RATE_CONTROL} ({row[-1]})", ("audio", "visual"),
        partial(better, "table2_dense"))),
    *_table_2(NESTED, "mosi", "DGL", RATE_CONTROL, ("audio", "visual", "text"), _nested),
)  # fmt: skip


def claim_named(name: str) -> Claim:
    """Look up a claim by its id.

    Raises:
        ValueError: there is none; the message has the nearest.
    """
    for claim in CLAIMS:
        if claim.id == name:
            return claim
    raise unknown_name("claim", name, [claim.id for claim in CLAIMS])
