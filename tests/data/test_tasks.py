"""Every kind of target: what is accepted, what is refused, the loss and the scores against formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pandas
import pytest
import sklearn.metrics
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Subset

from dgl_core.data import PARTS, ArrayDataset, random_split
from dgl_core.data.tasks import TASKS
from dgl_core.data.tasks.label_maps import VOID
from dgl_core.data.tasks.sequences import PADDING

N, K, T = 40, 3, 4
SPLIT = ["train"] * 24 + ["val"] * 6 + ["test"] * 10
RNG = torch.Generator().manual_seed(0)
X = {"sound": torch.randn(N, 5, generator=RNG), "face": torch.randn(N, 4, generator=RNG)}
CLASSES = torch.arange(N) % K
LABELS = (torch.rand(N, 4, generator=RNG) < 0.4).long()
NUMBERS = 50 + 20 * torch.randn(N, 2, generator=RNG)
STEPS = torch.randint(0, K, (N, T), generator=RNG)
STEPS[:, -1] = PADDING
MAPS = torch.randint(0, K, (N, 6, 8), generator=RNG)
MAPS[:, 0] = VOID
TARGETS = {"classification": CLASSES, "multi_label": LABELS, "regression": NUMBERS, "sequence": STEPS, "dense": MAPS}
OUTPUTS = {"classification": (K,), "multi_label": (4,), "regression": (2,), "sequence": (K, T), "dense": (K, 6, 8)}


def dataset(task, target=None, **more) -> ArrayDataset:
    return ArrayDataset(X, TARGETS[task] if target is None else target, SPLIT, task=task, **more)


def outputs(task, count: int = N) -> torch.Tensor:
    return torch.randn(count, *OUTPUTS[task], generator=torch.Generator().manual_seed(3))


def tallied(task, given: torch.Tensor, target: torch.Tensor):
    tally = task.tally()
    for rows in torch.arange(len(target)).split(7):
        tally.update(given[rows], target[rows])
    return tally.result()


# -- losses and scores -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TASKS)
def test_the_score_is_a_result_and_the_loss_of_the_whole_is_that_of_its_parts(kind):
    data = dataset(kind)
    given, target = outputs(kind), data.target
    found = tallied(data.task, given, target)
    assert data.task.kind == kind and found[data.task.score] <= 1
    assert found["loss"] == pytest.approx(data.task.criterion(given, target).item(), rel=1e-5)


def test_multi_label_scores_are_those_of_scikit_learn():
    data, given = dataset("multi_label"), outputs("multi_label")
    given[::5] = given[0]  # ties
    found, truth, said = tallied(data.task, given, data.target), LABELS.numpy(), (given >= 0).numpy()
    precision = sklearn.metrics.average_precision_score(truth, given.numpy())
    assert found["mean_average_precision"] == pytest.approx(precision)
    assert found["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(truth, said, average="macro"))
    assert found["exact"] == pytest.approx(sklearn.metrics.accuracy_score(truth, said))
    assert found["loss"] == pytest.approx(F.binary_cross_entropy(given.sigmoid(), LABELS.float()).item(), rel=1e-5)


def test_regression_learns_standardised_numbers_and_answers_in_their_unit():
    data, given = dataset("regression"), outputs("regression")
    train = NUMBERS[:24]
    mean, std = train.mean(0), train.std(0, correction=0)
    loss = ((given - (NUMBERS - mean) / std) ** 2).mean()
    assert torch.allclose(data.task.criterion(given, data.target), loss)
    found, values = tallied(data.task, given, data.target), data.task.scores(given)
    assert torch.allclose(values, given * std + mean)
    assert found["r2"] == pytest.approx(sklearn.metrics.r2_score(NUMBERS.numpy(), values.numpy()), rel=1e-4)
    assert found["mae"] == pytest.approx((values - NUMBERS).abs().mean().item(), rel=1e-5)
    right = data.task.criterion((NUMBERS - mean) / std, data.target)
    assert right < 1e-10


def test_steps_without_a_label_count_nowhere():
    data, given = dataset("sequence"), outputs("sequence")
    changed = given.clone()
    changed[:, :, -1] = 1e3 * torch.randn(N, K, generator=RNG)
    assert torch.equal(data.task.criterion(given, data.target), data.task.criterion(changed, data.target))
    found = tallied(data.task, given, data.target)
    assert found == tallied(data.task, changed, data.target)
    hits = (given.argmax(1) == STEPS)[:, :-1].double().mean().item()
    assert found["accuracy"] == pytest.approx(hits)
    padding = torch.full((2, T), PADDING)
    assert data.task.criterion(given[:2], padding) == 0


@pytest.mark.parametrize("kind", ["classification", "sequence", "dense"])
def test_class_weights_are_those_of_cross_entropy(kind):
    weights = [0.5, 2.0, 3.0]
    data, given = dataset(kind, weights=weights), outputs(kind)
    ignored = {"sequence": PADDING, "dense": VOID}.get(kind, -100)
    expected = F.cross_entropy(given, data.target, torch.tensor(weights), ignore_index=ignored)
    assert torch.allclose(data.task.criterion(given, data.target), expected)
    assert not data.task.by_sample


def test_balanced_weights_give_every_class_the_same_say():
    target = torch.tensor([0] * 30 + [1] * 9 + [2])
    target = target[torch.randperm(N, generator=RNG)]
    data = ArrayDataset(X, target, ["train"] * 38 + ["val", "test"], classes=("a", "b", "c"), weights="balanced")
    counts = torch.bincount(target[:38], minlength=3)
    said = data.task.weights * counts
    assert torch.allclose(said[counts > 0], said[counts > 0][0]) and torch.allclose(said.sum(), torch.tensor(38.0))
    labels = dataset("multi_label", weights="balanced")
    there = LABELS[:24].sum(0)
    assert torch.allclose(labels.task.weights, (24 - there) / there)
    given, weights = outputs("multi_label"), labels.task.weights
    expected = F.binary_cross_entropy_with_logits(given, LABELS.float(), pos_weight=weights)
    assert torch.allclose(labels.task.criterion(given, labels.target), expected)


@pytest.mark.parametrize("kind", TASKS)
def test_chance_is_the_score_of_the_best_answer_that_looks_at_nothing(kind):
    """Constant outputs are tried, one a class; none of them beats it, and one of them reaches it."""
    data = dataset(kind)
    train, test = (data.target[data.indices(part)] for part in ("train", "test"))
    constants = {"multi_label": [torch.zeros(4)], "regression": [torch.zeros(2)]}.get(kind, torch.eye(K))
    shape = (len(test), -1, *(1 for _ in OUTPUTS[kind][1:]))
    reached = [tallied(data.task, c.view(1, *shape[1:]).expand(len(test), *OUTPUTS[kind]), test)[data.task.score]
               for c in constants]  # fmt: skip
    assert any(score == pytest.approx(data.task.chance(train, test)) for score in reached)


@pytest.mark.parametrize("kind", TASKS)
def test_answers_have_one_entry_a_sample(kind):
    data, given = dataset(kind), outputs(kind)
    scores = data.task.scores(given)
    assert len(data.task.labels(scores, data.classes)) == N and scores.shape == given.shape
    again = TASKS[kind](**data.task.plain())  # what a weights file keeps of it
    assert torch.equal(again.scores(given), scores)
    pooled = data.task.pool({"a": given, "b": given})
    assert torch.allclose(data.task.scores(pooled), scores, atol=1e-5), "two equal opinions are one"


# -- targets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        pandas.Series(["no", "yes"] * 20, index=range(100, 100 + N)),
        pandas.Series(["no", "yes"] * 20).astype("category"),
        np.array(["no", "yes"] * 20),
        ["no", "yes"] * 20,
    ],
    ids=["series", "categories", "array", "list"],
)
def test_classes_may_be_given_by_name(target):
    data = ArrayDataset(X, target, random_split(target))
    assert data.classes == ("no", "yes") and data.target.tolist() == [0, 1] * 20
    other = ArrayDataset(X, target, SPLIT, classes=("yes", "no", "maybe"))
    assert other.target.tolist() == [1, 0] * 20 and other.classes == ("yes", "no", "maybe")
    with pytest.raises(ValueError, match="Unknown class of sample 1 of data set 'arrays' 'yes'"):
        ArrayDataset(X, target, SPLIT, classes=("no", "maybe"))


def test_columns_of_a_table_are_targets():
    table = pandas.DataFrame({"y": np.arange(N) % K, "v": np.linspace(0, 1, N)})
    nullable = table["y"].astype("Int64")
    assert torch.equal(ArrayDataset(X, nullable, SPLIT).target, CLASSES)
    assert ArrayDataset(X, table["v"], SPLIT, task="regression").target.shape == (N, 1)
    assert ArrayDataset(X, table[["v"]], SPLIT, task="regression", classes=["v"]).classes == ("v",)


@pytest.mark.parametrize(
    ("task", "target", "message"),
    [
        ("classification", NUMBERS[:, 0], "task='regression'"),
        ("classification", NUMBERS, "task='regression'"),
        ("classification", LABELS, "task='multi_label'"),
        ("classification", STEPS.clamp(min=0), "task='sequence'"),
        ("classification", MAPS, "task='dense'"),
        ("classification", torch.zeros(N, 2, 2, 2).long(), "no task takes another target"),
        ("multi_label", CLASSES, r"0 or 1 for each, shape \[N, L\]"),
        ("multi_label", LABELS * 2, "label 2.0 of sample '.*' fits no multi_label"),
        ("regression", NUMBERS.log() * float("nan"), "label nan of sample '0' fits no regression"),
        ("regression", MAPS, r"numbers to predict are \[N\] or \[N, D\]"),
        ("sequence", CLASSES, r"labels of sequences are integers \[N, T\], -100"),
        ("sequence", STEPS - 1, "label -1 of sample"),
        ("dense", STEPS, r"label maps are integers \[N, H, W\], 255"),
        ("dense", torch.full((N, 2, 2), 7), "label 7 of sample '0' is outside the 2 classes"),
        ("sequences", STEPS, "Unknown task of data set 'arrays' 'sequences': did you mean 'sequence'"),
    ],
)
def test_a_target_that_fits_no_task_is_refused(task, target, message):
    classes = ("a", "b") if task == "dense" else None
    with pytest.raises(ValueError, match=message):
        ArrayDataset(X, target, SPLIT, task=task, classes=classes)


@pytest.mark.parametrize(
    ("task", "more", "message"),
    [
        ("classification", {"weights": [1, 2]}, "one number of 0 or more for each of 3 classes"),
        ("classification", {"weights": [1, -2, 1]}, "one number of 0 or more"),
        ("classification", {"weights": "even"}, "Unknown weights 'even'.*'balanced'"),
        ("regression", {"weights": [1, 2]}, "a regression has none"),
        ("multi_label", {"classes": ("a", "b")}, "2 class names for 4 labels"),
        ("regression", {"classes": ("a", "b", "c")}, "3 names for 2 numbers"),
        ("classification", {"tokens": ("text",)}, "Unknown modality of data set 'arrays' with tokens 'text'"),
        ("classification", {"tokens": ("face",)}, r"tokens of 'face' are float32 \[40, 4\]; give integers"),
        ("classification", {"tokens": "face"}, r"tokens is 'face'; give a collection, e.g. tokens=\('face',\)"),
    ],
)
def test_what_does_not_go_with_the_target_is_refused(task, more, message):
    with pytest.raises(ValueError, match=message):
        dataset(task, **more)


# -- inputs ------------------------------------------------------------------------------------------------------------


def test_tokens_stay_integers():
    ids = torch.randint(0, 30, (N, 6), dtype=torch.int32)
    data = ArrayDataset({"text": ids, "face": X["face"]}, CLASSES, SPLIT, tokens=("text",))
    inputs, _ = data.batch(torch.arange(5))
    assert inputs["text"].dtype == torch.int64 and torch.equal(inputs["text"], ids[:5].long())
    assert nn.Embedding(30, 2)(inputs["text"]).shape == (5, 6, 2)
    with pytest.raises(ValueError, match="'text' has the token -1; count them from 0"):
        ArrayDataset({"text": ids - ids.min() - 1}, CLASSES, SPLIT, tokens=("text",))


def test_a_loader_of_torch_takes_the_set():
    data = dataset("regression")
    seen = list(DataLoader(Subset(data, data.indices("val").tolist()), batch_size=4))
    assert [len(target) for _, target in seen] == [4, 2]
    for m in X:
        assert torch.equal(torch.cat([inputs[m] for inputs, _ in seen]), X[m][data.indices("val")])
    assert torch.equal(data[-1][1], data.target[-1]) and len(list(data)) == N
    with pytest.raises(IndexError, match="has 40 samples"):
        data[N]


# -- groups ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_split_keeps_groups_whole_and_shares_near(seed):
    rng = np.random.default_rng(seed)
    speakers = rng.integers(0, 25, 500)
    target = rng.integers(0, 3, 500)
    parts = np.array(random_split(target, seed=seed, groups=speakers))
    assert all(len(set(parts[speakers == s])) == 1 for s in range(25))
    for part, share in zip(PARTS, (0.65, 0.15, 0.2), strict=True):
        for label in range(3):
            assert abs((parts[target == label] == part).mean() - share) < 0.06
    assert parts.tolist() == random_split(target, seed=seed, groups=speakers)
    assert parts.tolist() != random_split(target, seed=seed + 100, groups=speakers)


def test_few_groups_fill_every_part():
    groups = ["anna"] * 30 + ["ben"] * 5 + ["carl"] * 5
    assert set(random_split(CLASSES, groups=groups)) == set(PARTS)
    with pytest.raises(ValueError, match="2 groups leave a part empty: 3 parts need as many groups"):
        random_split(CLASSES, groups=["anna"] * 30 + ["ben"] * 10)
    assert set(random_split(CLASSES, val=0, groups=["anna"] * 30 + ["ben"] * 10)) == {"train", "test"}


@pytest.mark.parametrize(
    ("groups", "message"),
    [(["a", "b"], "target has 40 samples, but groups 2"), (["a"] * 39 + [None], "no group for sample 39"),
     ([math.nan] + ["a"] * 39, "no group for sample 0")],
)  # fmt: skip
def test_groups_that_do_not_fit_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        random_split(CLASSES, groups=groups)


def test_a_group_in_two_parts_is_refused():
    groups = [f"speaker {n % 5}" for n in range(N)]
    with pytest.raises(ValueError, match="group 'speaker 4' is in 'train' and in 'val'.*keeps groups whole"):
        dataset("classification", groups=groups)
    data = ArrayDataset(X, CLASSES, random_split(CLASSES, groups=groups), groups=groups)
    assert len(data.test_groups()) == data.counts["test"]


@pytest.mark.parametrize("target", [NUMBERS[:, 0], NUMBERS, LABELS, MAPS])
def test_targets_that_are_no_classes_are_cut_as_one(target):
    parts = random_split(target)
    assert {part: parts.count(part) for part in PARTS} == {"train": 26, "val": 6, "test": 8}
