"""Beyond the paper: maps of encoder rate against fusion rate, and decoupling in degrees."""

from __future__ import annotations

from collections.abc import Iterable

from dgl_core.experiments.late_fusion import LEARNING_RATES, PAPER_RATES, base_specs, datasets, table1_grid
from dgl_core.experiments.profiles import ALPHA, Experiment
from dgl_core.records import RunSpec

MAPPED = ("vanilla", "DGL", "G-Blending")
FUSION_RATES = {"sgd": (0.01, 0.03, 0.1), "adamw": (0.0003, 0.001, 0.003)}
ENCODER_RATES = {"sgd": (0.01, 0.03, 0.1, 0.3), "adamw": (0.0003, 0.001, 0.003)}
ALPHAS = (1.0, 2.0, 4.0)  # of DGL under AdamW, at the middle rate
GATES = (0.0, 0.5, 1.0)
MOVING: dict[str, tuple[str, dict[str, object]]] = {
    "gate falls 1 to 0": ("schedule", {"start": 1.0, "end": 0.0}),
    "gate rises 0 to 1": ("schedule", {"start": 0.0, "end": 1.0}),
    "gate follows R": ("adaptive", {}),
}


def cell(row: str, encoder: float, fusion: float) -> str:
    """Row label of one point of a map."""
    return f"{row}, encoder {encoder:g}, fusion {fusion:g}"


def rate_maps(profile: str, dataset: str, seeds: Iterable[int] | None = None, optimizer: str = "sgd") -> Experiment:
    """Vanilla, DGL and G-Blending over a grid of encoder and fusion learning rates, at alpha 1.

    DGL with alpha at one rate is, under SGD, the point of its map whose encoder rate is alpha times the fusion rate
    (METHODS D4; clipping and decay aside). Without ``seeds`` the profiles for two cores have two points of a map.
    """
    fusion_rates, encoder_rates = FUSION_RATES[optimizer], ENCODER_RATES[optimizer]
    if profile != "paper" and seeds is None:
        fusion_rates, encoder_rates = fusion_rates[1:2], encoder_rates[1 : 3 if optimizer == "sgd" else 2]
    base = [spec.but(optimizer=optimizer) for spec in base_specs(profile, dataset, seeds, table=True)]
    methods = {"vanilla": ("vanilla", {}), "DGL": ("dgl", {"alpha": 1.0}), "G-Blending": ("gblend", {"alpha": 1.0})}
    rows: Experiment = {}
    for row, (method, options) in methods.items():
        trained = [spec.but(method=method, method_options=options) for spec in base]
        for fusion in fusion_rates:
            for encoder in encoder_rates:
                scale = {"lr": fusion, "encoder_lr_scale": encoder / fusion}
                rows[cell(row, encoder, fusion)] = [spec.but(**scale) for spec in trained]
    return rows


def adamw_alphas(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> Experiment:
    """DGL under AdamW with growing alpha, both rates at the middle of the map: alpha should change nothing (D4)."""
    middle = {"optimizer": "adamw", "lr": FUSION_RATES["adamw"][1]}
    base = [spec.but(method="dgl", **middle) for spec in base_specs(profile, dataset, seeds, table=True)]
    alphas = ALPHAS if profile == "paper" or seeds is not None else ALPHAS[::2]
    return {f"DGL, alpha {alpha:g}": [spec.but(method_options={"alpha": alpha}) for spec in base] for alpha in alphas}


def point(encoder_gate: float, fusion_gate: float) -> str:
    """Row label of one point of the square of gates."""
    return f"gates {encoder_gate:g} / {fusion_gate:g}"


def _at(gates: tuple[float, float]) -> tuple[str, dict[str, object]]:
    """Method and options of a point: the corners that have a method of their own are trained as that."""
    encoder, fusion = gates
    if encoder == fusion and encoder in (0.0, 1.0):
        return ("gblend" if encoder else "dgl"), {"alpha": ALPHA}
    return "partial", {"alpha": ALPHA, "encoder_gate": encoder, "fusion_gate": fusion}


def decoupling(profile: str, dataset: str, seeds: Iterable[int] | None = None, rate: float = 0.0) -> Experiment:
    """The square of gates, and encoder gates that move during training; all at the paper's alpha.

    Args:
        rate: learning rate of every row; 0 stands for the profile's common one.
    """
    base = base_specs(profile, dataset, seeds, table=True, rate=rate)
    points = [(e, f) for e in GATES for f in GATES]
    if profile != "paper" and seeds is None:
        points = [p for p in points if p in ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0))]
    rows = {point(*p): _at(p) for p in points}
    rows |= {label: (method, {"alpha": ALPHA} | options) for label, (method, options) in MOVING.items()}
    return {label: [s.but(method=m, method_options=o) for s in base] for label, (m, o) in rows.items()}


def decoupling_grid(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> dict[float, Experiment]:
    """``decoupling`` at every learning rate of the grid of Table 1: the same tuning budget for every point."""
    rates = PAPER_RATES if profile == "paper" and dataset == "cremad" else LEARNING_RATES
    if profile != "paper" and seeds is None:
        rates = rates[1:2]
    return {rate: decoupling(profile, dataset, seeds, rate) for rate in rates}


def everything(profile: str) -> list[Experiment | dict[float, Experiment]]:
    """All that notebook 08 asks for; the maps on the generated set only."""
    wanted: list[Experiment | dict[float, Experiment]] = []
    for dataset in datasets(profile):
        wanted += [table1_grid(profile, dataset), decoupling(profile, dataset)]
    maps = [rate_maps(profile, "emotions", optimizer=name) for name in FUSION_RATES]
    return [*wanted, *maps, adamw_alphas(profile, "emotions")]


def reference_specs(dataset: str, seeds: Iterable[int]) -> list[RunSpec]:
    """The runs behind the reference pictures of this notebook that no other experiment has, in order of use."""
    seeds = tuple(seeds)
    grids = [*decoupling_grid("cpu", dataset, seeds).values(), rate_maps("cpu", dataset, seeds)]
    grids += [adamw_alphas("cpu", dataset, seeds), rate_maps("cpu", dataset, seeds, "adamw")]
    return [spec for rows in grids for row in rows.values() for spec in row]
