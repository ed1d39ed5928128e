"""What was logged, slate by slate, and how likely the target policy would have done the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from replay.errors import ReplayError
from replay.ops.limits import one_more
from replay.ops.weighting import place_numbers, place_weights

__all__ = ["Rounds"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


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
