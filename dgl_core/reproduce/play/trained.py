"""Hold the two small networks that the pages play with: how they are trained, and what is kept of them.

``python -m tools.play`` trains them (half a minute) and writes what lies in ``kept``: the weights, the accuracies, and
the suppression ratio R of some training clips after every epoch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from dgl_core import data, models
from dgl_core.gradients import FUSED
from dgl_core.models.multimodal import MultimodalModel, untouched
from dgl_core.paper.experiments.late_fusion import TABLE_1, base_specs
from dgl_core.suppression import suppression_ratio
from dgl_core.training.records import RunSpec
from dgl_core.training.saving.weights import LAST, Predictor, load_model
from dgl_core.training.train import fit

KEPT = Path(__file__).with_name("kept")
ROWS = ("vanilla", "DGL")  # rows of Table 1
WIDTH = 6  # of the small network; that of the records is 8, whose weights are nearly twice as large
SEED = 0
WATCHED = 10  # training clips of every emotion, the first ones of the set
SHAPES = {"audio": (1, 64, 47), "visual": (3, 48, 48)}  # of one clip
FIELDS = ("lr", "epochs", "milestones", "batch_size", "seed")  # of a specification that ``fit`` is given


def spec(row: str) -> RunSpec:
    """Specify one of the two trainings: as the reference records of the generated emotions, a quarter narrower."""
    method, options = TABLE_1[row]
    (base,) = base_specs("cpu", "emotions", (SEED,))
    return base.but(method=method, method_options=options, model_options={"width": WIDTH})


def network(classes: int = 6) -> MultimodalModel:
    """Build the network of both trainings as it is before the first step."""
    return models.build("small", SHAPES, classes, SEED, width=WIDTH)


def weights_file(row: str) -> Path:
    """Name the committed weights of one of the two networks after its last epoch."""
    return KEPT / f"{row.lower()}.safetensors"


def predictor(row: str) -> Predictor:
    """Load one of the two trained networks."""
    return load_model(weights_file(row))


def history() -> dict:
    """Read what was noted in training: row -> ``accuracy``, ``right``, ``curves``, ``ratio``; and the watched clips."""
    return json.loads((KEPT / "history.json").read_text(encoding="utf-8"))


def watched(dataset: data.Dataset) -> list[int]:
    """Choose the training clips whose R is noted: the first ones of every emotion, in the order of the set."""
    rows = dataset.indices("train").tolist()
    of_class = {k: [row for row in rows if dataset.target[row] == k][:WATCHED] for k in range(len(dataset.classes))}
    return [row for chosen in of_class.values() for row in chosen]


def ratios(model: MultimodalModel, dataset: data.Dataset, rows: Iterable[int]) -> dict[str, list[float]]:
    """Measure R of some clips at the present weights: modality -> one value a clip, four digits."""
    inputs, target = dataset.batch(torch.tensor(list(rows)))
    with torch.no_grad(), untouched(model):
        logits = model.all_logits(inputs)
    found = {m: suppression_ratio(logits[FUSED], logits[m], target)[0].tolist() for m in model.encoders}
    return {m: [float(f"{value:.4g}") for value in values] for m, values in found.items()}


def train(folder: Path, say: Callable[[str], None] = print) -> None:
    """Train both networks and write everything that is kept of them into a folder."""
    dataset = data.load("emotions")
    rows = watched(dataset)
    noted: dict = {"clips": [dataset.ids[row] for row in rows], "labels": dataset.target[rows].tolist()}
    for row in ROWS:
        wanted, model, seen = spec(row), network(len(dataset.classes)), []

        def look(numbers, model=model, seen=seen, wanted=wanted) -> None:
            seen.append(ratios(model, dataset, rows))
            say(f"{wanted}: epoch {numbers['epoch']} of {numbers['epochs']}")

        options = {name: getattr(wanted, name) for name in FIELDS} | wanted.method_options
        made = fit(model, wanted.method, dataset, save=folder / row, on_epoch=look, device="cpu", **options)
        (folder / row / f"{LAST}.safetensors").replace(folder / weights_file(row).name)
        for rest in (folder / row).iterdir():
            rest.unlink()
        (folder / row).rmdir()
        noted[row] = {
            "accuracy": {branch: made.score(branch) for branch in made.branches()},
            "right": made.right["last"],  # which test clips, as in a record
            "curves": {name: values for name, values in made.curves.items() if _shown(name)},
            "ratio": {m: [at[m] for at in seen] for m in dataset.modalities},  # [epochs][clips]
        }
    (folder / "history.json").write_text(json.dumps(noted) + "\n", encoding="utf-8")


def _shown(column: str) -> bool:
    """Tell whether a page shows a column of a record: gradient norms, R and the test accuracies."""
    kind, *rest = column.split("/")
    return kind in ("gradient", "suppression") or (kind == "test" and rest[-1] == "accuracy")
