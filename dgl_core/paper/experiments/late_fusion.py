"""Specify Tables 1, 3 and 4, Figures 1 and 3: late fusion of sound and picture."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from dgl_core import data
from dgl_core.paper.experiments.profiles import ALPHA, Experiment, profile_named
from dgl_core.training.records import RunSpec

PAPER_PRECISION = "bf16"  # evaluation too; fixed, so that a plan is the same with and without a card
# Real sets of a profile for all of its tables and figures; Table 1 alone has more.
REAL_SETS = {"smoke": (), "cpu": ("grid_letters",), "paper": ("grid_letters", "cremad")}
TABLE_1_ONLY = {"paper": ("ks", "vggsound")}
PAPER_SETS = ("cremad", "ks", "vggsound")
# METHODS 2.11: what the authors of a method use on a set of the paper where that is not their value for CREMA-D.
ALPHAS = {"ks": 2.0, "vggsound": 2.0}  # DGL and G-Blending; ALPHA elsewhere
# Replicates of the paper profile where the question is decided: rows of HEADLINE, all other rows. Else the profile's.
REPLICATES = {"cremad": (10, 5)}
OWN_OPTIONS = {"vggsound": {"OGM-GE": {"alpha": 0.1}, "OGM (no noise)": {"alpha": 0.1}}}


def datasets(profile: str) -> list[str]:
    """List the audio-visual sets that the profile trains on here: the generated one, and real ones if present."""
    return ["emotions", *_present(REAL_SETS[profile_named(profile).name])]


def table1_datasets(profile: str) -> list[str]:
    """List the sets of Table 1: ``datasets``, in the paper profile also Kinetics-Sounds and VGGSound if present."""
    return datasets(profile) + _present(TABLE_1_ONLY.get(profile, ()))


def absent_datasets(profile: str) -> list[str]:
    """List the audio-visual sets that the profile would use, if they were here."""
    wanted = (*REAL_SETS[profile_named(profile).name], *TABLE_1_ONLY.get(profile, ()))
    return [name for name in wanted if name not in _present(wanted)]


def _present(names: Iterable[str]) -> list[str]:
    return [name for name in names if name in data.DATASETS and data.DATASETS[name].available(None)]


def alpha_of(dataset: str) -> float:
    """Look up the paper's alpha on a data set."""
    return ALPHAS.get(dataset, ALPHA)


def _rows(base: list[RunSpec], dataset: str, methods: Mapping[str, tuple[str, dict[str, object]]]) -> Experiment:
    """Train every run of ``base`` by each method, with the options that its authors use on this data set."""
    rows: Experiment = {}
    for label, (method, options) in methods.items():
        options = options | ({"alpha": alpha_of(dataset)} if label in ("G-Blending", "DGL") else {})
        options |= OWN_OPTIONS.get(dataset, {}).get(label, {})
        rows[label] = [spec.but(method=method, method_options=options) for spec in base]
    return rows


def base_specs(
    profile: str, dataset: str, seeds: Iterable[int] | None = None, table: bool = False, rate: float = 0.0
) -> list[RunSpec]:
    """Specify the common part of every run of a profile on an audio-visual set: network, schedule, data; vanilla.

    The paper profile is METHODS 1.4, on the paper's sets in bf16, or in the precision that ``DGL_PRECISION`` names
    (fp32, tf32 or bf16). The smaller profiles keep its optimiser and the shape of its schedule, at the rate that
    validation data chose for *vanilla* training. ``seeds`` are by default those of the profile, with ``table`` those
    for tables with many rows (``seeds_of``); ``rate`` 0 stands for the profile's common one.
    """
    if seeds is None:
        seeds = seeds_of(profile, dataset, table)
    specs = []
    for seed in seeds:
        if profile == "smoke":
            options = {"clips": 240, "audio_difficulty": 0.1, "visual_difficulty": 0.1}  # few and easy: seconds a run
            spec = RunSpec(dataset, model="small", model_options={"width": 4}, dataset_options=options)
            spec = spec.but(lr=0.03, epochs=8, milestones=(6,), batch_size=16)
        elif profile == "paper" and dataset in PAPER_SETS:
            spec = RunSpec(dataset, model="resnet18", precision=os.environ.get("DGL_PRECISION") or PAPER_PRECISION)
        else:
            options = {} if dataset == "emotions" else {"fold": seed % 5, "frames": 4}
            spec = RunSpec(dataset, model="small", dataset_options=options)
            spec = spec.but(lr=0.03, epochs=20, milestones=(14,), batch_size=32)
        specs.append(spec.but(seed=seed, lr=rate or spec.lr))
    return specs


def seeds_of(profile: str, dataset: str, table: bool) -> tuple[int, ...]:
    """List the seeds of the pictures' rows, or (``table``) of the many rows of a table."""
    if profile == "paper" and dataset in REPLICATES:
        return tuple(range(REPLICATES[dataset][table]))
    return profile_named(profile).table_seeds if table else profile_named(profile).seeds


def branches(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Specify Figures 1 and 3 and the first rows of Table 1, with the control that the paper lacks.

    Under SGD, alpha multiplies the learning rate of the encoders and does nothing else to them (METHODS D4). So every
    row that DGL is compared with appears twice: as it is, and with the encoder learning rate multiplied by alpha.
    """
    shown = ("audio alone", "visual alone", "vanilla", "G-Blending", "DGL")
    rows = _rows(base_specs(profile, dataset, seeds), dataset, {label: TABLE_1[label] for label in shown})
    for label in ("audio alone", "visual alone", "vanilla"):
        rows[f"{label}, rate x alpha"] = [s.but(encoder_lr_scale=alpha_of(dataset)) for s in rows[label]]
    return rows


LEARNING_RATES = (0.01, 0.03, 0.1)  # around the common rate of the small networks
PAPER_RATES = (0.0007, 0.002, 0.006)  # around the paper's
# Row of Table 1 -> method and its options where they are not the defaults of the harness (METHODS 2.11).
TABLE_1: dict[str, tuple[str, dict[str, object]]] = {
    "audio alone": ("unimodal", {"modality": "audio"}),
    "visual alone": ("unimodal", {"modality": "visual"}),
    "vanilla": ("vanilla", {}),
    "G-Blending": ("gblend", {"alpha": ALPHA}),
    "OGM-GE": ("ogm_ge", {}),
    "PMR": ("pmr", {}),
    "AGM": ("agm", {}),
    "MLA": ("mla", {}),
    "MMPareto": ("mmpareto", {}),
    "D&R": ("relearn", {}),
    "MMCosine": ("mmcosine", {}),
    "ReconBoost": ("reconboost", {}),
    "DGL": ("dgl", {"alpha": ALPHA}),
}
RATE_CONTROL = "vanilla, rate x alpha"  # the row of joint training whose encoders learn alpha times faster
HEADLINE = ("audio alone", "visual alone", "vanilla", "G-Blending", "DGL", RATE_CONTROL)  # they decide the questions
TABLE_4_ALPHAS = (1.0, 2.0, 3.0, 4.0, 5.0)


def table1(profile: str, dataset: str, seeds: Iterable[int] | None = None, rate: float = 0.0) -> Experiment:
    """Specify Table 1: its eleven rows, MMCosine and ReconBoost, and the learning-rate control.

    Where the paper profile has ``REPLICATES``, rows of ``HEADLINE`` have more of them; rows are paired by seed.
    """
    rows = _rows(base_specs(profile, dataset, seeds, table=True, rate=rate), dataset, TABLE_1)
    if profile == "paper" and dataset in REPLICATES and seeds is None:
        more = _rows(base_specs(profile, dataset, rate=rate), dataset, TABLE_1)
        rows |= {label: more[label] for label in HEADLINE if label in more}
    return rows | {RATE_CONTROL: [spec.but(encoder_lr_scale=alpha_of(dataset)) for spec in rows["vanilla"]]}


def table1_grid(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> dict[float, Experiment]:
    """Specify Table 1 at every learning rate of one small grid: equal tuning budget, for a choice on validation data.

    Without ``seeds`` the profiles for two cores have the common rate only, and so has VGGSound, for its cost.
    """
    rates = PAPER_RATES if profile == "paper" and dataset in PAPER_SETS else LEARNING_RATES
    if (profile != "paper" or dataset == "vggsound") and seeds is None:
        rates = rates[1:2]
    return {rate: table1(profile, dataset, seeds, rate) for rate in rates}


# Other forms of some rows: what the released code does where it is not what its paper says, and what a switch is worth.
VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "G-Blending (OGR weights)": ("gblend_ogr", {}),
    "OGM (no noise)": ("ogm", {}),
    "PMR (paper form)": ("pmr", {"form": "paper"}),
    "AGM (first fifth of the epochs)": ("agm", {"until": 0.2}),
    "MLA (no head projection)": ("mla", {"projection": False}),
}


def variants(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Specify the rows of Table 1 in their other forms, at the common learning rate."""
    return _rows(base_specs(profile, dataset, seeds, table=True), dataset, VARIANTS)


def table3(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Specify Table 3: the square of multimodal and unimodal truncation, with the corner that the paper leaves out."""
    base = base_specs(profile, dataset, seeds, table=True)

    def corner(encoder_gate: float, fusion_gate: float) -> list[RunSpec]:
        gates = {"alpha": alpha_of(dataset), "encoder_gate": encoder_gate, "fusion_gate": fusion_gate}
        return [spec.but(method="partial", method_options=gates) for spec in base]

    rows = table1(profile, dataset, seeds)
    return {
        "vanilla": rows["vanilla"],
        "no truncation": rows["G-Blending"],
        "+MT": corner(0.0, 1.0),
        "+UT": corner(1.0, 0.0),
        "DGL": rows["DGL"],
        RATE_CONTROL: rows[RATE_CONTROL],
    }


def table4(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Specify Table 4: DGL and G-Blending at alpha 1 to 5, and vanilla training with the encoder rate times alpha."""
    base = base_specs(profile, dataset, seeds, table=True)
    rows: Experiment = {}
    for alpha in TABLE_4_ALPHAS:
        for label, method in (("DGL", "dgl"), ("G-Blending", "gblend")):
            rows[f"{label}, alpha {alpha:g}"] = [s.but(method=method, method_options={"alpha": alpha}) for s in base]
        rows[f"vanilla, rate x {alpha:g}"] = [s.but(encoder_lr_scale=alpha) for s in base]
    return rows


def head_names() -> tuple[str, ...]:
    """List the fusion heads that are compared: all, without that of Table 2's perceptrons and the literal gates."""
    from dgl_core.models.fusion import FUSIONS  # here, because it loads torch, which a plan does not need

    return tuple(name for name in FUSIONS if name not in ("mlp", "gated_literal"))


def fusion_heads(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Specify vanilla and DGL with every fusion head, and DGL with the masks of the official code where they differ."""
    base = base_specs(profile, dataset, seeds, table=True)
    rows, alpha = {}, {"alpha": alpha_of(dataset)}
    for fusion in head_names():
        vanilla = [s.but(model_options=s.model_options | {"fusion": fusion}) for s in base]
        dgl = [s.but(method="dgl", method_options=alpha) for s in vanilla]
        rows |= {f"vanilla, {fusion}": vanilla, f"DGL, {fusion}": dgl}
        if fusion in ("gated", "bilinear"):
            official = [s.but(model_options=s.model_options | {"official": True}) for s in dgl]
            rows[f"DGL, {fusion} (official masks)"] = official
    return rows
