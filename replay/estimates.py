"""An estimator's answer, how sure it is, and the diagnosis of the log.

The chain: `Rounds` (what was logged) → an estimator (`Ips`, `Snips`: one number a round, whose mean is the
estimate) → `estimate` (interval, diagnosis, warnings in plain words). Arrays in, arrays out.
"""

from __future__ import annotations

from typing import NamedTuple

from monitor import Interval, beta_limit
from replay.diagnosis import Diagnosis, diagnose
from replay.estimator import Estimator
from replay.ops.limits import within
from replay.rounds import Rounds

__all__ = ["Estimate", "estimate"]


class Estimate(NamedTuple):
    """One estimator's answer: reward a round with its interval, and the diagnosis of the log."""

    estimator: str
    value: Interval
    diagnosis: Diagnosis


def estimate(estimator: Estimator, log: Rounds, confidence: float = 0.95) -> Estimate:
    """Estimate the target's reward a round; NaN without any round.

    The interval takes rounds as independent and trusts the propensities; it is meaningless where
    `Diagnosis.warnings` says that the log cannot answer. Each limit is a quantile of the Beta distribution
    with the mean and variance of the scores after *one more round*: for the upper limit one with the largest
    reward, for the lower one without. For equal weights and rewards of 0 and 1 that is the exact interval of
    Clopper and Pearson (1934); for unequal weights it follows Fay and Feuer (1997), who add a largest weight
    to a Gamma distribution. So it covers also where rewards are rare, is never without width, and stays
    within what a round can earn. Without any weight the log says nothing, and that range is the interval.

    Example:
        >>> from replay.estimators.ips import Ips
        >>> log = Rounds.single(target=[0.5] * 100, logged=[0.5] * 100, rewards=[0.0] * 100)
        >>> [round(x, 4) for x in estimate(Ips(), log).value]
        [0.0, 0.0, 0.0362]
    """
    scores = estimator.rounds(log)
    if not scores.size:
        return Estimate(estimator.name, Interval(*[float("nan")] * 3), diagnose(log, confidence))
    least, most = log.bounds()
    low = _limit(estimator, log, float(log.rewards.min(initial=0.0)), 0.5 - confidence / 2)
    largest = float(log.rewards.max(initial=0.0)) or log.most
    high = _limit(estimator, log, largest, 0.5 + confidence / 2)
    if low is None or high is None:
        low, high = least, most
    value = Interval(float(scores.mean()), *within(low, high, least, most))
    return Estimate(estimator.name, value, diagnose(log, confidence))


def _limit(estimator: Estimator, log: Rounds, reward: float, level: float) -> float | None:
    extended = log.with_one_more(reward)
    if extended is None:
        return None
    scores = estimator.rounds(extended)
    least, most = log.bounds()
    if not getattr(estimator, "within_rewards", False):
        least, most = min(least, float(scores.min())), max(most, float(scores.max()))
    return beta_limit(float(scores.mean()), float(scores.var()), scores.size, least, most, level)
