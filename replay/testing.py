"""The contract of estimators: inherit `EstimatorContract` in a test and name the kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from replay.chosen_estimators import build_estimators
from replay.estimates import estimate
from replay.estimator import Estimator
from replay.rounds import Rounds

__all__ = ["EstimatorContract", "PlantedLogs"]

Float64 = npt.NDArray[np.float64]


class PlantedLogs:
    """A world whose truth is known: at place j, item a is rewarded with probability `click[j, a]`.

    The logging policy draws each place from `logged` (k, n) and the target from `target` (k, n),
    independently of the places above, so the target's value is sum_ja target[j, a] click[j, a].

    Example:
        >>> world = PlantedLogs(n_places=2)
        >>> log = world.draw(100, np.random.default_rng(0))
        >>> log.size, log.target.size, round(world.value, 3)
        (100, 200, 0.8)
    """

    def __init__(self, n_places: int = 1, n_items: int = 5) -> None:
        items = np.arange(n_items)
        self.click = np.stack([0.1 + 0.6 * items / (n_items - 1) / (j + 1) for j in range(n_places)])
        rising, falling = 1.0 + items, 2.0 * n_items - items
        self.target = np.tile(rising / rising.sum(), (n_places, 1))
        self.logged = np.tile(falling / falling.sum(), (n_places, 1))
        self.value = float((self.target * self.click).sum())

    def draw(self, n_rounds: int, rng: np.random.Generator) -> Rounds:
        """A log of `n_rounds` slates."""
        k, n = self.logged.shape
        item = np.stack([rng.choice(n, n_rounds, p=self.logged[j]) for j in range(k)], axis=1)
        place = np.broadcast_to(np.arange(k), item.shape)
        rewards = (rng.random(item.shape) < self.click[place, item]).astype(np.float64)
        at = (place.ravel(), item.ravel())
        start = np.arange(0, k * n_rounds + 1, k, dtype=np.int64)
        return Rounds(self.target[at], self.logged[at], rewards.ravel(), start)


class EstimatorContract:
    """What every estimator must do, built from the catalogue; `bias` is what it may be off by at 400 rounds,
    0 for an unbiased one.

    Example:
        >>> class TestIps(EstimatorContract):
        ...     kind = "ips"
        >>> TestIps().test_the_logging_policy_itself_earns_the_logged_mean()
    """

    kind: ClassVar[str]
    """As `[[estimators]]` names it."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """Its own settings."""
    bias: ClassVar[float] = 0.0

    def make(self) -> Estimator:
        """The estimator under test."""
        (made,) = build_estimators([{"kind": self.kind, **self.settings}]).values()
        return made

    def test_the_planted_value_is_found_on_average(self) -> None:
        """The average over many logs is the truth within four standard errors, for items and for slates."""
        for n_places in (1, 3):
            world, rng = PlantedLogs(n_places), np.random.default_rng(7)
            found = np.array([self.make().rounds(world.draw(400, rng)).mean() for _ in range(300)])
            error = float(found.std(ddof=1) / np.sqrt(found.size))
            assert abs(found.mean() - world.value) < 4 * error + self.bias, f"{n_places} places: biased"

    def test_the_interval_covers_the_truth_as_often_as_it_says(self) -> None:
        """A 95 % interval holds the planted value in 95 % of logs, give or take what 300 logs allow."""
        world, rng = PlantedLogs(n_places=2), np.random.default_rng(11)
        values = [estimate(self.make(), world.draw(400, rng)).value for _ in range(300)]
        covered = np.mean([value.low <= world.value <= value.high for value in values])
        assert 0.90 <= covered <= 0.99, f"covered {covered:.3f}"

    def test_the_logging_policy_itself_earns_the_logged_mean(self) -> None:
        """With target = logged, the estimate is the mean reward of the log, exactly."""
        log = PlantedLogs(n_places=2).draw(200, np.random.default_rng(3))
        same = Rounds(log.logged, log.logged, log.rewards, log.start)
        assert np.isclose(self.make().rounds(same).mean(), log.rewards.sum() / log.size, rtol=1e-12)

    def test_no_figure_is_a_nan_however_small_a_propensity(self) -> None:
        """Nor infinite; a log of no rounds has no value."""
        tiny = Rounds(np.ones(4), np.full(4, 5e-324), np.array([0.0, 1.0, 0.0, 1.0]), np.array([0, 2, 4]))
        assert np.isfinite(estimate(self.make(), tiny).value).all()
        assert self.make().rounds(Rounds.single([], [], [])).shape == (0,)

    def test_there_is_one_finite_score_for_each_round(self) -> None:
        """Also when the target would never have shown what was logged."""
        log = PlantedLogs(n_places=2).draw(50, np.random.default_rng(5))
        nowhere = Rounds(np.zeros_like(log.target), log.logged, log.rewards, log.start)
        for each in (log, nowhere):
            scores = self.make().rounds(each)
            assert scores.shape == (50,)
            assert np.isfinite(scores).all()

    def test_the_order_of_rounds_means_nothing(self) -> None:
        """Reversing a log of single decisions reverses the scores."""
        log = PlantedLogs().draw(60, np.random.default_rng(9))
        back = Rounds.single(log.target[::-1], log.logged[::-1], log.rewards[::-1])
        np.testing.assert_allclose(self.make().rounds(back), self.make().rounds(log)[::-1], rtol=1e-12)

    def test_the_order_of_slates_means_nothing(self) -> None:
        """Shuffling whole slates leaves the estimate as it is."""
        log, rng = PlantedLogs(n_places=3).draw(90, np.random.default_rng(13)), np.random.default_rng(17)
        places = np.concatenate([3 * slate + np.arange(3) for slate in rng.permutation(90)])
        mixed = Rounds(log.target[places], log.logged[places], log.rewards[places], log.start)
        assert np.isclose(self.make().rounds(mixed).mean(), self.make().rounds(log).mean(), rtol=1e-12)
