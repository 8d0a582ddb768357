"""The ledger survives a re-analysis: own reader, own arithmetic, plain scipy, from the committed records alone.

Nothing of the judge is imported. Words must agree wherever the p-value is not within a quarter of its level.
"""

from __future__ import annotations

import base64
import json
import tomllib
from functools import cache

import numpy as np
import pytest
from scipy import stats

from dgl_core.paper.answers.verdicts import answers
from dgl_core.utils import ROOT

RESULTS = ROOT / "results"
REGISTERED = tomllib.loads((RESULTS / "registration.toml").read_text())
PILOTS = tomllib.loads((RESULTS / "pilots.toml").read_text())
DRAWN = [name for name, block in REGISTERED["regimes"].items() if block.get("draws")]
FAMILIES = [(f, s) for f in ("headline", "branches") for s in REGISTERED["families"][f]["sizes"]]
CLOSE = 0.25
LOOK = 15  # replicates of the first look
DEFAULTS = {"alpha": 4.0, "encoder_gate": 0.0, "fusion_gate": 0.0}


@cache
def records(dataset: str) -> dict[tuple, dict]:
    """Committed records of a set by method, its options, encoder rate, learning rate and replicate."""
    found = {}
    for path in sorted((RESULTS / "confirming" / dataset).glob("*.json")):
        body = json.loads(path.read_text())
        spec = {"method": "vanilla", "method_options": {}, "encoder_lr_scale": 1.0, "seed": 0, "lr": 0.0} | body["spec"]
        registered = spec["epochs"] == REGISTERED["regimes"][dataset]["spec"]["epochs"]  # others are twice as long
        plain = registered and (not spec.get("model_options") or spec.get("model") == "mlp")
        options = written(spec["method_options"])
        if plain:
            found[spec["method"], options, spec["encoder_lr_scale"], round(spec["lr"], 9), spec["seed"]] = body
    return found


def written(options: dict) -> tuple:
    """Options as files have them: without those at their defaults."""
    return tuple(sorted((k, v) for k, v in options.items() if v != DEFAULTS.get(k)))


def row(dataset: str, name: str, replicate: int) -> dict | None:
    """The record of a registered row, at the rate that its pilots chose."""
    regime, alpha = REGISTERED["regimes"][dataset], REGISTERED["regimes"][dataset]["alpha"]
    rate = PILOTS.get(dataset, {}).get(name, {}).get("rate")
    if name.removesuffix(" alone") in regime["modalities"]:
        block = {"method": "unimodal", "options": {"modality": name.removesuffix(" alone")}}
    else:
        block = REGISTERED["rows"][name]
    options = {k: alpha if v == "alpha" else v for k, v in block.get("options", {}).items()}
    scale = alpha if "encoder_lr_scale" in block else 1.0
    key = (block["method"], written(options), scale, rate and round(rate, 9), 100 + replicate)
    return records(dataset).get(key)


def last(body: dict, column: str) -> float:
    return 100 * body["curves"][column][-1]


def asked(block: dict, dataset: str) -> list[tuple[str, str, str, str, str]]:
    """Id, row, its branch, other row, its branch of every question that a block asks of a set."""
    modalities = REGISTERED["regimes"][dataset]["modalities"]
    forms = [block["than"]] if isinstance(block["than"], str) else block["than"]
    best = max(forms, key=lambda form: PILOTS.get(dataset, {}).get(form, {}).get("val", -1.0))
    if block.get("branch") == "each":
        return [(f"{block['id']}-{m}", *(side for one in (block["row"], best)
                 for side in (one.replace("{m}", m), "fused" if "{m}" in one else m))) for m in modalities]  # fmt: skip
    branch, other = block.get("branch", "fused"), block.get("other", "fused")
    if "weakest" not in (branch, other):
        return [(block["id"], block["row"], branch, best, other)]
    first = [[row(dataset, f"{m} alone", r) for r in range(LOOK)] for m in modalities]
    if not all(body for of in first for body in of):
        return [(block["id"], block["row"], branch, best, other)]
    worst = modalities[int(np.argmin([np.mean([last(b, "val/fused/accuracy") for b in of]) for of in first]))]
    than = (f"{worst} alone", "fused") if best == "alone" else (best, worst if other == "weakest" else other)
    return [(block["id"], block["row"], worst, *than)]


def p_values(dataset: str, one: str, branch: str, than: str, other: str, delta: float) -> tuple | None:
    """Mean difference, p of "it is not 0" and of "it is within delta", after the first look's replicates."""
    pairs = [(row(dataset, one, r), row(dataset, than, r)) for r in range(LOOK)]
    if not all(a and b for a, b in pairs):
        return None
    if dataset in DRAWN:
        gaps = [last(a, f"test/{branch}/accuracy") - last(b, f"test/{other}/accuracy") for a, b in pairs]
        low = stats.ttest_1samp(gaps, -delta, alternative="greater").pvalue
        high = stats.ttest_1samp(gaps, delta, alternative="less").pvalue
        return float(np.mean(gaps)), stats.ttest_1samp(gaps, 0).pvalue, max(low, high)
    means = bootstrap(pairs, branch, other)
    above, below = (means <= 0).mean(), (means >= 0).mean()
    return float(means.mean()), 2 * min(above, below), max((means <= -delta).mean(), (means >= delta).mean())


def bits(body: dict, branch: str) -> np.ndarray:
    raw = np.frombuffer(base64.b64decode(body["right"]["last"][branch]), np.uint8)
    return np.unpackbits(raw)[: body["data"]["counts"]["test"]].astype(float)


def bootstrap(pairs, branch: str, other: str, times: int = 4000) -> np.ndarray:
    """Items (or their groups) and seeds drawn with replacement, one less of each than there are, within folds."""
    rng, total, count = np.random.default_rng(1), np.zeros(times), len(pairs)
    for fold in range(5):
        of = [(a, b) for a, b in pairs if a["spec"].get("dataset_options", {}).get("fold", 0) == fold]
        gains = 100 * np.stack([bits(a, branch) - bits(b, other) for a, b in of], axis=1)  # [items, seeds]
        groups = of[0][0]["data"].get("groups")
        names = np.frombuffer(base64.b64decode(groups), "<u2") if groups else np.arange(len(gains))
        parts = [np.flatnonzero(names == name) for name in np.unique(names)]
        for t in range(times):
            items = np.concatenate([parts[i] for i in rng.integers(0, len(parts), len(parts) - 1)])
            seeds = rng.integers(0, len(of), len(of) - 1)
            total[t] += gains[np.ix_(items, seeds)].mean() * len(of) / count
    return total


def limits(p: dict[str, float], size: int, correction: str, level: float) -> dict[str, float]:
    """Level that each p-value has to meet: Holm's step-down, or Benjamini and Hochberg's common one."""
    ranked = sorted(p, key=p.get)
    if correction != "holm":
        passed = max((i for i, name in enumerate(ranked, 1) if p[name] <= level * i / size), default=0)
        return dict.fromkeys(p, level * max(passed, 1) / size)
    found, left = {}, size
    for name in ranked:
        found[name] = level / left
        left -= p[name] <= found[name]
    return found


@pytest.mark.parametrize(("family", "dataset"), FAMILIES)
def test_the_words_of_the_first_look_are_those_of_plain_statistics(family, dataset):
    block, regime = REGISTERED["families"][family], REGISTERED["regimes"][dataset]
    found = {}
    for question in REGISTERED["questions"]:
        if question["family"] == family and dataset in question["sets"]:
            for name, *sides in asked(question, dataset):
                delta = regime["delta"]["fused" if {sides[1], sides[3]} == {"fused"} else "branch"]
                found[name] = p_values(dataset, *sides, delta)
    known = {name: values for name, values in found.items() if values is not None}
    if not known:
        pytest.skip(f"{dataset}: no confirming records of this family yet")
    level = block["looks"][0]["level"]
    size = block["sizes"][dataset]
    assert size == len(found)
    different = limits({name: p for name, (_, p, _) in known.items()}, size, block["correction"], level)
    equal = limits({name: p for name, (_, _, p) in known.items()}, size, block["correction"], level)
    compared = 0
    for name, (mean, p, tost) in known.items():
        close = any(abs(value - limit) < CLOSE * limit for value, limit in ((p, different[name]), (tost, equal[name])))
        answer = answers()[name, dataset]
        if close or answer.look != LOOK:
            continue
        word = "practically equal" if tost <= equal[name] else "undecided"
        word = ("better" if mean > 0 else "worse") if p <= different[name] else word
        assert answer.judged.word == word, (name, mean, p, tost)
        compared += 1
    assert compared or all(answers()[name, dataset].look != LOOK for name in known)
