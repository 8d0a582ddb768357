"""Run code in an interpreter that finds only some packages: as if the others were not installed."""

from __future__ import annotations

import functools
import re
from importlib import metadata

from packaging.requirements import Requirement

# Run first in a fresh interpreter, which then finds Python, the house and the allowed packages.
ALONE = """
import sys
from importlib.machinery import PathFinder

ALLOWED = set(%r) | sys.stdlib_module_names

class Only:
    find_distributions = PathFinder.find_distributions

    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, path, target) if path or name[0] == "_" or name in ALLOWED else None

sys.meta_path[sys.meta_path.index(PathFinder)] = Only
"""


@functools.cache
def importable_with(*packages: str) -> frozenset[str]:
    """What is imported from a fresh environment with these distributions: the names of all packages that they need."""
    distributions, new = set(), set(packages)
    while new:
        distributions |= new
        needed = [Requirement(text) for name in new for text in metadata.requires(name) or []]
        new = {r.name for r in needed if not r.marker or r.marker.evaluate({"extra": ""})} - distributions
        new = {name for name in new if not re.match(r"nvidia-|cuda-|triton", name)}
    names = {re.sub(r"[-_.]+", "-", name).lower() for name in distributions}
    brought = metadata.packages_distributions().items()
    return frozenset(top for top, by in brought if names & {re.sub(r"[-_.]+", "-", name).lower() for name in by})
