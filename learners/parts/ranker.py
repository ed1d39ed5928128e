"""The order in which candidates are proposed: a blend of what all scorers say, learned click by click."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from learners.ask import Ask
from learners.errors import LearnerError, ReplicaError
from learners.experts import SEVERAL, Experts, columns_of_before
from learners.feature_schema import FeatureSchemas
from learners.ops.ranking import score_rows
from learners.part import Part
from learners.rows import RowBlock
from learners.scorer import Scorer
from stream.frame import Frame

__all__ = ["Ranker"]

_log = logging.getLogger(__name__)

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


class Ranker(Part):
    """A linear score over the features of any scorers, found by a mixture of whole orders, click by click.

    At the first click on a place of a ranked slate, with S the items that were shown, each expert
    e takes a step on the listwise loss of its own softmax (ListNet, Cao et al., ICML 2007), by AdaGrad (Duchi
    et al., JMLR 2011):

        g = x(clicked) - sum over S of softmax(w_e . x)_s x_s,    G += g^2,    w_e += learning_rate g /
        sqrt(G)

    and at a first dislike the same g times -p, the softmax of what was disliked. One expert has all features
    and learns steadily, one has all and forgets G, and one each has a single feature. A layer over them
    (AdaHedge with a share that goes back, experts asleep where their feature tells no candidate from another)
    keeps shares v; what is served is the one vector v @ W (`learners.ops.mixture`). So a log on which one
    feature is all is found out within some tens of lists, and a rule that changes within some hundred. Until
    the first step the scorers' starting weights are served, which suit a world of fashion: the first half-
    life first, the others little. It reads the features as the decision saw them, or as they were when
    somebody else's list was shown. Memory: a few hundred numbers, for good.

    A feature may be missing (NaN): then its weight for that counts (`missing`), learned likewise from 0 on. x
    is f with 0 for what is missing, and behind it 1 for what is missing and 0 else. A candidate of which
    every feature is missing is left out of S. Weights stay within -20..20; steps at which a slope or a weight
    of the steady expert had to be cut are counted (`cut`).

    Weights go by the name of their feature. A snapshot or a frame of a ranker with other scorers is taken
    over as far as names agree; a feature that it does not know keeps its weight, which for a new one is the
    starting weight. Weights of features that no scorer has now stay in snapshots, until one has them again.
    Slates that were decided with other scorers are learned from in the same way (`schemas`); clicks on slates
    whose features cannot be read are counted (`unread`). What was learned before there were experts is taken
    over as the linear ones, with all of the share.

    Args:
        scorers: what the features come from, in this order.
        weights: starting weights by name, before those of the scorers.
        learning_rate, squares: of AdaGrad: the largest step of the steady expert, and what G starts at.

    Example:
        >>> from learners.scorers.taste import Settings, Taste
        >>> ranker = Ranker([Taste(Settings(weight=0.5), None)])
        >>> ranker.names, ranker.score(np.array([[1], [3]], np.float32))
        (('taste',), array([0.5, 1.5]))
    """

    reads_clicks_alone = True

    def __init__(
        self,
        scorers: Sequence[Scorer],
        *,
        weights: Mapping[str, float] | None = None,
        learning_rate: float = 0.1,
        squares: float = 1.0,
    ) -> None:
        self.scorers = tuple(scorers)
        first = _first_weights(self.scorers)
        unknown = sorted(set(weights or ()) - set(first))
        if unknown:
            msg = f"the ranker has features {', '.join(first)}; got a weight for {unknown[0]!r}"
            raise LearnerError(msg)
        if learning_rate < 0 or squares <= 0:
            msg = f"the ranker needs learning_rate >= 0 and squares > 0; got {learning_rate}, {squares}"
            raise LearnerError(msg)
        self.learning_rate, self.squares = learning_rate, squares
        self.schemas = FeatureSchemas(tuple(first))
        self.names = self.schemas.names
        self.initial_weights = {**first, **(weights or {})}
        self._widths = [(scorer, len(scorer.names)) for scorer in self.scorers]
        n, start = len(self.names), np.array(list(self.initial_weights.values()))
        self.experts = Experts(start, squares)
        self._served = np.zeros(2 * n)
        self.weights: Float64 = self._served[:n]
        """The weights (F,) that are served."""
        self.missing: Float64 = self._served[n:]
        """Those of features that are missing."""
        self._columns = {"weights": self.weights, "missing": self.missing, **self.experts.columns}
        self._begin()
        self.cut = 0
        self.steps = 0
        self.unread = 0
        self._published = 0
        self._kept: dict[str, dict[str, float]] = {}
        """What a snapshot had, by column, of features that no scorer has; at most those of all lists of
        scorers that there ever were."""

    def _begin(self) -> None:
        self.weights[:], self.missing[:] = list(self.initial_weights.values()), 0.0
        self.experts.begin()

    @property
    def n_features(self) -> int:
        """Columns of a feature array."""
        return len(self.names)

    # -- reading ---------------------------------------------------------------------------------------------

    def features(self, ask: Ask, rows: Int32) -> Float32:
        """Features (n, F) of candidate item `rows` (n,), -1 for an unknown one.

        Raises:
            LearnerError: a scorer raises, or gives an array of another shape than its names say.
        """
        n, found = rows.size, []
        for scorer, width in self._widths:
            try:
                columns = scorer.features(ask, rows)
            except MemoryError:
                raise
            except Exception as error:
                msg = f"scorer {type(scorer).__name__} of {', '.join(scorer.names)} raised {error!r}"
                raise LearnerError(msg) from error
            if columns.shape != (n, width):
                msg = (
                    f"scorer {type(scorer).__name__} has features {', '.join(scorer.names)}, so it gives an "
                    f"array of shape {(n, width)}; got {columns.shape}"
                )
                raise LearnerError(msg)
            found.append(columns)
        # Several times faster than to fill the columns one after the other.
        out = np.empty((n, len(self.names)), np.float32)
        return np.concatenate(found, axis=1, out=out, casting="same_kind")

    def score(self, features: Float32) -> Float64:
        """Scores (n,) of feature rows (n, F), NaN where one is missing; higher is better.

        A score is not finite where a feature is infinite.
        """
        if features.shape[1:] != self.weights.shape:
            msg = f"expected {self.n_features} features {self.names}, got an array of shape {features.shape}"
            raise LearnerError(msg)
        scores = np.empty(len(features))
        score_rows(np.ascontiguousarray(features, np.float32), self._served, scores)
        return scores

    def explain(self) -> dict[str, float]:
        """The share of each expert in the served order, the largest first: `linear` and `quick` are those
        over all features, the others have the names of theirs.

        Example:
            >>> from learners.scorers.taste import Settings, Taste
            >>> Ranker([Taste(Settings(weight=0.5), None)]).explain()
            {'start': 0.45, 'taste': 0.3, 'linear': 0.15, 'quick': 0.1}
        """
        shares = self.experts.shares.round(6).tolist()
        found = zip((*SEVERAL, *self.names), shares, strict=True)
        return dict(sorted(found, key=lambda pair: -pair[1]))

    # -- writing ---------------------------------------------------------------------------------------------

    def learn(self, rows: RowBlock) -> int:
        """Learn the block's clicks in order; returns the steps taken.

        The block was encoded with these `schemas`, or without features: then nothing is learned here. Steps
        follow each other, so on Kafka the step `train` takes them, in the order of its topic.
        """
        if not len(rows) or rows.rank_features.shape[1] != self.n_features:
            return 0
        steps, unread, cut = self.experts.learn(rows, self.learning_rate)
        if steps:
            self._served[:] = self.experts.served()
        self.cut += cut
        self.steps += steps
        self.unread += unread
        return steps

    def learn_lists(self, block: RowBlock) -> None:
        """Learn the block's clicks in order."""
        self.learn(block)

    def remove_items(self, rows: Int32) -> None:
        """Nothing here is kept by item."""

    def remove_users(self, rows: Int32) -> None:
        """Nothing here is kept by user."""

    # -- copying ---------------------------------------------------------------------------------------------

    def _frame(self) -> Frame:
        return {
            "names": list(self.names),
            "weights": self.weights.copy(),
            "missing": self.missing.copy(),
            "share": self._columns["share"].copy(),
            "linear_shares": self.experts.frame()["linear_shares"],
            "cut": self.cut,
            "steps": self.steps,
            "unread": self.unread,
            "schemas": self.schemas.frame(),
        }

    def snapshot(self) -> Frame:
        """All weights by name, their sums of squares, and the lists of features that decisions follow."""
        columns = {name: column.copy() for name, column in self._columns.items()}
        frame = {**self._frame(), **columns, **self.experts.frame(), "published": self._published}
        if self._kept:
            frame["kept"] = {name: dict(learned) for name, learned in self._kept.items()}
        return frame

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described, as far as the names of features agree.

        Raises:
            ReplicaError: the frame does not fit together.
        """
        # A snapshot of before has no lists: its own is the one that was in use before there were ids.
        self._begin()
        if "linear" not in frame:  # it was one linear order
            before = columns_of_before(frame, int(frame["steps"]))
            frame = {**frame, **before, "linear_shares": np.array([1.0, 0.0, 0.0])}
        for column in self._columns:
            self._by_name(frame, column)
        self._keep(frame)
        self._take(frame)
        self.schemas.learn_of(frame.get("schemas") or [["", frame["names"]]])
        # Whoever follows learns of the new list with the next changes.
        self._published = frame["published"] if tuple(frame["names"]) == self.names else -1

    def changes(self) -> Frame:
        """The weights as a whole, if something was learned or could not be; else an empty frame."""
        if self._published == self.steps + self.unread:
            return {}
        self._published = self.steps + self.unread
        return self._frame()

    def apply(self, frame: Frame) -> None:
        """On a replica: take over the weights whose names are known here.

        Raises:
            ReplicaError: the frame does not fit together.
        """
        if frame:
            self._take(frame)
            self.schemas.learn_of(frame.get("schemas", ()))

    def _take(self, frame: Frame) -> None:
        steps, unread = frame["steps"], frame.get("unread", 0)
        if type(steps) is not int or type(unread) is not int:
            msg = f"the frame has steps {steps!r} and unread {unread!r}, which are no counts"
            raise ReplicaError(msg)
        for column in ("weights", "missing", "share"):
            self._by_name(frame, column)
        if "linear_shares" in frame:  # a program of before has none
            self.experts.take(frame)
        self.steps, self.unread, self.cut = steps, unread, int(frame.get("cut", 0))

    def _keep(self, frame: Frame) -> None:
        """Keep what the frame has for features that no scorer has now, and give back what was kept for those
        that are here again."""
        theirs = {
            name: {column: float(frame[column][n]) for column in self._columns if column in frame}
            for n, name in enumerate(frame["names"])
        }
        steps = int(frame["steps"])
        kept = {name: _by_column(learned, steps) for name, learned in frame.get("kept", {}).items()}
        if not all(np.isfinite(list(learned.values())).all() for learned in kept.values()):
            msg = f"the frame keeps weights of {', '.join(kept)} that are not finite"
            raise ReplicaError(msg)
        for n, name in enumerate(self.names):
            if name in kept and name not in theirs:
                for column, value in kept[name].items():
                    self._columns[column][n] = value
        self._kept = {name: it for name, it in {**kept, **theirs}.items() if name not in self.names}
        if self._kept:
            _log.warning("kept, for no scorer has them now: weights of %s", ", ".join(self._kept))

    def _by_name(self, frame: Frame, column: str) -> None:
        """Take over what the frame has for features of these names; a frame of before lacks some columns."""
        names, mine = list(frame["names"]), self._columns[column]
        if column not in frame and column not in ("weights", "squares"):
            return
        values = frame[column]
        if values.shape != (len(names),) or not np.isfinite(values).all():
            msg = f"the frame has {column} of shape {values.shape} for {len(names)} features, or not finite"
            raise ReplicaError(msg)
        theirs = dict(zip(names, values.tolist(), strict=True))
        mine[:] = [theirs.get(name, own) for name, own in zip(self.names, mine.tolist(), strict=True)]


def _by_column(learned: Any, steps: int) -> dict[str, float]:
    """What was kept of a feature; before there were experts it was a pair."""
    if not isinstance(learned, Mapping):
        pair = dict(zip(("weights", "squares"), learned, strict=True))
        learned = columns_of_before(pair, steps)
    return {column: float(value) for column, value in learned.items()}


def _first_weights(scorers: Sequence[Scorer]) -> dict[str, float]:
    """Starting weights by name.

    Raises:
        LearnerError: there is no feature, or a scorer does not fit.
    """
    first: dict[str, float] = {}
    for scorer in scorers:
        what = type(scorer).__name__
        names, weights = scorer.names, scorer.weights
        fits = isinstance(names, tuple) and isinstance(weights, tuple) and len(names) == len(weights)
        if not (fits and all(isinstance(name, str) for name in names) and np.isfinite(weights).all()):
            msg = (
                f"scorer {what} needs a tuple of names of its features and one of as many finite weights to "
                f"start at; got {names!r} and {weights!r}"
            )
            raise LearnerError(msg)
        for name, weight in zip(scorer.names, scorer.weights, strict=True):
            if name in first:
                msg = f"two scorers have a feature {name!r}, one of them {what}: give one another name"
                raise LearnerError(msg)
            first[name] = float(weight)
    if not first:
        msg = "the ranker needs at least one scorer with a feature"
        raise LearnerError(msg)
    return first
