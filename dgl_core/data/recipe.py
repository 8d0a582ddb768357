"""How data sets are named, made and found: recipes with declared options, the folders looked in, the random split."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dgl_core.utils import coerce, data_roots, unknown_name

if TYPE_CHECKING:
    from dgl_core.data.dataset import Dataset


@dataclass(frozen=True)
class Recipe:
    """How one named data set is made.

    Args:
        name: key in ``DATASETS`` and in a ``RunSpec``.
        title: what tables call it; a generated or stand-in set says so here.
        load: ``load(root: Path | None, **options) -> Dataset``.
        options: option names with their defaults; the type of a default is the type of the option.
        revision: raised when the same options give other values; part of the key of a run.
        available: ``available(root) -> bool``: can it be loaded here and now (a generated set always can)?
        generated: True when this project computes the data.
        choices: allowed values of options that have few.
        licence: row of ``catalogue.LICENCES``.
        find: ``find(root)`` gives the folder of the set, or raises an error that says where it was looked for.
        verify: ``verify(root)`` checks every file and says in a line what was checked, or raises what is wrong.
        prepare: ``prepare(root, **options)`` makes the arrays of a set of media files and says in a line what it did.
    """

    name: str
    title: str
    load: Callable[..., Dataset]
    options: Mapping[str, Any]
    revision: int
    available: Callable[[Path | None], bool]
    generated: bool
    choices: Mapping[str, Sequence[Any]] | None = None
    licence: str = ""
    find: Callable[[Path | None], Path] | None = None
    verify: Callable[[Path | None], str] | None = None
    prepare: Callable[..., str] | None = None

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options with the defaults filled in and each value in its declared type.

        Raises:
            ValueError: for an unknown option, a value of another type or one that is not among the choices.
        """
        full = dict(self.options)
        for key, value in options.items():
            if key not in full:
                raise unknown_name(f"option of data set {self.name!r}", key, full)
            full[key] = coerce(f"option {key!r} of data set {self.name!r}", value, full[key])
            allowed = (self.choices or {}).get(key)
            if allowed is not None and full[key] not in allowed:
                raise unknown_name(f"{key} for data set {self.name!r}", value, [str(a) for a in allowed])
        return full


def random_split(target: Any, val: float = 0.15, test: float = 0.2, seed: int = 0) -> list[str]:
    """Cut train, val and test at random with the same proportions in every class.

    Args:
        target: labels ``[N]``.
        val, test: share of each part, in each class rounded to the nearest sample (at least one); 0 leaves it empty.
        seed: of the permutation.
    """
    target = np.asarray(target)
    parts = np.full(len(target), "train", dtype=object)
    rng = np.random.Generator(np.random.PCG64(seed))
    for label in np.unique(target):
        rows = rng.permutation(np.flatnonzero(target == label))
        n_test, n_val = (max(1, round(share * len(rows))) if share else 0 for share in (test, val))
        parts[rows[:n_test]] = "test"
        parts[rows[n_test : n_test + n_val]] = "val"
    return parts.tolist()


def find_folder(
    root: str | os.PathLike | None, name: str, absent: str, remedy: str, fits: Callable[[Path], bool] = Path.is_dir
) -> Path:
    """The first folder ``name`` below a data root that ``fits``.

    Args:
        absent: what is not there, in words that go before "in" and the roots. remedy: what to do then.

    Raises:
        FileNotFoundError: none does; says what, where it was looked for, and the remedy.
    """
    roots = data_roots(root)
    for folder in (place / name for place in roots):
        if fits(folder):
            return folder
    raise FileNotFoundError(f"{absent} in {', '.join(map(str, roots))}. {remedy}")
