"""Read what the map is made of: its points, heads, rows and predictions, as registered before the runs."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dgl_core import data
from dgl_core.data.generated.dial import CLASSES, NAMES, SIZE
from dgl_core.models import LateFusion
from dgl_core.models.fusion import AttentionFusion, BilinearFusion, ConcatFusion, MLPFusion
from dgl_core.models.fusion.own import OwnHeads
from dgl_core.models.initial import initialise, seeded
from dgl_core.models.vectors import VectorEncoder
from dgl_core.training.many import Stack, stack
from dgl_core.training.records import RunSpec
from dgl_core.utils import ROOT, unknown_name

PATH = ROOT / "results" / "registration_map.toml"
RESULTS = ROOT / "results" / "map"


class NormedConcat(ConcatFusion):
    """Concatenate, then one layer norm over the features of all modalities, then one linear classifier.

    It is linear but for the norm, whose mean and deviation every modality has a part in, the absent one's zeros too.
    """

    def __init__(self, widths: Mapping[str, int], classes: int):
        super().__init__(widths, classes)
        self.norm = nn.LayerNorm(sum(widths.values()))

    def join(self, features: Mapping[str, Tensor]) -> Tensor:
        return self.head(self.norm(torch.cat([features[m] for m in self.modalities], dim=1)))  # [B, sum D_m] -> [B, K]


# Dropout would draw other numbers in a stack than in the ordinary loop, so there is none. The bilinear head has the
# official mask, because Eq. 12 as printed leaves its encoders untrained.
HEADS = {
    "concat": ConcatFusion,
    "normed": NormedConcat,  # of the law only, and not registered
    "hidden": lambda widths, classes: MLPFusion(widths, classes, hidden=32, dropout=0.0),
    "bilinear": lambda widths, classes: BilinearFusion(widths, classes, official=True),
    "attention": lambda widths, classes: AttentionFusion(widths, classes, heads=4),
}
TITLES = {
    "concat": "additive (concatenation)",
    "normed": "additive behind a norm that modalities share (not registered)",
    "hidden": "one hidden layer",
    "bilinear": "bilinear",
    "attention": "attention",
    "concat_3": "additive, three modalities",
    "hidden_3": "one hidden layer, three modalities",
}


@dataclass(frozen=True)
class Row:
    """Say how a method combines its losses, and what it truncates.

    Attributes:
        alpha, encoder_gate, fusion_gate: of ``DisentangledObjective``. scaled: encoders learn at alpha times the rate.
        own: a lone modality is scored by a linear head of its own. multimodal: the fused loss is among the losses.
        after: row whose encoders are kept as they are while the joining head is trained. before, then: row that trains
            the first, or the second, half of the epochs.
    """

    alpha: float = 0.0
    encoder_gate: float = 1.0
    fusion_gate: float = 1.0
    scaled: bool = False
    own: bool = False
    multimodal: bool = True
    after: str = ""
    before: str = ""
    then: str = ""


@dataclass(frozen=True)
class Map:
    """One head over the dials."""

    name: str
    head: str
    draws: int
    imbalances: tuple[float, ...]
    rates: tuple[float, ...]  # that the pilots choose from
    modalities: int = 2


@dataclass(frozen=True)
class Prediction:
    """What theory says of one comparison, in the columns of synergy from ``above`` to ``below``.

    Attributes:
        word: "better", "worse", "practically equal" or "not worse". branch: "fused", or "absent" for the mean over the
            modalities of what is left without it. crossing: where the difference crosses zero.
    """

    id: str
    asks: str
    maps: tuple[str, ...]
    row: str
    than: str
    word: str
    branch: str = "fused"
    above: float = 0.0
    below: float = 1.0
    crossing: tuple[float, float] | None = None


@functools.cache
def registered(path: Path = PATH) -> dict[str, Any]:
    """Read the registration as it stands."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def maps() -> dict[str, Map]:
    """List the maps by name."""
    common = {key: registered()[key] for key in ("imbalances", "rates")}
    blocks = {name: common | block for name, block in registered()["maps"].items()}
    return {name: Map(name, **block | {key: tuple(block[key]) for key in common}) for name, block in blocks.items()}


def rows() -> dict[str, Row]:
    """List the rows of the map by name; alpha is the registered one unless a row has its own."""
    return {name: Row(**{"alpha": registered()["alpha"]} | block) for name, block in registered()["rows"].items()}


def candidates(alpha: float) -> dict[str, Row]:
    """List the rivals and candidates of the remedy at one alpha."""
    remedy = registered()["remedy"]
    blocks = {name: registered()["rows"][name] for name in remedy["rivals"]} | remedy["candidates"]
    return {name: Row(**block | {"alpha": alpha}) for name, block in blocks.items()}


def predictions() -> tuple[Prediction, ...]:
    """List the predictions."""
    found = []
    for name, block in registered()["predictions"].items():
        for map_name in block["maps"]:
            if map_name not in registered()["maps"]:
                raise unknown_name("map", map_name, registered()["maps"])
        lists = {key: tuple(block[key]) for key in ("maps", "crossing") if key in block}
        found.append(Prediction(name, **block | lists))
    return tuple(found)


def build(head: str, modalities: Sequence[str], seed: int, own: bool = False) -> LateFusion:
    """Build the small network of the map; encoders and joining head depend on the seed alone, not on ``own``.

    Raises:
        ValueError: no such head.
    """
    if head not in HEADS:
        raise unknown_name("head of the map", head, HEADS)
    width, layers = registered()["network"]["width"], registered()["network"]["layers"]
    encoders: dict[str, nn.Module] = {}
    for m in modalities:
        with seeded(seed, f"encoder/{m}"):
            encoders[m] = VectorEncoder(SIZE, width, layers, dropout=0.0).apply(initialise)
    widths = dict.fromkeys(modalities, width)
    with seeded(seed, "fusion"):
        fusion = HEADS[head](widths, len(CLASSES)).apply(initialise)
    if own:
        with seeded(seed, "heads"):
            fusion = OwnHeads(fusion, widths, len(CLASSES))
            fusion.own.apply(initialise)
    return LateFusion(encoders, fusion)


def names(modalities: int) -> tuple[str, ...]:
    """Name the modalities."""
    return NAMES[:modalities]


def sample(points: Sequence[tuple[float, float]], draws: Sequence[int], modalities: int = 2) -> tuple[Stack, list[int]]:
    """Draw the data of all points (synergy, imbalance) and draws; the draw's number goes fastest. Also its seeds."""
    options = dict(registered()["data"]) | {"modalities": modalities}
    load = lambda s, i, r: data.load("dial", **options, synergy=float(s), imbalance=float(i), seed=r)  # noqa: E731
    sets = [load(s, i, draw) for s, i in points for draw in draws]
    return stack(sets), [draw for _ in points for draw in draws]


def spec(rate: float, row: Row, **changes: Any) -> RunSpec:
    """Specify how a row of the map is trained, the seed left open."""
    settings = registered()["training"] | {"milestones": tuple(registered()["training"]["milestones"])}
    return RunSpec("dial", lr=rate, encoder_lr_scale=registered()["alpha"] if row.scaled else 1.0, **settings | changes)


def chosen_rates() -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    """Read the rates that the pilots chose: map -> row -> synergy, as text -> rate."""
    path = RESULTS / "rates.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def rate_at(rates: Mapping[str, float], synergy: float) -> float:
    """Take the rate of the nearest column that has pilots, the lower one of two."""
    nearest = min(registered()["pilot_synergies"], key=lambda s: (round(abs(s - synergy), 6), s))
    return rates[f"{nearest:g}"]
