"""Specify what goes beyond the paper: maps of encoder rate against fusion rate, and decoupling in degrees."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from dgl_core.paper.experiments import table2
from dgl_core.paper.experiments.late_fusion import (
    LEARNING_RATES,
    PAPER_RATES,
    TABLE_1,
    alpha_of,
    base_specs,
    datasets,
    table1_grid,
)
from dgl_core.paper.experiments.profiles import DESCRIPTIVE_SEEDS, REFERENCE_DATASETS, REFERENCE_SEEDS, Experiment
from dgl_core.training.records import RunSpec

SETS = (*REFERENCE_DATASETS, "mosi")  # of the reference records of notebook 08
OPTIMIZERS = ("sgd", "adamw")
MAPPED = ("vanilla", "DGL", "G-Blending")
ALPHAS = (1.0, 2.0, 4.0)  # of DGL under AdamW, at the middle rate
GATES = (0.0, 0.5, 1.0)
MOVING_GATES: dict[str, tuple[str, dict[str, object]]] = {
    "gate falls 1 to 0": ("schedule", {"start": 1.0, "end": 0.0}),
    "gate rises 0 to 1": ("schedule", {"start": 0.0, "end": 1.0}),
    "gate follows R": ("adaptive", {}),
    "gates follow own R": ("adaptive", {"pick": "own"}),
}
MEASURED_GATES = ("gate follows R", "gates follow own R")  # the rows that the profiles for two cores train themselves


def reference_seeds(dataset: str) -> tuple[int, ...]:
    """Name the seeds of the reference maps: three, and on CMU-MOSI one on each fold."""
    return DESCRIPTIVE_SEEDS[:1] if dataset == "mosi" else DESCRIPTIVE_SEEDS


def rates(dataset: str, optimizer: str = "sgd") -> tuple[tuple[float, ...], tuple[float, ...]]:
    """List fusion rates and encoder rates of a map; the encoders have one step more, where alpha would lead."""
    if optimizer == "adamw":
        return (0.0003, 0.001, 0.003), (0.0003, 0.001, 0.003, 0.01)
    if dataset == "mosi":
        return table2.RATES[:3], table2.RATES
    return LEARNING_RATES, (*LEARNING_RATES, 0.3)


def common_rate(dataset: str) -> float:
    """Name the learning rate at which the tables compare all rows."""
    return {"mosi": table2.RATE, "cremad": PAPER_RATES[1]}.get(dataset, LEARNING_RATES[1])


def _base(profile: str, dataset: str, seeds: Iterable[int] | None, rate: float = 0.0) -> list[RunSpec]:
    """Specify the common part of every run: late fusion of sound and picture, or of the three vectors of CMU-MOSI."""
    if dataset == "mosi":
        return table2.feature_specs(profile, dataset, seeds, rate)
    return base_specs(profile, dataset, seeds, table=True, rate=rate)


def cell(row: str, encoder: float, fusion: float) -> str:
    """Name one point of a map as a row."""
    return f"{row}, encoder {encoder:g}, fusion {fusion:g}"


def rate_maps(profile: str, dataset: str, seeds: Iterable[int] | None = None, optimizer: str = "sgd") -> Experiment:
    """Specify vanilla, DGL and G-Blending over a grid of encoder and fusion learning rates, at alpha 1.

    DGL with alpha at one rate is, under SGD, the point of its map whose encoder rate is alpha times the fusion rate
    (METHODS D4; clipping and decay aside). CREMA-D has no map, for its cost.
    """
    if dataset == "cremad":
        return {}
    fusion_rates, encoder_rates = rates(dataset, optimizer)
    base = [spec.but(optimizer=optimizer) for spec in _base(profile, dataset, seeds)]
    rows: Experiment = {}
    for row, fusion, encoder in itertools.product(MAPPED, fusion_rates, encoder_rates):
        method = {"method": TABLE_1[row][0], "method_options": {} if row == "vanilla" else {"alpha": 1.0}}
        scale = {"lr": fusion, "encoder_lr_scale": encoder / fusion}
        rows[cell(row, encoder, fusion)] = [spec.but(**method, **scale) for spec in base]
    return rows


def adamw_alphas(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Specify DGL under AdamW with growing alpha, both rates in the middle: alpha should change nothing (D4)."""
    if dataset == "cremad":
        return {}
    middle = {"optimizer": "adamw", "lr": rates(dataset, "adamw")[0][1]}
    base = [spec.but(method="dgl", **middle) for spec in _base(profile, dataset, seeds)]
    return {f"DGL, alpha {alpha:g}": [spec.but(method_options={"alpha": alpha}) for spec in base] for alpha in ALPHAS}


def point(encoder_gate: float, fusion_gate: float) -> str:
    """Name one point of the square of gates as a row."""
    return f"gates {encoder_gate:g} / {fusion_gate:g}"


CORNERS = tuple(point(e, f) for e in (0.0, 1.0) for f in (0.0, 1.0))


def _at(encoder: float, fusion: float) -> tuple[str, dict[str, object]]:
    """Find method and options of a point, alpha aside; corners with a method of their own are trained as that."""
    if encoder == fusion and encoder in (0.0, 1.0):
        return ("gblend" if encoder else "dgl"), {}
    return "partial", {"encoder_gate": encoder, "fusion_gate": fusion}


def decoupling(profile: str, dataset: str, seeds: Iterable[int] | None = None, rate: float = 0.0) -> Experiment:
    """Specify the square of gates, and encoder gates that move during training; all at the paper's alpha.

    Without ``seeds`` the profiles for two cores have the measured gates only. At ``rate`` 0, the common one is used.
    """
    base = _base(profile, dataset, seeds, rate)
    alpha = {"alpha": table2.ALPHA_FEATURES if dataset == "mosi" else alpha_of(dataset)}
    rows = {point(e, f): _at(e, f) for e in GATES for f in GATES} | MOVING_GATES
    if profile != "paper" and seeds is None:
        rows = {label: rows[label] for label in MEASURED_GATES}
    return {label: [s.but(method=m, method_options=alpha | o) for s in base] for label, (m, o) in rows.items()}


def decoupling_grid(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> dict[float, Experiment]:
    """Specify ``decoupling`` at every learning rate of this set's table: equal tuning budget for every point.

    On CREMA-D at the common rate only: a run there costs as much as hundreds of the small networks.
    """
    tried = {"mosi": table2.RATES, "cremad": (common_rate("cremad"),)}.get(dataset, LEARNING_RATES)
    return {rate: decoupling(profile, dataset, seeds, rate) for rate in tried}


def every_epoch(profile: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Specify CMU-MOSI as in Table 2 at the common rate, scored after every epoch, to see what choosing one adds."""
    rows = table2.table2_features(profile, "mosi", seeds)
    return {row: [spec.but(evaluate_every=1) for spec in specs] for row, specs in rows.items()}


def finals(dataset: str, chosen: Mapping[str, float]) -> Experiment:
    """Specify the two points that a verdict compares (``chosen``: point -> its own rate), with the seeds of Table 1."""
    return {row: decoupling("cpu", dataset, REFERENCE_SEEDS, rate)[row] for row, rate in chosen.items()}


def trained_here(profile: str) -> list[str]:
    """List the sets whose records notebook 08 makes itself; of the others it shows the reference records."""
    return datasets(profile) if profile == "paper" else []


def notebook_08(profile: str, names: Iterable[str] | None = None) -> list[Experiment | dict[float, Experiment]]:
    """Specify all that notebook 08 trains: the measured gates; in the paper profile the maps and squares as well."""
    names = datasets(profile) if names is None else list(names)
    wanted: list[Experiment | dict[float, Experiment]] = [decoupling(profile, name) for name in names]
    for name in names if profile == "paper" else []:
        wanted += [table1_grid(profile, name), decoupling_grid(profile, name), adamw_alphas(profile, name)]
        wanted += [rate_maps(profile, name, optimizer=optimizer) for optimizer in OPTIMIZERS]
    return wanted


def reference_specs(dataset: str) -> list[RunSpec]:
    """List the runs behind the reference pictures of notebook 08 that no other notebook has, in order of use."""
    seeds = reference_seeds(dataset)
    wanted = [*decoupling_grid("cpu", dataset, seeds).values(), rate_maps("cpu", dataset, seeds)]
    wanted += [adamw_alphas("cpu", dataset, seeds), rate_maps("cpu", dataset, seeds, "adamw")]
    wanted += [every_epoch("cpu", seeds)] if dataset == "mosi" else []
    return [spec for rows in wanted for row in rows.values() for spec in row]
