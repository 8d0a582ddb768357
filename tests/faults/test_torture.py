"""A small fixed share of the fault campaign (``make torture``): cases of every kind, always the same ones."""

from __future__ import annotations

import sys

import pytest

from tests.faults.torture import COUNT, Campaign, kinds, lines

SEED = 14
SHARE = {  # kind -> how many of its cases
    "kill-run": 9,
    "kill-preparation": 4,
    "kill-runner": 1,
    "damage-record": 4,
    "damage-checkpoint": 8,
    "damage-claim": 2,
    "damage-claims-folder": 3,
    "damage-rehearsal": 2,
    "damage-emotions": 4,
    "damage-emotions-media": 4,
    "damage-emotions-verify": 3,
    "damage-rooms": 3,
    "damage-folder-arrays": 4,
    "damage-folder-media": 4,
    "damage-nyuv2": 4,
    "damage-nyuv2-verify": 2,
    "damage-mosi": 3,
    "damage-report": 2,
    "damage-source": 1,
    "disk-full": 2,
    "disk-read-only": 2,
    "clock": 1,
    "two-runners": 1,
    "two-trainings": 1,
    "input-claims": 9,
    "input-arrays": 12,
    "input-splits": 6,
    "input-models": 6,
    "input-model-options": 10,
    "input-methods": 10,
    "input-objectives": 8,
    "input-fit": 12,
    "input-diagnosis": 10,
    "input-specifications": 12,
    "input-training": 6,
    "input-commands": 12,
    "input-data": 10,
    "input-make": 1,
}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the campaign forks processes and looks into /proc")


@pytest.fixture(scope="module")
def campaign():
    with Campaign(SEED) as workplace:
        yield workplace


def test_every_kind_has_its_share():
    assert set(SHARE) == set(kinds())


@pytest.mark.parametrize("name", SHARE)
def test_nothing_is_lost_silent_obscure_or_left(campaign, name):
    kind = kinds()[name]
    every = kind.numbers(COUNT, SEED)
    cases = every[:: max(1, len(every) // SHARE[name])][: SHARE[name]]
    outcomes = campaign.run([(kind, number) for number in cases], lambda outcome: None)
    failed = [lines(outcome, SEED) for outcome in outcomes if outcome.how]
    assert len(outcomes) == SHARE[name] and not failed, "\n".join(failed)
