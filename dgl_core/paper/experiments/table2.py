"""Specify Table 2: dense interaction of sound and picture (MMTM, left), three modalities (MLP fusion, right)."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from dgl_core import data
from dgl_core.paper.experiments.late_fusion import RATE_CONTROL, TABLE_1, base_specs, datasets
from dgl_core.paper.experiments.profiles import ALPHA, Experiment, profile_named
from dgl_core.training.records import RunSpec

# The rows of Table 1 that train several modalities; each is in Table 2 unless it refuses the network (``refusals``).
JOINT = {label: row for label, row in TABLE_1.items() if not label.endswith(" alone")}
ALPHA_FEATURES = 2.0  # the paper states none for MOSI; METHODS 2.11
SPLITS = {"DGL-S": "stem", "DGL-P": "parameter"}  # the two readings of DGL inside MMTM (METHODS 3.4)
NETWORKS = {"MMTM": ("mmtm", (1, 16, 16)), "MLP fusion": ("mlp", (4,))}  # network -> model, shape of a tiny sample

FOLDS = 5  # of the nested protocol, by video
RATES = (0.001, 0.003, 0.01, 0.03)  # the same four configurations for every method
RATE = RATES[1]  # the common one
NESTED_SEEDS = tuple(range(5))  # per fold, of the reference records


@functools.cache
def refusals(network: str) -> dict[str, str]:
    """Find the rows without a place in one half of Table 2 (``NETWORKS``), with the reason that the method gives."""
    from torch.nn.functional import cross_entropy

    from dgl_core import methods, models  # here, because they load torch, which most plans do not need

    name, shape = NETWORKS[network]
    model = models.build(name, {"one": shape, "other": shape}, 2, 0, width=4)
    reasons = {}
    for label, (name, options) in JOINT.items():
        method = methods.build(name, options)
        try:
            method.heads(model, 2)
            method.objective(model, cross_entropy)
        except ValueError as error:
            reasons[label] = str(error)
    return reasons


def exclusions() -> dict[str, dict[str, str]]:
    """Collect the refusals: network -> row -> why it is not in that half of Table 2."""
    return {network: dict(refusals(network)) for network in NETWORKS}


def _alone(specs: list[RunSpec], modalities: Iterable[str]) -> Experiment:
    return {f"{m} alone": [s.but(method="unimodal", method_options={"modality": m}) for s in specs] for m in modalities}


def _mmtm_specs(profile: str, dataset: str, seeds: Iterable[int] | None) -> list[RunSpec]:
    specs = []
    for spec in base_specs(profile, dataset, seeds, table=True):
        if profile == "smoke":
            spec = spec.but(model_options={"width": 4, "blocks": 1}, epochs=4, milestones=(3,), evaluate_every=4)
        elif dataset == "emotions":
            spec = spec.but(model_options={"width": 8, "blocks": 1}, epochs=10, milestones=(7,))
        elif dataset != "cremad":
            spec = spec.but(model_options={"width": 8, "blocks": 1}, epochs=16, milestones=(11,))
        if dataset.startswith("grid"):
            spec = spec.but(dataset_options=spec.dataset_options | {"frames": 1})
        options = ({} if dataset == "cremad" else spec.model_options) | {"split": "parameter"}
        specs.append(spec.but(model="mmtm", model_options=options))
    return specs


def table2_dense(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Specify Table 2, left: MMTM on one spectrogram and one frame.

    DGL and the learning-rate control have a row for each reading of what an encoder is; all other methods act on whole
    branches (the parameter split, METHODS 3.4).
    """
    specs = _mmtm_specs(profile, dataset, seeds)

    def split(name: str) -> list[RunSpec]:
        return [spec.but(model_options=spec.model_options | {"split": name}) for spec in specs]

    rows = _alone(specs, ("audio", "visual"))
    for label, (method, options) in JOINT.items():
        if label in refusals("MMTM"):
            continue
        for row, where in SPLITS.items() if label == "DGL" else ((label, "parameter"),):
            rows[row] = [s.but(method=method, method_options=options) for s in split(where)]
    for row, where in SPLITS.items():
        rows[f"{RATE_CONTROL} ({row[-1]})"] = [s.but(encoder_lr_scale=ALPHA) for s in split(where)]
    return rows


def feature_sets(profile: str) -> list[str]:
    """List the sets of feature vectors that the profile trains on here: the generated one, and CMU-MOSI if present."""
    real = profile_named(profile).name != "smoke" and data.DATASETS["mosi"].available(None)
    return ["triplet", *(["mosi"] if real else [])]


def feature_specs(
    profile: str, dataset: str, seeds: Iterable[int] | None = None, rate: float = 0.0, **options
) -> list[RunSpec]:
    """Specify vanilla training on feature vectors by perceptrons, scored after the last epoch: none can be chosen.

    Each of ``seeds`` is one run; on CMU-MOSI, nested protocol, one on every fold. ``rate`` 0 is the common one.
    """
    seeds = profile_named(profile).table_seeds if seeds is None else seeds
    if dataset == "mosi":
        spec = RunSpec(dataset, model="mlp", model_options={"width": 64, "layers": 2}, dataset_options=options)
        spec = spec.but(lr=rate or RATE, epochs=20, milestones=(14,), batch_size=32, evaluate_every=20)
        if options.get("protocol", "nested") == "nested":  # run i belongs to fold i mod 5, so rows pair by seed
            runs = [(FOLDS * seed + fold, fold) for seed in seeds for fold in range(FOLDS)]
            return [spec.but(seed=number, dataset_options=options | {"fold": fold}) for number, fold in runs]
        return [spec.but(seed=seed) for seed in seeds]
    spec = RunSpec(dataset, model="mlp", model_options={"width": 64, "layers": 2}, lr=rate or 0.03, batch_size=32)
    spec = spec.but(dataset_options=options, epochs=20, milestones=(14,), evaluate_every=20)
    if profile == "smoke":
        spec = spec.but(model_options={"width": 32, "layers": 2}, dataset_options={"samples": 400} | options)
        spec = spec.but(batch_size=16, epochs=10, milestones=(8,), evaluate_every=10)
    return [spec.but(seed=seed) for seed in seeds]


def table2_features(
    profile: str, dataset: str, seeds: Iterable[int] | None = None, rate: float = 0.0, **options
) -> Experiment:
    """Specify Table 2, right: three feature vectors, a perceptron for fusion; arguments as ``feature_specs``."""
    specs = feature_specs(profile, dataset, seeds, rate, **options)
    rows = _alone(specs, ("audio", "visual", "text") if dataset == "mosi" else ("strong", "weak_1", "weak_2"))
    for label, (method, of_row) in JOINT.items():
        if label not in refusals("MLP fusion"):
            of_row = of_row | {"alpha": ALPHA_FEATURES} if "alpha" in of_row else of_row
            rows[label] = [s.but(method=method, method_options=of_row) for s in specs]
    return rows | {RATE_CONTROL: [spec.but(encoder_lr_scale=ALPHA_FEATURES) for spec in rows["vanilla"]]}


def table2_grid(profile: str, seeds: Iterable[int] | None = None) -> dict[float, Experiment]:
    """Specify CMU-MOSI at each of the four configurations, for a choice per method and fold on the inner hold-out.

    Without ``seeds`` the profiles for two cores have the common one only; all four are in the reference records.
    """
    rates = RATES if profile == "paper" or seeds is not None else (RATE,)
    return {rate: table2_features(profile, "mosi", seeds, rate) for rate in rates}


def table2_official(profile: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Specify CMU-MOSI on the official split at the common rate, because its validation part could select nothing."""
    return table2_features(profile, "mosi", seeds, protocol="official")


def table2_transcripts(profile: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Specify CMU-MOSI with text from the words spoken instead of learned features, at the common rate."""
    rows = table2_features(profile, "mosi", seeds, text="transcripts")
    return {row: rows[row] for row in ("text alone", "vanilla", "G-Blending", "DGL")}


def more_modalities(profile: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Specify vanilla training, G-Blending and DGL with four and with five generated modalities."""
    rows: Experiment = {}
    for count in (4, 5):
        specs = feature_specs(profile, "triplet", seeds, modalities=count)
        for label in ("vanilla", "G-Blending", "DGL"):
            method, options = JOINT[label]
            options = {"alpha": ALPHA_FEATURES} if options else {}
            rows[f"{label}, {count} modalities"] = [s.but(method=method, method_options=options) for s in specs]
    return rows


def table2(profile: str, names: Iterable[str] | None = None) -> list[Experiment | dict[float, Experiment]]:
    """Specify everything that notebook 06 asks for; with ``names`` its share on those audio-visual sets."""
    if names is not None:
        return [table2_dense(profile, name) for name in names]
    wanted = [table2_dense(profile, name) for name in datasets(profile)]
    wanted += [table2_features(profile, "triplet"), more_modalities(profile)]
    if "mosi" in feature_sets(profile):
        wanted += [table2_grid(profile), table2_official(profile), table2_transcripts(profile)]
    return wanted
