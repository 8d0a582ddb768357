"""Fig. 2 is read off the code: it changes when the code does."""

import copy

import pytest
import torch

from dgl_core.figures.theory.graph import gradient_edges, gradient_paths, reached_parameters
from dgl_core.gradients import DisentangledObjective, Losses
from dgl_core.paper.theory import toy


@pytest.fixture
def batch():
    data = toy.toy_data(toy.THREE, samples=12)
    return toy.toy_model(data), data.train, data.train_target


def arriving(objective, inputs, target):
    return {(e.loss, e.part) for e in gradient_edges(objective, inputs, target) if e.arrives}


def cut(objective, inputs, target):
    return {(e.loss, e.part) for e in gradient_edges(objective, inputs, target) if e.cut}


MODALITIES = tuple(toy.THREE)
FUSED_TO_ENCODERS = {("fused", m) for m in MODALITIES}
OWN = {(m, m) for m in MODALITIES}
UNIMODAL_TO_FUSION = {(m, "fusion") for m in MODALITIES}


def test_the_five_corners(batch):
    model, inputs, target = batch
    expected = {  # (alpha, encoder_gate, fusion_gate) -> arriving, cut; Table 3 of the paper
        (0.0, 1.0, 0.0): (FUSED_TO_ENCODERS, set()),
        (1.0, 1.0, 1.0): (FUSED_TO_ENCODERS | OWN | UNIMODAL_TO_FUSION, set()),
        (1.0, 0.0, 1.0): (OWN | UNIMODAL_TO_FUSION, FUSED_TO_ENCODERS),
        (1.0, 1.0, 0.0): (FUSED_TO_ENCODERS | OWN, UNIMODAL_TO_FUSION),
        (1.0, 0.0, 0.0): (OWN, FUSED_TO_ENCODERS | UNIMODAL_TO_FUSION),
    }
    for options, (arrives, missing) in expected.items():
        objective = DisentangledObjective(model, *options)
        assert arriving(objective, inputs, target) == arrives | {("fused", "fusion")}
        assert cut(objective, inputs, target) == missing


class Leaky(DisentangledObjective):
    """Deliberately wrong: forgets to detach the features."""

    def forward(self, inputs, target):
        right = super().forward(inputs, target)
        multimodal = self.criterion(self.model(inputs), target)
        return Losses(right.total, multimodal, right.unimodal, right.logits)


class Silent(DisentangledObjective):
    """The same truncation as multiplication by zero: the path stays, nothing travels on it."""

    def forward(self, inputs, target):
        right = super().forward(inputs, target)
        features = {m: z.detach() + 0.0 * (z - z.detach()) for m, z in self.model.encode(inputs).items()}
        return Losses(right.total, self.criterion(self.model.fuse(features), target), right.unimodal, right.logits)


def test_a_wrong_objective_gives_another_picture(batch):
    model, inputs, target = batch
    right, wrong = DisentangledObjective(model, 1.0), Leaky(model, 1.0)
    assert FUSED_TO_ENCODERS <= arriving(wrong, inputs, target)
    pictures = [gradient_paths({"DGL": objective}, inputs, target) for objective in (right, wrong)]
    assert pictures[0].alt != pictures[1].alt and pictures[0].png() != pictures[1].png()
    crosses = [sum(line.get_marker() == "x" for line in p.figure.axes[0].lines) for p in pictures]
    assert crosses == [6, 3]


def test_structure_and_gradient_are_told_apart(batch):
    model, inputs, target = batch
    for objective, reached in ((DisentangledObjective(model, 1.0), 0), (Silent(model, 1.0), 1)):
        edges = [e for e in gradient_edges(objective, inputs, target) if (e.loss, e.part) in FUSED_TO_ENCODERS]
        assert [e.reached for e in edges] == [reached] * 3 and not any(e.arrives for e in edges)
        assert all(e.cut for e in edges)


def test_half_open_gates_let_half_through(batch):
    model, inputs, target = batch
    norms = {}
    for openness in (1.0, 0.5):
        edges = gradient_edges(DisentangledObjective(model, 1.0, openness, openness), inputs, target)
        gated = FUSED_TO_ENCODERS | UNIMODAL_TO_FUSION
        norms[openness] = torch.tensor([e.norm for e in edges if (e.loss, e.part) in gated])
    assert torch.allclose(norms[0.5], 0.5 * norms[1.0])


def test_walking_the_graph_finds_the_same_leaves_as_backward(batch):
    model, inputs, target = batch
    losses = DisentangledObjective(model, 1.0)(inputs, target)
    for loss in (losses.multimodal, *losses.unimodal.values()):
        twin_names = {name for name, p in model.named_parameters() if id(p) in reached_parameters(loss)}
        model.zero_grad()
        loss.backward(retain_graph=True)
        assert twin_names == {name for name, p in model.named_parameters() if p.grad is not None}


def test_the_model_is_left_alone(batch):
    model, inputs, target = batch
    before = copy.deepcopy(model.state_dict())
    gradient_paths({"DGL": DisentangledObjective(model, 1.0)}, inputs, target)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_the_picture_shows_the_weight_of_the_unimodal_losses_where_it_acts(batch):
    model, inputs, target = batch
    for alpha in (1.0, 4.0):
        objective = DisentangledObjective(model, alpha)
        edges = [e for e in gradient_edges(objective, inputs, target) if e.arrives]
        picture = gradient_paths({"DGL": objective}, inputs, target)
        drawn = [text.get_text() for text in picture.figure.axes[0].texts]
        weighted = [rf"$4\times{e.norm:.2f}$" for e in edges if e.loss != "fused"]
        assert set(weighted) <= set(drawn) if alpha == 4.0 else not any("times" in text for text in drawn)
        assert sum(r"\alpha" in text for text in drawn) == (len(MODALITIES) if alpha == 4.0 else 0)
        assert all(f"({e.norm:.2f})" in picture.alt for e in edges)
