"""Describe how a data set is named, made and found: its facts, its options, its folder, and the random split."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dgl_core.data.files import cache
from dgl_core.utils import Range, coerce, data_roots, resolve_options, unknown_name

if TYPE_CHECKING:
    from dgl_core.data.dataset import Dataset

SEEDS = (0, 2**31)
CATALOGUE = Path(__file__).with_name("catalogue.toml")


@dataclass(frozen=True)
class Facts:
    """Hold one block of ``catalogue.toml``, whose head says what each line means."""

    title: str
    corpus: str = ""
    what: str = ""
    licence: str = ""
    cite: str = ""
    paper: str = ""
    origin: str = ""
    size: str = ""
    takes: str = ""
    folder: str = ""
    needs: Sequence[Sequence[str]] = ()
    manifest: Sequence[str] = ()
    instead: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    lists: Sequence[Mapping[str, Any]] = ()
    rehearsal: Mapping[str, Any] = field(default_factory=dict)
    like: str = ""

    @property
    def name(self) -> str:
        """Return what licences and messages call the set."""
        return self.corpus or self.title[:1].upper() + self.title[1:]


@functools.cache
def facts() -> dict[str, Facts]:
    """Read every block of ``catalogue.toml``, in its order.

    Raises:
        ValueError: a block without a title, or with a line of an unknown name.
    """
    blocks = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
    known = {f.name for f in fields(Facts)}
    found = {}
    for name, block in blocks.items():
        unknown = [key for key in block if key not in known]
        if unknown:
            raise unknown_name(f"line in the block [{name}] of {CATALOGUE.name}", unknown[0], known)
        if "title" not in block:
            raise ValueError(f'the block [{name}] of {CATALOGUE.name} has no title; write title = "..." into it')
        found[name] = Facts(**blocks.get(block.get("like"), {}) | block)
    return found


@dataclass(frozen=True)
class Recipe:
    """Say how one named data set is made.

    ``verify(root)`` checks every file and says in a line what was checked, or raises what is wrong;
    ``prepare(root, **options)`` makes the arrays of a set of media files and says in a line what it did.

    Raises:
        ValueError: no facts are given and ``catalogue.toml`` has no block of this name.
    """

    name: str  # key in ``DATASETS``, in ``catalogue.toml`` and in a ``RunSpec``
    load: Callable[..., Dataset]  # load(root: Path | None, **options)
    options: Mapping[str, Any]  # their defaults; the type of a default is the type of the option
    revision: int = 1  # raised when the same options give other values; part of the key of a run
    generated: bool = False  # this project computes the data
    choices: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # allowed values of options that have few
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # least and largest value of numbers
    verify: Callable[[Path | None], str] | None = None
    prepare: Callable[..., str] | None = None
    facts: Facts = None  # default: the block of ``catalogue.toml``

    def __post_init__(self):
        if self.facts is None and self.name not in facts():
            write = f"""write [{self.name}] there with a line title = "what tables call it", and the other lines"""
            raise ValueError(
                f"data set {self.name!r} has no block in dgl_core/data/{CATALOGUE.name}; {write} that its head explains"
            )
        object.__setattr__(self, "facts", self.facts or facts()[self.name])

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options, the defaults filled in and each value in its declared type.

        Raises:
            ValueError: for an unknown option, a value of another type, outside the limits or not among the choices.
        """
        full = dict(self.options) | resolve_options(f"data set {self.name!r}", options, self.options)
        for key, allowed in self.choices.items():
            if key in full and full[key] not in allowed:
                raise unknown_name(f"{key} for data set {self.name!r}", full[key], map(str, allowed))
        for key, (low, high) in self.limits.items():
            if key in full and not low <= full[key] <= high:
                raise ValueError(f"{key} is {full[key]}; data set {self.name!r} takes {low} to {high}")
        return full

    def available(self, root: Path | None) -> bool:
        """Tell whether the set can be loaded here: a generated one always can, a damaged one says so when loaded."""
        return not self.facts.folder or self._folder(root) is not None

    def find(self, root: Path | None) -> Path:
        """Return the folder of the set below ``root`` or the data roots, its files compared with their manifest.

        Raises:
            FileNotFoundError: folder or file missing; says where it was looked for and what to do instead.
            ValueError: a file differs from the manifest.
        """
        folder = self._folder(root)
        if folder is None:
            facts = self.facts
            wanted = " with ".join(" or ".join(f"{facts.folder}/{a}" for a in some) for some in facts.needs)
            raise FileNotFoundError(
                f"{facts.name} is not here: no {wanted or f'folder {facts.folder!r}'} in "
                f"{', '.join(map(str, data_roots(root)))}. Get it from {facts.origin}; set DGL_DATA to the folder that "
                f"holds {facts.folder!r}; or use the generated set {facts.instead!r}"
            )
        self.checksums(folder)
        return folder

    def checksums(self, folder: Path) -> dict[str, str]:
        """Return the checksums of the files that the set needs, after comparing the files with them.

        Raises:
            FileNotFoundError: a file is missing. ValueError: a file differs, or the manifest leaves it out.
        """
        needed = self.facts.manifest
        remedy = f"copy {self.facts.folder!r} again, or use the generated set {self.facts.instead!r}"
        if not needed:
            return {}
        for name in (cache.MANIFEST, *needed):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder / name} is missing: {remedy}")
        expected = cache.read_manifest(folder)
        for name in needed:
            if name not in expected:
                raise ValueError(f"{folder / cache.MANIFEST} does not list {name}; {remedy}")
        sums = {name: expected[name] for name in needed}
        for name, why in cache.wrong_files(folder, sums).items():
            raise ValueError(f"{folder / name}: {why} (SHA-256 in {cache.MANIFEST}); {remedy}")
        return sums

    def _folder(self, root: Path | None) -> Path | None:
        """Return the first folder below a data root that holds one of each kind of file that the set needs."""
        for folder in (place / self.facts.folder for place in data_roots(root)):
            if folder.is_dir() and all(any((folder / a).exists() for a in some) for some in self.facts.needs):
                return folder
        return None


def split_with(target: Any, test: float, seed: int) -> list[str]:
    """Cut at random with another test share; what is left is cut as ``random_split`` does, 13 to 3."""
    return random_split(target, val=0.1875 * (1 - test), test=test, seed=seed)


def random_split(
    target: Any, val: float = 0.15, test: float = 0.2, seed: int = 0, groups: Sequence[Any] | None = None
) -> list[str]:
    """Cut train, val and test at random with the same proportions in every class.

    Args:
        target: labels ``[N]``; targets that are no classes (fractions, ``[N, ...]``) are cut as one class.
        val, test: share of each part, in each class rounded to the nearest sample (at least one); 0 leaves it empty.
        groups: one name per sample of what it shares with others, a speaker for example. Each group goes into one part
            whole, so the shares are only as near as that allows.

    Raises:
        ValueError: labels that are no ``[N]`` or missing, shares that leave nothing to train on, a negative seed, or
            fewer groups than parts.
    """
    labels = _labels(target)
    val, test, seed = coerce("val", val, 0.15), coerce("test", test, 0.2), coerce("seed", seed, 0)
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        rule = "give shares of 0 or more, below 1 together"
        raise ValueError(f"val={val} and test={test} leave nothing to train on; {rule}")
    Range(low=0).check("seed", seed)
    rng = np.random.Generator(np.random.PCG64(seed))
    if groups is not None:
        return _cut_groups(
            labels, _named(groups, len(labels)), {"train": 1 - val - test, "val": val, "test": test}, rng
        )
    parts = np.full(len(labels), "train", dtype=object)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        n_test, n_val = (max(1, round(share * len(rows))) if share else 0 for share in (test, val))
        parts[rows[:n_test]] = "test"
        parts[rows[n_test : n_test + n_val]] = "val"
    return parts.tolist()


def _labels(target: Any) -> np.ndarray:
    """Take what a split keeps in proportion, ``[N]``: the labels, or one value for all where there are none."""
    target = np.asarray(target)
    if target.ndim == 0 or not len(target):
        raise ValueError(f"target has shape {list(target.shape)}; give one label per sample, shape [N]")
    if target.ndim > 1:
        return np.zeros(len(target), dtype=int)
    missing = next((i for i, label in enumerate(target.tolist()) if label is None or label != label), None)
    if missing is not None:
        raise ValueError(f"target has no label for sample {missing} ({target[missing]}); drop it, or give it one")
    fractions = target.dtype.kind == "f" and not (target == np.round(target)).all()
    return np.zeros(len(target), dtype=int) if fractions else target


def _named(groups: Sequence[Any], count: int) -> np.ndarray:
    """Take the group of every sample as text ``[N]``."""
    named = np.asarray([None if group is None or group != group else str(group) for group in groups], dtype=object)
    if len(named) != count:
        raise ValueError(f"target has {count} samples, but groups {len(named)}; give one group for each")
    missing = next((i for i, group in enumerate(named) if group is None), None)
    if missing is not None:
        raise ValueError(f"groups has no group for sample {missing}; give it one, or drop it")
    return named.astype(str)


def _cut_groups(
    labels: np.ndarray, groups: np.ndarray, shares: Mapping[str, float], rng: np.random.Generator
) -> list[str]:
    """Deal groups out, large ones first, each to the part whose class counts it brings nearest to the wanted ones."""
    (names, group), (classes, label) = (np.unique(x, return_inverse=True) for x in (groups, labels))
    counts = np.zeros((len(names), len(classes)))
    np.add.at(counts, (group, label), 1)
    lacking = {part: share * counts.sum(axis=0) for part, share in shares.items() if share}  # samples of each class
    if len(names) < len(lacking):
        raise ValueError(f"{len(names)} groups leave a part empty: {len(lacking)} parts need as many groups; set val=0 "
                         "or test=0, or give finer groups")  # fmt: skip
    place, empty = np.full(len(names), "train", dtype=object), set(lacking)
    order = rng.permutation(len(names))
    for left, number in enumerate(sorted(order, key=lambda n: -counts[n].sum())):
        must = len(names) - left <= len(empty)  # every group that is left has an empty part to fill
        fits = {part: float((counts[number] * (counts[number] - 2 * wanted)).sum())
                for part, wanted in lacking.items() if part in empty or not must}  # fmt: skip
        part = min(fits, key=fits.__getitem__)
        place[number] = part
        empty.discard(part)
        lacking[part] = lacking[part] - counts[number]
    return place[group].tolist()
