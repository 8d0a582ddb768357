"""Start every notebook from checked parameters, check its mathematics, answer its question, publish what it shows."""

from __future__ import annotations

import os
import platform
import random
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy
import torch

from dgl_core.data.files.atomic import write_atomic
from dgl_core.figures import style
from dgl_core.figures.style import Picture
from dgl_core.paper.experiments.profiles import TITLES, Experiment, profile_named
from dgl_core.paper.tables import rendering
from dgl_core.paper.tables.results import flat, markdown_table
from dgl_core.runs.run import load_or_run, pending, seconds_here
from dgl_core.training.environment import commit, is_portable
from dgl_core.training.records import RunSpec
from dgl_core.utils import Range, duration, needs, project_root, results_root
from dgl_core.verdicts.statistics import Rows, mean_interval, signed


@dataclass(frozen=True)
class Settings:
    """Checked parameters of one notebook execution, as ``start`` takes them, the device, and the reader's own runs."""

    profile: str
    seed: int
    recompute: bool
    data_root: Path | None
    device: str  # cpu | cuda
    alpha: float | None = None  # of a notebook that has one

    def your_runs(
        self, experiment: Callable[..., Experiment], *datasets: str, usual: float | None = None
    ) -> dict[str, Rows]:
        """Train the rows of a notebook at the seed and the alpha that its reader has set, and name the panels.

        A run that the change does not concern is found, not trained; what was trained is recorded, so that it is
        there at once the second time. One printed line a data set says what is new and how long it takes.

        Args:
            experiment: ``experiment(profile, dataset)`` gives row label -> runs, as this notebook trains them by
                default; with a third argument, a tuple of seeds, those of other seeds.
            datasets: the sets that this notebook trains on here.
            usual: alpha as the notebook is delivered, at which every set keeps its own; None: each has that one.

        Returns:
            Title -> row label -> records, one a seed, of two panels a set: this run ("..., this run (smoke)"), which
            the change leaves as it is, and the reader's ("..., your run (alpha 8)"). Empty where seed and alpha are
            those of the notebook: one that nobody edited shows nothing of it.
        """
        panels: dict[str, Rows] = {}
        for dataset in datasets:
            rows = experiment(self.profile, dataset)
            first = next(iter(rows.values()))[0]
            same = experiment(self.profile, dataset, (self.seed,)) if self.seed != first.seed else rows
            alpha = None if self.alpha == usual else self.alpha
            yours = {row: [_at(spec, alpha) for spec in specs] for row, specs in same.items()}
            words = [f"alpha {alpha:g}"] if yours != same else []
            words += [f"seed {self.seed}"] if same != rows else []
            if words:
                title = f"{TITLES[first.dataset]}, your run ({', '.join(words)})"
                if changed := self._announced(title, rows, yours):
                    load_or_run(changed, recompute=True)
                panels |= {f"{TITLES[first.dataset]}, this run ({self.profile})": load_or_run(rows)}
                panels |= {title: load_or_run(yours)}
        return panels

    def _announced(self, title: str, rows: Experiment, yours: Experiment) -> list[RunSpec]:
        """Print how much is to be trained, and list the runs that ``recompute`` asks for and the notebook has not."""
        before, after = ([spec for specs in each.values() for spec in specs] for each in (rows, yours))
        changed = [spec for spec in after if spec not in before] if self.recompute else []
        todo = changed + pending(spec for spec in before + after if spec not in changed)
        wait = f"{len(todo)} runs to train, about {duration(seconds_here(todo))}" if todo else "found, trained before"
        print(f"{title}: {wait}.", flush=True)
        return changed


def _at(spec: RunSpec, alpha: float | None) -> RunSpec:
    """Change what alpha is in a run: the weight of its unimodal losses, or the factor of its encoders' rate."""
    if alpha is None:
        return spec
    if "alpha" in spec.method_options:
        return spec.but(method_options=spec.method_options | {"alpha": alpha})
    return spec if spec.encoder_lr_scale == 1 else spec.but(encoder_lr_scale=alpha)


def start(
    profile: str = "smoke",
    seed: int = 0,
    *,
    alpha: float | None = None,
    recompute: bool = False,
    data_root: str = "",
) -> Settings:
    """Validate a notebook's parameters, seed every generator, set the figure style and the number of threads.

    Args:
        profile: how much to run: smoke (minutes, one portable thread), cpu, paper (one GPU).
        seed: of Python, NumPy and torch in this notebook, and of ``Settings.your_runs``; other recorded runs keep the
            seeds of their specifications.
        alpha: weight of the unimodal losses in ``Settings.your_runs``; None: the notebook has no such parameter.
        recompute: train again even where this machine has a record.
        data_root: folder of the real data sets; empty means DGL_DATA, then ./data, then generated data.

    Raises:
        TypeError: a parameter has the wrong type (papermill's ``-p recompute yes`` arrives as a string).
        ValueError: unknown profile, negative seed, alpha not above 0, or a data folder that does not exist.
    """
    expected = {"profile": (profile, str), "seed": (seed, int), "recompute": (recompute, bool)}
    for name, (value, kind) in (expected | {"data_root": (data_root, str)}).items():
        if type(value) is not kind:
            raise TypeError(f"parameter {name} = {value!r} must be {kind.__name__}, not {type(value).__name__}")
    if alpha is not None:
        if type(alpha) not in (int, float):
            raise TypeError(f"parameter alpha = {alpha!r} must be a number, not {type(alpha).__name__}")
        Range(above=0).check("parameter alpha", alpha)
    portable = profile_named(profile).portable
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed = {seed} must be in 0 .. 2**32 - 1")
    folder = Path(data_root).expanduser().resolve() if data_root else None
    if folder and not folder.is_dir():
        raise ValueError(f"data_root = {data_root!r} is not a folder: give the folder that holds the data sets")
    if folder:
        os.environ["DGL_DATA"] = str(folder)

    needs("Tables", "pandas")
    import pandas

    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    style.apply()
    rendering.apply()
    pandas.set_option("display.max_colwidth", None, "display.max_columns", None, "display.max_rows", 200)
    if portable:
        torch.set_num_threads(1)
        if not is_portable():
            print(
                f"Numerics: this machine's own, so digits may differ from the committed ones; runs are kept in "
                f"{results_root()} as such. 'make lab' starts kernels with portable numerics.", file=sys.stderr,
            )  # fmt: skip
    if recompute:
        print("recompute = True: the runs of this notebook are trained anew; committed reference records stay.")
    device = "cuda" if torch.cuda.is_available() and not portable else "cpu"
    return Settings(profile, seed, recompute, folder, device, alpha)


def check(title: str, ok: Any, detail: str = "") -> None:
    """Assert a piece of mathematics or a contract: prints ``PASS  title (detail)`` or raises AssertionError.

    ``detail`` is the measured bound, rounded so that it reads the same on every machine.
    """
    text = f"{title} ({detail})" if detail else title
    if not bool(ok):
        raise AssertionError(f"FAIL  {text}")
    print(f"PASS  {text}")


def difference(title: str, values: Sequence[float], *, unit: str = "points") -> None:
    """Print the mean of paired differences with its 95 % interval, one line: it describes and judges nothing."""
    if len(values) < 2:
        print(f"{title}: {signed(values[0])} {unit}, one run has no interval" if len(values) else f"{title}: no runs")
        return
    found = mean_interval(values)
    print(f"{title}: mean {signed(found.mean)} {unit}, 95 % interval [{signed(found.low)}, {signed(found.high)}], "
          f"n = {found.n}")  # fmt: skip


def answer(*claims: str) -> None:
    """Print what registered claims came to, one sentence each, at most four: how a notebook ends.

    Raises:
        ValueError: more than four, or no such claim.
    """
    from dgl_core.paper.claims import judging  # here, because most cells need none of it
    from dgl_core.paper.claims.ledger import claim_named

    if len(claims) > 4:
        raise ValueError(f"an answer of {len(claims)} sentences is no answer: name four claims at most")
    for name in claims:
        print(judging.sentence(claim_named(name)))


def provenance() -> None:
    """Print which code, versions, device and data this execution used; never a path of this machine."""
    versions = {name: metadata.version(name).split("+")[0] for name in ("torch", "numpy", "pandas", "matplotlib")}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})"
    given = os.environ.get("DGL_DATA", "")
    found = "./data" if (project_root() / "data").is_dir() else "generated only"
    if given and Path(given).is_dir():
        found = "DGL_DATA"
    rows = {
        "commit": commit(),
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "device": f"{device}, {torch.get_num_threads()} thread(s)",
        "numerics": "portable" if is_portable() else "native (digits may differ on another processor)",
        "data": found,
    }
    print("\n".join(f"{name:<9} {value}" for name, value in rows.items()))


def publish(name: str, thing: Any) -> Any:
    """Return ``thing``; under the runner also write it into the report ($DGL_REPORT).

    A ``Picture`` becomes figures/name.png and .svg, a DataFrame tables/name.csv and .md; TypeError for anything else,
    ValueError for a name that is not of lower-case letters, digits and single underscores ("figure_3_1a").
    """
    if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name):
        raise ValueError(f"publish: name {name!r} must be lower-case letters, digits and single underscores")
    needs("Tables", "pandas")
    import pandas

    if not isinstance(thing, Picture | pandas.DataFrame):
        raise TypeError(f"publish({name!r}): expected a Picture or a pandas DataFrame, not {type(thing).__name__}")
    if report := os.environ.get("DGL_REPORT"):
        if isinstance(thing, Picture):
            files = {f"figures/{name}.png": thing.png(), f"figures/{name}.svg": thing.svg()}
        else:
            files = {f"tables/{name}.csv": flat(thing).to_csv(), f"tables/{name}.md": markdown_table(thing)}
        for file, content in files.items():
            write_atomic(Path(report) / file, content)
    return thing
