"""Off-policy estimators: their contract, and the ways in which a log cannot answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.errors import ReplayError
from replay.estimators import Estimator, Ips, Rounds, Snips, diagnose
from replay.ops.weighting import effective_size, place_weights
from replay.testing import EstimatorContract, PlantedLogs


class TestIps(EstimatorContract):
    def make(self) -> Estimator:
        return Ips()


class TestSnips(EstimatorContract):
    bias = 0.005

    def make(self) -> Estimator:
        return Snips()


@settings(max_examples=30)
@given(st.floats(-5, 5), st.integers(0, 99))
def test_snips_moves_with_the_rewards_and_ips_does_not(shift: float, seed: int) -> None:
    log = PlantedLogs().draw(40, np.random.default_rng(seed))
    moved = Rounds(log.target, log.logged, log.rewards + shift, log.start)
    assert np.isclose(Snips().rounds(moved).mean() - Snips().rounds(log).mean(), shift, atol=1e-9)
    ips_moved = Ips().rounds(moved).mean() - Ips().rounds(log).mean()
    assert np.isclose(ips_moved, shift * log.weights().mean(), atol=1e-9)


def test_snips_stays_within_the_rewards_seen() -> None:
    log = Rounds.single(target=[1.0, 1.0], logged=[0.001, 1.0], rewards=[1.0, 1.0])
    assert Ips().rounds(log).mean() > 500
    assert np.isclose(Snips().rounds(log).mean(), 1.0)


def test_a_weight_is_the_product_of_the_ratios_above() -> None:
    target, logged = np.array([0.5, 0.5, 0.2]), np.array([0.25, 1.0, 0.1])
    weights = place_weights(target, logged, np.array([0, 3]))
    np.testing.assert_allclose(weights, [2.0, 1.0, 2.0])


def test_slates_of_different_length_are_kept_apart() -> None:
    log = Rounds(np.ones(3), np.array([0.5, 0.5, 0.25]), np.array([1.0, 1.0, 1.0]), np.array([0, 1, 3]))
    assert Ips().rounds(log).tolist() == [2.0, 10.0]
    assert np.isclose(Snips().rounds(log).mean(), 1.5)


def test_only_the_first_places_can_be_asked_for() -> None:
    log = PlantedLogs(n_places=3).draw(20, np.random.default_rng(1))
    top = log.top(1)
    assert top.target.size == top.size == 20
    np.testing.assert_array_equal(top.rewards, log.rewards[::3])


def test_huge_weights_do_not_overflow_the_effective_size() -> None:
    assert effective_size(np.array([1e300, 1e300])) == 2.0


def test_a_log_that_says_little_is_called_out() -> None:
    weights = np.full(1000, 1e-4)
    weights[0] = 1.0
    found = diagnose(Rounds.single(weights, np.full(1000, 1e-3), np.zeros(1000)))
    assert "cannot answer" in found.warnings()[0]
    assert "single round" in found.warnings()[1]


def test_a_target_that_the_log_never_tried_is_called_out() -> None:
    target = np.tile([0.5, 0.0], 500)
    found = diagnose(Rounds.single(target, np.full(1000, 0.9), np.zeros(1000)))
    assert found.unsupported == 0.5
    assert any("never tried" in warning for warning in found.warnings())


def test_estimated_propensities_and_an_empty_log_are_called_out() -> None:
    log = PlantedLogs().draw(500, np.random.default_rng(2))
    estimated = Rounds(log.target, log.logged, log.rewards, log.start, n_estimated=500)
    assert any("estimated" in warning for warning in diagnose(estimated).warnings())
    nothing = Rounds.single([], [], [])
    assert "no decision" in diagnose(nothing).warnings()[0]


@pytest.mark.parametrize("logged", [0.0, -0.1, 1.5, float("nan")])
def test_a_propensity_that_is_none_is_refused(logged: float) -> None:
    with pytest.raises(ReplayError, match="place 0"):
        Rounds.single([0.5], [logged], [1.0])


@pytest.mark.parametrize("start", [[0, 0, 2], [0, 1], [1, 2]])
def test_starts_that_do_not_fit_are_refused(start: list[int]) -> None:
    with pytest.raises(ReplayError):
        Rounds(np.ones(2), np.ones(2), np.ones(2), np.array(start))
