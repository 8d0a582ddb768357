"""Training methods by name. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from dgl_core.methods.base import Batch, Method, State
from dgl_core.methods.baselines.agm import AGM
from dgl_core.methods.baselines.gblend import GBlend, GBlendOGR
from dgl_core.methods.baselines.mla import MLA
from dgl_core.methods.baselines.mmcosine import MMCosine
from dgl_core.methods.baselines.mmpareto import MMPareto
from dgl_core.methods.baselines.ogm import OGM, OGMGE
from dgl_core.methods.baselines.pmr import PMR
from dgl_core.methods.baselines.reconboost import ReconBoost
from dgl_core.methods.baselines.relearn import Relearn
from dgl_core.methods.dense_dgl import DenseDGL
from dgl_core.methods.dgl import DGL, Partial
from dgl_core.methods.moving_gates import Adaptive, Schedule
from dgl_core.methods.vanilla import Unimodal, Vanilla
from dgl_core.utils import resolve_options, unknown_name

__all__ = ["METHODS", "Batch", "Method", "State", "build"]

METHODS: dict[str, type[Method]] = {
    "unimodal": Unimodal,
    "vanilla": Vanilla,
    "gblend": GBlend,
    "dgl": DGL,
    "dgl_dense": DenseDGL,
    "partial": Partial,
    "schedule": Schedule,
    "adaptive": Adaptive,
    "ogm": OGM,
    "ogm_ge": OGMGE,
    "pmr": PMR,
    "agm": AGM,
    "mmcosine": MMCosine,
    "gblend_ogr": GBlendOGR,
    "mla": MLA,
    "mmpareto": MMPareto,
    "relearn": Relearn,
    "reconboost": ReconBoost,
}


def build(name: str, options: Mapping[str, object] | None = None) -> Method:
    """A fresh method object.

    Raises:
        ValueError: unknown method or option (with the nearest right name), or a value the method refuses.
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    method = METHODS[name]
    return method(**resolve_options(f"method {name!r}", options or {}, method.options()))
