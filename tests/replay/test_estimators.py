"""Off-policy estimators: their contract, and the ways in which a log cannot answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.chosen_estimators import ESTIMATORS, build_estimators
from replay.diagnosis import diagnose
from replay.errors import ReplayError
from replay.estimates import estimate
from replay.estimator import Estimator
from replay.estimators.beta_ips import BetaIps
from replay.estimators.capped_ips import CappedIps
from replay.estimators.ips import Ips
from replay.estimators.snips import Snips
from replay.ops.weighting import effective_size, place_weights
from replay.rounds import Rounds
from replay.testing import EstimatorContract, PlantedLogs

ALL = build_estimators([{"kind": kind} for kind in ESTIMATORS.own()])


class TestIps(EstimatorContract):
    kind = "ips"


class TestSnips(EstimatorContract):
    kind, bias = "snips", 0.005


class TestBetaIps(EstimatorContract):
    kind, bias = "beta_ips", 0.005


class TestCappedIps(EstimatorContract):
    kind = "capped_ips"


def test_a_limit_cuts_what_few_heavy_rounds_say_and_leaves_the_rest() -> None:
    log = Rounds.single(np.full(400, 0.5), [0.0005, *np.full(399, 0.5)], np.ones(400))
    assert Ips().rounds(log).mean() == pytest.approx((1000 + 399) / 400)
    assert CappedIps().rounds(log).mean() == pytest.approx((20 + 399) / 400)
    assert CappedIps(most=2.0).rounds(log).mean() == pytest.approx((2 + 399) / 400)


@settings(max_examples=30)
@given(st.floats(-5, 5), st.integers(0, 99))
def test_snips_moves_with_the_rewards_and_ips_does_not(shift: float, seed: int) -> None:
    log = PlantedLogs().draw(40, np.random.default_rng(seed))
    moved = Rounds(log.target, log.logged, log.rewards + shift, log.start)
    assert np.isclose(Snips().rounds(moved).mean() - Snips().rounds(log).mean(), shift, atol=1e-9)
    ips_moved = Ips().rounds(moved).mean() - Ips().rounds(log).mean()
    assert np.isclose(ips_moved, shift * log.weights().mean(), atol=1e-9)


def test_the_best_baseline_spreads_less_than_both_on_average_over_many_logs() -> None:
    world, rng = PlantedLogs(n_places=2), np.random.default_rng(19)
    logs = [world.draw(400, rng) for _ in range(300)]
    spread = {name: np.std([each.rounds(log).mean() for log in logs]) for name, each in ALL.items()}
    # Measured: 0.0445, 0.0453 and 0.0608.
    assert spread["beta_ips"] < spread["snips"] < spread["ips"]


@settings(max_examples=30)
@given(st.floats(-5, 5), st.integers(0, 99))
def test_the_best_baseline_moves_with_the_rewards(shift: float, seed: int) -> None:
    log = PlantedLogs().draw(40, np.random.default_rng(seed))
    moved = Rounds(log.target, log.logged, log.rewards + shift, log.start)
    assert np.isclose(BetaIps().rounds(moved).mean() - BetaIps().rounds(log).mean(), shift, atol=1e-9)


def test_rounding_in_the_weights_is_no_spread() -> None:
    log = Rounds.single([0.1 + 0.2, 0.3] * 50, np.full(100, 0.3), [1.0, 0.0] * 50)
    assert BetaIps().rounds(log).mean() == pytest.approx(0.5, abs=1e-12)


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


def _one_arm(n: int, n_arms: int, rate: float, rng: np.random.Generator) -> Rounds:
    """A uniform log; the target shows always the first arm, so few rounds count and fewer are rewarded."""
    hit = rng.integers(n_arms, size=n) == 0
    return Rounds.single(hit, np.full(n, 1 / n_arms), rng.random(n) < rate)


@pytest.mark.parametrize("estimator", ALL.values(), ids=ALL)
@pytest.mark.parametrize(
    ("n", "n_arms", "rate"), [(2_000, 10, 0.01), (2_000, 10, 0.003), (5_000, 80, 0.004), (500, 2, 0.99)]
)
def test_an_interval_covers_also_where_rewards_are_rare(
    estimator: Estimator, n: int, n_arms: int, rate: float
) -> None:
    rng = np.random.default_rng(3)
    values = [estimate(estimator, _one_arm(n, n_arms, rate, rng)).value for _ in range(200)]
    assert np.mean([value.low <= rate <= value.high for value in values]) >= 0.93
    assert all(0.0 <= value.low < value.high <= 1.0 for value in values)


def test_without_any_reward_an_interval_is_that_of_clopper_and_pearson() -> None:
    log = Rounds.single(np.full(300, 0.2), np.full(300, 0.2), np.zeros(300))
    for estimator in ALL.values():
        assert estimate(estimator, log).value == pytest.approx((0.0, 0.0, 1 - 0.025 ** (1 / 300)))
    assert "too few rewarded rounds: 0 of 300" in diagnose(log).warnings()[0]


def test_rewards_that_only_a_hundredth_of_the_rounds_weigh_are_too_few() -> None:
    log = Rounds.single([1.0] * 20 + [0.0] * 1980, np.full(2000, 0.01), [1.0] * 4 + [0.0] * 16 + [1.0] * 1980)
    assert diagnose(log).rewarded == diagnose(log).effective_rewarded == 4
    assert any("too few rewarded rounds: 4 of" in warning for warning in diagnose(log).warnings())


def test_a_log_without_weight_leaves_all_that_a_round_can_earn_open() -> None:
    log = Rounds(np.zeros(4), np.full(4, 0.5), np.array([1.0, 0.0, 0.0, 1.0]), np.array([0, 2, 4]))
    for estimator in ALL.values():
        assert estimate(estimator, log).value == (0.0, 0.0, 2.0)


def test_limits_stay_within_what_a_round_can_earn_and_keep_a_width() -> None:
    log = Rounds.single(np.full(400, 0.5), np.full(400, 0.25), np.ones(400))
    value = estimate(Ips(), log).value
    assert value.mean == 2.0 and 0.0 <= value.low < value.high == 1.0
    liked = Rounds.single(np.full(9, 0.5), np.full(9, 0.5), [-1.0, 1.0, 1.0] * 3)
    assert -1.0 <= estimate(Snips(), liked).value.low < 0.0


def test_no_figure_is_a_nan_however_small_a_propensity() -> None:
    log = Rounds(np.ones(4), np.full(4, 5e-324), np.array([0.0, 1.0, 0.0, 1.0]), np.array([0, 2, 4]))
    for estimator in ALL.values():
        found = estimate(estimator, log)
        assert np.isfinite([*found.value, *found.diagnosis.mean_weight, found.diagnosis.effective]).all()


@pytest.mark.parametrize(("mean", "said"), [(0.9962, "0.996"), (1.00004, "1.00004"), (0.68, "0.68")])
def test_an_average_that_is_not_one_is_said_so_that_it_can_be_seen(mean: float, said: str) -> None:
    log = Rounds.single(np.full(400, mean / 2), np.full(400, 0.5), np.ones(400))
    assert diagnose(log).warnings()[0].startswith(f"weights average {said} and not 1")


def test_weights_that_are_one_but_for_rounding_are_one() -> None:
    log = Rounds.single(np.full(400, 0.1 + 0.2), np.full(400, 0.3), np.ones(400))
    assert diagnose(log).warnings() == []


@pytest.mark.parametrize("logged", [0.0, -0.1, 1.5, float("nan")])
def test_a_propensity_that_is_none_is_refused(logged: float) -> None:
    with pytest.raises(ReplayError, match="place 0"):
        Rounds.single([0.5], [logged], [1.0])


@pytest.mark.parametrize("start", [[0, 0, 2], [0, 1], [1, 2]])
def test_starts_that_do_not_fit_are_refused(start: list[int]) -> None:
    with pytest.raises(ReplayError):
        Rounds(np.ones(2), np.ones(2), np.ones(2), np.array(start))
