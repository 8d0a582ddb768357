"""List the training methods by name. A new one is one file and one line here; each is imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping

from dgl_core.methods.base import Batch, Method, State, option
from dgl_core.methods.dgl import DGL
from dgl_core.utils import Registry, resolve_options, unknown_name

__all__ = ["DGL", "METHODS", "Batch", "Method", "State", "build", "option"]

METHODS: Registry = Registry({
    "unimodal": "dgl_core.methods.vanilla:Unimodal",
    "vanilla": "dgl_core.methods.vanilla:Vanilla",
    "gblend": "dgl_core.methods.baselines.gblend:GBlend",
    "dgl": "dgl_core.methods.dgl:DGL",
    "dgl_dense": "dgl_core.methods.dense_dgl:DenseDGL",
    "partial": "dgl_core.methods.dgl:Partial",
    "schedule": "dgl_core.methods.moving_gates:Schedule",
    "adaptive": "dgl_core.methods.moving_gates:Adaptive",
    "ogm": "dgl_core.methods.baselines.ogm:OGM",
    "ogm_ge": "dgl_core.methods.baselines.ogm:OGMGE",
    "pmr": "dgl_core.methods.baselines.pmr:PMR",
    "agm": "dgl_core.methods.baselines.agm:AGM",
    "mmcosine": "dgl_core.methods.baselines.mmcosine:MMCosine",
    "gblend_ogr": "dgl_core.methods.baselines.gblend:GBlendOGR",
    "mla": "dgl_core.methods.baselines.mla:MLA",
    "mmpareto": "dgl_core.methods.baselines.mmpareto:MMPareto",
    "relearn": "dgl_core.methods.baselines.relearn:Relearn",
    "ensemble": "dgl_core.methods.baselines.alone:UnimodalEnsemble",
    "frozen_encoders": "dgl_core.methods.baselines.alone:FrozenEncoders",
    "reconboost": "dgl_core.methods.baselines.reconboost:ReconBoost",
})  # fmt: skip


def build(name: str, options: Mapping[str, object] | None = None) -> Method:
    """Make a fresh method object.

    Raises:
        ValueError: unknown method or option (with the nearest right name), or a value outside the option's range.
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    method = METHODS[name]
    return method(**resolve_options(f"method {name!r}", options or {}, method.options()))
