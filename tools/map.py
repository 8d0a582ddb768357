"""Make the map of notebook 09 on one thread, column by column; interrupted, it goes on where it was.

python -m tools.map run [MAP ...]    pilots, which choose the learning rates, then the registered draws -> results/map
python -m tools.map diagnose [MAP ...]  joint training again, for what 'diagnose' finds in it
python -m tools.map information      what the best predictors reach at every point of two modalities
python -m tools.map law              both sides of the law, at one point, with each head
python -m tools.map remedy           candidates and rivals: pilots, then the registered draws
python -m tools.map gates            encoders that see part of the fused gradient, at every synergy
python -m tools.map cases            sets that do not shape the forecast: joint training, diagnosed, and DGL
python -m tools.map forecast         fit the forecast on the maps -> dgl_core/forecast.toml
python -m tools.map status           what is recorded
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from dgl_core.data.files.atomic import write_atomic
from dgl_core.data.generated import dial
from dgl_core.diagnosis import FITTED
from dgl_core.paper.map import forecasting, gates, law, records, remedy, runs
from dgl_core.paper.map.design import RESULTS, Map, chosen_rates, maps, registered
from dgl_core.training.environment import commit
from dgl_core.utils import results_root

FIRST = (0.0, 1.0, 0.5, 0.8, 0.3, 0.6, 0.7, 0.9)  # the rest follows in order
COUNTS = {"test": 1200, "val": 224}


def rates(of: Map) -> dict[str, dict[str, float]]:
    """Look up the learning rates of a map; run its pilots first if they are not known."""
    known = dict(chosen_rates())
    if of.name not in known:
        known[of.name] = runs.pilot(of)
        RESULTS.mkdir(parents=True, exist_ok=True)
        write_atomic(RESULTS / "rates.toml", as_toml(known))
    return known[of.name]


def as_toml(known: dict) -> str:
    """Write the rates: map -> row -> synergy -> rate."""
    lines = ["# Learning rates that the pilots of the map chose; made by 'python -m tools.map run'."]
    for name, rows in known.items():
        lines += ["", f"[{name}]"]
        for row, values in rows.items():
            pairs = ", ".join(f'"{synergy}" = {rate:g}' for synergy, rate in values.items())
            lines.append(f'"{row}" = {{ {pairs} }}')
    return "\n".join(lines) + "\n"


def run(of: Map) -> None:
    """Make one map, the ends and the middle of the dial first; what is made is kept after every column."""
    known, columns, places = rates(of), {}, list(registered()["synergies"])
    for synergy in sorted(places, key=lambda s: (FIRST.index(s) if s in FIRST else len(FIRST), s)):
        path = results_root() / "map" / f"{of.name}-{synergy:g}.npz"
        if not path.exists():
            started = time.process_time()
            arrays = runs.column(of, synergy, known)
            seconds = time.process_time() - started
            records.save(path, arrays, records.environment() | {"seconds": seconds})
            print(f"{of.name}, synergy {synergy:g}: {seconds:.0f} core-seconds", flush=True)
        columns[places.index(synergy)] = records.load(path)
        keep(of, columns, len(places))


def keep(of: Map, columns: Mapping[int, tuple[dict, dict]], count: int) -> None:
    """Write the record of a map from the columns that are made."""
    first, _ = next(iter(columns.values()))
    blank = {name: records.ABSENT if name.split("/")[0] in COUNTS else np.nan for name in first}
    whole = {name: np.stack([columns[s][0][name] if s in columns else np.full_like(values, blank[name])
                             for s in range(count)]) for name, values in first.items()}  # fmt: skip
    environments = [columns[s][1] for s in sorted(columns)]
    records.save(RESULTS / f"{of.name}.npz", whole, {"environments": environments, **COUNTS})


def information() -> dict[str, np.ndarray]:
    """Compute what the best predictors of every point reach, in percent: "joint", "additive", "unimodal" [S, I]."""
    body = registered()
    known = [[dial.information(s, i) for i in body["imbalances"]] for s in body["synergies"]]
    return {name: 100 * np.array([[getattr(k, name) for k in line] for line in known]) for name in known[0][0]._fields}


def make_law() -> None:
    """Train both sides of the law with the heads that are not recorded."""
    path = RESULTS / "law.npz"
    known, about = records.load(path) if path.exists() else ({}, {"environments": []})
    arrays = known | law.run([head for head in law.HEADS if f"{head}/DGL" not in known])
    records.save(path, arrays, {"environments": [*about["environments"], records.environment()], **COUNTS})


def make_cases() -> None:
    """Take what confirming records know anew; train the cases that are missing, and keep each as it is made."""
    known = [forecasting.renewed(case) for case in forecasting.cases()]
    keep_cases(known)
    for name, head in forecasting.asked():
        if f"{name}, {head}" not in {case.name for case in known}:
            known.append(forecasting.make_case(name, head))
            keep_cases(known)
            print(known[-1].name, {t: round(known[-1].gain(t), 2) for t in known[-1].gains}, flush=True)


def keep_cases(known: Sequence[forecasting.Case]) -> None:
    """Write the cases, those of one set together."""
    places = list(forecasting.SETS)
    ordered = sorted(known, key=lambda case: places.index(case.name.split(", ")[0]))
    kept = {"environment": records.environment(), "cases": [dataclasses.asdict(case) for case in ordered]}
    write_atomic(forecasting.CASES, json.dumps(kept, indent=1) + "\n")


def maps_and_columns() -> list[str]:
    """Name the recorded maps with their number of columns."""
    return [f"{name} ({len(records.record(name).columns)} columns)" for name in records.available()]


def renew(of: Map) -> None:
    """Diagnose the jointly trained models of a recorded map anew, and check that they are the recorded ones."""
    arrays, about = records.load(RESULTS / f"{of.name}.npz")
    places = zip(registered()["synergies"], arrays["rate/vanilla"], strict=True)
    found = np.stack([runs.diagnosed(of, synergy, float(rate)) for synergy, rate in places])
    recorded = arrays["test/vanilla"][..., 0] / about["test"]
    apart = np.abs(found[..., 0] - recorded).mean()
    if apart > 0.005:
        raise ValueError(f"{of.name}: the models differ from the recorded ones by {100 * apart:.1f} points on average.")
    environments = [*about["environments"], records.environment()]
    records.save(RESULTS / f"{of.name}.npz", arrays | {"statistics": found}, about | {"environments": environments})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools.map", description=__doc__.splitlines()[0])
    parser.add_argument(
        "what", choices=("run", "diagnose", "information", "law", "remedy", "gates", "cases", "forecast", "status")
    )
    parser.add_argument("maps", nargs="*", metavar="MAP", help=", ".join(maps()))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.what == "law":
        make_law()
        return 0
    if options.what == "remedy":
        about = {"environments": [records.environment()], **COUNTS}
        records.save(RESULTS / "remedy.npz", remedy.run(COUNTS), about)
        return 0
    if options.what == "gates":
        records.save(RESULTS / "gates.npz", gates.run(), {"environments": [records.environment()], **COUNTS})
        return 0
    if options.what == "information":
        records.save(RESULTS / "information.npz", information(), {"environments": [records.environment()]})
        return 0
    if options.what == "cases":
        make_cases()
        return 0
    if options.what == "forecast":
        about = {"commit": commit(), "maps": maps_and_columns(), "samples": COUNTS["test"]}
        write_atomic(FITTED, forecasting.as_toml(forecasting.fitted_on_maps(), about))
        return 0
    for name in options.maps or maps():
        if options.what == "run":
            run(maps()[name])
        if options.what == "diagnose" and name in records.available():
            renew(maps()[name])
        print(f"{name}: {'recorded' if name in records.available() else 'not recorded'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
