"""The order in which candidates are proposed: a small blend of all sources, learned click by click."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from learners.errors import LearnerError, ReplicaError
from learners.ops.ranking import blend_features, learn_clicks
from learners.parts.cooccurrence import CoOccurrence, Linked
from learners.parts.factorisation import MatrixFactorisation
from learners.parts.history import Histories
from learners.parts.popularity import Popularity
from learners.rows import RowBlock
from stream.frame import Frame

__all__ = ["Ranker"]

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_OTHER_WEIGHTS = (0.5, 0.4, 0.0)


class Ranker:
    """A linear score over features of all sources, moved by a listwise softmax at every attributed click.

    The features (`names`) are log(pop_h + `popularity_floor`) for each half-life (of a
    negative pop_h as far below log(`popularity_floor`) as of its size above), f = log(co +
    `together_floor`), f * log(1 + n) with n the user's remembered items up to `history_cap`, and the dot
    product of user and item vector. At the first click on a place of a decided slate, with S the shown items
    and the logged others,

        g = f(clicked) - sum over S of softmax(w . f)_s f_s,    G += g^2,    w += learning_rate * g / sqrt(G)

    and at a first dislike the same g times -p, the softmax of what was disliked
    (softmax as in ListNet, Cao et al., ICML 2007; AdaGrad, Duchi et al., JMLR 2011). It reads the *logged*
    features, as the decision saw them. The starting weights suit a world of fashion: the first half-life
    first, the others little. Memory: a few numbers, for good.

    Example:
        >>> ranker = Ranker(half_lives=2)
        >>> ranker.names
        ('popular_0', 'popular_1', 'together', 'together_by_history', 'taste')
        >>> ranker.score(np.array([[1, 0, 0, 0, 0], [0, 0, 3, 0, 0]], np.float32))
        array([1. , 1.5])
    """

    def __init__(
        self,
        *,
        half_lives: int = 2,
        weights: Sequence[float] | None = None,
        learning_rate: float = 0.1,
        squares: float = 1.0,
        popularity_floor: float = 0.5,
        together_floor: float = 0.01,
        together_items: int = 10,
        history_cap: int = 50,
    ) -> None:
        self.names = (
            *(f"popular_{h}" for h in range(half_lives)),
            "together",
            "together_by_history",
            "taste",
        )
        first = (1.0, *(0.1 for _ in range(half_lives - 1)), *_OTHER_WEIGHTS)
        self.initial_weights = tuple(first if weights is None else weights)
        if half_lives < 1 or len(self.initial_weights) != len(self.names):
            msg = f"the ranker has features {self.names}; got {len(self.initial_weights)} weights for them"
            raise LearnerError(msg)
        if learning_rate < 0 or squares <= 0 or popularity_floor <= 0 or together_floor <= 0:
            msg = (
                "the ranker needs learning_rate >= 0 and squares, popularity_floor, together_floor > 0; got "
                f"{learning_rate}, {squares}, {popularity_floor}, {together_floor}"
            )
            raise LearnerError(msg)
        self.half_lives, self.learning_rate, self.squares = half_lives, learning_rate, squares
        self.popularity_floor, self.together_floor = popularity_floor, together_floor
        self.together_items, self.history_cap = together_items, history_cap
        self.weights: Float64 = np.array(self.initial_weights, np.float64)
        self._squares: Float64 = np.full(len(self.names), squares)
        self.steps = 0
        self._published = 0

    @property
    def n_features(self) -> int:
        """Columns of a feature array."""
        return len(self.names)

    # -- reading ---------------------------------------------------------------------------------------------

    def features(
        self,
        now_ms: int,
        user: int,
        rows: Int32,
        *,
        popularity: Popularity,
        cooccurrence: CoOccurrence,
        histories: Histories,
        mf: MatrixFactorisation | None = None,
        linked: Linked | None = None,
    ) -> Float32:
        """Features (n, F) of candidate item `rows` (n,) for user row `user` (-1: unknown) at `now_ms`.

        `linked` is what goes with the newest `together_items` of the user at `now_ms`, if that is known.
        """
        popular = popularity.all_scores(now_ms, rows)[: self.half_lives]
        if linked is None:
            linked = cooccurrence.linked(histories.recent(user, self.together_items), now_ms)
        together = linked.score(rows)
        taste = np.zeros(rows.size, np.float32) if mf is None else mf.affinities(user, rows)
        return blend_features(
            popular,
            together,
            taste,
            min(histories.length(user), self.history_cap),
            popularity_floor=self.popularity_floor,
            together_floor=self.together_floor,
        )

    def score(self, features: Float32) -> Float64:
        """Scores (n,) of feature rows (n, F); higher is better."""
        if features.shape[1:] != self.weights.shape:
            msg = f"expected {self.n_features} features {self.names}, got an array of shape {features.shape}"
            raise LearnerError(msg)
        return features.astype(np.float64) @ self.weights

    # -- writing ---------------------------------------------------------------------------------------------

    def learn(self, rows: RowBlock) -> int:
        """Learn the block's clicks in order; returns the steps taken (0 without our logged features)."""
        if not len(rows) or rows.features.shape[1] != self.n_features:
            return 0
        steps = learn_clicks(
            rows.kind, rows.first, rows.reward, rows.slate, rows.place, rows.decided, rows.start,
            rows.features, rows.other_start, rows.other_features, self.weights, self._squares,
            self.learning_rate,
        )  # fmt: skip
        self.steps += steps
        return steps

    def remove_items(self, rows: Int32) -> None:
        """Nothing here is kept by item."""

    def remove_users(self, rows: Int32) -> None:
        """Nothing here is kept by user."""

    # -- copying ---------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """The weights and their sums of squares."""
        return {
            "names": list(self.names),
            "weights": self.weights.copy(),
            "squares": self._squares.copy(),
            "steps": self.steps,
            "published": self._published,
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described.

        Raises:
            ReplicaError: the frame is of a ranker with other features.
        """
        self._check(frame)
        self.weights[:] = frame["weights"]
        self._squares[:] = frame["squares"]
        self.steps, self._published = frame["steps"], frame["published"]

    def changes(self) -> Frame:
        """The weights as a whole, if they moved; else an empty frame."""
        if self._published == self.steps:
            return {}
        self._published = self.steps
        return {"names": list(self.names), "weights": self.weights.copy(), "steps": self.steps}

    def apply(self, frame: Frame) -> None:
        """On a replica: take over the weights.

        Raises:
            ReplicaError: the frame is of a ranker with other features.
        """
        if frame:
            self._check(frame)
            self.weights[:] = frame["weights"]
            self.steps = frame["steps"]

    def _check(self, frame: Frame) -> None:
        if tuple(frame["names"]) != self.names:
            msg = f"the frame has features {frame['names']}, this ranker {self.names}"
            raise ReplicaError(msg)
        weights, steps = frame["weights"], frame["steps"]
        if weights.shape != self.weights.shape or not np.isfinite(weights).all() or type(steps) is not int:
            msg = f"the frame has weights of shape {weights.shape} that are not finite numbers, or no steps"
            raise ReplicaError(msg)
