"""What another policy would have earned on the decisions of a log, how sure that is, and whether the log can
say.

The chain: `Rounds` (what was logged, and how likely the target policy would have done the same) → an
estimator (`Ips`, `Snips`: one number a round, whose mean is the estimate) → `estimate` (interval, diagnosis,
warnings in plain words). Arrays in, arrays out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from monitor import Interval, beta_limit, mean_interval
from replay.errors import ReplayError
from replay.ops.limits import one_more, within
from replay.ops.weighting import (
    effective_size,
    ips_rounds,
    place_numbers,
    place_weights,
    round_weights,
    snips_rounds,
)

__all__ = [
    "ESTIMATORS",
    "Diagnosis",
    "Estimate",
    "Estimator",
    "Ips",
    "Rounds",
    "Snips",
    "diagnose",
    "estimate",
]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

MIN_EFFECTIVE = 100.0
"""Below this effective sample size an interval from a normal approximation is not to be trusted."""
MIN_EFFECTIVE_SHARE = 0.01
"""Below this share of the rounds the log speaks about something else than the target."""
MAX_SHARE = 0.05
"""Above this share of all weight a single round decides the answer."""
MIN_REWARDED = 5.0
"""Below this effective number of rewarded rounds an estimate says little but how rare rewards are."""
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Rounds:
    """S logged slates with N places in all; slate s has the places ``start[s]:start[s + 1]``.

    `target`, `logged` (N,): probability of the logged item at its place given the items above it, under the
    target policy and under the one that was live. `rewards` (N,), `start` (S + 1,) int64. `n_foreign` slates
    were left out because their propensities are not known; `n_estimated` of the S have estimated ones.
    `most` is the largest reward that a place can have, or the largest seen if that is more.

    Raises:
        ReplayError: shapes differ, a slate is empty, or a probability is not one.

    Example:
        >>> log = Rounds.single(target=[0.5, 0.5], logged=[0.5, 0.25], rewards=[1.0, 0.0])
        >>> log.size, log.weights().tolist()
        (2, [1.0, 2.0])
    """

    target: Float64
    logged: Float64
    rewards: Float64
    start: Int64
    n_foreign: int = 0
    n_estimated: int = 0
    most: float = 1.0

    def __post_init__(self) -> None:
        shapes = {self.target.shape, self.logged.shape, self.rewards.shape}
        if len(shapes) != 1 or self.target.ndim != 1:
            msg = f"rounds need target, logged and rewards of one shape (n,), got {sorted(shapes)}"
            raise ReplayError(msg)
        start = self.start
        if start.ndim != 1 or start.size < 1 or start[0] != 0 or start[-1] != self.target.size:
            msg = f"start must lead from 0 to {self.target.size} places, got {start.tolist()[:3]}…"
            raise ReplayError(msg)
        if np.any(np.diff(start) < 1):
            msg = "every slate needs at least one place; leave empty ones out"
            raise ReplayError(msg)
        _check_probabilities("target", self.target, allow_zero=True)
        _check_probabilities("logged", self.logged, allow_zero=False)
        if not np.isfinite(self.rewards).all():
            msg = f"rewards are finite numbers, place {int(np.isfinite(self.rewards).argmin())} has none"
            raise ReplayError(msg)

    @classmethod
    def single(cls, target: npt.ArrayLike, logged: npt.ArrayLike, rewards: npt.ArrayLike) -> Rounds:
        """Decisions of one item each: three arrays (n,)."""
        q, p, r = (np.asarray(values, dtype=np.float64) for values in (target, logged, rewards))
        return cls(q, p, r, np.arange(q.size + 1, dtype=np.int64))

    @property
    def size(self) -> int:
        """Number of rounds S."""
        return int(self.start.size) - 1

    def weights(self) -> Float64:
        """Weight of each place (N,), see `replay.ops.weighting.place_weights`."""
        return place_weights(self.target, self.logged, self.start)

    def top(self, n_places: int) -> Rounds:
        """The same slates, only their first `n_places` places: a question that a log can answer sooner."""
        if n_places < 1:
            msg = f"expected at least one place, got {n_places}"
            raise ReplayError(msg)
        keep = place_numbers(self.start) < n_places
        lengths = np.minimum(np.diff(self.start), n_places)
        start = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        left_out = (self.n_foreign, self.n_estimated, self.most)
        return Rounds(self.target[keep], self.logged[keep], self.rewards[keep], start, *left_out)

    def bounds(self) -> tuple[float, float]:
        """Least and largest reward that a round can have: its places' together."""
        n_places = int(np.diff(self.start).max(initial=0))
        least, most = float(self.rewards.min(initial=0.0)), float(self.rewards.max(initial=0.0))
        return n_places * least, n_places * max(most, self.most)

    def with_one_more(self, reward: float) -> Rounds | None:
        """The log and one more round, rewarded at its last place, see `replay.ops.limits.one_more`; None
        where no place has a weight."""
        weights = one_more(self.weights(), self.start)
        if not weights.size:
            return None
        ratios = weights / np.concatenate(([1.0], weights[:-1]))
        return Rounds(
            np.append(self.target, np.minimum(ratios, 1.0)),
            np.append(self.logged, np.minimum(1.0 / ratios, 1.0)),
            np.append(self.rewards, [*np.zeros(weights.size - 1), reward]),
            np.append(self.start, self.start[-1] + weights.size),
            most=self.most,
        )


def _check_probabilities(name: str, values: Float64, *, allow_zero: bool) -> None:
    low = values >= 0 if allow_zero else values > 0
    good = low & (values <= 1 + 1e-9)  # NaN compares false
    if not good.all():
        at = int(np.flatnonzero(~good)[0])
        bracket = "[" if allow_zero else "("
        msg = f"{name} propensities lie in {bracket}0, 1], place {at} has {values[at]}; leave such slates out"
        raise ReplayError(msg)


class Estimator(Protocol):
    """One number a round; their mean estimates the target's reward a round.

    An estimator whose mean never leaves the range of the rewards may say so by ``within_rewards = True``: its
    intervals are then narrower where rewards are common.
    """

    name: str

    def rounds(self, log: Rounds) -> Float64:
        """Scores (S,) apart from the mean, whose spread gives the interval."""


class Ips:
    """Inverse propensity scoring: unbiased where the log supports the target, with unbounded variance.

    V = 1/S sum_s sum_j w_sj r_sj, w_sj = prod over l <= j of q_sl / p_sl (Horvitz and Thompson 1952; Dudík,
    Langford, Li 2011; per-decision weights in slates as McInerney et al. 2020). Holds nothing.

    Example:
        >>> log = Rounds.single(target=[1.0, 0.0], logged=[0.5, 0.5], rewards=[1.0, 1.0])
        >>> Ips().rounds(log).tolist()
        [2.0, 0.0]
    """

    name = "ips"

    def rounds(self, log: Rounds) -> Float64:
        """w r summed over each slate (S,)."""
        return ips_rounds(log.weights(), log.rewards, log.start)


class Snips:
    """Self-normalised IPS: a ratio of means, biased by O(1/S), far less variable, bounded by the rewards
    seen.

    V_j = sum_s w_sj r_sj / sum_s w_sj at each place (Swaminathan and Joachims 2015); a constant added to all
    rewards moves the estimate by just that constant. Holds nothing.

    Example:
        >>> log = Rounds.single(target=[0.5, 0.5, 0.0], logged=[0.5, 0.25, 0.5], rewards=[1.0, 0.0, 1.0])
        >>> round(float(Snips().rounds(log).mean()), 4)
        0.3333
    """

    name = "snips"
    within_rewards = True

    def rounds(self, log: Rounds) -> Float64:
        """Linearised scores (S,), see `replay.ops.weighting.snips_rounds`."""
        return snips_rounds(log.weights(), log.rewards, log.start)


ESTIMATORS: tuple[Estimator, ...] = (Ips(), Snips())
"""What `freshet replay` reports."""


class Diagnosis(NamedTuple):
    """Whether a log can speak about a target.

    `effective` sample size of the round weights; `max_share` of all weight in one round; `unsupported`, the
    share of rounds that the target would never have shown (weight 0); `mean_weight`, which is 1 but for noise
    when the log supports the target; `n_foreign` left out, `n_estimated` with estimated propensities.
    `rewarded` rounds have a reward that counts, and say as much as `effective_rewarded` of one weight would.
    """

    n_rounds: int
    effective: float
    max_share: float
    unsupported: float
    mean_weight: Interval
    n_foreign: int
    n_estimated: int
    rewarded: int = 0
    effective_rewarded: float = 0.0

    def warnings(self) -> list[str]:
        """In plain words what is wrong; empty when the answer may be used."""
        if not self.n_rounds:
            return ["the log cannot answer: it holds no decision with known propensities"]
        found = []
        if self.effective < max(MIN_EFFECTIVE, MIN_EFFECTIVE_SHARE * self.n_rounds):
            found.append(
                f"the log cannot answer: {self.n_rounds:,} rounds say no more than {self.effective:.0f} would"
            )
        if self.max_share > MAX_SHARE:
            found.append(f"a single round carries {self.max_share:.0%} of all weight")
        mean, low, high = self.mean_weight
        if abs(mean - 1.0) > _ROUNDING and not low <= 1.0 <= high:
            found.append(
                f"weights average {_unlike_one(mean)} and not 1: the target shows what this log "
                "never tried, or the logged propensities are wrong"
            )
        if self.effective_rewarded < MIN_REWARDED:
            found.append(
                f"too few rewarded rounds: {self.rewarded:,} of {self.n_rounds:,} have a reward that counts, "
                f"and say no more than {self.effective_rewarded:.1f} would"
            )
        if self.n_estimated:
            found.append(
                f"{self.n_estimated:,} rounds have estimated propensities, whose error the interval ignores"
            )
        return found


def _unlike_one(mean: float) -> str:
    """A number that is not 1, with as many digits as it takes to see that."""
    return next((text for n in range(2, 9) if float(text := f"{mean:.{n}g}") != 1.0), f"{mean:.9g}")


def diagnose(log: Rounds, confidence: float = 0.95) -> Diagnosis:
    """Look at the weights of a log, and at how many of its rounds were rewarded.

    Example:
        >>> log = Rounds.single(target=[0.5] * 400, logged=[0.5] * 400, rewards=[0.0, 1.0] * 200)
        >>> found = diagnose(log)
        >>> found.effective, found.unsupported, found.rewarded, found.warnings()
        (400.0, 0.0, 200, [])
        >>> silent = Rounds.single(target=[0.5] * 400, logged=[0.5] * 400, rewards=[0.0] * 400)
        >>> diagnose(silent).warnings()
        ['too few rewarded rounds: 0 of 400 have a reward that counts, and say no more than 0.0 would']
    """
    if not log.size:
        return Diagnosis(0, 0.0, 0.0, 0.0, Interval(*[float("nan")] * 3), log.n_foreign, log.n_estimated)
    weights = log.weights()
    w = round_weights(weights, log.start)
    counted = ips_rounds(weights, np.abs(log.rewards), log.start)
    total = float(w.sum())
    mean, low, high = mean_interval(w, confidence)
    return Diagnosis(
        n_rounds=log.size,
        effective=effective_size(w),
        max_share=float(w.max()) / total if total > 0 else 0.0,
        unsupported=float(np.mean(w <= 0.0)),
        mean_weight=Interval(mean, max(low, 0.0), high),
        n_foreign=log.n_foreign,
        n_estimated=log.n_estimated,
        rewarded=int(np.count_nonzero(counted)),
        effective_rewarded=effective_size(counted),
    )


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
