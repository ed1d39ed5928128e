"""Exact disjoint LinUCB: the oracle beside Diag-LinUCB, for catalogues of bounded size."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from bandits.base import Choice, Context, Policy, no_candidate
from bandits.draws import Uniforms
from bandits.errors import PolicyError
from bandits.ops.arrays import Float32, Float64, Int32, grown
from bandits.ops.linear import absorb_linear, linear_choice, linear_scores, packed_identity
from bandits.plans import Rule
from bandits.touched import Touched
from learners.rows import RowBlock
from learners.world import World
from stream.frame import Frame

__all__ = ["LinUcb", "Settings", "build", "needs"]

SOURCE = "Li et al. 2010, arXiv 1003.0146, Algorithm 1"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How wide it explores, and how much it keeps."""

    alpha: Annotated[float, Meta(ge=0, le=1_000)] = 0.5
    """Width of the confidence bonus."""
    l2: Annotated[float, Meta(gt=0, le=1_000_000)] = 1.0
    """Weight of the squared-norm penalty: what an item's covariance starts with."""
    max_arms: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    """Items that are learned, at most."""
    top: Annotated[int, Meta(ge=1, le=1_000)] = 1
    """How many of the best items share the traffic."""
    temperature: Annotated[float, Meta(ge=0, le=1_000)] = 0.0
    """How evenly they share it, in units of the best item's confidence width; 0 takes the best."""
    spread: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Share of the traffic that is dealt out evenly among them."""


class LinUcb(Policy):
    """Ridge regression for each item on the request's x, with its full covariance (Li et al. 2010, Algorithm
    1).

    Score: ``theta . x + alpha sqrt(x^T A^-1 x)`` with A = l2 I + sum x x^T over impressions, b = sum r x over
    rewards, theta = A^-1 b. A^-1 is kept by rank-one updates (Sherman-Morrison), so a decision inverts
    nothing.

    x is either the request's features, learned from the block's `request`, or the dense vector of its cluster
    weights, by centroid id; ids beyond `dim` are left out.

    Args:
        dim: length of x.
        source: "clusters" or "features".
        max_arms: items that are learned; once there are as many, `learn` refuses a further item without harm,
        and it is no candidate, since nothing would come of showing it. alpha, l2: as above.
        top, temperature, spread: randomisation of the choice as in `DiagLinUcb`; the default is arg-max.

    Bounded: (dim^2 / 2 + 3 dim) doubles an arm, `max_arms` arms, 5 bytes an item row.

    Example:
        >>> policy = LinUcb(2, source="features", alpha=1.0)
        >>> request = Context(np.zeros(0, np.int32), np.zeros(0, np.float32), np.array([3, 4], np.float32))
        >>> policy.ucb(request, np.array([0], np.int32)).tolist()
        [5.0]
    """

    name = "lin_ucb"

    def __init__(
        self,
        dim: int,
        *,
        source: Literal["clusters", "features"] = "clusters",
        alpha: float = 0.5,
        l2: float = 1.0,
        max_arms: int = 10_000,
        top: int = 1,
        temperature: float = 0.0,
        spread: float = 0.0,
    ) -> None:
        if not (dim >= 1 and alpha >= 0 and l2 > 0 and max_arms >= 1 and top >= 1 and 0 <= spread <= 1):
            msg = (
                "lin_ucb needs dim, max_arms, top >= 1, alpha >= 0, l2 > 0 and spread in 0..1; "
                f"got dim={dim}, max_arms={max_arms}, top={top}, alpha={alpha}, l2={l2}, spread={spread}"
            )
            raise PolicyError(msg)
        self.dim = dim
        self.source = source
        self.alpha = alpha
        self.l2 = l2
        self.max_arms = max_arms
        self.top = top
        self.temperature = temperature
        self.spread = spread
        self._clear()

    def _clear(self) -> None:
        packed = self.dim * (self.dim + 1) // 2
        self._arm_of = np.full(0, -1, np.int32)
        # Arm 0 is the unseen one: it never learns, and every item without an arm of its own scores like it.
        self._n_arms = 1
        self._free: list[int] = []
        self._inverses = np.zeros((8, packed))
        self._inverses[0] = packed_identity(self.dim, 1.0 / self.l2)
        self._sums = np.zeros((8, self.dim))
        self._thetas = np.zeros((8, self.dim))
        self._touched = Touched()

    # --- deciding ---

    def plan(self, context: Context, candidates: Int32) -> Rule:
        """Scores by full covariance."""
        scores, widths = self._scores(context, candidates)
        return Rule(scores, widths, self.top, self.temperature, self.spread)

    def decide(self, context: Context, candidates: Int32, rng: Uniforms) -> Choice:
        """Draw one candidate with one uniform number, as `plan` says, in one compiled call.

        Raises:
            PolicyError: there is no candidate.
        """
        if self._is_full:
            return super().decide(context, candidates, rng)
        choice = linear_choice(
            candidates, self._x(context), self._arm_of, self._inverses, self._thetas, self.alpha, self.top,
            self.temperature, self.spread, rng.random(),
        )  # fmt: skip
        if choice[1] < 0:
            raise no_candidate(type(self).__name__, candidates.size)
        return Choice._make(choice)

    def ucb(self, context: Context, candidates: Int32) -> Float64:
        """theta . x + alpha sqrt(x^T A^-1 x) (n,)."""
        return self._scores(context, candidates)[0]

    def _scores(self, context: Context, candidates: Int32) -> tuple[Float64, Float64]:
        scores, widths = np.empty(candidates.size), np.empty(candidates.size)
        linear_scores(
            candidates, self._x(context), self._arm_of,
            self._inverses, self._thetas, self.alpha, scores, widths,
        )  # fmt: skip
        if self._is_full:
            known = (candidates >= 0) & (candidates < self._arm_of.size)
            has_arm = np.zeros(candidates.size, np.bool_)
            has_arm[known] = self._arm_of[candidates[known]] >= 0
            scores[~has_arm] = -np.inf
        return scores, widths

    @property
    def _is_full(self) -> bool:
        """Whether no further item can be learned."""
        return self._n_arms > self.max_arms and not self._free

    def _x(self, context: Context) -> Float32 | Float64:
        if self.source == "clusters":
            x = np.zeros(self.dim)
            here = (context.clusters >= 0) & (context.clusters < self.dim)
            np.add.at(x, context.clusters[here], context.weights[here])
            return x
        features = context.features
        if features is None or features.shape != (self.dim,):
            shape = None if features is None else features.shape
            msg = f"lin_ucb decides on features of shape ({self.dim},); the context has {shape}"
            raise PolicyError(msg)
        return features

    # --- learning ---

    def learn(self, rows: RowBlock) -> Int32:
        """Learn the decided slates of a block, in order; returns the rows touched, ascending.

        Raises:
            PolicyError: `source` is "features" and the block's features have another width than `dim`.
        """
        features = rows.request if self.source == "features" else rows.request[:, :0]
        if self.source == "features" and features.shape[1] != self.dim and rows.items.size:
            msg = f"lin_ucb learns features of width {self.dim}; the block has {features.shape[1]}"
            raise PolicyError(msg)
        items = rows.items[np.repeat(rows.decided, np.diff(rows.start)) & (rows.items >= 0)]
        self._admit(items)
        touched = np.zeros(self._n_arms, np.bool_)
        absorb_linear(
            rows.kind, rows.slate, rows.place, rows.reward, rows.start, rows.items, rows.decided,
            rows.clusters, rows.weights, features, self._arm_of, self._inverses, self._sums, self._thetas,
            touched,
        )  # fmt: skip
        result = np.unique(items[self._arm_of[items] >= 0])
        result = result[touched[self._arm_of[result]]]
        self._touched.add(result)
        return result

    def _admit(self, items: Int32) -> None:
        """Give arms to new items, first come first served, up to `max_arms`."""
        self._arm_of = grown(self._arm_of, int(items.max(initial=-1)) + 1, -1)
        fresh = items[self._arm_of[items] < 0]
        for row in dict.fromkeys(fresh.tolist()):
            if self._free:
                arm = self._free.pop()
            elif self._n_arms <= self.max_arms:
                arm = self._n_arms
                self._n_arms += 1
            else:
                return
            self._reset(row, arm)

    def _reset(self, row: int, arm: int) -> None:
        self._inverses = grown(self._inverses, arm + 1)
        self._sums, self._thetas = grown(self._sums, arm + 1), grown(self._thetas, arm + 1)
        self._arm_of[row] = arm
        self._inverses[arm], self._sums[arm], self._thetas[arm] = self._inverses[0], 0.0, 0.0

    def remove_items(self, rows: Int32) -> None:
        """Forget these rows; their arms may be given to other items."""
        rows = np.unique(rows[(rows >= 0) & (rows < self._arm_of.size)])
        held = rows[self._arm_of[rows] >= 0]
        self._free += self._arm_of[held].tolist()
        self._arm_of[held] = -1
        self._touched.add(held)

    # --- state ---

    def _frame(self, rows: Int32) -> Frame:
        held = rows[self._arm_of[rows] >= 0]
        arms = self._arm_of[held]
        return {
            "rows": held,
            "gone": rows[self._arm_of[rows] < 0],
            "inverses": self._inverses[arms],
            "sums": self._sums[arms],
            "thetas": self._thetas[arms],
        }

    def snapshot(self) -> Frame:
        """All arms, by item row."""
        return self._frame(np.flatnonzero(self._arm_of >= 0).astype(np.int32))

    def restore(self, frame: Frame) -> None:
        """Become the state of a snapshot."""
        self._clear()
        self.apply(frame)
        self._touched = Touched()

    def changes(self) -> Frame:
        """The arms touched since the last call; empty when there are none."""
        rows = self._touched.take()
        return self._frame(rows) if rows.size else {}

    def apply(self, frame: Frame) -> None:
        """Replace the arms of one `changes()`."""
        if not frame:
            return
        self.remove_items(frame["gone"])
        rows = frame["rows"]
        self._admit(rows)
        arms = self._arm_of[rows]
        self._inverses[arms], self._sums[arms] = frame["inverses"], frame["sums"]
        self._thetas[arms] = frame["thetas"]
        self._touched.add(rows)


def needs(settings: Settings) -> tuple[str, ...]:
    """The centroids, whose weights are x where requests have no features."""
    return ("centroids",)


def build(settings: Settings, world: World) -> LinUcb:
    """The policy, as the settings say."""
    has_features = world.request_dim > 1
    return LinUcb(
        world.request_dim if has_features else world.parts["centroids"].max_clusters,
        source="features" if has_features else "clusters",
        alpha=settings.alpha,
        l2=settings.l2,
        max_arms=settings.max_arms,
        top=settings.top,
        temperature=settings.temperature,
        spread=settings.spread,
    )
