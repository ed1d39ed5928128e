"""Whether a log can answer, and what is wrong with it in plain words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from monitor import Interval, mean_interval
from replay.ops.weighting import effective_size, ips_rounds, round_weights
from replay.rounds import Rounds

__all__ = ["Diagnosis", "diagnose"]

MIN_EFFECTIVE = 100.0
"""Below this effective sample size an interval from a normal approximation is not to be trusted."""
MIN_EFFECTIVE_SHARE = 0.01
"""Below this share of the rounds the log speaks about something else than the target."""
MAX_SHARE = 0.05
"""Above this share of all weight a single round decides the answer."""
MIN_REWARDED = 5.0
"""Below this effective number of rewarded rounds an estimate says little but how rare rewards are."""
_ROUNDING = 1e-6


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
