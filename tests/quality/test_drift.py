"""What forgetting earns after a flip of the rates and costs without one, over twenty seeds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from bandits.ops.arrays import Float64
from benchmarks.quality.drift import PLAYERS, earned, players
from monitor import paired_interval

FLIP, SEEDS = 5_000, range(1, 21)
HOW = ("half_life", "window", "adwin", "page_hinkley")

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", params=list(PLAYERS))
def clicks(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Float64]]:
    """Expected clicks (20, 10,000) of each player of a world that flips after 5,000 rounds."""
    kind = PLAYERS[request.param]
    return kind, {
        name: np.stack([earned(request.param, entry, 2 * FLIP, flip=FLIP, seed=seed) for seed in SEEDS])
        for name, entry in players(kind).items()
    }


def test_after_a_flip_policies_that_forget_earn_more_than_those_that_do_not(
    clicks: tuple[str, Mapping[str, Float64]],
) -> None:
    kind, found = clicks
    after = {name: rates[:, FLIP:].mean(axis=1) for name, rates in found.items()}
    for how in HOW:
        assert paired_interval(after[f"{kind}_{how}"], after[kind]).low > 0.1 * after[kind].mean()


def test_from_500_rounds_after_a_flip_they_earn_more_than_chance_and_the_others_do_not(
    clicks: tuple[str, Mapping[str, Float64]],
) -> None:
    kind, found = clicks
    soon = {name: rates[:, FLIP + 500 : FLIP + 1_000].mean(axis=1) for name, rates in found.items()}
    assert paired_interval(soon[kind], soon["uniform"]).high < 0
    for how in HOW:
        assert paired_interval(soon[f"{kind}_{how}"], soon["uniform"]).low > 0


def test_without_a_flip_they_lose_less_than_a_tenth_of_their_clicks(
    clicks: tuple[str, Mapping[str, Float64]],
) -> None:
    kind, found = clicks
    before = {name: rates[:, :FLIP].mean() for name, rates in found.items()}
    for how in HOW:
        assert before[f"{kind}_{how}"] > 0.9 * before[kind]
