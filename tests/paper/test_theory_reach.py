"""D7: what the fused model of DGL can reach at most, by enumeration; tasks whose answer is known in closed form."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dgl_core.models import LateFusion
from dgl_core.models.fusion.linear import MLPFusion
from dgl_core.paper.theory import reach, toy

some = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31)
METHODS = {
    "vanilla": {"alpha": 0.0, "encoder_gate": 1.0},
    "G-Blending": {"alpha": 1.0, "encoder_gate": 1.0, "fusion_gate": 1.0},
    "DGL": {"alpha": 1.0},
}


def entropy(p):
    return -sum(x * math.log2(x) for x in p if x > 0)


@pytest.mark.parametrize("synergy", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_the_combined_task_has_the_evidence_that_its_making_says(synergy, noise):
    """A labelled sample tells log2(K) minus the entropy of the noise; in a share ``synergy`` only both tell it."""
    classes = 4
    known = math.log2(classes) - entropy([1 - noise + noise / classes] + [noise / classes] * (classes - 1))
    found = reach.evidence_of(reach.combined(synergy, classes, noise))
    for name in ("additive head, any encoders", "additive head on Z", "any head on Z"):
        assert found[name] == pytest.approx((1 - synergy) * known, abs=1e-7)
    assert found["best modality alone"] == pytest.approx((1 - synergy) / 2 * known, abs=1e-9)
    assert found["any head, any encoders"] == pytest.approx(known, abs=1e-9)
    assert found["lost"] == pytest.approx(synergy * known, abs=1e-9)  # exactly the synergy


def random_task(seed, correlated):
    """``x_1 = (a, h_1)``, ``x_2 = (b, h_2)``; the label follows a, b and ``h_1 xor h_2``; the h are fair coins.

    Returns the task [2A, 2B, K] and ``P(a, b, h, y)``. A coin alone tells nothing, so ``Z_1`` is a function of a.
    """
    generator = torch.Generator().manual_seed(seed)
    kind = {"generator": generator, "dtype": torch.float64}
    a, b, classes = (int(torch.randint(2, 4, (), generator=generator)) for _ in range(3))
    given = torch.softmax(2 * torch.randn(a, b, 2, classes, **kind), -1)  # P(y | a, b, h)
    law = torch.rand(a, b, **kind) if correlated else torch.rand(a, 1, **kind) * torch.rand(1, b, **kind)
    hidden = (law / law.sum())[:, :, None, None] * given / 2  # P(a, b, h, y)
    task = torch.zeros(a, 2, b, 2, classes, dtype=torch.float64)
    for first in range(2):
        for second in range(2):
            task[:, first, :, second] = hidden[:, :, first ^ second] / 2
    return task.reshape(2 * a, 2 * b, classes), hidden


@some
@given(seeds, st.booleans())
def test_any_head_on_the_posteriors_loses_exactly_the_synergy(seed, correlated):
    task, hidden = random_task(seed, correlated)
    found = reach.evidence_of(task)
    synergy = reach.evidence(hidden) - reach.evidence(hidden.sum(2))  # I(Y; H | A, B), from another table
    assert found["lost"] == pytest.approx(synergy, abs=1e-9) and synergy > 1e-6


@some
@given(seeds, st.booleans())
def test_where_screened_an_additive_head_loses_nothing(seed, correlated):
    task, _ = random_task(seed, correlated)
    assert reach.screened(task)  # the coins are independent of everything that the other modality shows
    assert len(reach.on_posteriors(task)) < len(task)  # and Z really is less than the input
    found = reach.evidence_of(task)
    assert found["additive head on Z"] == pytest.approx(found["additive head, any encoders"], abs=1e-7)
    assert found["additive head, any encoders"] < found["any head, any encoders"]


@some
@given(seeds)
def test_the_best_additive_model_is_best(seed):
    """Its margins are those of the task, it is additive, and a random additive change makes it worse."""
    task, _ = random_task(seed, True)
    best = reach.best_additive(task)
    for margin in ((0,), (1,)):
        assert torch.allclose((task.sum(-1, keepdim=True) * best).sum(margin), task.sum(margin), atol=1e-9)
    logits = best.log()
    scores = logits - logits.mean(-1, keepdim=True)
    mixed = scores[1:, 1:] - scores[:-1, 1:] - scores[1:, :-1] + scores[:-1, :-1]  # 0 for a sum of two functions
    assert mixed.abs().max() < 1e-6
    draw = torch.Generator().manual_seed(seed)
    change = torch.randn(task.shape[0], 1, task.shape[2], dtype=torch.float64, generator=draw)
    worse = (logits + 0.1 * change).softmax(-1)
    assert reach.evidence(task, worse) < reach.evidence(task, best)


@some
@given(seeds)
def test_modalities_independent_given_the_label_lose_nothing_at_all(seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.softmax(torch.randn(3, 4, dtype=torch.float64, generator=generator), 1) for _ in range(2))
    task = torch.einsum("ya,yb->aby", first, second) / 3  # P(y) P(a | y) P(b | y)
    found = reach.evidence_of(task)
    assert reach.screened(task)
    assert found["additive head on Z"] == pytest.approx(found["any head, any encoders"], abs=1e-7)


def test_a_shared_disturbance_is_lost_even_with_an_additive_head():
    task = reach.shared_disturbance()
    assert not reach.screened(task)
    found = reach.evidence_of(task)
    assert found["additive head, any encoders"] == pytest.approx(found["any head, any encoders"], abs=1e-6)
    assert found["additive head on Z"] < 0.4 * found["additive head, any encoders"]
    assert reach.on_posteriors(task).shape[0] == 1  # the disturbance alone says nothing, so nothing of it is kept


def weights(task, options, fusion=None, steps=150):
    data = reach.enumerated(task, 160)
    model = toy.toy_model(data, classes=2)
    if fusion is not None:
        torch.manual_seed(0)
        model = LateFusion(model.encoders, fusion({m: toy.WIDTH for m in data.train}, 2)).double().eval()
    toy.train_toy(model, data, lr=0.2, steps=steps, every=0, **options)
    return nn.utils.parameters_to_vector(model.parameters()).detach()


@pytest.mark.parametrize("method", METHODS)
def test_with_an_additive_head_two_tasks_with_equal_posteriors_train_alike(method):
    """Part (b): half of the labels are in the combination, or are coins; no method can tell, weight for weight."""
    task = reach.combined(0.5, classes=2, noise=0.2)
    coins = task.sum(-1, keepdim=True) * reach.best_additive(task)  # same inputs, same posteriors, no synergy
    assert (coins - task).abs().max() > 0.01
    apart = [(weights(t, METHODS[method]) - weights(coins, METHODS[method])).abs().max() for t in (task, coins)]
    assert apart[1] == 0 and apart[0] < 1e-9


def test_with_a_hidden_layer_joint_training_tells_them_apart():
    task = reach.combined(0.5, classes=2, noise=0.2)
    coins = task.sum(-1, keepdim=True) * reach.best_additive(task)
    ends = [weights(t, METHODS["vanilla"], lambda widths, k: MLPFusion(widths, k, 16)) for t in (task, coins)]
    assert (ends[0] - ends[1]).abs().max() > 0.1


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="7 samples cannot show"):
        reach.enumerated(reach.combined(0.5, classes=2), 7)
    with pytest.raises(RuntimeError, match="give the labels some noise"):
        reach.best_additive(reach.shared_disturbance(noise=0.0), most=50)
