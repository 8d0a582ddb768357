"""Which runs make which table and figure, for every profile: the only place that knows.

Each experiment maps row labels to the specifications of that row, one per seed. Notebooks ask for an experiment, the
runner asks for all of them, and both get the same specifications, so nothing is trained twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dgl_core.records import RunSpec, unknown_name

Experiment = dict[str, list[RunSpec]]  # row label -> one specification per seed
ALPHA = 4.0  # the paper's value on CREMA-D (Table 4)


@dataclass(frozen=True)
class Profile:
    """How much to run; never what.

    Attributes:
        name: smoke | cpu | paper.
        purpose: one line for people.
        seeds: seeds of every row. portable: one thread and portable numerics (bit-identical on all x86-64 processors).
    """

    name: str
    purpose: str
    seeds: tuple[int, ...]
    portable: bool = False


PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        Profile("smoke", "tiny generated data, for tests and the committed notebooks", (0, 1), portable=True),
        Profile("cpu", "small networks on generated and real data, on two cores", (0, 1)),
        Profile("paper", "the paper's network and schedule, on one GPU or a cluster", (0, 1, 2)),
    )
}
REFERENCE_SEEDS = tuple(range(10))  # seeds of the committed reference records, otherwise made like the cpu profile
REFERENCE_DATASETS = ("emotions", "grid_letters")
TITLES = {
    "emotions": "generated emotions",
    "grid_letters": "GRID letters",
    "cremad": "CREMA-D",
}


def profile_named(name: str) -> Profile:
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES)
    return PROFILES[name]


def datasets(profile: str) -> list[str]:
    """Audio-visual sets that the profile trains on here: the generated one, and real ones where they are present."""
    from dgl_core.data import DATASETS

    wanted = {"smoke": (), "cpu": ("grid_letters",), "paper": ("grid_letters", "cremad")}[profile_named(profile).name]
    return ["emotions", *(name for name in wanted if DATASETS[name].available(None))]


def base_specs(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> list[RunSpec]:
    """The common part of every run of a profile on an audio-visual set: network, schedule, data; vanilla method.

    The paper profile is METHODS 1.4. The smaller profiles keep its optimiser and batch-to-epoch shape and take the
    learning rate that a grid on validation data chose for *vanilla* training (``learning_rates``), so that the joint
    baseline is not handicapped.
    """
    seeds = profile_named(profile).seeds if seeds is None else seeds
    specs = []
    for seed in seeds:
        if profile == "smoke":
            options = {"clips": 240, "audio_difficulty": 0.1, "visual_difficulty": 0.1}  # few and easy: seconds a run
            spec = RunSpec(dataset, model="small", model_options={"width": 4}, dataset_options=options)
            spec = spec.but(lr=0.03, epochs=8, milestones=(6,), batch_size=16)
        elif profile == "paper" and dataset == "cremad":
            spec = RunSpec(dataset, model="resnet18")
        else:
            options = {} if dataset == "emotions" else {"fold": seed % 5, "frames": 4}
            spec = RunSpec(dataset, model="small", dataset_options=options)
            spec = spec.but(lr=0.03, epochs=20, milestones=(14,), batch_size=32)
        specs.append(spec.but(seed=seed))
    return specs


def branches(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Figures 1 and 3 and the first rows of Table 1, with the control that the paper lacks.

    Under SGD, alpha multiplies the learning rate of the encoders and does nothing else to them (METHODS D4). So every
    row that DGL is compared with appears twice: as it is, and with the encoder learning rate multiplied by alpha.
    """
    base = base_specs(profile, dataset, seeds)
    rows: Experiment = {}
    for m in ("audio", "visual"):
        rows[f"{m} alone"] = [s.but(method="unimodal", method_options={"modality": m}) for s in base]
    rows["vanilla"] = base
    rows["G-Blending"] = [s.but(method="gblend", method_options={"alpha": ALPHA}) for s in base]
    rows["DGL"] = [s.but(method="dgl", method_options={"alpha": ALPHA}) for s in base]
    for label in ("audio alone", "visual alone", "vanilla"):
        rows[f"{label}, rate x alpha"] = [s.but(encoder_lr_scale=ALPHA) for s in rows[label]]
    return rows


LEARNING_RATES = (0.01, 0.03, 0.1)


def learning_rates(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Vanilla training over a grid of learning rates: how the common rate was chosen, on validation data."""
    base = base_specs(profile, dataset, seeds)
    return {f"{rate:g}": [s.but(lr=rate) for s in base] for rate in LEARNING_RATES}


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
CONTROL = "vanilla, rate x alpha"


def table1(profile: str, dataset: str, seeds: Iterable[int] | None = None, rate: float = 0.0) -> Experiment:
    """Table 1: its eleven rows, MMCosine and ReconBoost, and the learning-rate control.

    Args:
        rate: learning rate of every row; 0 stands for the profile's common one.
    """
    base = base_specs(profile, dataset, seeds)
    if rate:
        base = [spec.but(lr=rate) for spec in base]
    rows = {label: [s.but(method=m, method_options=o) for s in base] for label, (m, o) in TABLE_1.items()}
    return rows | {CONTROL: [spec.but(encoder_lr_scale=ALPHA) for spec in rows["vanilla"]]}


def table1_grid(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> dict[float, Experiment]:
    """Table 1 at every learning rate of the same small grid: equal tuning budget, for a choice on validation data."""
    rates = LEARNING_RATES[1:2] if profile == "smoke" else LEARNING_RATES
    return {rate: table1(profile, dataset, seeds, rate) for rate in rates}


def table3(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Table 3: the square of multimodal and unimodal truncation, with the corner that the paper leaves out."""
    base = base_specs(profile, dataset, seeds)

    def corner(encoder_gate: float, fusion_gate: float) -> list[RunSpec]:
        gates = {"alpha": ALPHA, "encoder_gate": encoder_gate, "fusion_gate": fusion_gate}
        return [spec.but(method="partial", method_options=gates) for spec in base]

    rows = table1(profile, dataset, seeds)
    return {
        "vanilla": rows["vanilla"],
        "no truncation": rows["G-Blending"],
        "+MT": corner(0.0, 1.0),
        "+UT": corner(1.0, 0.0),
        "DGL": rows["DGL"],
        CONTROL: rows[CONTROL],
    }


def table4(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Table 4: DGL and G-Blending at alpha 1 to 5, and vanilla training with the encoder learning rate times alpha."""
    base = base_specs(profile, dataset, seeds)
    rows: Experiment = {}
    for alpha in (1.0, 2.0, 3.0, 4.0, 5.0):
        for label, method in (("DGL", "dgl"), ("G-Blending", "gblend")):
            options = {"alpha": alpha}
            rows[f"{label}, alpha {alpha:g}"] = [s.but(method=method, method_options=options) for s in base]
        rows[f"vanilla, rate x {alpha:g}"] = [s.but(encoder_lr_scale=alpha) for s in base]
    return rows


def fusion_heads(profile: str, dataset: str, seeds: Iterable[int] | None = None) -> Experiment:
    """Vanilla and DGL with every fusion head, and DGL with the masks of the official code where those differ."""
    from dgl_core.models.fusion import FUSIONS

    base = base_specs(profile, dataset, seeds)
    rows: Experiment = {}
    for fusion in ("concat", "sum", "film", "gated", "bilinear", "attention"):
        if fusion not in FUSIONS:
            raise unknown_name("fusion", fusion, FUSIONS)
        with_head = [s.but(model_options=s.model_options | {"fusion": fusion}) for s in base]
        rows[f"vanilla, {fusion}"] = with_head
        rows[f"DGL, {fusion}"] = [s.but(method="dgl", method_options={"alpha": ALPHA}) for s in with_head]
        if fusion in ("gated", "bilinear"):
            official = [s.but(model_options=s.model_options | {"official": True}) for s in rows[f"DGL, {fusion}"]]
            rows[f"DGL, {fusion} (official masks)"] = official
    return rows


# notebook -> the experiments that its profile trains, each for every data set of the profile
NOTEBOOKS: dict[str, tuple[Callable[..., Experiment], ...]] = {
    "00_start_here": (branches,),
    "01_data": (),
    "02_gradient_theory": (),
    "03_vanilla_vs_dgl": (branches,),
}


def plan(profile: str, notebooks: Iterable[str] | None = None) -> list[RunSpec]:
    """Every run that the notebooks of a profile will ask for (with repetitions; ``runs.pending`` removes them)."""
    specs: list[RunSpec] = []
    for notebook in NOTEBOOKS if notebooks is None else notebooks:
        if notebook not in NOTEBOOKS:
            raise unknown_name("notebook", notebook, NOTEBOOKS)
        for experiment in NOTEBOOKS[notebook]:
            for dataset in datasets(profile):
                specs += [spec for row in experiment(profile, dataset).values() for spec in row]
    return specs
