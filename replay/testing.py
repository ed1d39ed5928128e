"""The contract of estimators: inherit `EstimatorContract` in a test and say how to make one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from replay.estimates import estimate
from replay.estimators.base import Estimator
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
    """What every estimator must do; `bias` is what it may be off by at 400 rounds, 0 for an unbiased one.

    Example:
        >>> from replay.estimators.ips import Ips
        >>> class TestMine(EstimatorContract):
        ...     def make(self) -> Estimator:
        ...         return Ips()
        >>> TestMine().test_the_logging_policy_itself_earns_the_logged_mean()
    """

    bias = 0.0

    def make(self) -> Estimator:
        """The estimator under test."""
        raise NotImplementedError

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
