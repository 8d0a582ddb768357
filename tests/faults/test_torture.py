"""A small fixed share of the fault campaign (``make torture``): cases of every kind, always the same ones."""

from __future__ import annotations

import sys

import pytest

from tests.faults.torture import COUNT, Campaign, kinds, lines

SEED = 14
SHARE = {  # kind -> how many of its cases; those that start a whole runner are few, test_runner_faults.py has more
    "kill-run": 6, "kill-preparation": 4, "kill-runner": 1,
    "damage-record": 4, "damage-checkpoint": 8, "damage-claim": 2, "damage-claims-folder": 2, "damage-rehearsal": 2,
    "damage-emotions": 3, "damage-emotions-media": 4, "damage-emotions-verify": 3, "damage-rooms": 2,
    "damage-folder-arrays": 4, "damage-folder-media": 4, "damage-nyuv2": 3, "damage-nyuv2-verify": 2, "damage-mosi": 3,
    "damage-report": 2, "damage-source": 1,
    "input-claims": 8, "input-arrays": 10, "input-splits": 5, "input-models": 5, "input-model-options": 8,
    "input-methods": 8, "input-objectives": 8, "input-fit": 10, "input-diagnosis": 10, "input-specifications": 8,
    "input-training": 5, "input-commands": 10, "input-data": 8, "input-make": 1,
    "disk-full": 2, "disk-read-only": 2, "two-trainings": 1,
}  # fmt: skip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the campaign forks processes and looks into /proc")


@pytest.fixture(scope="module")
def campaign():
    with Campaign(SEED) as workplace:
        yield workplace


def test_every_kind_has_its_share():
    assert set(SHARE) | {"clock", "two-runners"} == set(kinds()), "those two take a minute a case"


@pytest.mark.parametrize("name", SHARE)
def test_nothing_is_lost_silent_obscure_or_left(campaign, name):
    kind = kinds()[name]
    every = kind.numbers(COUNT, SEED)
    cases = every[:: max(1, len(every) // SHARE[name])][: SHARE[name]]
    outcomes = campaign.run([(kind, number) for number in cases], lambda outcome: None)
    failed = [lines(outcome, SEED) for outcome in outcomes if outcome.how]
    assert len(outcomes) == SHARE[name] and not failed, "\n".join(failed)
