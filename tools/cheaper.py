"""Ask whether a cheaper recipe gives the same answer: pairs of a full and a cheaper run, two one-sided tests.

python -m tools.cheaper [--recipe tenth] [--regime emotions] [--replicates 29] [--rates 1 3] [--judge]

Every row (joint training, G-Blending, DGL) is trained both ways on fresh draws, at the rate that its pilots chose; runs
that are recorded, also those of ``results/confirming``, are not trained again. A row is proven equal where the 90 %
interval of its mean difference lies within 1 point and there are 29 replicates or more; the recipe is where all rows
are. ``--rates`` says by what the chosen rate is multiplied, since a cheaper run may want another one. With several of
them the cheaper runs alone are trained, on pilots (``--first 50 --replicates 5``), to choose one by validation.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence

from dgl_core.paper.answers.regimes import confirming_root, rate_of, regime
from dgl_core.runs import run
from dgl_core.runs.recipes import RECIPES, cheaper
from dgl_core.runs.workers import local_workers
from dgl_core.training.records import RunRecord, RunSpec
from dgl_core.verdicts.inference import Draws
from dgl_core.verdicts.registration import registration

ROWS = ("vanilla", "G-Blending", "DGL")
DELTA, LEVEL, ENOUGH = 1.0, 0.05, 29  # points; of each one-sided test; replicates


def pairs(name: str, row: str, recipe: str, first: int, count: int, rate: float) -> list[tuple[RunSpec, RunSpec]]:
    """Specify the full and the cheaper run of each replicate; ``rate`` multiplies the cheaper one's."""
    full = [regime(name).run(row, replicate, rate_of(name, row)) for replicate in range(first, first + count)]
    return [(spec, (short := cheaper(spec, recipe)).but(lr=rate * short.lr)) for spec in full]


def found(spec: RunSpec, name: str) -> RunRecord | None:
    """Find a run among this machine's records or the committed confirming ones."""
    return run.find(spec) or run.find(spec, confirming_root() / name)


def said(done: Sequence[tuple[RunRecord, RunRecord]], delta: float = DELTA) -> tuple[str, bool]:
    """Say in a line what pairs (full, cheaper) tell, and whether they prove a row equal within ``delta`` points."""
    evidence = Draws([100 * (short.score() - full.score()) for full, short in done])
    spent = [sum(record.cost["seconds"] for record in each) for each in zip(*done, strict=True)]
    low, high = evidence.interval(1 - 2 * LEVEL)
    p = evidence.p_equal(delta)
    equal = p <= LEVEL and evidence.n >= ENOUGH
    words = "equal" if equal else f"not proven (p {p:.2g}, n {evidence.n})"
    return (
        f"{evidence.mean:+6.2f} points [{low:+.2f}, {high:+.2f}], {spent[1] / spent[0]:.2f} of the time: {words}",
        equal,
    )


def validation(specs: Sequence[RunSpec], name: str) -> str:
    """Say the mean validation score of the pilots that are recorded."""
    scores = [100 * record.score(part="val") for spec in specs if (record := found(spec, name))]
    return f"{statistics.fmean(scores):.1f} % on validation, n {len(scores)}" if scores else "no pilot is recorded"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.cheaper", description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="tenth", choices=list(RECIPES))
    parser.add_argument("--regime", default="emotions")
    parser.add_argument("--replicates", type=int, default=ENOUGH)
    parser.add_argument("--first", type=int, default=registration().first, help="number of the first replicate")
    parser.add_argument("--rates", type=float, nargs="+", default=[1.0], help="factors of the cheaper run's rate")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--judge", action="store_true", help="train nothing")
    options = parser.parse_args(arguments)
    name, proven, piloting = options.regime, True, len(options.rates) > 1
    plan = {(row, rate): pairs(name, row, options.recipe, options.first, options.replicates, rate)
            for row in ROWS for rate in options.rates}  # fmt: skip
    wanted = [spec for each in plan.values() for pair in each for spec in pair[piloting:]]
    todo = [] if options.judge else [spec for spec in dict.fromkeys(wanted) if not found(spec, name)]
    if todo:
        with local_workers(options.workers) as pool:
            run.run_all(todo, pool, progress=lambda done, total, spec, seconds: print(
                f"{done} of {total}, {seconds / 60:.0f} min: {spec}", flush=True))  # fmt: skip
    for (row, rate), each in plan.items():
        done = [(full, short) for a, b in each if (full := found(a, name)) and (short := found(b, name))]
        line, equal = f"{len(done)} pairs are recorded: two are the fewest", False
        if piloting:
            line = validation([short for _, short in each], name)
        elif len(done) > 1:
            line, equal = said(done)
        print(f"{row:11s} rate x {rate:<4g} {line}")
        proven = proven and equal
    if not piloting:
        print(f"Recipe {options.recipe!r} on {name}: {'equal for all rows' if proven else 'not proven'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
