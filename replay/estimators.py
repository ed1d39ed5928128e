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

from monitor import Interval, mean_interval
from replay.errors import ReplayError
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


@dataclass(frozen=True, slots=True)
class Rounds:
    """S logged slates with N places in all; slate s has the places ``start[s]:start[s + 1]``.

    `target`, `logged` (N,): probability of the logged item at its place given the items above it, under the
    target policy and under the one that was live. `rewards` (N,), `start` (S + 1,) int64. `n_foreign` slates
    were left out because their propensities are not known; `n_estimated` of the S have estimated ones.

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
        left_out = (self.n_foreign, self.n_estimated)
        return Rounds(self.target[keep], self.logged[keep], self.rewards[keep], start, *left_out)


def _check_probabilities(name: str, values: Float64, *, allow_zero: bool) -> None:
    low = values >= 0 if allow_zero else values > 0
    good = low & (values <= 1 + 1e-9)  # NaN compares false
    if not good.all():
        at = int(np.flatnonzero(~good)[0])
        bracket = "[" if allow_zero else "("
        msg = f"{name} propensities lie in {bracket}0, 1], place {at} has {values[at]}; leave such slates out"
        raise ReplayError(msg)


class Estimator(Protocol):
    """One number a round; their mean estimates the target's reward a round."""

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
    """

    n_rounds: int
    effective: float
    max_share: float
    unsupported: float
    mean_weight: Interval
    n_foreign: int
    n_estimated: int

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
        if not self.mean_weight.low <= 1.0 <= self.mean_weight.high:
            found.append(
                f"weights average {self.mean_weight.mean:.2g} and not 1: the target shows what this log "
                "never tried, or the logged propensities are wrong"
            )
        if self.n_estimated:
            found.append(
                f"{self.n_estimated:,} rounds have estimated propensities, whose error the interval ignores"
            )
        return found


def diagnose(log: Rounds, confidence: float = 0.95) -> Diagnosis:
    """Look at the weights of a log without its rewards.

    Example:
        >>> log = Rounds.single(target=[0.5] * 400, logged=[0.5] * 400, rewards=[0.0] * 400)
        >>> found = diagnose(log)
        >>> found.effective, found.unsupported, found.warnings()
        (400.0, 0.0, [])
    """
    if not log.size:
        return Diagnosis(0, 0.0, 0.0, 0.0, Interval(*[float("nan")] * 3), log.n_foreign, log.n_estimated)
    w = round_weights(log.weights(), log.start)
    total = float(w.sum())
    return Diagnosis(
        n_rounds=log.size,
        effective=effective_size(w),
        max_share=float(w.max()) / total if total > 0 else 0.0,
        unsupported=float(np.mean(w <= 0.0)),
        mean_weight=mean_interval(w, confidence),
        n_foreign=log.n_foreign,
        n_estimated=log.n_estimated,
    )


class Estimate(NamedTuple):
    """One estimator's answer: reward a round with its interval, and the diagnosis of the log."""

    estimator: str
    value: Interval
    diagnosis: Diagnosis


def estimate(estimator: Estimator, log: Rounds, confidence: float = 0.95) -> Estimate:
    """Estimate the target's reward a round; NaN without any round.

    The interval is Student's t over the rounds, taken as independent; it trusts the propensities, and it is
    meaningless where `Diagnosis.warnings` says that the log cannot answer.

    Example:
        >>> log = Rounds.single(target=[0.5, 0.5], logged=[0.5, 0.5], rewards=[1.0, 0.0])
        >>> estimate(Ips(), log).value.mean
        0.5
    """
    scores = estimator.rounds(log)
    value = mean_interval(scores, confidence) if scores.size else Interval(*[float("nan")] * 3)
    return Estimate(estimator.name, value, diagnose(log, confidence))
