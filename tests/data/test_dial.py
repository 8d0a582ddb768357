"""The dials turn what they say: who can know the label, how hard it is to learn, and nothing else."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest
import torch

from dgl_core import data
from dgl_core.data.generated import dial
from dgl_core.paper.theory import reach


def test_shares_of_samples_follow_the_dial():
    assert dial.shares(0.0) == (1, 0, 0) and dial.shares(0.5) == (0, 1, 0) and dial.shares(1.0) == (0, 0, 1)
    for synergy in (0.1, 0.37, 0.8):
        assert sum(dial.shares(synergy)) == pytest.approx(1) and min(dial.shares(synergy)) >= 0


@pytest.mark.parametrize("modalities", [2, 3])
def test_every_kind_of_sample_shows_the_class_as_it_should(modalities):
    label, parts = dial.plan(4000, modalities, 0.0, seed=1)
    assert (parts == label).all()
    label, parts = dial.plan(4000, modalities, 0.5, seed=1)
    seen = parts != dial.BLIND
    assert (seen.sum(axis=0) == 1).all() and (parts.max(axis=0) == label).all()
    assert seen.mean(axis=1) == pytest.approx(np.full(modalities, 1 / modalities), abs=0.03)
    label, parts = dial.plan(4000, modalities, 1.0, seed=1)
    assert (parts.sum(axis=0) % 4 == label).all()
    for one in parts:  # no part alone tells the class
        assert np.histogram2d(one, label, bins=4)[0] == pytest.approx(np.full((4, 4), 250), abs=70)


def test_directions_are_orthogonal_and_of_length_one():
    d = dial.directions(np.random.default_rng(0))
    assert d @ d.T == pytest.approx(np.eye(8), abs=1e-12)


@pytest.mark.parametrize("hard", [0.0, 0.4, 1.0])
def test_a_hidden_bit_is_the_product_of_two_signs(hard):
    part = np.arange(400) % 4
    lengths = dial.codes(np.random.default_rng(0), part, hard)
    assert lengths[:, :4] == pytest.approx(dial.SHOWN * np.sqrt(1 - hard) * np.eye(4)[part])
    if hard:
        bits = np.stack([lengths[:, 4] * lengths[:, 5] > 0, lengths[:, 6] * lengths[:, 7] > 0], axis=1)
        assert (bits == np.stack([part & 1, part >> 1], axis=1)).all()
        assert np.abs(lengths[:, 4:]) == pytest.approx(np.full((400, 4), dial.HIDDEN * np.sqrt(hard)))


def test_what_can_be_known_is_what_an_enumeration_gives():
    """Without noise nothing is left but counting: the table of parts decides."""
    before, dial.NOISE = dial.NOISE, 1e-1
    try:
        found = dial.information(0.75, 0.0, samples=8000)
    finally:
        dial.NOISE = before
    half = 0.5  # of the samples are complementary, half combined
    assert found.joint == pytest.approx(1.0, abs=1e-6)
    # A modality that shows a part at all does so in 1/4 + 1/2 of the samples, and then it is the class in 1/4 + 1/8.
    assert found.unimodal == pytest.approx(half / 2 + half / 4 + half / 2 / 4, abs=0.03)
    assert found.unimodal < found.additive < found.joint


def test_an_additive_predictor_is_enough_up_to_the_middle_and_not_beyond():
    for synergy in (0.0, 0.5):
        found = dial.information(synergy, 0.0, samples=8000)
        assert found.joint - found.additive < 0.015 and found.joint > found.unimodal + 0.03
    found = dial.information(1.0, 0.0, samples=8000)
    assert found.joint - found.additive > 0.3 and found.unimodal < 0.28


def test_imbalance_leaves_the_first_modality_as_it_is():
    easy, hard = (data.load("dial", samples=80, synergy=0.3, imbalance=i) for i in (0.0, 0.9))
    assert torch.equal(easy.inputs["first"], hard.inputs["first"])
    assert not torch.equal(easy.inputs["second"], hard.inputs["second"])
    assert easy.fingerprint != hard.fingerprint


def test_classes_are_equal_in_every_part():
    dataset = data.load("dial", samples=800, modalities=3, seed=5)
    assert dataset.modalities == dial.NAMES and dataset.shapes == dict.fromkeys(dial.NAMES, (dial.SIZE,))
    for part in ("train", "val", "test"):
        assert len(set(Counter(dataset.target[dataset.indices(part)].tolist()).values())) == 1


@pytest.mark.parametrize("options", [{"synergy": 1.1}, {"imbalance": -0.1}, {"modalities": 4}, {"samples": 3}])
def test_options_out_of_range_are_named(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        data.load("dial", **options)


def test_the_same_options_give_these_bytes():
    """If this changes, raise dial.VERSION and write the new value here."""
    digest = hashlib.sha256()
    for x in data.load("dial", samples=60, synergy=0.6, imbalance=0.5, seed=3).inputs.values():
        digest.update(x.numpy().tobytes())
    assert digest.hexdigest()[:16] == "f72d319054f215c6"


@pytest.mark.parametrize("synergy", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_the_table_is_that_of_the_samples(synergy):
    label, parts = dial.plan(40_000, 2, synergy, seed=3)
    found = np.zeros((5, 5, 4))
    np.add.at(found, (parts[0], parts[1], label), 1 / len(label))  # BLIND is -1, the last place
    known = dial.table(synergy, noise=0.0)
    assert known.sum() == pytest.approx(1) and np.abs(found - known).max() < 0.01
    noisy = dial.table(synergy, noise=0.2)
    assert noisy.sum() == pytest.approx(1) and np.allclose(noisy.sum(axis=2), known.sum(axis=2))


@pytest.mark.parametrize("synergy", [0.0, 0.2, 0.5, 0.6, 0.9, 1.0])
def test_what_unimodal_encoders_must_keep_is_lost_at_the_end_of_the_dial_alone(synergy):
    """D7: below 1 a part tells a little by itself, so its unimodal posterior gives it away; at 1 it tells nothing."""
    task = torch.from_numpy(dial.table(synergy))
    found = reach.evidence_of(task)
    whole, additive = found["any head, any encoders"], found["additive head, any encoders"]
    assert whole > 1 and found["lost"] == pytest.approx(whole if synergy == 1 else 0, abs=1e-9)
    assert reach.screened(task) and found["additive head on Z"] == pytest.approx(additive, abs=1e-6)
    assert whole - additive < 0.1 if synergy <= 0.5 else whole - additive > 0.5  # bits
