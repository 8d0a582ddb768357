"""Name a run: its canonical specification, the revisions of what makes its numbers, and the key made of both."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from dgl_core.training.records import RunSpec
from dgl_core.utils import resolve_options, unknown_name


@dataclass(frozen=True)
class Run:
    """A run by its one name: its ``canonical`` specification, its key (SHA-256 of that and the revisions), these."""

    spec: RunSpec
    key: str
    revisions: dict[str, int]

    def __hash__(self):
        return hash(self.key)

    def __str__(self):
        return str(self.spec)


def resolve(spec: RunSpec | Run) -> Run:
    """Find the one name of a specification; a ``Run`` comes back as it is. Errors are those of ``canonical``."""
    if isinstance(spec, Run):
        return spec
    plain, made_by = canonical(spec), revisions(spec)
    text = json.dumps([plain.plain(), made_by], sort_keys=True, separators=(",", ":"))
    return Run(plain, hashlib.sha256(text.encode()).hexdigest(), made_by)


def _rooms():
    """Import what decides a key: here, because a plan or a ``--help`` needs no torch."""
    from dgl_core import data, methods, models
    from dgl_core.training import loop

    return data, methods, models, loop


def canonical(spec: RunSpec) -> RunSpec:
    """Spell a specification in the one way: options in their declared types, defaults left out.

    Raises:
        ValueError: unknown data set, model, method or option, with the nearest right name.
    """
    data, methods, models, _ = _rooms()
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
    """List the revision numbers of everything that makes the numbers of a run."""
    data, methods, models, loop = _rooms()
    return {
        "dataset": data.DATASETS[spec.dataset].revision,
        "model": models.REVISIONS[spec.model],
        "method": methods.METHODS[spec.method].REVISION,
        "loop": loop.REVISION,
    }


def key(spec: RunSpec) -> str:
    return resolve(spec).key
