"""The experts of the ranker: whole orders of a list, and how much of the served order each has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from learners.errors import ReplicaError
from learners.ops.mixture import FORGET, N_LINEAR, learn_mixture, shares_at_first
from learners.rows import RowBlock

__all__ = ["SEVERAL", "Experts", "columns_of_before"]

Float64 = npt.NDArray[np.float64]

SEVERAL = ("linear", "quick", "start")
"""Experts over several features, by the names of their columns."""


class Experts:
    """Weights, sums of squares and shares of all experts; the formulas stand in `learners.ops.mixture`.

    Everything that goes by feature is a column (F,) of `columns`, by name: `linear`, `linear_missing`,
    `squares` and `missing_squares` of the steady expert, `quick…` of the quick one, `start…` of that over
    what begins with a weight, `single…` of those over one feature each, and `share`, the shares of these.
    The others have theirs in `linear_shares`.

    Args:
        first: starting weights (F,).
        squares: what sums of squares start at.

    Example:
        >>> experts = Experts(np.array([1.0, 0.0]), squares=1.0)
        >>> experts.shares.round(2).tolist(), experts.served().round(2).tolist()
        ([0.15, 0.1, 0.45, 0.15, 0.15], [0.85, 0.0, 0.0, 0.0])
    """

    def __init__(self, first: Float64, squares: float) -> None:
        n = first.size
        self._first, self._floor = first, squares
        self._begins = first != 0.0
        self._at_first = shares_at_first(self._begins)
        self._linear, self._linear_squares = np.zeros((N_LINEAR, 2 * n)), np.zeros((N_LINEAR, 2 * n))
        self._single, self._single_squares = np.zeros(2 * n), np.zeros(2 * n)
        self._gap = np.zeros(1)
        self.shares: Float64 = np.zeros(N_LINEAR + n)
        """The shares (3 + F,): of those in `SEVERAL`, and of those over one feature each."""
        self.columns: dict[str, Float64] = {"share": self.shares[N_LINEAR:]}
        names = zip(SEVERAL, ("", "quick_", "start_"), self._linear, self._linear_squares, strict=True)
        for name, prefix, weights, sums in [
            *names,
            ("single", "single_", self._single, self._single_squares),
        ]:
            self.columns |= {
                name: weights[:n], f"{name}_missing": weights[n:],
                f"{prefix}squares": sums[:n], f"{prefix}missing_squares": sums[n:],
            }  # fmt: skip
        self.begin()

    def begin(self) -> None:
        """As if nothing had been learned."""
        for name in (*SEVERAL, "single"):
            self.columns[name][:], self.columns[f"{name}_missing"][:] = self._first, 0.0
        self._linear_squares[:], self._single_squares[:] = self._floor, self._floor
        self.shares[:], self._gap[0] = self._at_first, 0.0

    def learn(self, rows: RowBlock, rate: float) -> tuple[int, int, int]:
        """Learn the block's clicks in order; the steps taken, the clicks whose features cannot be read, and
        the steps at which something was cut."""
        return learn_mixture(
            rows.kind, rows.first, rows.reward, rows.slate, rows.place, rows.ranked, rows.start,
            rows.rank_features, self._linear, self._linear_squares,
            self._single, self._single_squares, self.shares, self._at_first, self._gap, rate, self._floor,
            self._begins,
        )  # fmt: skip

    def served(self) -> Float64:
        """The one vector (2 F,) that orders lists: v @ W."""
        alone = np.concatenate([self.shares[N_LINEAR:]] * 2) * self._single
        served: Float64 = self.shares[:N_LINEAR] @ self._linear + alone
        return served

    def frame(self) -> dict[str, Any]:
        """What does not go by feature; columns stand beside it."""
        return {"linear_shares": self.shares[:N_LINEAR].copy(), "gap": float(self._gap[0])}

    def take(self, frame: Mapping[str, Any]) -> None:
        """Take over what `frame` described, after the columns.

        Raises:
            ReplicaError: shares are none.
        """
        shares = np.concatenate([frame["linear_shares"], self.shares[N_LINEAR:]])
        total = float(shares.sum())
        if shares.shape != self.shares.shape or not (shares >= 0.0).all() or not 0.0 < total < np.inf:
            msg = (
                f"the frame has shares {frame['linear_shares']} of experts over all features, which are none"
            )
            raise ReplicaError(msg)
        # A feature that the frame does not know has the share of the beginning, and one that left takes its
        # own; what came from the same features stays as it is, to the bit.
        self.shares[:] = shares if abs(total - 1.0) < 1e-6 else shares / total
        self._gap[0] = max(float(frame.get("gap", 0.0)), 0.0)


def columns_of_before(columns: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Columns of a ranker that was one linear order, as those of experts over all features.

    The steady one goes on from there with all of the share, and so does the quick one, with sums of squares
    as it would have them after so many steps. Experts over one feature start afresh.

    Example:
        >>> found = columns_of_before({"weights": np.array([2.0]), "squares": np.array([8.0])}, steps=1_000)
        >>> found["linear"].tolist(), found["quick_squares"].tolist(), found["share"].tolist()
        ([2.0], [4.0], [0.0])
    """
    weights, squares = np.asarray(columns["weights"], np.float64), np.asarray(columns["squares"], np.float64)
    missing = np.asarray(columns.get("missing", 0.0 * weights), np.float64)
    remembered = min(1.0, 1.0 / (FORGET * max(steps, 1)))
    return {
        "weights": weights, "missing": missing, "share": 0.0 * weights,
        "linear": weights, "linear_missing": missing, "squares": squares,
        "quick": weights, "quick_missing": missing, "quick_squares": squares * remembered,
    }  # fmt: skip
