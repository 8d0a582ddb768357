"""Look for something that beats both DGL and G-Blending at equal steps: chosen on pilots, confirmed on fresh draws."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from dgl_core.paper.map.design import Row, candidates, registered, rows, sample, spec
from dgl_core.paper.map.records import DIVERGED
from dgl_core.paper.map.runs import right, train_row

REFERENCE = "vanilla"  # shown beside the fronts; it has no alpha


def fronts() -> dict[str, dict[float, Row]]:
    """List what is compared: name -> alpha -> row."""
    alphas = registered()["remedy"]["alphas"]
    return {name: {alpha: candidates(alpha)[name] for alpha in alphas} for name in candidates(alphas[0])} | {
        REFERENCE: {alphas[0]: rows()[REFERENCE]}
    }


def scored(hits: np.ndarray, total: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn counts ``[..., B]`` into percentages of the fused model and of the weakest branch, ``[...]`` each."""
    percent = np.where(hits == DIVERGED, 0, hits) * 100.0 / total
    return percent[..., 0], percent[..., 1:].min(axis=-1)


def choose(total: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Choose rates and alpha by the mean of fused and weakest-branch validation accuracy of the pilots.

    Returns:
        name -> (best rate of every point and alpha [P, A], place of the best alpha at every point [P]).
    """
    remedy, draws = registered()["remedy"], registered()["pilots"]
    data, seeds = sample([tuple(point) for point in remedy["points"]], draws)
    found = {}
    for name, by_alpha in fronts().items():
        scores = np.zeros((len(remedy["points"]), len(by_alpha), len(remedy["rates"])))
        for a, row in enumerate(by_alpha.values()):
            for r, rate in enumerate(remedy["rates"]):
                hits = right(train_row(row, remedy["head"], data, seeds, spec(rate, row)), data, "val")
                fused, weakest = scored(hits, total)
                scores[:, a, r] = ((fused + weakest) / 2).reshape(-1, len(draws)).mean(axis=1)
        rate = np.array(remedy["rates"])[scores.argmax(axis=2)]
        found[name] = rate, scores.max(axis=2).argmax(axis=1)
    return found


def run(totals: dict[str, int]) -> dict[str, np.ndarray]:
    """Choose on the pilots, then train every front on the registered draws.

    Returns:
        "test/NAME", "val/NAME": counts of right samples [P, A, D, B]; "rate/NAME" [P, A]; "alpha/NAME" [P];
        "seconds/NAME": core-seconds of one run, a mean.
    """
    remedy, first = registered()["remedy"], registered()["first"]
    draws, points = range(first, first + remedy["draws"]), [tuple(point) for point in remedy["points"]]
    found = {}
    for name, (rate, alpha) in choose(totals["val"]).items():
        started = time.process_time()
        hits: dict[str, list] = defaultdict(list)
        for a, row in enumerate(fronts()[name].values()):
            for part, counts in _at(row, points, draws, rate[:, a]).items():
                hits[part].append(counts)
        seconds = (time.process_time() - started) / (rate.size * len(draws))
        found |= {f"{part}/{name}": np.stack(counts, axis=1) for part, counts in hits.items()}
        found |= {f"rate/{name}": rate, f"alpha/{name}": alpha, f"seconds/{name}": np.array(seconds)}
        print(f"remedy, {name}: {seconds:.2f} core-seconds a run", flush=True)
    return found


def _at(row: Row, points: Sequence, draws: range, rates: np.ndarray) -> dict[str, np.ndarray]:
    """Train a row at all points, those of one rate together: part -> counts [P, D, B]."""
    found: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
    for rate in np.unique(rates):
        places = np.flatnonzero(rates == rate)
        data, seeds = sample([points[p] for p in places], draws)
        trained = train_row(row, registered()["remedy"]["head"], data, seeds, spec(float(rate), row))
        for part in ("val", "test"):
            counts = right(trained, data, part)
            for number, place in enumerate(places):
                found[part][place] = counts[number * len(draws) : (number + 1) * len(draws)]
    return {part: np.stack([by[p] for p in range(len(points))]) for part, by in found.items()}


def passes(row: Row, modalities: int) -> dict[str, int]:
    """Count the forward passes of encoders and heads in one step; all rows make the same number of steps."""
    masked = modalities if row.alpha else 0
    joining, own = (1, masked) if row.own else (1 + masked, 0)
    return {"encoders": modalities, "joining head": joining, "own heads": own}
