"""``fit`` on a reader's own kind of target: it learns, keeps weights that answer, refuses what does not go together."""

from __future__ import annotations

import pytest
import torch
from tiny import NAMES, arrays, late
from torch import Tensor, nn

from dgl_core.data import ArrayDataset
from dgl_core.data.tasks import TASKS
from dgl_core.methods import METHODS, build
from dgl_core.models import ConcatFusion, LateFusion
from dgl_core.training.records import unpack
from dgl_core.training.saving.weights import load_model
from dgl_core.training.train import fit

N, T, WORDS = 240, 5, 12
SPLIT = (["train", "train", "val", "test"] * N)[:N]
RNG = torch.Generator().manual_seed(0)
HIDDEN = torch.randn(N, 4, generator=RNG)  # what the targets follow, seen with noise by each modality
X = {m: HIDDEN @ torch.randn(4, 6, generator=RNG) + 0.3 * torch.randn(N, 6, generator=RNG) for m in ("sound", "face")}
STEPS = torch.randn(N, T, 4, generator=RNG)
TARGETS = {
    "classification": HIDDEN[:, :3].argmax(1),
    "multi_label": (HIDDEN > 0).long(),
    "regression": 100 + 30 * HIDDEN[:, :2],
    "sequence": STEPS[:, :, :3].argmax(2),
    "dense": (HIDDEN[:, 0] > 0).long()[:, None, None].expand(N, 4, 4),
}
QUICK = {"epochs": 8, "batch_size": 20, "lr": 0.1, "device": "cpu"}


class Steps(nn.Module):
    """A fusion that labels every step of features [B, T, D]: [B, K, T]."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.head = nn.Linear(width, classes)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return self.head(torch.cat(list(features.values()), dim=-1)).movedim(-1, 1)


class Maps(Steps):
    """A fusion that gives every pixel of a 4 x 4 map the same label: [B, K, 4, 4]."""

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        logits = self.head(torch.cat(list(features.values()), dim=-1))
        return logits[:, :, None, None].expand(-1, -1, 4, 4)


def problem(task: str) -> tuple[ArrayDataset, LateFusion]:
    inputs = {m: STEPS if m == "sound" else STEPS.flip(2) for m in X} if task == "sequence" else X
    dataset = ArrayDataset(inputs, TARGETS[task], SPLIT, task=task)
    encoders = {m: nn.Linear(x.shape[-1], 4) for m, x in inputs.items()}
    torch.manual_seed(0)
    widths, classes = dict.fromkeys(encoders, 4), len(dataset.classes)
    head = {"sequence": Steps, "dense": Maps}.get(task)
    return dataset, LateFusion(encoders, head(8, classes) if head else ConcatFusion(widths, classes))


@pytest.mark.parametrize("method", ["vanilla", "dgl", "ensemble"])
@pytest.mark.parametrize("task", TASKS)
def test_every_kind_of_target_is_learnt_and_answered(task, method, tmp_path):
    dataset, model = problem(task)
    if task not in METHODS[method].TARGETS:
        with pytest.raises(ValueError, match=f"but the task of data set 'arrays' is {task}: use vanilla, dgl"):
            fit(model, method, dataset, **QUICK)
        return
    lr = 0.01 if task == "regression" else 0.1  # squared errors have no largest gradient
    record = fit(model, method, dataset, save=tmp_path, **QUICK | {"lr": lr})
    assert record.score() > record.data["chance"]["test"] + 0.1 and record.data["task"] == task
    found, rows = load_model(tmp_path / "last.safetensors", model), dataset.indices("test")
    inputs = {m: x[rows] for m, x in dataset.inputs.items()}
    assert found.score(dataset)[record.selecting] == pytest.approx(record.score(), rel=1e-4)
    answer = found.predict(inputs, keep=("face",))
    assert len(answer.labels) == len(rows) and answer.of(dataset.classes[0]).shape[0] == len(rows)
    if task == "regression":
        error = (answer.scores - dataset.target[rows]).abs().mean()
        assert error < 30, "numbers come back in their own unit"


def test_methods_with_losses_of_their_own_say_what_they_are_for():
    weighted = ArrayDataset(X, TARGETS["classification"], SPLIT, weights="balanced")
    for name in METHODS:
        kinds = build(name).TARGETS
        model = problem("regression")[1]
        if "regression" not in kinds:
            with pytest.raises(ValueError, match="is regression: use vanilla, dgl"):
                fit(model, name, problem("regression")[0], **QUICK)
        if not build(name).WEIGHTS:
            with pytest.raises(ValueError, match="without class weights: leave out the weights"):
                fit(problem("classification")[1], name, weighted, **QUICK)


def test_class_weights_reach_every_loss():
    """With all the weight on one class, no sample of it is missed, by the fused model and by every branch."""
    dataset = ArrayDataset(X, TARGETS["classification"], SPLIT, weights=[0, 1, 0])
    for method in ("dgl", "ensemble"):
        record = fit(problem("classification")[1], method, dataset, **QUICK)
        truth = dataset.target[dataset.indices("test")].numpy() == 1
        plain = fit(problem("classification")[1], method, problem("classification")[0], **QUICK)
        for branch in ("fused", "sound", "face"):
            said, before = (unpack(r.predictions["last"][branch]) == 1 for r in (record, plain))
            assert said[truth].all() and said.sum() > before.sum()


def words(tokens=("text",)) -> ArrayDataset:
    ids = torch.randint(0, WORDS, (N, 7), generator=torch.Generator().manual_seed(1))
    target = (ids == 3).any(1).long()
    return ArrayDataset({"text": ids, "face": X["face"]}, target, SPLIT, tokens=tokens)


def reader() -> LateFusion:
    encoders = {"text": nn.EmbeddingBag(WORDS, 8, mode="sum"), "face": nn.Linear(6, 8)}
    return LateFusion(encoders, ConcatFusion(dict.fromkeys(encoders, 8), 2))


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_token_ids_reach_an_embedding(precision, tmp_path):
    record = fit(reader, "dgl", words(), save=tmp_path, precision=precision, **QUICK | {"epochs": 20, "lr": 0.3})
    assert record.score("text") > 0.9
    assert load_model(tmp_path).score(words(), keep=("text",))["accuracy"] > 0.9
    with pytest.raises(ValueError, match=r"if 'text' are token ids, name them with tokens=\('text',\)"):
        fit(reader, "dgl", words(tokens=()), **QUICK)


def test_a_token_outside_the_vocabulary_is_named_before_training_and_when_predicting(tmp_path):
    def small():
        encoders = {"text": nn.EmbeddingBag(WORDS - 1, 8), "face": nn.Linear(6, 8)}
        return LateFusion(encoders, ConcatFusion(dict.fromkeys(encoders, 8), 2))

    with pytest.raises(ValueError, match="'text' cannot look up the token 11: give its embedding 12 entries or more"):
        fit(small, "dgl", words(), **QUICK)
    fit(reader, "dgl", words(), save=tmp_path, **QUICK | {"epochs": 1})
    with pytest.raises(ValueError, match="the model cannot take these values: .*12"):
        load_model(tmp_path).predict({"text": [[WORDS] * 7]}, keep=("text",))


def test_a_function_makes_the_model_of_a_seed():
    made = []

    def factory():
        made.append(reader())
        return made[-1]

    torch.manual_seed(1)
    records = [fit(factory, method, words(), seed=seed, **QUICK | {"epochs": 1, "lr": 0.0})
               for method, seed in (("vanilla", 0), ("dgl", 0), ("vanilla", 1))]  # fmt: skip
    first, again, other = (torch.cat([p.flatten() for p in model.parameters()]) for model in made)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert records[0].score() == records[1].score()
    with pytest.raises(ValueError, match="the function that makes the model returned None"):
        fit(lambda: None, "vanilla", words(), **QUICK)


@pytest.mark.parametrize(("epochs", "falls"), [(10, 7), (100, 70), (1, 1)])
def test_the_rate_falls_after_seventy_per_cent_of_the_epochs(epochs, falls):
    record = fit(late(2), "vanilla", arrays(2), epochs=epochs, batch_size=30, lr=0.1, evaluate_every=100, device="cpu")
    assert record.spec.milestones == (falls,)
    assert record.curves["lr"] == pytest.approx([0.1] * min(falls, epochs) + [0.01] * (epochs - falls))
    asked = fit(late(2), "vanilla", arrays(2), epochs=2, batch_size=30, milestones=(), device="cpu")
    assert asked.spec.milestones == ()


def test_a_run_that_learns_nothing_says_so(capsys):
    noise = {m: torch.randn(N, 6, generator=RNG) for m in NAMES[:2]}
    target = (torch.arange(N) % 10 == 0).long()  # one in ten
    dataset = ArrayDataset(noise, target, (["train"] * 3 + ["val"] + ["test"]) * (N // 5))
    encoders = {m: nn.Linear(6, 4) for m in noise}
    model = LateFusion(encoders, ConcatFusion(dict.fromkeys(encoders, 4), 2))
    record = fit(model, "vanilla", dataset, epochs=2, batch_size=20, lr=0.01, device="cpu")
    assert record.at_chance() and "fell to chance: validation accuracy" in capsys.readouterr().err
    learnt = fit(problem("classification")[1], "vanilla", problem("classification")[0], **QUICK)
    assert not learnt.at_chance() and "chance" not in capsys.readouterr().err
