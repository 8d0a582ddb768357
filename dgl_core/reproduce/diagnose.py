"""Measure how fusion suppresses each encoder of a reader's own model, and foretell DGL's gain: ``dgl diagnose``."""

from __future__ import annotations

import argparse
import runpy
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from dgl_core.diagnosis import Diagnosis, diagnose
from dgl_core.utils import importable


def load(place: str) -> tuple[nn.Module, Iterable[tuple[Mapping[str, Tensor], Tensor]]]:
    """Call the function that ``FILE.py:NAME`` names, which returns a model and a loader; ValueError if it does not."""
    file, _, name = place.rpartition(":")
    if not file.endswith(".py") or not Path(file).is_file():
        raise ValueError(f"{place!r} names no file; write FILE.py:NAME, NAME being a function in it.")
    try:
        made = runpy.run_path(file, run_name=Path(file).stem).get(name)
    except SyntaxError as error:
        raise ValueError(f"{file} cannot be imported: SyntaxError: {error}.") from None
    if not callable(made):
        raise ValueError(f"{file} has no function {name!r}; write one that returns (model, loader).")
    found = made()
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], nn.Module):
        raise ValueError(f"{place} returned {type(found).__name__}; it must return (model, loader), see 'diagnose'.")
    return found


def foretold(report: Diagnosis, alone: Mapping[str, float] | None = None) -> str:
    """Say what DGL would gain on this model, or why that cannot be foretold."""
    try:
        return str(report.forecast(alone))
    except ValueError as error:
        return str(error)


def accuracies(pairs: Sequence[str]) -> dict[str, float]:
    """Read NAME=ACCURACY words; ValueError if one is none."""
    found = {}
    for pair in pairs:
        name, _, number = pair.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise ValueError(f"{pair!r} is no NAME=ACCURACY, such as audio=0.71.") from None
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``dgl diagnose FILE.py:NAME``; 0 is done, 2 means that something does not exist or does not work."""
    parser = argparse.ArgumentParser(prog="dgl diagnose", description="How far does fusion suppress each encoder?")
    parser.add_argument("place", metavar="FILE.py:NAME", help="a function that returns (model, loader)")
    parser.add_argument("--share", type=float, default=0.125, help="of every batch on which gradients are measured")
    parser.add_argument("--alone", nargs="+", default=[], metavar="NAME=ACCURACY", help="accuracies in [0, 1] of "
                        "models of one modality on the same samples, and fused=ACCURACY of their average")  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        alone = accuracies(options.alone) or None
        found = diagnose(*load(options.place), share=options.share)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception as error:  # whatever goes wrong in the reader's own model or loader
        last = traceback.extract_tb(error.__traceback__)[-1]
        said = next(iter(str(error).splitlines()), "")
        print(f"error: {type(error).__name__} at {last.filename}:{last.lineno}: {said}", file=sys.stderr)
        return 2
    tables = [found.table().to_string()] if importable("pandas") else []
    print(*tables, found, foretold(found, alone), sep="\n\n")
    return 0
