"""A small fixed share of the fault campaign (``make torture``): cases of every kind, always the same ones."""

from __future__ import annotations

import sys

import pytest

from tests.faults.torture import COUNT, Campaign, kinds, lines

SEED = 14
SHARE = {  # kind -> how many of its cases
    "kill-run": 2, "kill-preparation": 2,
    "damage-record": 2, "damage-checkpoint": 2, "damage-claim": 2, "damage-rehearsal": 2, "damage-emotions-media": 1,
    "damage-emotions-verify": 1, "damage-rooms": 2, "damage-folder-arrays": 2, "damage-folder-media": 1,
    "damage-nyuv2": 1, "damage-mosi": 1, "damage-report": 1,
    "input-claims": 3, "input-arrays": 4, "input-splits": 2, "input-models": 2, "input-model-options": 3,
    "input-methods": 3, "input-objectives": 3, "input-fit": 4, "input-diagnosis": 4, "input-specifications": 3,
    "input-training": 2, "input-commands": 4, "input-data": 3, "input-make": 1,
    "disk-full": 2, "disk-read-only": 2, "two-trainings": 1,
}  # fmt: skip
# They start whole runners or wait for a minute: test_runner_faults.py and ``make torture`` have them.
LONG = {"kill-runner", "damage-claims-folder", "damage-emotions", "damage-nyuv2-verify", "damage-source", "clock",
        "two-runners"}  # fmt: skip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the campaign forks processes and looks into /proc")


@pytest.fixture(scope="module")
def campaign():
    with Campaign(SEED) as workplace:
        yield workplace


def test_every_kind_is_here_or_too_long():
    assert set(SHARE) | LONG == set(kinds()) and not set(SHARE) & LONG


@pytest.mark.parametrize("name", SHARE)
def test_nothing_is_lost_silent_obscure_or_left(campaign, name):
    kind = kinds()[name]
    every = kind.numbers(COUNT, SEED)
    cases = every[:: max(1, len(every) // SHARE[name])][: SHARE[name]]
    outcomes = campaign.run([(kind, number) for number in cases], lambda outcome: None)
    failed = [lines(outcome, SEED) for outcome in outcomes if outcome.how]
    assert len(outcomes) == SHARE[name] and not failed, "\n".join(failed)
