"""Name a run: its canonical specification, the revisions of what makes its numbers, and the key made of both."""

from __future__ import annotations

import hashlib
import json

from dgl_core.training.records import RunSpec
from dgl_core.utils import resolve_options, unknown_name


def canonical(spec: RunSpec) -> RunSpec:
    """The same run in its one spelling: options in their declared types, defaults left out.

    Raises:
        ValueError: unknown data set, model, method or option, with the nearest right name.
    """
    from dgl_core import data, methods, models

    if spec.dataset not in data.DATASETS:
        raise unknown_name("data set", spec.dataset, data.DATASETS)
    if spec.method not in methods.METHODS:
        raise unknown_name("method", spec.method, methods.METHODS)
    recipe = data.DATASETS[spec.dataset]
    recipe.check(spec.dataset_options)
    declared = {
        "dataset_options": (f"data set {spec.dataset!r}", recipe.options),
        "model_options": (f"model {spec.model!r}", models.model_options(spec.model)),
        "method_options": (f"method {spec.method!r}", methods.METHODS[spec.method].options()),
    }
    return spec.but(**{name: resolve_options(owner, getattr(spec, name), of) for name, (owner, of) in declared.items()})


def revisions(spec: RunSpec) -> dict[str, int]:
    """Revision numbers of everything that makes the numbers of a run."""
    from dgl_core import data, methods, models
    from dgl_core.training import loop

    return {
        "dataset": data.DATASETS[spec.dataset].revision,
        "model": models.REVISIONS[spec.model],
        "method": methods.METHODS[spec.method].REVISION,
        "loop": loop.REVISION,
    }


def key(spec: RunSpec) -> str:
    """SHA-256 of the canonical specification and the revisions: the name of a run, on every machine."""
    text = json.dumps([canonical(spec).plain(), revisions(spec)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
